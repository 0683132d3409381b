//! The process table (`/proc`), read process by process.

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    ffi::CStr,
    process::{self as sys, Pid, PidfdFlags, Signal},
};

use crate::process::group_membership;

/// One process of the system. What costs more than its number is read on demand.
pub(super) struct ProcessEntry<'a> {
    table: BorrowedFd<'a>,
    name: &'a CStr,
    pid: Pid,
    /// Its stat file could not be read because no descriptor was left.
    out_of_descriptors: std::cell::Cell<bool>,
}

/// What the stat file of a process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// Not a zombie. A process whose main thread has ended while others run is alive, although the table
    /// calls it a zombie.
    pub(super) alive: bool,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it was started, in ticks since the system was.
    pub(super) start: u64,
}

impl ProcessEntry<'_> {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// One system call.
    pub(super) fn group(&self) -> Option<i32> {
        group_membership::group_of(self.pid)
    }

    /// One system call.
    pub(super) fn session(&self) -> Option<i32> {
        group_membership::session_of(self.pid)
    }

    /// Reads its stat file, which takes thirty times as long. `None` if the process ends while it is read.
    pub(super) fn read(&self) -> Option<ProcessStat> {
        use rustix::{
            fs::{Mode, OFlags, openat},
            io::Errno,
        };
        let path = [self.name.to_bytes(), b"/stat"].concat();
        let file = match openat(self.table, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::MFILE | Errno::NFILE) => {
                self.out_of_descriptors.set(true);
                return None;
            }
            Err(_) => return None,
        };
        // All fields that are needed fit: names have at most 64 bytes, and each field up to the start at
        // most 20.
        let mut line = [0; 512];
        let length = rustix::io::read(&file, &mut line).ok()?;
        parse_stat(&line[..length])
    }
}

/// Calls `visit` for every process of the system. Returns whether the table could be read to its end:
/// `false` where there is none, or no descriptor to read it with.
pub(super) fn for_each_process(mut visit: impl FnMut(&ProcessEntry<'_>)) -> bool {
    use rustix::fs::{Dir, Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let Ok(table) = open("/proc", flags, Mode::empty()) else { return false };
    let Ok(entries) = Dir::read_from(&table) else { return false };
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        let Some(pid) = name.to_str().ok().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
            continue;
        };
        let entry = ProcessEntry {
            table: rustix::fd::AsFd::as_fd(&table),
            name,
            pid,
            out_of_descriptors: false.into(),
        };
        visit(&entry);
        if entry.out_of_descriptors.get() {
            return false;
        }
    }
    true
}

/// Sends signals to a process if `is_right` says that it is the right one. The number may get a new owner
/// at any moment, but a pidfd keeps its process. `is_right` runs once the pidfd is open, so it checks the
/// process that the pidfd means, or one that got the number after that process died; then the signals reach
/// nothing.
pub(super) fn signal_if(pid: Pid, signals: &[Signal], is_right: impl Fn(Pid) -> bool) {
    let Ok(pidfd) = sys::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if is_right(pid) {
        for signal in signals {
            let _ = sys::pidfd_send_signal(&pidfd, *signal);
        }
    }
}

/// A pidfd for callers that ask more than one question about the same process.
pub(super) fn open_pidfd(pid: Pid) -> Option<OwnedFd> {
    sys::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The present moment, in the unit of [`ProcessStat::start`].
pub(super) fn now_in_ticks() -> Option<u64> {
    // SAFETY: a plain number.
    #[allow(unsafe_code)]
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let mut now = std::mem::MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is valid for writes, and zeroes are a valid value.
    #[allow(unsafe_code)]
    let now = unsafe {
        (libc::clock_gettime(libc::CLOCK_BOOTTIME, now.as_mut_ptr()) == 0).then(|| now.assume_init())?
    };
    let (seconds, nanos) = (u64::try_from(now.tv_sec).ok()?, u64::try_from(now.tv_nsec).ok()?);
    Some(seconds * per_second + nanos * per_second / 1_000_000_000)
}

/// Parses a stat file. The second field is the program's name in parentheses and may contain anything,
/// parentheses included.
fn parse_stat(stat: &[u8]) -> Option<ProcessStat> {
    let rest = &stat[memchr::memrchr(b')', stat)? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let (group, session) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    // Of a process that has ended only the main thread is left, until it is reaped.
    let threads: u64 = fields.nth(13)?.parse().ok()?;
    let alive = match state {
        "Z" => threads > 1,
        "X" | "x" => false,
        _ => true,
    };
    let start = fields.nth(1)?.parse().ok()?;
    Some(ProcessStat { alive, group, session, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        // P-4
        let tail = "0 -1 4194560 101 0 0 0 1 2 3 4 20 0 1 0 5555 6 7";
        let line = |name: &str| parse_stat(format!("12 ({name} 1 77 78 {tail}").as_bytes());
        let whole = ProcessStat { alive: true, group: 77, session: 78, start: 5555 };
        assert_eq!(line("a) Z 1 2) S"), Some(whole));
        assert_eq!(line("sh) Z"), Some(ProcessStat { alive: false, ..whole }));
        assert_eq!(parse_stat(b"12 (sh"), None);
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        // P-4
        let alive = |state: &str, threads: u32| {
            let line =
                format!("12 (sh) {state} 1 77 78 0 -1 4194560 101 0 0 0 1 2 3 4 20 0 {threads} 0 5555 6 7");
            parse_stat(line.as_bytes()).unwrap().alive
        };
        assert!(alive("Z", 2) && alive("S", 1) && alive("R", 3));
        assert!(!alive("Z", 1) && !alive("X", 2));
    }

    #[test]
    fn the_own_process_is_there_and_was_started_before_now() {
        // P-4
        let me = sys::getpid();
        let mut found = None;
        assert!(for_each_process(|entry| if entry.pid() == me {
            found = entry.read();
        }));
        let found = found.unwrap();
        assert!(found.alive && found.start <= now_in_ticks().unwrap());
        assert_eq!(Some(found.group), group_membership::group_of(me));
        assert_eq!(Some(found.session), group_membership::session_of(me));
    }
}
