//! Keeps the exit statuses of processes available to a host that was started with `SIGCHLD` ignored.
//!
//! A host that ignores `SIGCHLD` never learns how its children end, because the kernel reaps them. A
//! program inherits this from its parent, through any number of `exec`s, and seldom notices.

use std::{mem::MaybeUninit, ptr};

use libc::c_int;

/// Makes sure that children of this program become zombies that can be waited for, and logs a warning if
/// that had to be changed.
///
/// Called at each launch, because other code may begin to ignore the signal later. It is one system call. A
/// handler stays in place.
pub(super) fn keep_exit_statuses() {
    let Some(mut action) = action() else { return };
    let ignored = action.sa_sigaction == libc::SIG_IGN;
    // The type of the flags differs from system to system.
    let no_zombies = action.sa_flags & libc::SA_NOCLDWAIT as c_int != 0;
    if !ignored && !no_zombies {
        return;
    }
    if ignored {
        action.sa_sigaction = libc::SIG_DFL;
    }
    action.sa_flags &= !(libc::SA_NOCLDWAIT as c_int);
    // SAFETY: it is the action that the kernel returned, with two values replaced by valid ones.
    #[allow(unsafe_code)]
    let changed = unsafe { libc::sigaction(libc::SIGCHLD, &action, ptr::null_mut()) } == 0;
    if changed {
        let how = if ignored { "ignored SIGCHLD" } else { "had SA_NOCLDWAIT set for SIGCHLD" };
        tracing::warn!(
            target: "procession",
            "this program {how}, so the system would have discarded the exit status of every process; this has been \
             reset to the default. Programs inherit the setting from their parent: start this one without it"
        );
    }
}

fn action() -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and the pointer is valid for writes; zeroes are a valid action too.
    #[allow(unsafe_code)]
    unsafe {
        (libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr()) == 0).then(|| action.assume_init())
    }
}
