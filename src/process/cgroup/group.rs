//! [`Cgroup`]: the control group of one process and of all its descendants.
//!
//! The methods run on threads of the runtime, so their cost must not depend on what the members do: each
//! makes few system calls of bounded duration. Everything else is a job of the clean-up thread.

use std::{
    ffi::OsStr,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use super::{
    cgroup_of_processes::SubCgroupLocation,
    files,
    removal::CgroupRemovalJob,
    signal_walk::{PidReader, SignalWalk},
};
use crate::process::cleanup_thread::{self, CleanupJob, JobProgress};

/// How long the removal of an empty group is waited for. A process that makes thousands of groups in each
/// incarnation should not be started again before most of them are removed.
const REMOVAL_WAIT: Duration = Duration::from_secs(2);

/// The control group of one process. Dropping it does not remove the group.
#[derive(Debug)]
pub(in crate::process) struct Cgroup {
    location: Arc<SubCgroupLocation>,
    /// A kill is on its way.
    killing: Arc<AtomicBool>,
    removal: OnceLock<RequestedRemoval>,
}

#[derive(Debug)]
struct RequestedRemoval {
    when: Instant,
    done: Arc<AtomicBool>,
}

impl Cgroup {
    pub(super) fn new(location: SubCgroupLocation) -> Cgroup {
        let killing = Arc::new(AtomicBool::new(false));
        Cgroup { location: Arc::new(location), killing, removal: OnceLock::new() }
    }

    /// Its path below the root of the hierarchy.
    pub(in crate::process) fn path(&self) -> String {
        self.location.path().to_string_lossy().into_owned()
    }

    /// The same without replacing what is not UTF-8.
    pub(in crate::process) fn full_path(&self) -> &OsStr {
        self.location.path()
    }

    /// Opens its directory, so that a process can be created in it.
    pub(in crate::process) fn open(&self) -> io::Result<OwnedFd> {
        Ok(files::open_group(self.location.directory(), self.location.name())?)
    }

    /// Whether any process in it is alive, not counting zombies; `None` if that cannot be read now.
    pub(in crate::process) fn is_populated(&self) -> Option<bool> {
        files::is_populated(self.location.directory(), self.location.name())
    }

    /// Its direct members, at most `max` of them; none if that cannot be read now.
    pub(in crate::process) fn members(&self, max: usize) -> Vec<Pid> {
        let mut members = Vec::new();
        let file = self.open().and_then(|group| Ok(files::open_file(group, c"cgroup.procs")?));
        let Ok(file) = file else { return members };
        let (mut reader, mut text) = (PidReader::default(), [0; 4096]);
        while members.len() < max
            && let Ok(length @ 1..) = rustix::io::read(&file, &mut text)
        {
            reader.each(&text[..length], |pid| members.push(pid));
        }
        members.truncate(max);
        members
    }

    /// Kills everything in it. No fork escapes the kill. If there are many groups below it, the
    /// clean-up thread does it a little later.
    pub(in crate::process) fn kill(&self) {
        if self.removal.get().is_some() {
            return;
        }
        if files::has_few_groups(self.location.directory(), self.location.name()) {
            files::kill(self.location.directory(), self.location.name());
        } else if !self.killing.swap(true, Ordering::AcqRel) {
            cleanup_thread::add(Box::new(KillJob {
                location: Arc::clone(&self.location),
                killing: Arc::clone(&self.killing),
            }));
        }
    }

    /// Sends signals, in order, to all members that are not in the process group, including those in groups
    /// below. If there are many, the clean-up thread does it a little later.
    pub(in crate::process) fn signal_others(&self, group: Pid, signals: &[Signal]) {
        let mut walk = SignalWalk::new(&self.location, group, signals);
        if !walk.signal_few_now() {
            cleanup_thread::add(Box::new(walk));
        }
    }

    /// Removes it, with the groups that members have made in it, if nothing in it is alive. Returns whether
    /// it is removed; `None` if it is not known now whether anything is alive. In the usual case this is a
    /// single system call.
    ///
    /// Groups that members have made are removed by the clean-up thread. This returns `false` until
    /// that is done, but for a bounded time only, because empty groups do no harm.
    pub(in crate::process) fn remove_if_empty(&self) -> Option<bool> {
        if let Some(removal) = self.removal.get() {
            return Some(removal.done.load(Ordering::Acquire) || removal.when.elapsed() > REMOVAL_WAIT);
        }
        if files::unlink(self.location.directory(), self.location.name()).is_ok() {
            return Some(true);
        }
        if !self.is_populated()? {
            self.remove_later();
        }
        Some(false)
    }

    /// Removes it, with the groups that members have made in it. It must be empty.
    pub(in crate::process) fn remove(&self) {
        if files::unlink(self.location.directory(), self.location.name()).is_err() {
            self.remove_later();
        }
    }

    fn remove_later(&self) {
        self.removal.get_or_init(|| {
            let removal =
                CgroupRemovalJob::new(Arc::clone(self.location.directory()), self.location.name().to_owned());
            let done = removal.done();
            cleanup_thread::add(Box::new(RemovalJob { removal, _location: Arc::clone(&self.location) }));
            RequestedRemoval { when: Instant::now(), done }
        });
    }
}

/// Keeps the group around it alive, which must not be removed before this one.
#[derive(Debug)]
struct RemovalJob {
    removal: CgroupRemovalJob,
    _location: Arc<SubCgroupLocation>,
}

impl CleanupJob for RemovalJob {
    fn step(&mut self, until: Instant) -> JobProgress {
        self.removal.step(until)
    }
}

#[derive(Debug)]
struct KillJob {
    location: Arc<SubCgroupLocation>,
    killing: Arc<AtomicBool>,
}

impl CleanupJob for KillJob {
    fn step(&mut self, _: Instant) -> JobProgress {
        // Cleared before the kill: a later request is for processes that were created after it.
        self.killing.store(false, Ordering::Release);
        files::kill(self.location.directory(), self.location.name());
        JobProgress::Over
    }
}
