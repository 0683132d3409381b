//! What a new process does between its creation and the execution of its program: raw system calls, nothing
//! else.
//!
//! It runs in the parent's memory, with the parent's thread-local storage, while the parent's thread is
//! suspended and all other threads go on. So it uses no allocation, no lock, no function of the C library,
//! no panic and no destructor. The parent has prepared everything; errors are left in [`SharedWithChild`].

use std::ffi::{c_char, c_int};

use super::arch::call;

/// What both sides see. The parent fills it in, is suspended, and then reads `outcome`.
#[derive(Debug)]
pub(super) struct SharedWithChild {
    pub(super) path: *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    /// Null if the directory stays the host's.
    pub(super) cwd: *const c_char,
    /// All above 2.
    pub(super) stdio: [c_int; 3],
    /// The process id of the host, as its children see it.
    pub(super) host: c_int,
    pub(super) rlimits: [Rlimit; 5],
    /// How many of the rows are used.
    pub(super) rlimit_count: usize,
    pub(super) nice: Option<c_int>,
    /// The text to be written, if any.
    pub(super) oom_score_adj: *const u8,
    pub(super) oom_score_adj_len: usize,
    pub(super) no_new_privileges: bool,
    pub(super) outcome: ExecOutcome,
}

/// One resource, as `prlimit64` takes it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Rlimit {
    /// The limit itself: soft, hard.
    pub(super) bounds: [u64; 2],
    pub(super) resource: usize,
}

/// How the child failed; unchanged if the program has been executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExecOutcome {
    pub(super) failed: Option<ExecStep>,
    pub(super) errno: c_int,
    /// The resource whose limit was being set.
    pub(super) resource: usize,
}

/// The steps that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExecStep {
    Session,
    DeathSignal,
    /// The host had ended before the death signal was armed. No process is left to read this.
    Orphaned,
    OomScore,
    Nice,
    NoNewPrivileges,
    Stdio,
    Directory,
    CloseRange,
    Signals,
    Limit,
    Exec,
}

/// The highest signal of Linux on both architectures.
const LAST_SIGNAL: c_int = 64;
/// The kernel's signal sets have 64 bits.
const SET_BYTES: usize = 8;

/// Becomes the program, or stores the reason and ends.
///
/// # Safety
/// Only for a process that has just been created for it: with a copy of its own of the descriptors and of
/// the signal actions, all signals blocked, sharing the memory of a parent that is suspended. Every pointer
/// in `shared` must be valid, every string and array terminated.
#[allow(unsafe_code)]
pub(super) unsafe extern "C" fn run(shared: *mut SharedWithChild) -> ! {
    // SAFETY: the pointer is valid and nothing else uses what is behind it; the rest is the caller's promise.
    unsafe {
        let shared = &mut *shared;
        if let Err((step, error)) = become_program(shared) {
            shared.outcome.errno = error.wrapping_neg() as c_int;
            shared.outcome.failed = Some(step);
        }
        loop {
            call(libc::SYS_exit_group, [127, 0, 0, 0, 0]);
        }
    }
}

type Failed = (ExecStep, isize);

