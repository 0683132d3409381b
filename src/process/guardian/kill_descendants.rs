//! The guardian's work at the end: it kills every descendant of the host that is left.
//!
//! Only children are killed, because only their numbers are certain: no other process reaps them. The
//! processes that they leave behind become children of the guardian, which is a subreaper, and are killed
//! in the next round. A process that has been sent `SIGKILL` cannot complete a fork, so the rounds come to
//! an end, even against processes that fork all the time.

use std::{
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    fs::{self, Mode, OFlags, RawDir},
    io::{self, Errno},
    process::{self as sys, Pid, WaitOptions},
};

use super::signals;

/// What is left is given up if no process ends for this long: it is in an uninterruptible sleep.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
/// How often processes that do not end are killed again. An end is noticed at once.
const INTERVAL_MILLIS: i64 = 20;

/// Kills and reaps until no child is left.
pub(super) fn kill_all() {
    let mut progress = Instant::now();
    loop {
        if for_each_child(signals::kill).is_err() {
            let _ = for_each_child_in_table(signals::kill);
        }
        match reap() {
            None => return,
            Some(0) if progress.elapsed() > GIVE_UP_AFTER => return,
            Some(0) => signals::take_pending(libc::SIGCHLD, INTERVAL_MILLIS),
            Some(_) => progress = Instant::now(),
        }
    }
}

/// Reaps what is dead and returns how many that were; `None` if no child is left.
fn reap() -> Option<usize> {
    let mut reaped = 0;
    loop {
        match sys::wait(WaitOptions::NOHANG | signals::any_kind()) {
            Ok(Some(_)) => reaped += 1,
            Ok(None) => return Some(reaped),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Lists the children of this thread, which is the only one. Children that end meanwhile may hide others
/// from this list, but not from the next one.
fn for_each_child(mut act: impl FnMut(Pid)) -> io::Result<()> {
    let list = open(None, c"/proc/thread-self/children")?;
    let mut number = 0_i32;
    let mut chunk = [0; 4096];
    loop {
        let length = io::read(&list, &mut chunk)?;
        for byte in &chunk[..length] {
            if byte.is_ascii_digit() {
                number = number * 10 + i32::from(byte - b'0');
            } else if let Some(pid) = Pid::from_raw(std::mem::take(&mut number)) {
                act(pid);
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// The same for kernels without that list, by a walk through the process table.
fn for_each_child_in_table(mut act: impl FnMut(Pid)) -> io::Result<()> {
    let me = sys::getpid().as_raw_nonzero().get();
    let table = open(None, c"/proc")?;
    let mut chunk = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&table, &mut chunk);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        if parent(&table, name).ok().flatten() == Some(me) {
            act(Pid::from_raw(pid).ok_or(Errno::INVAL)?);
        }
    }
    Ok(())
}

fn parent(table: &OwnedFd, process: &std::ffi::CStr) -> io::Result<Option<i32>> {
    let process =
        fs::openat(table, process, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = open(Some(&process), c"stat")?;
    let mut line = [0; 512];
    let length = io::read(&stat, &mut line)?;
    Ok(parent_in(&line[..length]))
}

/// The fourth field. The second is the program's name in parentheses and may contain anything.
fn parent_in(stat: &[u8]) -> Option<i32> {
    let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', stat)? + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn open(at: Option<&OwnedFd>, path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match at {
        Some(directory) => fs::openat(directory, path, flags, Mode::empty()),
        None => fs::open(path, flags, Mode::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on a thread of its own, because the list contains one thread's children.
    #[test]
    fn both_ways_find_every_child() {
        // P-12
        let thread = std::thread::spawn(|| {
            let mut children: Vec<_> =
                (0..700).map(|_| std::process::Command::new("sleep").arg("1000").spawn().unwrap()).collect();
            let (mut list, mut table) = (Vec::new(), Vec::new());
            for_each_child(|pid| list.push(pid)).unwrap();
            for_each_child_in_table(|pid| table.push(pid)).unwrap();
            let pids: Vec<_> = children.iter().map(Pid::from_child).collect();
            for child in &mut children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            (pids, list, table)
        });
        let (pids, list, table) = thread.join().unwrap();
        assert_eq!(list, pids);
        // Other tests of this program have children too.
        assert!(pids.iter().all(|pid| table.contains(pid)));
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        // P-12
        assert_eq!(parent_in(b"12 (a) S 5 2) S 77 12 12 0 -1"), Some(77));
        assert_eq!(parent_in(b"12 (sh"), None);
    }
}
