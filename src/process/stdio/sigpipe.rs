//! Writing to a pipe without raising `SIGPIPE` (P-11). For sockets there is a flag; for pipes Linux has one since 6.18,
//! where sockets are to be had anyway.
//!
//! Rust programs ignore that signal unless they ask for it, or are a library in a program of another language. There it
//! would end the host when a process closes its stdin.

use std::{mem::MaybeUninit, os::fd::BorrowedFd, ptr};

/// `write`, without the signal, whatever the embedding program does with it.
pub(super) fn write(pipe: BorrowedFd<'_>, buf: &[u8]) -> rustix::io::Result<usize> {
    if is_ignored() {
        return rustix::io::write(pipe, buf);
    }
    let blocked = SigpipeBlocked::new();
    let result = rustix::io::write(pipe, buf);
    if result == Err(rustix::io::Errno::PIPE) {
        blocked.discard();
    }
    result
}

fn is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing is changed; the old one is written unless an error is returned.
    #[allow(unsafe_code)]
    unsafe {
        libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// The signal is blocked in this thread, which is the one that gets it: it belongs to a write.
struct SigpipeBlocked {
    pipe: libc::sigset_t,
    before: libc::sigset_t,
    /// Somebody else's was pending before; it is not for us to take.
    foreign: bool,
}

impl SigpipeBlocked {
    fn new() -> SigpipeBlocked {
        let mut pipe = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        let mut pending = MaybeUninit::uninit();
        // SAFETY: the sets are initialised by the functions that are given them, before they are read.
        #[allow(unsafe_code)]
        unsafe {
            libc::sigemptyset(pipe.as_mut_ptr());
            libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
            libc::sigemptyset(before.as_mut_ptr());
            libc::sigemptyset(pending.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), before.as_mut_ptr());
            libc::sigpending(pending.as_mut_ptr());
            let foreign = libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1;
            SigpipeBlocked { pipe: pipe.assume_init(), before: before.assume_init(), foreign }
        }
    }

    /// Takes the signal that the write has left pending.
    fn discard(&self) {
        if self.foreign {
            return;
        }
        let mut signal = 0;
        // SAFETY: an initialised set and a place for a number. It does not wait: the signal is pending.
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
        // SAFETY: the mask that this thread had.
        #[allow(unsafe_code)]
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut());
        }
    }
}
