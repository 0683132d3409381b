//! Which process group and which session a process is in.
//!
//! Inside a process namespace the kernel returns 0 for a group or a session that was created outside of it.
//! Processes that `docker exec` and `unshare --pid` start are in such a group. rustix's types cannot
//! represent this, and its calls panic, or worse.

use libc::pid_t;
use rustix::process::Pid;

/// The process group: 0 if it was created outside of the namespace; `None` if there is no such process.
pub(super) fn group_of(pid: Pid) -> Option<pid_t> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    let group = unsafe { libc::getpgid(pid.as_raw_nonzero().get()) };
    (group >= 0).then_some(group)
}

/// Whether a process is in the group of its own number, which it leads.
pub(super) fn leads_group(pid: Pid) -> bool {
    is_in_group(pid, pid)
}

/// Whether a process is in a group.
pub(super) fn is_in_group(pid: Pid, group: Pid) -> bool {
    group_of(pid) == Some(group.as_raw_nonzero().get())
}

/// The session, with the same meaning of 0 and `None` as for [`group_of`].
#[cfg(target_os = "linux")]
pub(super) fn session_of(pid: Pid) -> Option<pid_t> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    let session = unsafe { libc::getsid(pid.as_raw_nonzero().get()) };
    (session >= 0).then_some(session)
}
