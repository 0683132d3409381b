//! [`SignalWalk`]: sends signals to the members of a control group that are not in the leader's process
//! group.
//!
//! A number that was read may have a new owner when it is used, but a pidfd keeps its process. A process
//! that is still a member once its pidfd is open is the one that the pidfd means. The process table is
//! asked for the membership, because reading the list of members again for each of them would take a minute
//! with some ten thousand.

use std::{os::unix::ffi::OsStrExt, sync::Arc, time::Instant};

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    ffi::CStr,
    io::{self, Errno},
    process::{self as sys, Pid, PidfdFlags, Signal},
};

use super::{
    cgroup_of_processes::SubCgroupLocation,
    files,
    walk::{CgroupVisitor, CgroupWalk, WalkProgress},
};
use crate::process::{
    cleanup_thread::{CleanupJob, JobProgress},
    group_membership,
};

/// Members are signalled at once if their list is shorter than this.
const SHORT: usize = 512;

/// A walk through a group and those below it that signals their members.
#[derive(Debug)]
pub(super) struct SignalWalk {
    walk: CgroupWalk,
    task: SignallingVisitor,
}

#[derive(Debug)]
struct SignallingVisitor {
    group: Arc<SubCgroupLocation>,
    /// The process group whose members have been signalled already.
    except: Pid,
    signals: Vec<Signal>,
    reading: Option<(OwnedFd, PidReader)>,
}

impl SignalWalk {
    pub(super) fn new(group: &Arc<SubCgroupLocation>, except: Pid, signals: &[Signal]) -> SignalWalk {
        let walk = CgroupWalk::new(Arc::clone(group.directory()), group.name().to_owned());
        let task =
            SignallingVisitor { group: Arc::clone(group), except, signals: signals.to_vec(), reading: None };
        SignalWalk { walk, task }
    }

    /// Does it at once if there are few members and no groups below. Returns whether it has.
    pub(super) fn signal_few_now(&mut self) -> bool {
        let (at, name) = (self.task.group.directory(), self.task.group.name());
        if files::has_groups(at, name) {
            return false;
        }
        let mut list = [0; SHORT];
        let read = files::open_group(at, name)
            .and_then(|group| files::open_file(group, c"cgroup.procs"))
            .and_then(|file| io::read(&file, &mut list));
        match read {
            Ok(SHORT) => false,
            Ok(length) => {
                PidReader::default().each(&list[..length], |pid| self.task.signal(pid));
                true
            }
            // The group has been removed, or cannot be read. A later try would not help.
            Err(_) => true,
        }
    }
}

impl CleanupJob for SignalWalk {
    fn step(&mut self, until: Instant) -> JobProgress {
        match self.walk.run_until(&mut self.task, until) {
            WalkProgress::Interrupted => JobProgress::AtOnce,
            WalkProgress::Over => JobProgress::Over,
        }
    }
}

impl CgroupVisitor for SignallingVisitor {
    fn enter(&mut self, group: BorrowedFd<'_>, until: Instant) -> bool {
        if self.reading.is_none() {
            let Ok(list) = files::open_file(group, c"cgroup.procs") else { return true };
            self.reading = Some((list, PidReader::default()));
        }
        while let Some((list, mut numbers)) = self.reading.take() {
            let mut chunk = [0; SHORT];
            // A threaded group has no list of processes; the group above it lists them.
            let Ok(length @ 1..) = io::read(&list, &mut chunk) else { return true };
            numbers.each(&chunk[..length], |pid| self.signal(pid));
            self.reading = Some((list, numbers));
            if Instant::now() >= until {
                return false;
            }
        }
        true
    }

    fn descends_into(&mut self, above: BorrowedFd<'_>, name: &CStr) -> bool {
        files::is_populated(above, name) != Some(false)
    }
}

impl SignallingVisitor {
    fn signal(&self, pid: Pid) {
        if group_membership::is_in_group(pid, self.except) {
            return;
        }
        let Ok(pidfd) = sys::pidfd_open(pid, PidfdFlags::empty()) else { return };
        if is_below(pid, self.group.path().as_bytes()) {
            for signal in &self.signals {
                let _ = sys::pidfd_send_signal(&pidfd, *signal);
            }
        }
    }
}

/// Whether a process is in a group or in one below it.
fn is_below(pid: Pid, path: &[u8]) -> bool {
    match std::fs::read(format!("/proc/{}/cgroup", pid.as_raw_nonzero())) {
        Ok(groups) => groups.split(|byte| *byte == b'\n').any(|line| {
            let below = line.strip_prefix(b"0::").and_then(|group| group.strip_prefix(path));
            below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || rest[0] == b' ')
        }),
        // Its path is longer than the kernel can report. It was on our list a moment ago, and no other
        // groups lie that deep.
        Err(error) => Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG),
    }
}

/// Reads numbers, one a line, in pieces.
#[derive(Debug, Default)]
pub(super) struct PidReader {
    number: i32,
}

impl PidReader {
    /// Calls `act` for each number. A member in another namespace is listed as 0 and is skipped.
    pub(super) fn each(&mut self, text: &[u8], mut act: impl FnMut(Pid)) {
        for byte in text {
            if byte.is_ascii_digit() {
                self.number = self.number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
            } else if let Some(pid) = Pid::from_raw(std::mem::take(&mut self.number)) {
                act(pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_cut_anywhere() {
        // P-4
        let text = b"12\n0\n34567\n8\n";
        for cut in 0..text.len() {
            let (mut numbers, mut pids) = (PidReader::default(), Vec::new());
            for part in [&text[..cut], &text[cut..]] {
                numbers.each(part, |pid| pids.push(pid.as_raw_nonzero().get()));
            }
            assert_eq!(pids, [12, 34567, 8]);
        }
    }
}
