//! The fork: one program becomes two, and each knows what the other is.

use std::{
    io,
    sync::atomic::{AtomicI32, Ordering},
};

use rustix::process::{self as sys, Pid, Signal};

use super::{errors::GuardianError, event_loop, signals};

/// The guardian's process id, in the host.
static GUARDIAN: AtomicI32 = AtomicI32::new(0);

/// What systemd addresses to one process id. A library compares it with its own.
const ADDRESSED: [&str; 3] = ["LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"];

/// Whether this program runs under a guardian that is still there.
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
    // Before the fork, so that no orphan and no signal falls between the two.
    let guardian = sys::getpid();
    sys::set_child_subreaper(Some(guardian)).map_err(|error| system("prctl", error.into()))?;
    // A child of a program that ignores SIGCHLD is reaped by the kernel, and its status lost.
    let children = signals::default_action(libc::SIGCHLD);
    let mask = signals::block_all();
    // SAFETY: this is the only thread, as has just been counted, and only this thread could start another. So the
    // child is a complete copy, in which no lock is held by a thread that is not there; both may go on as they like.
    #[allow(unsafe_code)]
    let host = unsafe { libc::fork() };
    match host {
        0 => {
            let _ = sys::set_parent_process_death_signal(Some(Signal::KILL));
            if sys::getppid() != Some(guardian) {
                // Killed before the line above could see it. Then the host dies too, as it would have.
                signals::die(libc::SIGKILL);
            }
            children.restore();
            mask.restore();
            readdress(guardian);
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
        host => event_loop::guard(host),
    }
}

fn system(call: &'static str, error: io::Error) -> GuardianError {
    GuardianError::System { call, error }
}

/// How many threads the program has; an error if the process table is not there or not that of our namespace.
fn threads() -> io::Result<usize> {
    let me = std::fs::read_link("/proc/self")?;
    if me.to_str() != Some(&sys::getpid().to_string()) {
        return Err(io::Error::other("it belongs to another process namespace"));
    }
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// What was addressed to the program that was started is for the host.
fn readdress(guardian: Pid) {
    let (old, new) = (guardian.to_string(), sys::getpid().to_string());
    for name in ADDRESSED {
        if std::env::var_os(name).is_some_and(|pid| pid == *old) {
            // SAFETY: changing the environment is only dangerous while another thread reads it, and this is the
            // only thread: fork copies no other.
            #[allow(unsafe_code)]
            unsafe {
                std::env::set_var(name, &new);
            }
        }
    }
}
