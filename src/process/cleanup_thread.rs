//! The clean-up thread: one plain thread for all work that takes longer the more processes and
//! control groups a process has made.
//!
//! Such work does not belong on the threads of a runtime, which other tasks need, nor on that of the
//! reaper. Jobs are done in small steps, in turn, so that one process with a hundred thousand control
//! groups does not hold up the others.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::thread_queue::ThreadQueue;

/// A step ends after this time if there is more to do.
const STEP: Duration = Duration::from_millis(5);

/// Work that is done in steps.
pub(super) trait CleanupJob: Send + fmt::Debug {
    /// Works until it is done or the time is over, and makes some progress in any case.
    fn step(&mut self, until: Instant) -> JobProgress;
}

/// How a job continues after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobProgress {
    /// It is done.
    Over,
    /// As soon as the other jobs have had their turn.
    AtOnce,
    /// After a pause.
    After(Duration),
}

static QUEUE: ThreadQueue<Box<dyn CleanupJob>> = ThreadQueue::new();

/// Queues a job.
pub(super) fn add(job: Box<dyn CleanupJob>) {
    QUEUE.push(job);
}

/// Starts the thread unless it runs.
///
/// # Errors
/// As [`ThreadQueue::start`].
pub(super) fn start() -> io::Result<()> {
    QUEUE.start("procession-sweep", run)
}

fn run() {
    let mut jobs = VecDeque::new();
    let mut resting: Vec<(Instant, Box<dyn CleanupJob>)> = Vec::new();
    loop {
        let now = Instant::now();
        if let Some(due) = resting.iter().position(|(due, _)| *due <= now) {
            jobs.push_back(resting.swap_remove(due).1);
        }
        let Some(mut job) = jobs.pop_front() else {
            let first = resting.iter().map(|(due, _)| *due).min();
            jobs = QUEUE.wait(first.map(|due| due.saturating_duration_since(now)));
            continue;
        };
        // Jobs are ours and do not panic; if one does, the others go on.
        let step = catch_unwind(AssertUnwindSafe(|| job.step(Instant::now() + STEP)));
        // What has arrived meanwhile has its turn before the rest of this job.
        jobs.extend(QUEUE.take());
        match step {
            Ok(JobProgress::AtOnce) => jobs.push_back(job),
            Ok(JobProgress::After(pause)) => resting.push((Instant::now() + pause, job)),
            Ok(JobProgress::Over) | Err(_) => {}
        }
    }
}
