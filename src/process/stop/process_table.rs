//! The process table, read process by process.

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    ffi::CStr,
    process::{self as sys, Pid, PidfdFlags, Signal},
};

use crate::process::group_membership;

/// One process of the system, of which little has been asked so far.
pub(super) struct ProcessEntry<'a> {
    table: BorrowedFd<'a>,
    name: &'a CStr,
    pid: Pid,
    blind: std::cell::Cell<bool>,
}

/// What its line in the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// No zombie. A process whose main thread has ended and whose others run is none, though the table calls it one.
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

    /// Its line, which takes thirty times as long. A process that ends while it is being read is not there.
    pub(super) fn read(&self) -> Option<ProcessStat> {
        use rustix::{
            fs::{Mode, OFlags, openat},
            io::Errno,
        };
        let path = [self.name.to_bytes(), b"/stat"].concat();
        let file = match openat(self.table, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::MFILE | Errno::NFILE) => {
                self.blind.set(true);
                return None;
            }
            Err(_) => return None,
        };
        // What is looked for comes first: names have 64 bytes at most, and the fields before the start 20 each.
        let mut line = [0; 512];
        let length = rustix::io::read(&file, &mut line).ok()?;
        seen(&line[..length])
    }
}

/// Shows every process of the system. Returns whether the table could be read: `false` where there is none, or no
/// descriptor to read it with.
pub(super) fn each(mut show: impl FnMut(&ProcessEntry<'_>)) -> bool {
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
        let entry = ProcessEntry { table: rustix::fd::AsFd::as_fd(&table), name, pid, blind: false.into() };
        show(&entry);
        if entry.blind.get() {
            return false;
        }
    }
    true
}

/// Sends signals to a process if it is the right one. The number may have a new owner at any moment; a pidfd has not, and
/// what `is_right` finds once it is open it finds of the process that the pidfd means, or of one that comes after its death.
pub(super) fn signal_if(pid: Pid, signals: &[Signal], is_right: impl Fn(Pid) -> bool) {
    let Ok(pidfd) = sys::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if is_right(pid) {
        for signal in signals {
            let _ = sys::pidfd_send_signal(&pidfd, *signal);
        }
    }
}

/// A process, held by a pidfd: for those that have more than one question.
pub(super) fn hold(pid: Pid) -> Option<OwnedFd> {
    sys::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The present moment, in the unit of [`ProcessStat::start`].
pub(super) fn ticks() -> Option<u64> {
    // SAFETY: a plain number.
    #[allow(unsafe_code)]
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let mut now = std::mem::MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the place for the answer is valid, and zeroes are an answer too.
    #[allow(unsafe_code)]
    let now = unsafe {
        (libc::clock_gettime(libc::CLOCK_BOOTTIME, now.as_mut_ptr()) == 0).then(|| now.assume_init())?
    };
    let (seconds, nanos) = (u64::try_from(now.tv_sec).ok()?, u64::try_from(now.tv_nsec).ok()?);
    Some(seconds * per_second + nanos * per_second / 1_000_000_000)
}

/// The second field is the program's name in parentheses and may contain anything, parentheses included.
fn seen(stat: &[u8]) -> Option<ProcessStat> {
    let rest = &stat[memchr::memrchr(b')', stat)? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let (group, session) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    // Of one that has ended only the main thread is left, until it is reaped.
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
        let line = |name: &str| seen(format!("12 ({name} 1 77 78 {tail}").as_bytes());
        let whole = ProcessStat { alive: true, group: 77, session: 78, start: 5555 };
        assert_eq!(line("a) Z 1 2) S"), Some(whole));
        assert_eq!(line("sh) Z"), Some(ProcessStat { alive: false, ..whole }));
        assert_eq!(seen(b"12 (sh"), None);
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        // P-4
        let alive = |state: &str, threads: u32| {
            let line =
                format!("12 (sh) {state} 1 77 78 0 -1 4194560 101 0 0 0 1 2 3 4 20 0 {threads} 0 5555 6 7");
            seen(line.as_bytes()).unwrap().alive
        };
        assert!(alive("Z", 2) && alive("S", 1) && alive("R", 3));
        assert!(!alive("Z", 1) && !alive("X", 2));
    }

    #[test]
    fn the_own_process_is_there_and_was_started_before_now() {
        // P-4
        let me = sys::getpid();
        let mut found = None;
        assert!(each(|entry| if entry.pid() == me {
            found = entry.read();
        }));
        let found = found.unwrap();
        assert!(found.alive && found.start <= ticks().unwrap());
        assert_eq!(Some(found.group), group_membership::group_of(me));
        assert_eq!(Some(found.session), group_membership::session_of(me));
    }
}
