//! The sweeper: one plain thread for everything that takes the longer the more a process has made: processes, groups.
//!
//! Such work does not belong on the threads of a runtime, which others need, nor on that of the reaper. Jobs are done in
//! small steps, in turn, so that one process with a hundred thousand control groups does not hold up the others.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::thread_queue::ThreadQueue;

/// A step is over after this time, if there is more than that to do.
const STEP: Duration = Duration::from_millis(5);

/// Something that is done in steps.
pub(super) trait SweepJob: Send + fmt::Debug {
    /// Goes on until it is over or the time is; at least a little.
    fn step(&mut self, until: Instant) -> JobProgress;
}

/// How a job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobProgress {
    /// Not at all.
    Over,
    /// After the others.
    AtOnce,
    /// After a pause.
    After(Duration),
}

static QUEUE: ThreadQueue<Box<dyn SweepJob>> = ThreadQueue::new();

/// Has a job done.
pub(super) fn add(job: Box<dyn SweepJob>) {
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
    let mut resting: Vec<(Instant, Box<dyn SweepJob>)> = Vec::new();
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
