//! The sweeper: one plain thread for everything that takes the longer the more a process has made: processes, groups.
//!
//! Such work does not belong on the threads of a runtime, which others need, nor on that of the reaper. Jobs are done in
//! small steps, in turn, so that one process with a hundred thousand control groups does not hold up the others.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

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

struct SweeperQueue {
    jobs: VecDeque<Box<dyn SweepJob>>,
    /// Those that rest, and until when.
    resting: Vec<(Instant, Box<dyn SweepJob>)>,
    running: bool,
}

static QUEUE: Mutex<SweeperQueue> =
    Mutex::new(SweeperQueue { jobs: VecDeque::new(), resting: Vec::new(), running: false });
static ARRIVED: Condvar = Condvar::new();

/// Has a job done.
pub(super) fn add(job: Box<dyn SweepJob>) {
    lock().jobs.push_back(job);
    ARRIVED.notify_one();
}

/// Starts the thread unless it runs: before there is anything for it to do, since there may be no thread to be had when
/// there is.
///
/// # Errors
/// No thread can be started now; the next call tries again.
pub(super) fn start() -> io::Result<()> {
    let mut queue = lock();
    if !queue.running {
        thread::Builder::new().name("procession-sweep".into()).stack_size(512 * 1024).spawn(run)?;
        queue.running = true;
    }
    Ok(())
}

fn lock() -> MutexGuard<'static, SweeperQueue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run() {
    loop {
        let mut job = next();
        // Jobs are ours and do not panic; if one does, the others go on.
        let step = catch_unwind(AssertUnwindSafe(|| job.step(Instant::now() + STEP)));
        match step {
            Ok(JobProgress::AtOnce) => lock().jobs.push_back(job),
            Ok(JobProgress::After(pause)) => lock().resting.push((Instant::now() + pause, job)),
            Ok(JobProgress::Over) | Err(_) => {}
        }
    }
}

fn next() -> Box<dyn SweepJob> {
    let mut queue = lock();
    loop {
        let now = Instant::now();
        if let Some(due) = queue.resting.iter().position(|(due, _)| *due <= now) {
            let (_, job) = queue.resting.swap_remove(due);
            queue.jobs.push_back(job);
        }
        if let Some(job) = queue.jobs.pop_front() {
            return job;
        }
        let first = queue.resting.iter().map(|(due, _)| *due).min();
        queue = match first {
            Some(due) => {
                let pause = due.saturating_duration_since(now);
                ARRIVED.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0
            }
            None => ARRIVED.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
