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

use super::process_group::ProcessGroup;
use crate::process::{control::KILL_WAIT, thread_queue::ThreadQueue};

/// A killed process is normally gone within a millisecond. One that is not may stay for hours.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(250);

static QUEUE: ThreadQueue<Arc<ProcessGroup>> = ThreadQueue::new();

/// Hands a group over: it is killed, and its leader reaped as soon as the kernel allows it. Its
/// held value is kept until then, but for at most [`KILL_WAIT`]. After that the process counts as
/// unkillable, and the tree goes on without it.
pub(in crate::process) fn reap_in_background(group: Arc<ProcessGroup>) {
    QUEUE.push(group);
}

/// Starts the thread unless it runs.
///
/// # Errors
/// As [`ThreadQueue::start`].
pub(in crate::process) fn start() -> io::Result<()> {
    QUEUE.start("procession-reaper", run)
}

/// The owner of a process group. Dropping it kills the group and hands it to the reaper (P-10).
#[derive(Debug)]
pub(in crate::process) struct KillGroupOnDrop(Arc<ProcessGroup>);

impl KillGroupOnDrop {
    pub(in crate::process) fn new(group: ProcessGroup) -> KillGroupOnDrop {
        KillGroupOnDrop(Arc::new(group))
    }

    pub(in crate::process) fn group(&self) -> &Arc<ProcessGroup> {
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
    let mut unreaped: Vec<(Instant, Arc<ProcessGroup>)> = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let arrived = QUEUE.wait(if unreaped.is_empty() { None } else { Some(pause) });
        pause = if arrived.is_empty() { (pause * 2).min(LAST_PAUSE) } else { FIRST_PAUSE };
        let now = Instant::now();
        unreaped.extend(arrived.into_iter().map(|group| (now, group)));
        // A held value's destructor is the caller's code: if it panics, the thread must go on for the others.
        unreaped.retain(|(since, group)| {
            let step = std::panic::AssertUnwindSafe(|| {
                let exited = group.kill_and_reap();
                if exited.is_none() && since.elapsed() > KILL_WAIT {
                    group.give_up();
                }
                exited
            });
            matches!(std::panic::catch_unwind(step), Ok(None))
        });
    }
}
