//! Prevents a process from sending descriptors to its host (P-5).
//!
//! Over a Unix socket a process may send any descriptor it has. The host asks for none, so the kernel
//! closes each one on the thread that reads. Closing may take as long as the sender likes, for example for
//! a TCP socket that lingers or a file of a FUSE or network file system. Linux 6.16 can refuse such
//! messages: the *receiving* end has an option for it, which only a holder of that end can change, and the
//! process holds the other one. Its `sendmsg` then fails with `EPERM`. Where the kernel has no such option,
//! processes get pipes.

use std::{io, os::unix::net::UnixStream};

/// Makes an end of a socket pair refuse descriptors. Returns `false` if this system cannot.
///
/// # Errors
/// The probe, which is made once, ran out of descriptors or memory.
#[cfg(target_os = "linux")]
pub(super) fn refuse(ours: &UnixStream) -> io::Result<bool> {
    use std::sync::OnceLock;
    static REFUSABLE: OnceLock<bool> = OnceLock::new();
    let refusable = match REFUSABLE.get() {
        Some(refusable) => *refusable,
        None => *REFUSABLE.get_or_init({
            let answer = probe()?;
            move || answer
        }),
    };
    if refusable {
        set(ours)?;
    }
    Ok(refusable)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse(_: &UnixStream) -> io::Result<bool> {
    Ok(false)
}

/// Tries whether a descriptor is refused once the option is set. A system that ignores the option would not
/// report it.
#[cfg(target_os = "linux")]
fn probe() -> io::Result<bool> {
    use rustix::{
        io::Errno,
        net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    };
    use std::{mem::MaybeUninit, os::fd::AsFd};
    let (ours, theirs) = UnixStream::pair()?;
    if set(&ours).is_err() {
        return Ok(false);
    }
    let sent = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&sent));
    debug_assert!(fits);
    match rustix::net::sendmsg(&theirs, &[io::IoSlice::new(b"?")], &mut ancillary, SendFlags::NOSIGNAL) {
        Err(Errno::PERM) => Ok(true),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)) => Err(error.into()),
        _ => Ok(false),
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn set(ours: &UnixStream) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    /// Not in the C library's headers yet. The number is the same on all architectures but one.
    const SO_PASSRIGHTS: libc::c_int =
        if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) { 0x5c } else { 83 };
    let off: libc::c_int = 0;
    // SAFETY: the descriptor is open; the value is a `c_int` that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            ours.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
