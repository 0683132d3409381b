//! The reaper: one plain thread that finishes what nobody waits for any more.
//!
//! A thread of its own, started before the first process is, rather than a task: handles are dropped outside of
//! runtimes and while they shut down, and a process must be reaped all the same (P-10).

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::leader::Leader;
use crate::process::control::KILL_WAIT;

/// A killed process is gone within a millisecond, as a rule; one that is not may stay for hours.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(250);

struct ReaperQueue {
    arrived: Vec<Arc<Leader>>,
    running: bool,
}

static QUEUE: Mutex<ReaperQueue> = Mutex::new(ReaperQueue { arrived: Vec::new(), running: false });
static ARRIVED: Condvar = Condvar::new();

/// Hands a leader over: it is killed and reaped as soon as the kernel allows it. Its hold is kept until then, at most
/// for [`KILL_WAIT`]: past that it is unkillable, and the tree goes on without it.
pub(in crate::process) fn keep(leader: Arc<Leader>) {
    lock().arrived.push(leader);
    ARRIVED.notify_one();
}

/// Starts the thread unless it runs: before there is anything for it to do, since there may be no thread to be had when
/// there is.
///
/// # Errors
/// No thread can be started now; the next call tries again.
pub(in crate::process) fn start() -> io::Result<()> {
    let mut queue = lock();
    if !queue.running {
        thread::Builder::new().name("procession-reaper".into()).stack_size(512 * 1024).spawn(run)?;
        queue.running = true;
    }
    Ok(())
}

fn lock() -> MutexGuard<'static, ReaperQueue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run() {
    let mut kept: Vec<(Instant, Arc<Leader>)> = Vec::new();
    let mut pause = FIRST_LOOK;
    loop {
        let mut queue = lock();
        while kept.is_empty() && queue.arrived.is_empty() {
            queue = ARRIVED.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.arrived.is_empty() {
            queue = ARRIVED.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        let arrived = std::mem::take(&mut queue.arrived);
        drop(queue);
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
