//! [`CgroupRemoval`]: takes a group away with all that its members have made in it.

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
use crate::process::sweeper::{JobProgress, SweepJob};

/// How long it is tried. Only somebody outside of the group can go on making groups in it for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// One try ends after so many groups that stay where they are.
const OBSTACLES: u32 = 1000;

/// The removal of one group, from the bottom up. Kills what is alive in it.
#[derive(Debug)]
pub(super) struct CgroupRemoval {
    at: Arc<OwnedFd>,
    name: CString,
    walk: CgroupWalk,
    leaves: Leaves,
    began: Option<Instant>,
    pause: Duration,
    over: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Leaves {
    obstacles: u32,
}

impl CgroupVisitor for Leaves {
    fn goes_down(&mut self, above: BorrowedFd<'_>, name: &CStr) -> bool {
        self.obstacles < OBSTACLES && files::unlink(above, name).is_err()
    }

    fn leave(&mut self, above: BorrowedFd<'_>, name: &CStr) {
        if files::unlink(above, name).is_err() {
            self.obstacles += 1;
        }
    }
}

impl CgroupRemoval {
    pub(super) fn new(at: Arc<OwnedFd>, name: CString) -> CgroupRemoval {
        let walk = CgroupWalk::new(Arc::clone(&at), name.clone());
        let (leaves, over) = (Leaves::default(), Arc::new(AtomicBool::new(false)));
        CgroupRemoval { at, name, walk, leaves, began: None, pause: FIRST_PAUSE, over }
    }

    /// Becomes true when it is done or given up.
    pub(super) fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.over)
    }

    /// All of it, on this thread, for at most as long as is given.
    pub(super) fn go(&mut self, end: Instant) {
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

impl SweepJob for CgroupRemoval {
    fn step(&mut self, until: Instant) -> JobProgress {
        let began = *self.began.get_or_insert_with(Instant::now);
        let next = match self.walk.go(&mut self.leaves, until) {
            WalkProgress::Interrupted => JobProgress::AtOnce,
            WalkProgress::Over if files::unlink(&self.at, &self.name).is_ok() => JobProgress::Over,
            WalkProgress::Over => {
                if files::is_populated(&self.at, &self.name) != Some(false) {
                    files::kill(&self.at, &self.name);
                }
                self.walk = CgroupWalk::new(Arc::clone(&self.at), self.name.clone());
                self.leaves = Leaves::default();
                let pause = self.pause;
                self.pause = (pause * 2).min(LAST_PAUSE);
                JobProgress::After(pause)
            }
        };
        let given_up = next != JobProgress::Over && began.elapsed() > PATIENCE;
        if given_up {
            tracing::warn!(
                target: "procession", group = %self.name.to_string_lossy(),
                "a control group could not be removed within {PATIENCE:?}; the next start of a program in the same \
                 place tries again"
            );
        }
        if next == JobProgress::Over || given_up {
            self.over.store(true, Ordering::Release);
            return JobProgress::Over;
        }
        next
    }
}
