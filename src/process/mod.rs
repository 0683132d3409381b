//! One OS process: launch, stdio, signals, exit, and the certainty that nothing of it is left behind.
//!
//! A [`Launcher`] turns a [`Command`] into a [`Process`]: two byte streams, a third for diagnostics, and a
//! [`ProcessControl`] over the process *group* that the new process leads. [`OsLauncher`] asks the operating system; the
//! scripted launcher in `testing` keeps the same contract in memory.
//!
//! ```text
//! Command ──► Launcher ──► Process ─┬─ stdin, stdout, stderr    the channel, and what drains into a Tail
//!                                   └─ ProcessControl ─► leader        signals, exit, reap
//!                                                   │ dropped or given up on
//!                                                   ▼
//!                                                 reaper        one plain thread; keeps the ReapToken until all is gone
//! ```
//!
//! Launches happen on threads of their own, which never end (`thread`), by the technique that the system offers
//! (`spawn`).
//!
//! Owned by `worker`. It must not know what is said on the streams, who restarts, or that there are actors: it
//! imports nothing of this crate but plain data.
//!
//! # Invariants
//!
//! * A signal is only ever sent to a group whose leader has not been reaped, so it cannot hit a stranger that got
//!   the same number. All reaping and all signalling of a process happen under one lock.
//! * Nothing here waits for "any child", handles `SIGCHLD`, or touches a process that it did not launch, descendants of
//!   those excepted.
//! * Whatever happens to the handles, the group is killed and its leader reaped: by the caller, or by the reaper.

mod cgroup;
mod command;
mod control;
mod exit_status;
mod group_membership;
mod guardian;
mod launch;
mod launcher;
mod reap_token;
mod signal_disposition;
mod stdio;
mod stop;
mod sweeper;
mod thread_queue;
mod usage;

pub use cgroup::CgroupMode;
pub use command::{Command, CommandError, CommandMistake, Environment, Limits, LimitsError, StdioTransport};
pub use control::{KILL_WAIT, ProcessControl, Unkillable};
pub use exit_status::{ExitStatus, Status, SuccessExitStatus};
pub use guardian::{GuardianError, guardian};
pub use launch::{OsLauncher, OsLauncherBuilder, Technique};
pub use launcher::{Launcher, Process};
pub use reap_token::ReapToken;
pub use rustix::process::Signal;
pub(crate) use signal_disposition::{is_ignored, is_pending};
pub use stdio::{LineLog, SocketMode, Stderr, Stdin, Stdout, Tail, drain};
pub(crate) use stdio::{drain_into, let_others_run, read_chunk};
#[cfg(target_os = "linux")]
pub use stop::ReapAdopted;
pub use stop::{Ladder, Rung, StopOutcome, kill, terminate};
pub use usage::{Usage, UsageProbe};
