//! The reaper: one plain thread that finishes what nobody waits for any more.
//!
//! A thread of its own, started before the first process is, rather than a task: handles are dropped outside of
//! runtimes and while they shut down, and a process must be reaped all the same (P-10).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::leader::Leader;
use crate::process::{control::KILL_WAIT, thread_queue::ThreadQueue};

/// A killed process is gone within a millisecond, as a rule; one that is not may stay for hours.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(250);

static QUEUE: ThreadQueue<Arc<Leader>> = ThreadQueue::new();

/// Hands a leader over: it is killed and reaped as soon as the kernel allows it. Its hold is kept until then, at most
/// for [`KILL_WAIT`]: past that it is unkillable, and the tree goes on without it.
pub(in crate::process) fn keep(leader: Arc<Leader>) {
    QUEUE.push(leader);
}

/// Starts the thread unless it runs.
///
/// # Errors
/// As [`ThreadQueue::start`].
pub(in crate::process) fn start() -> io::Result<()> {
    QUEUE.start("procession-reaper", run)
}

/// The owner of a leader: dropping it kills the group and hands the leader to the reaper (P-10).
#[derive(Debug)]
pub(in crate::process) struct LeaderOwner(Arc<Leader>);

impl LeaderOwner {
    pub(in crate::process) fn new(leader: Leader) -> LeaderOwner {
        LeaderOwner(Arc::new(leader))
    }

    pub(in crate::process) fn leader(&self) -> &Arc<Leader> {
        &self.0
    }
}

impl Drop for LeaderOwner {
    fn drop(&mut self) {
        if self.0.finish().is_none() {
            keep(Arc::clone(&self.0));
        }
    }
}

fn run() {
    let mut kept: Vec<(Instant, Arc<Leader>)> = Vec::new();
    let mut pause = FIRST_LOOK;
    loop {
        let arrived = QUEUE.wait(if kept.is_empty() { None } else { Some(pause) });
        pause = if arrived.is_empty() { (pause * 2).min(LAST_LOOK) } else { FIRST_LOOK };
        let now = Instant::now();
        kept.extend(arrived.into_iter().map(|leader| (now, leader)));
        // A token's destructor is the caller's code: if it panics, the thread must go on for the others.
        kept.retain(|(since, leader)| {
            let step = std::panic::AssertUnwindSafe(|| {
                let finished = leader.finish();
                if finished.is_none() && since.elapsed() > KILL_WAIT {
                    leader.release();
                }
                finished
            });
            matches!(std::panic::catch_unwind(step), Ok(None))
        });
    }
}
