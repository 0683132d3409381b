//! Writes to a pipe without raising `SIGPIPE` (P-11). Sockets have a flag for this. Pipes have one since
//! Linux 6.18, where sockets are used anyway.
//!
//! Rust programs ignore the signal unless they ask for it, or are a library in a program of another
//! language. Otherwise it would end the host when a process closes its stdin.

use std::{mem::MaybeUninit, os::fd::BorrowedFd, ptr};

use crate::process::signal_state::is_ignored;

/// `write` without the signal, whatever its disposition in the embedding program is.
pub(super) fn write(pipe: BorrowedFd<'_>, buf: &[u8]) -> rustix::io::Result<usize> {
    if is_ignored(libc::SIGPIPE) {
        return rustix::io::write(pipe, buf);
    }
    let blocked = SigpipeBlocked::new();
    let result = rustix::io::write(pipe, buf);
    if result == Err(rustix::io::Errno::PIPE) {
        blocked.discard();
    }
    result
}

/// While it lives, the signal is blocked in this thread, to which the kernel sends it when a write fails.
struct SigpipeBlocked {
    pipe: libc::sigset_t,
    before: libc::sigset_t,
    /// A signal was pending before the write. It is not ours to take.
    was_pending: bool,
}

impl SigpipeBlocked {
    fn new() -> SigpipeBlocked {
        let mut pipe = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        let mut pending = MaybeUninit::uninit();
        // SAFETY: each set is initialised by the function that it is passed to, before it is read.
        #[allow(unsafe_code)]
        unsafe {
            libc::sigemptyset(pipe.as_mut_ptr());
            libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
            libc::sigemptyset(before.as_mut_ptr());
            libc::sigemptyset(pending.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), before.as_mut_ptr());
            libc::sigpending(pending.as_mut_ptr());
            let was_pending = libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1;
            SigpipeBlocked { pipe: pipe.assume_init(), before: before.assume_init(), was_pending }
        }
    }

    /// Takes the signal that the write has left pending.
    fn discard(&self) {
        if self.was_pending {
            return;
        }
        let mut signal = 0;
        // SAFETY: an initialised set and a pointer that is valid for writes. The call does not wait: the
        // signal is pending.
        #[allow(unsafe_code)]
        unsafe {
            let mut pending = MaybeUninit::uninit();
            libc::sigemptyset(pending.as_mut_ptr());
            libc::sigpending(pending.as_mut_ptr());
            if libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1 {
                libc::sigwait(&self.pipe, &mut signal);
            }
        }
    }
}

impl Drop for SigpipeBlocked {
    fn drop(&mut self) {
        // SAFETY: the mask is the one that this thread had, and a null pointer asks for no answer.
        #[allow(unsafe_code)]
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut());
        }
    }
}
