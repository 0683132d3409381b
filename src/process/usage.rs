//! [`Usage`]: what a process has used so far, as the kernel counts it.

use std::{fmt, sync::Weak, time::Duration};

use rustix::process::Pid;

/// Memory and processor time of one process, its descendants not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is present, in bytes, shared pages included.
    pub rss_bytes: u64,
    /// Processor time, user and system, to the hundredth of a second.
    pub cpu_time: Duration,
}

/// A process that can be asked what it uses.
pub(super) trait UsageSource: Send + Sync {
    /// What it uses, unless it has been reaped: its number may belong to a stranger then.
    fn usage(&self) -> Option<Usage>;
}

/// Tells what a process uses, for as long as it has not been reaped. Keeps nothing of it alive.
#[derive(Clone)]
pub struct UsageProbe(Weak<dyn UsageSource>);

impl UsageProbe {
    pub(super) fn new(process: Weak<dyn UsageSource>) -> UsageProbe {
        UsageProbe(process)
    }

    /// The present figures: one small file of the kernel's is read, some ten microseconds. `None` once the process
    /// has been reaped, and where the system has no process table to read (anywhere but on Linux).
    pub fn read(&self) -> Option<Usage> {
        self.0.upgrade()?.usage()
    }
}

impl fmt::Debug for UsageProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauge")
    }
}

/// Of a process that is pinned: a zombie's number has no new owner.
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

/// A line of `/proc/<pid>/stat`. The second field is the program's name in parentheses and may contain anything.
#[cfg(target_os = "linux")]
fn parse(stat: &[u8]) -> Option<Usage> {
    let rest = &stat[memchr::memrchr(b')', stat)? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    // Counted as in the manual, from 1; the next one is field 3.
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let pages: u64 = fields.nth(24 - 16)?.parse().ok()?;
    let ticks = number(libc::_SC_CLK_TCK)?;
    let ticked = user.saturating_add(system);
    let cpu_time = Duration::from_secs(ticked / ticks) + Duration::from_secs(ticked % ticks) / ticks as u32;
    Some(Usage { rss_bytes: pages.saturating_mul(number(libc::_SC_PAGESIZE)?), cpu_time })
}

/// One of the system's constants.
#[cfg(target_os = "linux")]
fn number(name: libc::c_int) -> Option<u64> {
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
        let page = number(libc::_SC_PAGESIZE).unwrap();
        let ticks = number(libc::_SC_CLK_TCK).unwrap() as f64;
        let usage = parse(stat).unwrap();
        assert_eq!(usage.rss_bytes, 33 * page);
        assert_eq!(usage.cpu_time.as_secs_f64(), 325.0 / ticks);
        let own = of(rustix::process::getpid()).unwrap();
        assert!(own.rss_bytes > 100_000, "{own:?}");
        assert_eq!(parse(b"7 (x"), None);
    }
}
