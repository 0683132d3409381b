//! Which process group and which session a process is in.
//!
//! In a process namespace the kernel answers 0 for a group or a session that was made outside of it: what `docker exec`
//! and `unshare --pid` start is in one. rustix's calls have no value for that and panic, or worse.

use libc::pid_t;
use rustix::process::Pid;

/// The process group: 0 if it is one from outside; `None` if there is no such process.
pub(super) fn group_of(pid: Pid) -> Option<pid_t> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    let group = unsafe { libc::getpgid(pid.as_raw_nonzero().get()) };
    (group >= 0).then_some(group)
}

/// Whether a process leads the group that is named like it.
pub(super) fn leads_group(pid: Pid) -> bool {
    is_in_group(pid, pid)
}

/// Whether a process is in a group.
pub(super) fn is_in_group(pid: Pid, group: Pid) -> bool {
    group_of(pid) == Some(group.as_raw_nonzero().get())
}

/// The session, as [`group_of`].
#[cfg(target_os = "linux")]
pub(super) fn session_of(pid: Pid) -> Option<pid_t> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    let session = unsafe { libc::getsid(pid.as_raw_nonzero().get()) };
    (session >= 0).then_some(session)
}
