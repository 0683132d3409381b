//! [`CgroupRemovalJob`]: removes a group with all groups that its members have made in it.

use std::{
    ffi::CString,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    ffi::CStr,
};

use super::{
    files,
    walk::{CgroupVisitor, CgroupWalk, WalkProgress},
};
use crate::process::cleanup_thread::{CleanupJob, JobProgress};

/// How long the removal is tried. Only a process outside of the group can go on making groups in it for so
/// long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// The pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A try ends after this many groups that could not be removed.
const MAX_FAILURES: u32 = 1000;

/// The removal of one group, from the bottom up. Kills the processes that are alive in it.
#[derive(Debug)]
pub(super) struct CgroupRemovalJob {
    at: Arc<OwnedFd>,
    name: CString,
    walk: CgroupWalk,
    remover: RemovingVisitor,
    began: Option<Instant>,
    pause: Duration,
    done: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct RemovingVisitor {
    failures: u32,
}

impl CgroupVisitor for RemovingVisitor {
    fn descends_into(&mut self, above: BorrowedFd<'_>, name: &CStr) -> bool {
        self.failures < MAX_FAILURES && files::unlink(above, name).is_err()
    }

    fn leave(&mut self, above: BorrowedFd<'_>, name: &CStr) {
        if files::unlink(above, name).is_err() {
            self.failures += 1;
        }
    }
}

impl CgroupRemovalJob {
    pub(super) fn new(at: Arc<OwnedFd>, name: CString) -> CgroupRemovalJob {
        let walk = CgroupWalk::new(Arc::clone(&at), name.clone());
        let (remover, done) = (RemovingVisitor::default(), Arc::new(AtomicBool::new(false)));
        CgroupRemovalJob { at, name, walk, remover, began: None, pause: FIRST_PAUSE, done }
    }

    /// A flag that is set when the removal is done or given up.
    pub(super) fn done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.done)
    }

    /// Does it on this thread, until `end` at the latest.
    pub(super) fn run_until(&mut self, end: Instant) {
        loop {
            match self.step(end) {
                JobProgress::Over => return,
                JobProgress::AtOnce => {}
                JobProgress::After(pause) => std::thread::sleep(pause),
            }
            if Instant::now() >= end {
                return;
            }
        }
    }
}

impl CleanupJob for CgroupRemovalJob {
    fn step(&mut self, until: Instant) -> JobProgress {
        let began = *self.began.get_or_insert_with(Instant::now);
        let next = match self.walk.run_until(&mut self.remover, until) {
            WalkProgress::Interrupted => JobProgress::AtOnce,
            WalkProgress::Over if files::unlink(&self.at, &self.name).is_ok() => JobProgress::Over,
            WalkProgress::Over => {
                if files::is_populated(&self.at, &self.name) != Some(false) {
                    files::kill(&self.at, &self.name);
                }
                self.walk = CgroupWalk::new(Arc::clone(&self.at), self.name.clone());
                self.remover = RemovingVisitor::default();
                let pause = self.pause;
                self.pause = (pause * 2).min(LAST_PAUSE);
                JobProgress::After(pause)
            }
        };
        let given_up = next != JobProgress::Over && began.elapsed() > GIVE_UP_AFTER;
        if given_up {
            tracing::warn!(
                target: "procession", group = %self.name.to_string_lossy(),
                "a control group could not be removed within {GIVE_UP_AFTER:?}; the next host that is started in the same \
                 parent group tries again"
            );
        }
        if next == JobProgress::Over || given_up {
            self.done.store(true, Ordering::Release);
            return JobProgress::Over;
        }
        next
    }
}
