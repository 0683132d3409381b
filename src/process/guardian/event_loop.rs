//! What a guardian does all its life: it reaps, forwards signals, stops when the host stops, and ends as it ends.

use rustix::{
    io::Errno,
    process::{self as sys, WaitOptions, WaitStatus},
};

use super::{
    kill_descendants,
    signals::{self, CaughtSignal, SignalOrigin},
};
use crate::process::group_membership;

/// The life of the guardian. `host` is its child.
pub(super) fn guard(host: libc::pid_t) -> ! {
    // Unwinding would run the host's own code a second time, in the guardian.
    let _bomb = KillOnUnwind;
    let _ = rustix::thread::set_name(c"guardian");
    let_go();
    let mut host = HostProcess { pid: host, stopped: None, news: false };
    let ending = host.watch_host();
    kill_descendants::sweep();
    crate::process::cgroup::clear_leftovers();
    match ending {
        HostEnd::Code(code) => signals::exit(code),
        HostEnd::Signal(signal) => signals::die(signal),
    }
}

struct KillOnUnwind;

impl Drop for KillOnUnwind {
    fn drop(&mut self) {
        signals::die(libc::SIGKILL);
    }
}

/// Lets go of all files and of the directory, so that a reader waits for no end of file because of the guardian, and
/// no file system stays busy.
fn let_go() {
    use rustix::{fs, stdio};
    let flags = fs::OFlags::RDWR | fs::OFlags::CLOEXEC;
    if let Ok(null) = fs::open(c"/dev/null", flags, fs::Mode::empty()) {
        let _ = stdio::dup2_stdin(&null);
        let _ = stdio::dup2_stdout(&null);
        let _ = stdio::dup2_stderr(&null);
    }
    // SAFETY: whatever owns these descriptors in this copy of the program is never used again, nor dropped: the
    // guardian ends without returning or unwinding. (Where the call is unknown, before Linux 5.9, they stay open.)
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
    let _ = sys::chdir(c"/");
}

/// How the host ended.
enum HostEnd {
    Code(i32),
    Signal(i32),
}

struct HostProcess {
    pid: libc::pid_t,
    /// The signal that stopped it.
    stopped: Option<i32>,
    /// It has been stopped or continued, and nothing has been done about that yet.
    news: bool,
}

impl HostProcess {
    /// Until its end.
    fn watch_host(&mut self) -> HostEnd {
        loop {
            let caught = signals::next();
            // First what became of the host: it is only signalled while it is not reaped, and its number its own.
            if let Some(ending) = self.look() {
                return ending;
            }
            if self.is_for_it(caught) {
                signals::pass_on(caught, self.pid);
            }
            if let Some(ending) = self.follow() {
                return ending;
            }
        }
    }

    /// Takes all news of children: reaps the dead ones, notes whether the host is stopped, returns how it ended.
    fn look(&mut self) -> Option<HostEnd> {
        let options =
            WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED | signals::any_kind();
        loop {
            match sys::wait(options) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == self.pid => {
                    if let Some(ending) = self.note(status) {
                        return Some(ending);
                    }
                }
                // An orphan that was adopted.
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                // Without a child there is nobody to guard. Nobody else can reap the host, so this is not reached.
                Err(_) => return Some(HostEnd::Code(1)),
            }
        }
    }

    fn note(&mut self, status: WaitStatus) -> Option<HostEnd> {
        if let Some(code) = status.exit_status() {
            return Some(HostEnd::Code(code));
        }
        if let Some(signal) = status.terminating_signal() {
            return Some(HostEnd::Signal(signal));
        }
        self.stopped = status.stopping_signal();
        self.news = true;
        None
    }

    /// Whether the host has not got this signal anyway.
    fn is_for_it(&self, caught: CaughtSignal) -> bool {
        let leads_session = || {
            let me = sys::getpid();
            group_membership::session_of(me) == Some(me.as_raw_nonzero().get())
        };
        match (caught.signal, caught.origin) {
            (libc::SIGCHLD, _) => false,
            // It has signalled its own group.
            (_, SignalOrigin::Process(sender) | SignalOrigin::Queue(sender, _)) if sender == self.pid => {
                false
            }
            // A terminal signals the whole foreground group, and the host is in it if the guardian is.
            (
                libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGWINCH,
                SignalOrigin::Kernel,
            ) => false,
            // One that is hung up signals the leader of its session alone.
            (libc::SIGHUP, SignalOrigin::Kernel) => leads_session(),
            // Whoever continues a job signals its group.
            (libc::SIGCONT, _) => self.stopped.is_some(),
            _ => true,
        }
    }

    /// Stops as the host did, once for each time, and continues it when continued.
    fn follow(&mut self) -> Option<HostEnd> {
        while std::mem::take(&mut self.news) {
            let signal = self.stopped?;
            // A continuation that has arrived meanwhile would be lost by stopping now.
            if !has_job_control() || signals::is_pending(libc::SIGCONT) {
                return None;
            }
            signals::stop(signal);
            if let Some(ending) = self.look() {
                return Some(ending);
            }
            if !self.news {
                // Whoever continued the guardian has continued it alone, or has not come to the host yet.
                signals::pass_on(
                    CaughtSignal { signal: libc::SIGCONT, origin: SignalOrigin::Other },
                    self.pid,
                );
            }
        }
        None
    }
}

/// Whether somebody waits for this process to stop, and would continue it: a parent in the same session that is not
/// in the same job. Anywhere else a guardian that stops with its host would not come back with it.
fn has_job_control() -> bool {
    let (me, Some(parent)) = (sys::getpid(), sys::getppid()) else { return false };
    let session = group_membership::session_of(parent);
    session.is_some()
        && session == group_membership::session_of(me)
        && group_membership::group_of(parent) != group_membership::group_of(me)
}
