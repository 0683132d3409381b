//! [`Cgroup`]: the control group of one process and of all its descendants.
//!
//! What is done here is done on threads of the runtime, so it takes no longer with what the members do: few system calls,
//! each bounded. Everything else is a job of the sweeper.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use super::{files, host_cgroup::HostCgroup, removal::CgroupRemoval, signal_walk::SignalWalk};
use crate::process::sweeper::{self, JobProgress, SweepJob};

/// The removal of a group in which nothing lives is waited for so long, so that those who make thousands of them in each
/// of their lives are not started again before those are gone.
const REMOVAL_WAIT: Duration = Duration::from_secs(2);

/// A group; dropping it removes nothing.
#[derive(Debug)]
pub(in crate::process) struct Cgroup(Arc<CgroupInner>);

#[derive(Debug)]
pub(super) struct CgroupInner {
    home: Arc<HostCgroup>,
    name: CString,
    path: OsString,
    /// A kill is on its way.
    killing: AtomicBool,
    removal: OnceLock<Requested>,
}

#[derive(Debug)]
struct Requested {
    when: Instant,
    over: Arc<AtomicBool>,
}

impl CgroupInner {
    pub(super) fn directory(&self) -> &Arc<OwnedFd> {
        &self.home.directory
    }

    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    /// Its path below the root of the hierarchy.
    pub(super) fn path(&self) -> &OsStr {
        &self.path
    }
}

impl Cgroup {
    pub(super) fn new(home: Arc<HostCgroup>, name: CString) -> Cgroup {
        let mut path = home.path.clone();
        path.push("/");
        path.push(&*name.to_string_lossy());
        let (killing, removal) = (AtomicBool::new(false), OnceLock::new());
        Cgroup(Arc::new(CgroupInner { home, name, path, killing, removal }))
    }

    /// Its path below the root of the hierarchy.
    pub(in crate::process) fn path(&self) -> String {
        self.0.path.to_string_lossy().into_owned()
    }

    /// The same as it is.
    pub(in crate::process) fn full_path(&self) -> &OsStr {
        self.0.path()
    }

    /// Its directory, for a process to be born into.
    pub(in crate::process) fn open(&self) -> io::Result<OwnedFd> {
        Ok(files::open_group(self.0.directory(), &self.0.name)?)
    }

    /// Whether anything in it is alive, zombies not counted; `None` if that cannot be read now.
    pub(in crate::process) fn is_populated(&self) -> Option<bool> {
        files::is_populated(self.0.directory(), &self.0.name)
    }

    /// Kills everything in it. No fork escapes that. With many groups below it, the sweeper does it in a moment.
    pub(in crate::process) fn kill(&self) {
        if self.0.removal.get().is_some() {
            return;
        }
        if files::has_few_groups(self.0.directory(), &self.0.name) {
            files::kill(self.0.directory(), &self.0.name);
        } else if !self.0.killing.swap(true, Ordering::AcqRel) {
            sweeper::add(Box::new(Kill(Arc::clone(&self.0))));
        }
    }

    /// Sends signals, one after another, to all members that are not in the process group, also to those in groups below.
    /// Where there are many, that happens a little later.
    pub(in crate::process) fn signal_others(&self, group: Pid, signals: &[Signal]) {
        let mut courier = SignalWalk::new(&self.0, group, signals);
        if !courier.deliver_few() {
            sweeper::add(Box::new(courier));
        }
    }

    /// Removes it, with the groups that members have made in it, if nothing in it is alive. Returns whether that is
    /// so; `None` if it cannot be told now. In the usual case this is a single system call.
    ///
    /// Groups that members have made are removed by the sweeper, which is waited for, but not for ever: they are empty.
    pub(in crate::process) fn vacated(&self) -> Option<bool> {
        if let Some(removal) = self.0.removal.get() {
            return Some(removal.over.load(Ordering::Acquire) || removal.when.elapsed() > REMOVAL_WAIT);
        }
        if files::unlink(self.0.directory(), &self.0.name).is_ok() {
            return Some(true);
        }
        if !self.is_populated()? {
            self.remove_later();
        }
        Some(false)
    }

    /// Removes it, with the groups that members have made in it. It must be empty.
    pub(in crate::process) fn remove(&self) {
        if files::unlink(self.0.directory(), &self.0.name).is_err() {
            self.remove_later();
        }
    }

    fn remove_later(&self) {
        self.0.removal.get_or_init(|| {
            let removal = CgroupRemoval::new(Arc::clone(self.0.directory()), self.0.name.clone());
            let over = removal.over();
            sweeper::add(Box::new(Removing { removal, _home: Arc::clone(&self.0.home) }));
            Requested { when: Instant::now(), over }
        });
    }
}

/// Holds the group that it is in, which is not to be removed before it.
#[derive(Debug)]
struct Removing {
    removal: CgroupRemoval,
    _home: Arc<HostCgroup>,
}

impl SweepJob for Removing {
    fn step(&mut self, until: Instant) -> JobProgress {
        self.removal.step(until)
    }
}

#[derive(Debug)]
struct Kill(Arc<CgroupInner>);

impl SweepJob for Kill {
    fn step(&mut self, _: Instant) -> JobProgress {
        // Before the kill: what is born after it is killed by the next one.
        self.0.killing.store(false, Ordering::Release);
        files::kill(self.0.directory(), &self.0.name);
        JobProgress::Over
    }
}
