//! A host that ignores `SIGCHLD` never learns how its children end: the kernel reaps them. Programs inherit that from
//! whoever starts them, through any number of `exec`s, and seldom know.

use std::{mem::MaybeUninit, ptr};

use libc::c_int;

/// Sees to it that children of this program become zombies that can be waited for, and says so if they did not.
///
/// Asked at each launch, since it is one system call: somebody may begin to ignore the signal later. An action that is a
/// handler stays what it is.
pub(super) fn put_right() {
    let Some(mut action) = action() else { return };
    let ignored = action.sa_sigaction == libc::SIG_IGN;
    // The type differs from system to system.
    let no_zombies = action.sa_flags & libc::SA_NOCLDWAIT as c_int != 0;
    if !ignored && !no_zombies {
        return;
    }
    if ignored {
        action.sa_sigaction = libc::SIG_DFL;
    }
    action.sa_flags &= !(libc::SA_NOCLDWAIT as c_int);
    // SAFETY: it is what the kernel has said, but for two values that are valid.
    #[allow(unsafe_code)]
    let put_right = unsafe { libc::sigaction(libc::SIGCHLD, &action, ptr::null_mut()) } == 0;
    if put_right {
        let how = if ignored { "ignored SIGCHLD" } else { "had SA_NOCLDWAIT set for SIGCHLD" };
        tracing::warn!(
            target: "procession",
            "this program {how}: the system would have thrown the exit status of each process away. That is put right \
             now. Programs inherit it from those that start them"
        );
    }
}

fn action() -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and the place for the answer is valid; zeroes are a valid action too.
    #[allow(unsafe_code)]
    unsafe {
        (libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr()) == 0).then(|| action.assume_init())
    }
}
