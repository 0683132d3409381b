//! Forks the program into guardian and host, and tells each of them what it is.

use std::{
    io,
    sync::atomic::{AtomicI32, Ordering},
};

use rustix::process::{self as sys, Pid, Signal};

use super::{errors::GuardianError, event_loop, signals};

/// The guardian's process id, in the host.
static GUARDIAN: AtomicI32 = AtomicI32::new(0);

/// Variables in which systemd names the process that they are meant for. Libraries compare the value with
/// their own process id.
const PID_VARIABLES: [&str; 3] = ["LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"];

/// Whether this program runs under a guardian that still lives.
pub(crate) fn active() -> bool {
    let guardian = GUARDIAN.load(Ordering::Relaxed);
    guardian != 0 && Pid::as_raw(sys::getppid()) == guardian
}

pub(super) fn guardian() -> Result<(), GuardianError> {
    if GUARDIAN.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    let threads = threads().map_err(GuardianError::Proc)?;
    if threads != 1 {
        return Err(GuardianError::Threads { threads });
    }
    // Done before the fork, so that no orphan and no signal is lost in between.
    let guardian = sys::getpid();
    sys::set_child_subreaper(Some(guardian)).map_err(|error| system("prctl", error.into()))?;
    // A child of a program that ignores SIGCHLD is reaped by the kernel, and its status lost.
    let children = signals::default_action(libc::SIGCHLD);
    let mask = signals::block_all();
    // SAFETY: this is the only thread, as has just been counted, and only this thread could start another.
    // So the child is a complete copy, in which no lock is held by a thread that does not exist; both may
    // do anything.
    #[allow(unsafe_code)]
    let host = unsafe { libc::fork() };
    match host {
        0 => {
            let _ = sys::set_parent_process_death_signal(Some(Signal::KILL));
            if sys::getppid() != Some(guardian) {
                // The guardian was killed before the line above took effect. The host dies too, as it would
                // have.
                signals::die_by(libc::SIGKILL);
            }
            children.restore();
            mask.restore();
            correct_pid_variables(guardian);
            GUARDIAN.store(guardian.as_raw_nonzero().get(), Ordering::Relaxed);
            Ok(())
        }
        -1 => {
            let error = io::Error::last_os_error();
            let _ = sys::set_child_subreaper(None);
            children.restore();
            mask.restore();
            Err(system("fork", error))
        }
        host => event_loop::run(host),
    }
}

fn system(call: &'static str, error: io::Error) -> GuardianError {
    GuardianError::System { call, error }
}

/// How many threads the program has. An error if `/proc` is missing or belongs to another namespace.
fn threads() -> io::Result<usize> {
    let me = std::fs::read_link("/proc/self")?;
    if me.to_str() != Some(&sys::getpid().to_string()) {
        return Err(io::Error::other("it belongs to another process namespace"));
    }
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// What was meant for the program that was started is meant for the host.
fn correct_pid_variables(guardian: Pid) {
    let (old, new) = (guardian.to_string(), sys::getpid().to_string());
    for name in PID_VARIABLES {
        if std::env::var_os(name).is_some_and(|pid| pid == *old) {
            // SAFETY: changing the environment is only dangerous while another thread reads it, and this is
            // the only thread: a fork copies no other.
            #[allow(unsafe_code)]
            unsafe {
                std::env::set_var(name, &new);
            }
        }
    }
}
