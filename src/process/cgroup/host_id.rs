//! [`CgroupHostId`]: which host a control group belongs to, and whether that host is dead.

use std::{ffi::CStr, fmt, fs, sync::OnceLock};

use rustix::{
    io::Errno,
    process::{self as sys, Pid},
};

const PREFIX: &str = "procession-";

/// The host that a group belongs to, taken from the group's name. While a system runs, no two hosts have
/// the same three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CgroupHostId {
    /// The namespace of the process id.
    namespace: u64,
    pid: i32,
    /// When it was started, in ticks since the system was.
    start: u64,
}

impl CgroupHostId {
    pub(super) fn me() -> Option<CgroupHostId> {
        let pid = sys::getpid().as_raw_nonzero().get();
        Some(CgroupHostId { namespace: namespace()?, pid, start: start(pid)? })
    }

    /// The host that has made a group of this name.
    pub(super) fn of(group: &CStr) -> Option<CgroupHostId> {
        let mut numbers = group.to_str().ok()?.strip_prefix(PREFIX)?.split('-').map(str::parse::<u64>);
        let (namespace, pid, start) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        // The fourth number tells the groups of one host apart.
        numbers.next()?.ok()?;
        Some(CgroupHostId { namespace, pid: i32::try_from(pid).ok()?, start })
    }

    /// Whether the host has certainly ended. Nothing is known of hosts in other namespaces.
    pub(super) fn is_dead(self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        if namespace() != Some(self.namespace) {
            return false;
        }
        match sys::test_kill_process(pid) {
            Err(Errno::SRCH) => true,
            // The number is in use. It belongs to another process if that was started at another time.
            _ => start(self.pid).is_some_and(|start| start != self.start),
        }
    }
}

impl fmt::Display for CgroupHostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}-{}", self.namespace, self.pid, self.start)
    }
}

/// The number in `pid:[4026531836]`. Read once, because a process keeps its namespace.
fn namespace() -> Option<u64> {
    static NAMESPACE: OnceLock<Option<u64>> = OnceLock::new();
    *NAMESPACE.get_or_init(|| {
        let link = fs::read_link("/proc/self/ns/pid").ok()?;
        link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// The 22nd field of `/proc/<pid>/stat`; the second is the program's name in parentheses and may contain
/// anything.
fn start(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', &stat)? + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn only_what_is_certainly_dead_is_dead() {
        // P-12
        let me = CgroupHostId::me().unwrap();
        assert_eq!(CgroupHostId::of(&CString::new(format!("{me}-0")).unwrap()), Some(me));
        assert!(!me.is_dead());
        assert!(CgroupHostId { start: me.start + 1, ..me }.is_dead(), "the number has a new owner");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        child.wait().unwrap();
        assert!(CgroupHostId { pid, start: 1, ..me }.is_dead());
        assert!(
            !CgroupHostId { pid, start: 1, namespace: me.namespace + 1 }.is_dead(),
            "nothing is known of other namespaces"
        );
        for stranger in [
            c"procession",
            c"procession-1-2-3",
            c"procession-1-2-x-4",
            c"procession-1--3-4",
            c"other-1-2-3-4",
            c"procession-\xff-2-3-4",
        ] {
            assert_eq!(CgroupHostId::of(stranger), None, "{stranger:?}");
        }
    }
}