/// Returns only if it fails.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn become_program(shared: &mut SharedWithChild) -> Result<(), Failed> {
    // SAFETY: the arguments are what each call takes: numbers, and pointers that `run`'s caller vouches for
    // or that point to this stack.
    unsafe {
        check(ExecStep::Session, call(libc::SYS_setsid, [0; 5]))?;
        let death = [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0, 0];
        check(ExecStep::DeathSignal, call(libc::SYS_prctl, death))?;
        // A host that died before this line sends no signal. Zero means that the host is outside of this
        // PID namespace. Its death cannot be seen from here then, but its thread is suspended and was alive
        // a microsecond ago.
        let parent = call(libc::SYS_getppid, [0; 5]);
        if parent != shared.host as isize && parent != 0 {
            return Err((ExecStep::Orphaned, 0));
        }
        oom_score(shared)?;
        if let Some(nice) = shared.nice {
            let own = [libc::PRIO_PROCESS as usize, 0, nice as usize, 0, 0];
            check(ExecStep::Nice, call(libc::SYS_setpriority, own))?;
        }
        if shared.no_new_privileges {
            let on = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0];
            check(ExecStep::NoNewPrivileges, call(libc::SYS_prctl, on))?;
        }
        // The sources are above 2, so that no step overwrites the source of another, and none is its own
        // target.
        let [stdin, stdout, stderr] = shared.stdio;
        check(ExecStep::Stdio, call(libc::SYS_dup3, [stdin as usize, 0, 0, 0, 0]))?;
        check(ExecStep::Stdio, call(libc::SYS_dup3, [stdout as usize, 1, 0, 0, 0]))?;
        check(ExecStep::Stdio, call(libc::SYS_dup3, [stderr as usize, 2, 0, 0, 0]))?;
        if !shared.cwd.is_null() {
            check(ExecStep::Directory, call(libc::SYS_chdir, [shared.cwd as usize, 0, 0, 0, 0]))?;
        }
        // The table is a copy. The descriptors are closed rather than marked close-on-exec, because that
        // flag came two releases later and no other descriptor is needed from here on.
        check(ExecStep::CloseRange, call(libc::SYS_close_range, [3, c_int::MAX as usize, 0, 0, 0]))?;
        signals()?;
        limits(shared)?;
        let exec = [shared.path as usize, shared.argv as usize, shared.envp as usize, 0, 0];
        check(ExecStep::Exec, call(libc::SYS_execve, exec))
    }
}

#[inline(always)]
fn check(step: ExecStep, result: isize) -> Result<(), Failed> {
    if result < 0 { Err((step, result)) } else { Ok(()) }
}

/// # Safety
/// As [`run`].
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn oom_score(shared: &SharedWithChild) -> Result<(), Failed> {
    if shared.oom_score_adj_len == 0 {
        return Ok(());
    }
    let file = c"/proc/self/oom_score_adj".as_ptr() as usize;
    let (text, len) = (shared.oom_score_adj as usize, shared.oom_score_adj_len);
    // SAFETY: a terminated string; a descriptor that was just opened; a text of that length. The descriptor
    // is closed with all others.
    unsafe {
        let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
        let fd = call(libc::SYS_openat, [libc::AT_FDCWD as usize, file, flags, 0, 0]);
        check(ExecStep::OomScore, fd)?;
        check(ExecStep::OomScore, call(libc::SYS_write, [fd as usize, text, len, 0, 0]))
    }
}

/// Default actions and an empty mask. The kernel has cleared the handlers already, but what the host
/// ignores would stay ignored, also across the execution of a program.
///
/// # Safety
/// As [`run`].
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn signals() -> Result<(), Failed> {
    // The kernel's `struct sigaction`: a handler, flags, a restorer and a mask. All zero is the default
    // action.
    let default = [0u64; 4];
    let action = default.as_ptr() as usize;
    let none = 0u64;
    let mut signal = 1;
    // SAFETY: pointers to this stack, of the sizes that the kernel expects.
    unsafe {
        while signal <= LAST_SIGNAL {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                let set = [signal as usize, action, 0, SET_BYTES, 0];
                check(ExecStep::Signals, call(libc::SYS_rt_sigaction, set))?;
            }
            signal = signal.wrapping_add(1);
        }
        let mask = [libc::SIG_SETMASK as usize, &raw const none as usize, 0, SET_BYTES, 0];
        check(ExecStep::Signals, call(libc::SYS_rt_sigprocmask, mask))
    }
}

/// Set last, so that the limits bind the program and not the steps before it.
///
/// # Safety
/// As [`run`].
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn limits(shared: &mut SharedWithChild) -> Result<(), Failed> {
    let mut row = shared.rlimits.as_ptr();
    let mut left = shared.rlimit_count;
    while left != 0 {
        // SAFETY: `rlimit_count` rows are initialised, and the array is at least that long; the limit is
        // the row's first field.
        unsafe {
            shared.outcome.resource = (*row).resource;
            let bounds = &raw const (*row).bounds as usize;
            check(ExecStep::Limit, call(libc::SYS_prlimit64, [0, (*row).resource, bounds, 0, 0]))?;
            row = row.wrapping_add(1);
        }
        left = left.wrapping_sub(1);
    }
    Ok(())
}
