//! The threads that launch processes and do nothing else.
//!
//! On Linux a death signal is sent when the *thread* that launched ends (P-12), and a launch suspends its
//! thread until the program is executed. A thread of the runtime's blocking pool ends after some seconds
//! without work, and a worker may after `block_in_place`; either would take its processes with it. So
//! launches have threads of their own, which **never end**.
//!
//! They are global: one set for each program, started when they are first needed and shared by all
//! launchers, because a thread that must not end cannot belong to a value that is dropped. There is more
//! than one thread because a program on a dead network file system would hold up all others, and because a
//! launch takes processor time.

use std::{
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::spawn::SpawnWorkspace;

/// One launch. The job itself checks whether its caller still waits for it.
pub(super) type LaunchJob = Box<dyn FnOnce(&mut SpawnWorkspace) + Send>;

/// The bounds on the number of threads, which otherwise is the number of processors.
const MIN_THREADS: usize = 2;
const MAX_THREADS: usize = 8;

struct LaunchQueue {
    jobs: VecDeque<LaunchJob>,
    threads: usize,
    idle: usize,
}

static QUEUE: Mutex<LaunchQueue> = Mutex::new(LaunchQueue { jobs: VecDeque::new(), threads: 0, idle: 0 });
static ARRIVED: Condvar = Condvar::new();

/// Runs the job on a thread that never ends, after the jobs that came before it. Does not wait for the job.
/// Returns whether a thread is free to begin it now.
///
/// # Errors
/// There is no launch thread yet and none can be started now. The job is dropped; the next call tries again.
pub(super) fn run(job: LaunchJob) -> io::Result<bool> {
    let mut queue = lock();
    let mut free = queue.idle > queue.jobs.len();
    if !free && queue.threads < thread_bound() {
        match start() {
            Ok(()) => {
                queue.threads += 1;
                free = true;
            }
            // The threads that run already will do it.
            Err(_) if queue.threads > 0 => {}
            Err(error) => return Err(error),
        }
    }
    queue.jobs.push_back(job);
    drop(queue);
    ARRIVED.notify_one();
    Ok(free)
}

fn thread_bound() -> usize {
    thread::available_parallelism().map_or(MIN_THREADS, |n| n.get().clamp(MIN_THREADS, MAX_THREADS))
}

fn lock() -> MutexGuard<'static, LaunchQueue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread that has all signals blocked from its first instruction on, so that the host's handlers
/// run elsewhere.
fn start() -> io::Result<()> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the first function initialises the set that the second reads; that one fills in the other
    // set, and can only fail for a bad first argument.
    #[allow(unsafe_code)]
    let before = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    };
    let started =
        thread::Builder::new().name("procession-launch".into()).stack_size(512 * 1024).spawn(run_jobs);
    // SAFETY: the set is initialised, and a null pointer asks for no answer.
    #[allow(unsafe_code)]
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
    }
    started.map(drop)
}

fn run_jobs() {
    let mut workspace = SpawnWorkspace::default();
    loop {
        let job = next();
        // A job runs destructors that are the caller's code. A panic in one must not end this thread,
        // because its processes would end with it. Neither must a panic in the destructor of the panic's
        // payload.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(&mut workspace))) {
            std::mem::forget(payload);
        }
    }
}

fn next() -> LaunchJob {
    let mut queue = lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            return job;
        }
        queue.idle += 1;
        queue = ARRIVED.wait(queue).unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
    }
}
