//! Creates a process on Linux without copying anything but its descriptors (P-13), and sets everything that
//! only the process itself can set: its session, its death signal, its limits (P-4, P-6, P-12).
//!
//! This is `clone3` with the parent's memory shared and the parent's thread suspended until the program is
//! executed. Only the calling *thread* is suspended, and the death signal is sent when that *thread* ends.
//! So launch only from threads that have nothing else to do and never end.

use std::{
    ffi::{CString, c_char, c_int},
    io::{self, Write},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions},
};

use super::{
    arch,
    child::{self, ExecOutcome, ExecStep, Rlimit, SharedWithChild},
    describe_exec_error::describe_exec_error,
    spawned_process::{SpawnError, SpawnedProcess},
};
use crate::{
    containment::Containment,
    exit::LaunchStage,
    process::{command::Limits, launch::exec_plan::ExecPlan},
};

/// The system has refused once, because the kernel is old or filters system calls. It will always refuse.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// The kernel's `struct clone_args`.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

// These two do not fit into the C library's type for flags.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// The stack of a new process until it executes its program. Each launch thread has one and reuses it.
#[derive(Debug)]
pub(super) struct Stack {
    /// Just above the guard.
    bottom: *mut u8,
}

// SAFETY: it is the only owner of the memory behind its pointer, which belongs to no thread.
#[allow(unsafe_code)]
unsafe impl Send for Stack {}

impl Stack {
    /// Far more than the few frames on it need, even in a build without optimisation.
    const BYTES: usize = 64 * 1024;
    /// Not accessible. A multiple of every page size in use.
    const GUARD: usize = 64 * 1024;

