//! [`GuardianError`]: why there is no guardian.

use std::io;

/// Why there is no guardian.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardianError {
    /// Misuse: other threads run already, and a fork would lose them.
    #[error(
        "a guardian must be started before any thread, and {threads} run already: call it first thing in `main`, \
         before the runtime is built (`#[tokio::main]` builds one before)"
    )]
    Threads {
        /// How many threads the program has.
        threads: usize,
    },
    /// There are no guardians on this system.
    #[error("there are guardians on Linux only")]
    Unsupported,
    /// `/proc` is missing or belongs to another process namespace: the guardian would not find what to kill.
    #[error("a guardian needs the process table of its own namespace in /proc: {0}")]
    Proc(#[source] io::Error),
    /// A system call failed.
    #[error("a guardian cannot be started: {call}: {error}")]
    System {
        /// The system call.
        call: &'static str,
        /// Its error.
        #[source]
        error: io::Error,
    },
}
