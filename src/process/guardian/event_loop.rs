//! The guardian's work while the host lives: it reaps, forwards signals, stops when the host stops, and
//! ends as the host ends.

use rustix::{
    io::Errno,
    process::{self as sys, WaitOptions, WaitStatus},
};

use super::{
    kill_descendants,
    signals::{self, ReceivedSignal, SignalOrigin},
};
use crate::process::group_membership;

/// Runs the guardian to its end. `host` is its child.
pub(super) fn run(host: libc::pid_t) -> ! {
    // Unwinding would run the host's own code a second time, in the guardian.
    let _kill_on_unwind = DieOnUnwind;
    let _ = rustix::thread::set_name(c"guardian");
    close_files_and_leave_directory();
    let mut host = HostProcess { pid: host, stopped: None, has_news: false };
    let end = host.watch_host();
    kill_descendants::kill_all();
    crate::process::cgroup::clear_leftovers();
    match end {
        HostExitStatus::Code(code) => signals::exit(code),
        HostExitStatus::Signal(signal) => signals::die_by(signal),
    }
}

struct DieOnUnwind;

impl Drop for DieOnUnwind {
    fn drop(&mut self) {
        signals::die_by(libc::SIGKILL);
    }
}

/// Closes all files and leaves the directory, so that no reader waits for an end of file because of the
/// guardian, and no file system stays busy.
fn close_files_and_leave_directory() {
    use rustix::{fs, stdio};
    let flags = fs::OFlags::RDWR | fs::OFlags::CLOEXEC;
    if let Ok(null) = fs::open(c"/dev/null", flags, fs::Mode::empty()) {
        let _ = stdio::dup2_stdin(&null);
        let _ = stdio::dup2_stdout(&null);
        let _ = stdio::dup2_stderr(&null);
    }
    // SAFETY: the owners of these descriptors in this copy of the program are never used again, nor
    // dropped: the guardian ends without returning or unwinding. (Where the call is unknown, before Linux
    // 5.9, they stay open.)
    #[allow(unsafe_code)]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
    let _ = sys::chdir(c"/");
}

/// How the host ended.
enum HostExitStatus {
    Code(i32),
    Signal(i32),
}

struct HostProcess {
    pid: libc::pid_t,
    /// The signal that stopped it, if it is stopped.
    stopped: Option<i32>,
    /// It has been stopped or continued, and the guardian has not followed yet.
    has_news: bool,
}

impl HostProcess {
    /// Forwards signals and follows stops until the host has ended.
    fn watch_host(&mut self) -> HostExitStatus {
        loop {
            let caught = signals::wait_for_next();
            // The state of the host comes first: it may only be signalled while it has not been reaped and
            // keeps its number.
            if let Some(end) = self.collect_children() {
                return end;
            }
            if self.should_forward(caught) {
                signals::forward(caught, self.pid);
            }
            if let Some(end) = self.follow_stop() {
                return end;
            }
        }
    }

    /// Collects all changes of children: reaps the dead ones, records whether the host is stopped, and
    /// returns how it ended.
    fn collect_children(&mut self) -> Option<HostExitStatus> {
        let options =
            WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED | signals::any_kind();
        loop {
            match sys::wait(options) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == self.pid => {
                    if let Some(end) = self.record(status) {
                        return Some(end);
                    }
                }
                // An orphan that was adopted.
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                // There is no child left. This is not reached, because only this process can reap the host.
                Err(_) => return Some(HostExitStatus::Code(1)),
            }
        }
    }

    fn record(&mut self, status: WaitStatus) -> Option<HostExitStatus> {
        if let Some(code) = status.exit_status() {
            return Some(HostExitStatus::Code(code));
        }
        if let Some(signal) = status.terminating_signal() {
            return Some(HostExitStatus::Signal(signal));
        }
        self.stopped = status.stopping_signal();
        self.has_news = true;
        None
    }

    /// Whether the host does not get this signal anyway.
    fn should_forward(&self, caught: ReceivedSignal) -> bool {
        let leads_session = || {
            let me = sys::getpid();
            group_membership::session_of(me) == Some(me.as_raw_nonzero().get())
        };
        match (caught.signal, caught.origin) {
            (libc::SIGCHLD, _) => false,
            // The host has signalled its own group.
            (_, SignalOrigin::Process(sender) | SignalOrigin::Queue(sender, _)) if sender == self.pid => {
                false
            }
            // A terminal signals the whole foreground group, and the host is in it if the guardian is.
            (
                libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGWINCH,
                SignalOrigin::Kernel,
            ) => false,
            // A terminal that is hung up signals only the leader of its session.
            (libc::SIGHUP, SignalOrigin::Kernel) => leads_session(),
            // A shell that continues a job signals its whole group.
            (libc::SIGCONT, _) => self.stopped.is_some(),
            _ => true,
        }
    }

    /// Stops as the host did, once for each stop, and continues the host when it is continued itself.
    fn follow_stop(&mut self) -> Option<HostExitStatus> {
        while std::mem::take(&mut self.has_news) {
            let signal = self.stopped?;
            // A continuation that has arrived meanwhile would be lost by stopping now.
            if !has_job_control() || signals::is_pending(libc::SIGCONT) {
                return None;
            }
            signals::stop(signal);
            if let Some(end) = self.collect_children() {
                return Some(end);
            }
            if !self.has_news {
                // Only the guardian has been continued so far. The host may follow, or was not meant to be
                // included.
                signals::forward(
                    ReceivedSignal { signal: libc::SIGCONT, origin: SignalOrigin::Other },
                    self.pid,
                );
            }
        }
        None
    }
}

/// Whether a shell watches this process for stops and would continue it: its parent is in the same session
/// but in another job. Otherwise a guardian that stops with its host would not be continued with it.
fn has_job_control() -> bool {
    let (me, Some(parent)) = (sys::getpid(), sys::getppid()) else { return false };
    let session = group_membership::session_of(parent);
    session.is_some()
        && session == group_membership::session_of(me)
        && group_membership::group_of(parent) != group_membership::group_of(me)
}
