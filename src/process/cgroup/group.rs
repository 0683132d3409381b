//! [`Cgroup`]: the control group of one process and of all its descendants.
//!
//! What is done here is done on threads of the runtime, so it takes no longer with what the members do: few system calls,
//! each bounded. Everything else is a job of the sweeper.

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

use super::{files, host_cgroup::CgroupLocation, removal::CgroupRemoval, signal_walk::SignalWalk};
use crate::process::sweeper::{self, JobProgress, SweepJob};

/// The removal of a group in which nothing lives is waited for so long, so that those who make thousands of them in each
/// of their lives are not started again before those are gone.
const REMOVAL_WAIT: Duration = Duration::from_secs(2);

/// A group; dropping it removes nothing.
#[derive(Debug)]
pub(in crate::process) struct Cgroup {
    location: Arc<CgroupLocation>,
    /// A kill is on its way.
    killing: Arc<AtomicBool>,
    removal: OnceLock<Requested>,
}

#[derive(Debug)]
struct Requested {
    when: Instant,
    over: Arc<AtomicBool>,
}

impl Cgroup {
    pub(super) fn new(location: CgroupLocation) -> Cgroup {
        let killing = Arc::new(AtomicBool::new(false));
        Cgroup { location: Arc::new(location), killing, removal: OnceLock::new() }
    }

    /// Its path below the root of the hierarchy.
    pub(in crate::process) fn path(&self) -> String {
        self.location.path().to_string_lossy().into_owned()
    }

    /// The same as it is.
    pub(in crate::process) fn full_path(&self) -> &OsStr {
        self.location.path()
    }

    /// Its directory, for a process to be born into.
    pub(in crate::process) fn open(&self) -> io::Result<OwnedFd> {
        Ok(files::open_group(self.location.directory(), self.location.name())?)
    }

    /// Whether anything in it is alive, zombies not counted; `None` if that cannot be read now.
    pub(in crate::process) fn is_populated(&self) -> Option<bool> {
        files::is_populated(self.location.directory(), self.location.name())
    }

    /// Kills everything in it. No fork escapes that. With many groups below it, the sweeper does it in a moment.
    pub(in crate::process) fn kill(&self) {
        if self.removal.get().is_some() {
            return;
        }
        if files::has_few_groups(self.location.directory(), self.location.name()) {
            files::kill(self.location.directory(), self.location.name());
        } else if !self.killing.swap(true, Ordering::AcqRel) {
            sweeper::add(Box::new(Kill {
                location: Arc::clone(&self.location),
                killing: Arc::clone(&self.killing),
            }));
        }
    }

    /// Sends signals, one after another, to all members that are not in the process group, also to those in groups below.
    /// Where there are many, that happens a little later.
    pub(in crate::process) fn signal_others(&self, group: Pid, signals: &[Signal]) {
        let mut courier = SignalWalk::new(&self.location, group, signals);
        if !courier.deliver_few() {
            sweeper::add(Box::new(courier));
        }
    }

    /// Removes it, with the groups that members have made in it, if nothing in it is alive. Returns whether that is
    /// so; `None` if it cannot be told now. In the usual case this is a single system call.
    ///
    /// Groups that members have made are removed by the sweeper, which is waited for, but not for ever: they are empty.
    pub(in crate::process) fn vacated(&self) -> Option<bool> {
        if let Some(removal) = self.removal.get() {
            return Some(removal.over.load(Ordering::Acquire) || removal.when.elapsed() > REMOVAL_WAIT);
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
                CgroupRemoval::new(Arc::clone(self.location.directory()), self.location.name().to_owned());
            let over = removal.over();
            sweeper::add(Box::new(Removing { removal, _location: Arc::clone(&self.location) }));
            Requested { when: Instant::now(), over }
        });
    }
}

/// Holds the group that it is in, which is not to be removed before it.
#[derive(Debug)]
struct Removing {
    removal: CgroupRemoval,
    _location: Arc<CgroupLocation>,
}

impl SweepJob for Removing {
    fn step(&mut self, until: Instant) -> JobProgress {
        self.removal.step(until)
    }
}

#[derive(Debug)]
struct Kill {
    location: Arc<CgroupLocation>,
    killing: Arc<AtomicBool>,
}

impl SweepJob for Kill {
    fn step(&mut self, _: Instant) -> JobProgress {
        // Before the kill: what is born after it is killed by the next one.
        self.killing.store(false, Ordering::Release);
        files::kill(self.location.directory(), self.location.name());
        JobProgress::Over
    }
}
