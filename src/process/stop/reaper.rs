//! The reaper: one plain thread that reaps the processes that no caller waits for any longer. And
//! [`KillGroupOnDrop`], which hands a process over to it when dropped.
//!
//! It is a thread, started before the first process, rather than a task. Handles are dropped outside of
//! runtimes and while a runtime shuts down, and their processes must be reaped even then (P-10).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::leader::Leader;
use crate::process::{control::KILL_WAIT, thread_queue::ThreadQueue};

/// A killed process is normally gone within a millisecond. One that is not may stay for hours.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(250);

static QUEUE: ThreadQueue<Arc<Leader>> = ThreadQueue::new();

/// Hands a leader over: it is killed, and reaped as soon as the kernel allows it. Its held value is kept
/// until then, but for at most [`KILL_WAIT`]. After that the process counts as unkillable, and the tree
/// goes on without it.
pub(in crate::process) fn reap_in_background(leader: Arc<Leader>) {
    QUEUE.push(leader);
}

/// Starts the thread unless it runs.
///
/// # Errors
/// As [`ThreadQueue::start`].
pub(in crate::process) fn start() -> io::Result<()> {
    QUEUE.start("procession-reaper", run)
}

/// The owner of a leader. Dropping it kills the group and hands the leader to the reaper (P-10).
#[derive(Debug)]
pub(in crate::process) struct KillGroupOnDrop(Arc<Leader>);

impl KillGroupOnDrop {
    pub(in crate::process) fn new(leader: Leader) -> KillGroupOnDrop {
        KillGroupOnDrop(Arc::new(leader))
    }

    pub(in crate::process) fn leader(&self) -> &Arc<Leader> {
        &self.0
    }
}

impl Drop for KillGroupOnDrop {
    fn drop(&mut self) {
        if self.0.kill_and_reap().is_none() {
            reap_in_background(Arc::clone(&self.0));
        }
    }
}

fn run() {
    let mut unreaped: Vec<(Instant, Arc<Leader>)> = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let arrived = QUEUE.wait(if unreaped.is_empty() { None } else { Some(pause) });
        pause = if arrived.is_empty() { (pause * 2).min(LAST_PAUSE) } else { FIRST_PAUSE };
        let now = Instant::now();
        unreaped.extend(arrived.into_iter().map(|leader| (now, leader)));
        // A held value's destructor is the caller's code: if it panics, the thread must go on for the others.
        unreaped.retain(|(since, leader)| {
            let step = std::panic::AssertUnwindSafe(|| {
                let exited = leader.kill_and_reap();
                if exited.is_none() && since.elapsed() > KILL_WAIT {
                    leader.give_up();
                }
                exited
            });
            matches!(std::panic::catch_unwind(step), Ok(None))
        });
    }
}