    fn new() -> io::Result<Stack> {
        let (none, all) = (libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping at an address of the system's choice, whose upper part is then made usable.
        #[allow(unsafe_code)]
        unsafe {
            let start = libc::mmap(ptr::null_mut(), Stack::GUARD + Stack::BYTES, none, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let bottom = start.cast::<u8>().add(Stack::GUARD);
            let stack = Stack { bottom };
            if libc::mprotect(bottom.cast(), Stack::BYTES, all) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(stack)
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size. The launching thread is suspended while a process uses it.
        #[allow(unsafe_code)]
        unsafe {
            libc::munmap(self.bottom.sub(Stack::GUARD).cast(), Stack::GUARD + Stack::BYTES);
        }
    }
}

/// Creates a process that leads its own session, is killed when the calling thread ends, and has `stdio` as
/// its only descriptors, an empty signal mask and every signal's default action. `None` where the system
/// refuses this technique.
///
/// Blocks until the program has been executed or could not be. `cgroup` is the directory of the control
/// group in which the process is created.
///
/// # Errors
/// The step that failed and the system's error. No process and no zombie is left.
pub(super) fn spawn(
    stack: &mut Option<Stack>,
    plan: &ExecPlan,
    stdio: &[OwnedFd; 3],
    cgroup: Option<BorrowedFd<'_>>,
) -> Option<Result<SpawnedProcess, SpawnError>> {
    if REFUSED.load(Ordering::Relaxed) {
        return None;
    }
    let created = create(stack, plan, stdio, cgroup);
    let refused = match &created {
        // A refusal with a control group says nothing about processes without one.
        Err(Error::Clone(Errno::NOSYS)) => true,
        Err(Error::Clone(Errno::PERM | Errno::INVAL)) => cgroup.is_none(),
        // The kernel is too old to have `close_range`, or a filter does not know it.
        Err(Error::Step(outcome)) => {
            let unknown = matches!(outcome.errno, libc::ENOSYS | libc::EPERM | libc::EINVAL);
            outcome.failed == Some(ExecStep::CloseRange) && unknown
        }
        _ => false,
    };
    if refused {
        REFUSED.store(true, Ordering::Relaxed);
        return None;
    }
    Some(created.map_err(|error| error.into_spawn_error(plan)))
}

/// Whether the system knows the call and no filter forbids it.
pub(super) fn is_available() -> bool {
    // A system that has the call reports that arguments of size zero are too few.
    // SAFETY: nothing is read, and no process is created.
    #[allow(unsafe_code)]
    let result = unsafe { arch::call(libc::SYS_clone3, [0; 5]) };
    !REFUSED.load(Ordering::Relaxed) && result == -(libc::EINVAL as isize)
}

enum Error {
    /// The stack could not be mapped.
    Memory(io::Error),
    /// No process was created.
    Clone(Errno),
    /// A process was created, failed at a step, and has ended.
    Step(ExecOutcome),
}

fn create(
    stack: &mut Option<Stack>,
    plan: &ExecPlan,
    stdio: &[OwnedFd; 3],
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<SpawnedProcess, Error> {
    let stack = match stack {
        Some(stack) => stack,
        None => stack.insert(Stack::new().map_err(Error::Memory)?),
    };
    let (argv, envp) = (pointers(&plan.argv), pointers(&plan.envp));
    let (rlimits, rlimit_count) = rlimit_rows(&plan.limits);
    let mut oom_score_adj = Vec::new();
    if let Some(adjustment) = plan.limits.oom_score_adj {
        // Writing to a vector cannot fail.
        let _ = write!(oom_score_adj, "{adjustment}");
    }
    let mut shared = SharedWithChild {
        path: plan.path.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        cwd: plan.cwd.as_ref().map_or(ptr::null(), |cwd| cwd.as_ptr()),
        stdio: [stdio[0].as_raw_fd(), stdio[1].as_raw_fd(), stdio[2].as_raw_fd()],
        host: rustix::process::getpid().as_raw_nonzero().get(),
        rlimits,
        rlimit_count,
        nice: plan.limits.nice,
        oom_score_adj: oom_score_adj.as_ptr(),
        oom_score_adj_len: oom_score_adj.len(),
        no_new_privileges: plan.limits.no_new_privileges,
        outcome: ExecOutcome { failed: None, errno: 0, resource: 0 },
    };
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let args = CloneArgs {
        flags: flags as u64 | CLONE_CLEAR_SIGHAND | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.bottom as u64,
        stack_size: Stack::BYTES as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    let shared = &raw mut shared;
    let blocked = SignalsBlocked::new();
    // SAFETY: the arguments are valid, are in memory that outlives the call, and name a stack that only
    // this thread uses. The thread is suspended until the process has ended or executed its program, whose
    // strings and arrays are terminated and outlive that too. The process has copies of the descriptors and
    // of the signal actions (neither is shared), and starts with all signals blocked, because this thread
    // has them blocked. Until it has ended or executed its program, only the process uses what `shared`
    // points to.
    #[allow(unsafe_code)]
    let (result, outcome) = unsafe {
        let args = (&raw const args).cast();
        let result = arch::clone3(args, size_of::<CloneArgs>(), child::run, shared);
        (result, (*shared).outcome)
    };
    drop(blocked);
    if result < 0 {
        return Err(Error::Clone(Errno::from_raw_os_error(-result as i32)));
    }
    // SAFETY: a process was created, so the kernel has stored a new descriptor here, which has no other
    // owner.
    #[allow(unsafe_code)]
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match Pid::from_raw(result as i32) {
        Some(pid) if outcome.failed.is_none() => {
            let containment = Containment { session: true, death_signal: true, ..Containment::default() };
            Ok(SpawnedProcess { pid, pidfd: Some(pidfd), containment })
        }
        _ => {
            reap_failed_child(&pidfd);
            Err(Error::Step(outcome))
        }
    }
}

/// The child has failed and ends within microseconds.
fn reap_failed_child(pidfd: &OwnedFd) {
    use std::os::fd::AsFd;
    while let Err(Errno::INTR) = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    {
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// The limits as rows of a table, and how many rows are used.
fn rlimit_rows(limits: &Limits) -> ([Rlimit; 5], usize) {
    let mut rows = [Rlimit::default(); 5];
    let mut count = 0;
    for (row, (resource, [soft, hard])) in rows.iter_mut().zip(limits.rlimits()) {
        *row = Rlimit { bounds: [soft, hard], resource: resource as usize };
        count += 1;
    }
    (rows, count)
}

impl Error {
    fn into_spawn_error(self, plan: &ExecPlan) -> SpawnError {
        let program = || format!("program `{}`", plan.path.to_string_lossy());
        let outcome = match self {
            Error::Memory(error) => {
                return SpawnError::new(LaunchStage::Spawn, error.raw_os_error(), program());
            }
            Error::Clone(errno) => {
                return SpawnError::new(LaunchStage::Spawn, Some(errno.raw_os_error()), program());
            }
            Error::Step(outcome) => outcome,
        };
        let (stage, what) = match outcome.failed {
            Some(ExecStep::Exec) => (LaunchStage::Exec, describe_exec_error(plan, outcome.errno)),
            Some(ExecStep::Directory) => {
                let cwd = plan.cwd.as_deref().unwrap_or_default().to_string_lossy();
                (LaunchStage::Directory, format!("working directory `{cwd}`"))
            }
            Some(ExecStep::Stdio) => (LaunchStage::Stdio, format!("stdio of {}", program())),
            Some(ExecStep::Limit) => {
                let name = Limits::name(outcome.resource);
                (LaunchStage::Command, format!("limit `{name}` of {}", program()))
            }
            Some(ExecStep::Nice) => (LaunchStage::Command, format!("limit `nice` of {}", program())),
            Some(ExecStep::NoNewPrivileges) => {
                (LaunchStage::Command, format!("limit `no_new_privileges` of {}", program()))
            }
            // Opening the file takes a descriptor or memory. If that failed, the value is not at fault.
            Some(ExecStep::OomScore)
                if matches!(outcome.errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM) =>
            {
                (LaunchStage::Spawn, program())
            }
            Some(ExecStep::OomScore) => {
                (LaunchStage::Command, format!("limit `oom_score_adj` of {}", program()))
            }
            step => (LaunchStage::Spawn, format!("{}, step {step:?}", program())),
        };
        SpawnError::new(stage, Some(outcome.errno), what)
    }
}

/// All signals are blocked in this thread, including those that the C library reserves and does not block
/// itself: their handlers must not run in a process that shares our memory and is not a thread.
struct SignalsBlocked {
    before: u64,
}

impl SignalsBlocked {
    fn new() -> SignalsBlocked {
        let mut before = 0;
        set_mask(u64::MAX, &mut before);
        SignalsBlocked { before }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        set_mask(self.before, &mut 0);
    }
}

fn set_mask(mask: u64, before: &mut u64) {
    let how = libc::SIG_SETMASK as usize;
    // SAFETY: two pointers to sets of 64 bits, which is the size of the kernel's sets.
    #[allow(unsafe_code)]
    unsafe {
        let (mask, before) = (&raw const mask as usize, &raw mut *before as usize);
        arch::call(libc::SYS_rt_sigprocmask, [how, mask, before, size_of::<u64>(), 0]);
    }
}
