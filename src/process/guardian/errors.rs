//! [`GuardianError`]: why there is no guardian.

use std::io;

/// Why there is no guardian.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardianError {
    /// Misuse: other threads run already, and the fork would lose them.
    #[error(
        "a guardian must be started before any other thread, but {threads} threads run already: call `guardian` first \
         in `main`, before the runtime is built (`#[tokio::main]` builds one before `main` runs)"
    )]
    Threads {
        /// How many threads the program has.
        threads: usize,
    },
    /// This system has no guardians.
    #[error("guardians exist on Linux only; run without one on this system")]
    Unsupported,
    /// `/proc` is missing or belongs to another process namespace, so the guardian would not find what to
    /// kill.
    #[error("a guardian needs a /proc of its own process namespace, so mount one: {0}")]
    Proc(#[source] io::Error),
    /// A system call failed.
    #[error("a guardian cannot be started: {call} failed: {error}")]
    System {
        /// The system call.
        call: &'static str,
        /// Its error.
        #[source]
        error: io::Error,
    },
}

impl GuardianError {
    /// Whether the program must be changed: the call came too late.
    pub fn is_misuse(&self) -> bool {
        matches!(self, GuardianError::Threads { .. })
    }

    /// Whether the same call may succeed later: the system was short of processes or memory.
    pub fn is_retryable(&self) -> bool {
        let GuardianError::System { error, .. } = self else { return false };
        matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
    }
}
