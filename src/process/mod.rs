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
mod descriptor_passing;
mod environment;
mod exec_plan;
mod exit_status;
mod exit_watch;
mod group_membership;
mod guardian;
mod ladder;
mod launch_rate;
mod launch_thread;
mod launcher;
mod leader;
mod limits;
mod line_log;
#[cfg(target_os = "linux")]
mod orphans;
mod os_launcher;
#[cfg(target_os = "linux")]
mod process_table;
mod program_lookup;
mod reap_token;
mod reaper;
mod sigchld;
mod signal_disposition;
mod sigpipe;
mod spawn;
mod stdin;
mod stdio;
#[cfg(target_os = "linux")]
mod survivor_scan;
#[cfg(not(target_os = "linux"))]
#[path = "no_survivor_scan.rs"]
mod survivor_scan;
mod sweeper;
mod tail;
mod usage;

pub use cgroup::CgroupMode;
pub use command::{Command, CommandError, CommandMistake, StdioTransport};
pub use control::{KILL_WAIT, ProcessControl, Unkillable};
pub use environment::Environment;
pub use exit_status::{ExitStatus, Status, SuccessExitStatus};
pub use guardian::{GuardianError, guardian};
pub use ladder::{Ladder, Rung, StopOutcome, kill, terminate};
pub use launcher::{Launcher, Process, Stderr, Stdout};
pub use limits::{Limits, LimitsError};
pub use line_log::{LineLog, drain};
pub(crate) use line_log::{drain_into, let_others_run};
#[cfg(target_os = "linux")]
pub use orphans::ReapAdopted;
pub use os_launcher::{OsLauncher, OsLauncherBuilder};
pub use reap_token::ReapToken;
pub use rustix::process::Signal;
pub(crate) use signal_disposition::{is_ignored, is_pending};
pub use spawn::Technique;
pub use stdin::Stdin;
pub use stdio::SocketMode;
pub use tail::Tail;
pub use usage::{Usage, UsageProbe};
