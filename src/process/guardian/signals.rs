//! System calls about signals that rustix does not have: masks, dispositions, waiting, sending real-time
//! signals.
//!
//! There are no signal handlers: the guardian blocks every signal and takes them one by one.

use std::{mem::MaybeUninit, ptr};

use libc::c_int;
use rustix::process::{Pid, WaitOptions};

/// `si_code` of what the kernel itself sends.
const SI_KERNEL: c_int = 0x80;

/// The signals that were blocked before, to be restored.
pub(super) struct SavedSignalMask(libc::sigset_t);

/// Blocks every signal and returns what was blocked before.
pub(super) fn block_all() -> SavedSignalMask {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both pointers are valid, and pthread_sigmask fills the second set: it can only fail for an
    // unknown first argument.
    #[allow(unsafe_code)]
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &all(), before.as_mut_ptr());
        SavedSignalMask(before.assume_init())
    }
}

impl SavedSignalMask {
    pub(super) fn restore(&self) {
        set_mask(libc::SIG_SETMASK, &self.0);
    }
}

fn set_mask(how: c_int, set: &libc::sigset_t) {
    // SAFETY: the set is initialised, and a null pointer asks for no answer.
    #[allow(unsafe_code)]
    unsafe {
        libc::pthread_sigmask(how, set, ptr::null_mut());
    }
}

fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set it is given.
    #[allow(unsafe_code)]
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn only(signal: c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given; sigaddset refuses a number that is no signal.
    #[allow(unsafe_code)]
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        set.assume_init()
    }
}

/// The action that a signal had before, to be restored.
pub(super) struct SavedDisposition(c_int, libc::sigaction);

/// Gives a signal its default action and returns what it had.
pub(super) fn default_action(signal: c_int) -> SavedDisposition {
    // SAFETY: a zeroed `sigaction` is a valid one: SIG_DFL, no flags, an empty mask. The call fails for
    // SIGKILL and SIGSTOP, whose action is the default anyway, and leaves the zeroes in place then.
    #[allow(unsafe_code)]
    unsafe {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        libc::sigaction(signal, MaybeUninit::zeroed().as_ptr(), before.as_mut_ptr());
        SavedDisposition(signal, before.assume_init())
    }
}

impl SavedDisposition {
    pub(super) fn restore(&self) {
        // SAFETY: it restores the action that the kernel reported.
        #[allow(unsafe_code)]
        unsafe {
            libc::sigaction(self.0, &self.1, ptr::null_mut());
        }
    }
}

/// A signal that was sent to this process.
#[derive(Clone, Copy)]
pub(super) struct ReceivedSignal {
    pub(super) signal: c_int,
    pub(super) origin: SignalOrigin,
}

/// Where a signal comes from.
#[derive(Clone, Copy)]
pub(super) enum SignalOrigin {
    /// The kernel: a terminal, a timer.
    Kernel,
    /// `kill` or a similar call, by this process.
    Process(libc::pid_t),
    /// `sigqueue`, with a value.
    Queue(libc::pid_t, libc::sigval),
    Other,
}

/// Waits for the next signal. All signals must be blocked.
pub(super) fn wait_for_next() -> ReceivedSignal {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the set is initialised and the pointer is valid for writes.
        #[allow(unsafe_code)]
        let signal = unsafe { libc::sigwaitinfo(&all(), info.as_mut_ptr()) };
        // Interrupted when the process itself was stopped and continued.
        if signal > 0 {
            // SAFETY: zeroed at first, which is valid for plain numbers, and filled by the call.
            #[allow(unsafe_code)]
            let info = unsafe { info.assume_init() };
            return ReceivedSignal { signal, origin: origin(&info) };
        }
    }
}

fn origin(info: &libc::siginfo_t) -> SignalOrigin {
    // SAFETY: with these codes the kernel has filled in the sender, and for a queued signal its value.
    #[allow(unsafe_code)]
    unsafe {
        match info.si_code {
            SI_KERNEL => SignalOrigin::Kernel,
            libc::SI_USER | libc::SI_TKILL => SignalOrigin::Process(info.si_pid()),
            libc::SI_QUEUE => SignalOrigin::Queue(info.si_pid(), info.si_value()),
            _ => SignalOrigin::Other,
        }
    }
}

/// Takes a pending signal. Waits for it for at most this many milliseconds.
pub(super) fn take_pending(signal: c_int, millis: libc::c_long) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 };
    // SAFETY: set and time are valid, and a null pointer asks for no details.
    #[allow(unsafe_code)]
    unsafe {
        libc::sigtimedwait(&only(signal), ptr::null_mut(), &time);
    }
}

/// Whether a blocked signal is pending.
pub(super) fn is_pending(signal: c_int) -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: the call initialises the set, and can only fail for an invalid pointer.
    #[allow(unsafe_code)]
    unsafe {
        libc::sigpending(pending.as_mut_ptr());
        libc::sigismember(pending.as_ptr(), signal) == 1
    }
}

/// Forwards a signal. `to` must be a child that has not been reaped, so that the number is still its own.
pub(super) fn forward(caught: ReceivedSignal, to: libc::pid_t) {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    unsafe {
        match caught.origin {
            SignalOrigin::Queue(_, value) => libc::sigqueue(to, caught.signal, value),
            _ => libc::kill(to, caught.signal),
        };
    }
}

/// Stops this process as the signal would, and returns when it is continued. Takes the signal that
/// continued it.
pub(super) fn stop(signal: c_int) {
    let action = default_action(signal);
    raise(signal);
    set_mask(libc::SIG_BLOCK, &only(signal));
    action.restore();
    take_pending(libc::SIGCONT, 0);
}

/// Ends this process by a signal, without a core dump.
pub(super) fn die_by(signal: c_int) -> ! {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    default_action(signal);
    raise(signal);
    // Process 1 of a namespace cannot kill itself.
    exit(128 + signal)
}

/// Sends a signal to this process and unblocks it, so that it acts.
fn raise(signal: c_int) {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(libc::getpid(), signal);
    }
    set_mask(libc::SIG_UNBLOCK, &only(signal));
}

/// Ends this process at once. No exit handler of the program runs, and nothing is flushed.
pub(super) fn exit(code: c_int) -> ! {
    // SAFETY: ends the process.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}

/// An option for waiting: includes children that do not send `SIGCHLD` when they end.
pub(super) fn any_kind() -> WaitOptions {
    WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned())
}

/// Kills a child. It must not have been reaped, so that the number is its own.
pub(super) fn kill(child: Pid) {
    let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
}
