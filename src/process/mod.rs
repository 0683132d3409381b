//! One OS process: launch, streams, signals, exit, and the certainty that nothing of it is left behind.
//!
//! A [`Launcher`] turns a [`Command`] into a [`Process`]: two byte streams, a third for diagnostics, and a
//! [`ProcessControl`] over the process *group* that the new process leads. [`OsLauncher`] asks the operating
//! system; the scripted launcher in `testing` keeps the same contract in memory.
//!
//! ```text
//! Command ──► Launcher ──► Process ─┬─ stdin, stdout, stderr    the channel; stderr is drained into a Tail
//!                                   └─ ProcessControl ──► process_group    signals, exit, reap
//!                                                   │ dropped or given up
//!                                                   ▼
//!                              reaper    one plain thread; keeps the HeldUntilReaped until nothing is left
//! ```
//!
//! | room | what is in it |
//! |---|---|
//! | `command` | what to run: program, environment, limits, as plain data |
//! | `launch` | from a command to a running process |
//! | `stdio` | its streams |
//! | `stop` | from a running process to nothing: ladder, signals, reap, survivors |
//! | `cgroup` | control groups, which hold descendants that leave the process group |
//! | `guardian` | the process above the host |
//!
//! At the root are the types that all rooms share: the seam (`launcher`, `control`), what crosses it
//! (`exit_status`, `held_until_reaped`, `usage_probe`), and the clean-up thread. `launch` imports
//! every other room; none imports `launch`.
//!
//! Used by `worker`. It must not know what is said on the streams, that processes are restarted, or that
//! there are actors: of this crate it imports only plain data and the sanitising of texts.
//!
//! # Invariants
//!
//! * A signal is only ever sent to a group whose leader has not been reaped, so it cannot hit another process
//!   that got the same number. All reaping and all signalling of a process happen under one lock.
//! * Nothing here waits for "any child", handles `SIGCHLD`, or touches a process that it did not launch,
//!   except descendants of those.
//! * Whatever happens to the handles, the group is killed and its leader reaped, by the caller or by the
//!   reaper.

mod cgroup;
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "all its jobs are for Linux"))]
mod cleanup_thread;
mod command;
mod control;
mod exit_status;
mod group_membership;
mod guardian;
mod held_until_reaped;
mod launch;
mod launcher;
mod signal_state;
mod stdio;
mod stop;
mod thread_queue;
mod usage_probe;

pub use cgroup::CgroupMode;
pub use command::{
    Command, CommandChange, CommandMistake, CommandSerdeError, Environment, Limits, LimitsError,
    StdioTransport,
};
pub use control::{KILL_WAIT, ProcessControl, Unkillable};
pub use exit_status::{ExitStatus, ExitStatusKind, SuccessExitStatus};
pub use guardian::{GuardianError, guardian};
pub use held_until_reaped::HeldUntilReaped;
#[cfg(feature = "watch")]
pub(crate) use launch::program_of;
pub use launch::{OsLauncher, OsLauncherBuilder, Technique};
pub use launcher::{Launcher, Process};
pub use rustix::process::Signal;
pub(crate) use signal_state::{is_ignored, is_pending};
pub use stdio::{LineLogger, SocketsForStdio, Stderr, Stdin, Stdout, Tail, drain};
pub(crate) use stdio::{drain_into, let_others_run, read_chunk};
#[cfg(target_os = "linux")]
pub use stop::AdoptedOrphansToReap;
pub use stop::{Ladder, Rung, StopOutcome, kill, terminate};
pub(crate) use usage_probe::UsageSource;
pub use usage_probe::{Usage, UsageProbe};
