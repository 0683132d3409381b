//! [`Usage`]: memory and processor time of a process, as the kernel counts them. [`UsageProbe`] reads them.

use std::{fmt, sync::Weak, time::Duration};

use rustix::process::Pid;

/// Memory and processor time of one process, its descendants not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes, including shared pages.
    pub rss_bytes: u64,
    /// User and system processor time, to the hundredth of a second.
    pub cpu_time: Duration,
}

/// A process whose usage can be read.
pub(crate) trait UsageSource: Send + Sync {
    /// `None` once the process has been reaped, because its number may belong to another process then.
    fn usage(&self) -> Option<Usage>;

    /// The other processes that belong to it: those in its control group, or else in its process group. At
    /// most `max` of them.
    fn others(&self, max: usize) -> Vec<Pid>;
}

/// Reads what a process uses, until it is reaped. Keeps nothing of the process alive.
#[derive(Clone)]
pub struct UsageProbe(Weak<dyn UsageSource>);

impl UsageProbe {
    pub(crate) fn new(process: Weak<dyn UsageSource>) -> UsageProbe {
        UsageProbe(process)
    }

    /// The current figures. This reads one small file in `/proc`, which takes some ten microseconds. `None`
    /// once the process has been reaped, and on systems without such a process table (all but Linux).
    pub fn read(&self) -> Option<Usage> {
        self.0.upgrade()?.usage()
    }
}

impl UsageProbe {
    /// Resident memory of the process and of those in its control group together, in bytes, including shared
    /// pages. Without control groups, those in its process group count: processes that have left the group
    /// do not, and the list of members may be some seconds old; the first reading may have the process
    /// alone. Of more than a thousand processes, only a thousand count. `None` as with
    /// [`read`](UsageProbe::read). This reads a file for each process and may walk the whole process table,
    /// so it is for a thread that may block.
    pub fn read_group_rss(&self) -> Option<u64> {
        const MAX: usize = 1000;
        let process = self.0.upgrade()?;
        let own = process.usage()?.rss_bytes;
        // Another process may have got the number of one that has ended meanwhile: a figure may be off by
        // one process for one reading.
        let others = process.others(MAX).into_iter().filter_map(of).map(|usage| usage.rss_bytes);
        Some(others.fold(own, u64::saturating_add))
    }
}

impl fmt::Debug for UsageProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageProbe")
    }
}

/// Usage of a process that has not been reaped, so that its number has no new owner.
#[cfg(target_os = "linux")]
pub(super) fn of(pid: Pid) -> Option<Usage> {
    use std::{fs::File, io::Read};

    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let mut text = [0; 1024];
    let length = file.read(&mut text).ok()?;
    parse(&text[..length])
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_: Pid) -> Option<Usage> {
    None
}

/// Processor time of a process that has not been reaped, as the kernel compares it with `RLIMIT_CPU`.
///
/// The kernel charges a whole tick to the process that a tick interrupts, and compares the sum of these ticks
/// with the limit. `/proc/<pid>/stat` and `rusage` have the time that the process really ran. On a busy
/// processor the two differ without a bound: a process that mostly ran when ticks came was sent `SIGXCPU` at
/// a limit of 1 s after 0.19 s. So no threshold of the time that it ran tells whether the limit was reached.
/// This reads the counter itself. It needs neither `/proc` nor a descriptor.
#[cfg(target_os = "linux")]
pub(super) fn rlimit_cpu_time(pid: Pid) -> Option<Duration> {
    // The clock of a process is its number, inverted, above three bits that choose what is counted. Those of
    // `clock_getcpuclockid` choose the time that it really ran; 0 is user and system time in ticks.
    const CPUCLOCK_PROF: libc::clockid_t = 0;
    let clock = (!pid.as_raw_nonzero().get() << 3) | CPUCLOCK_PROF;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` alone, which outlives it. A clock that does not exist is an error.
    #[allow(unsafe_code)]
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    (result == 0).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn rlimit_cpu_time(_: Pid) -> Option<Duration> {
    None
}

/// Parses `/proc/<pid>/stat`. The second field is the program's name in parentheses and may contain anything.
#[cfg(target_os = "linux")]
fn parse(stat: &[u8]) -> Option<Usage> {
    let rest = &stat[memchr::memrchr(b')', stat)? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    // Fields are counted from 1, as in the manual; the next one is field 3.
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let pages: u64 = fields.nth(24 - 16)?.parse().ok()?;
    let ticks = system_constant(libc::_SC_CLK_TCK)?;
    let ticked = user.saturating_add(system);
    let cpu_time = Duration::from_secs(ticked / ticks) + Duration::from_secs(ticked % ticks) / ticks as u32;
    Some(Usage { rss_bytes: pages.saturating_mul(system_constant(libc::_SC_PAGESIZE)?), cpu_time })
}

/// One of the system's constants.
#[cfg(target_os = "linux")]
fn system_constant(name: libc::c_int) -> Option<u64> {
    // SAFETY: takes and returns a number.
    #[allow(unsafe_code)]
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_right_ones() {
        // W-4
        let stat =
            b"7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 75 9 9 20 0 1 0 12345 1000000 33 18446744073709551615";
        let page = system_constant(libc::_SC_PAGESIZE).unwrap();
        let ticks = system_constant(libc::_SC_CLK_TCK).unwrap() as f64;
        let usage = parse(stat).unwrap();
        assert_eq!(usage.rss_bytes, 33 * page);
        assert_eq!(usage.cpu_time.as_secs_f64(), 325.0 / ticks);
        let own = of(rustix::process::getpid()).unwrap();
        assert!(own.rss_bytes > 100_000, "{own:?}");
        assert_eq!(parse(b"7 (x"), None);
    }
}
