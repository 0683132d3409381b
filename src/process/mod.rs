//! One OS process: launch, stdio, signals, exit, and the certainty that nothing of it is left behind.
//!
//! A [`Launcher`] turns a [`Command`] into a [`Process`]: two byte streams, a third for diagnostics, and a
//! [`Control`] over the process *group* that the new process leads. [`OsLauncher`] asks the operating system; the
//! scripted launcher in `testing` keeps the same contract in memory.
//!
//! ```text
//! Command ──► Launcher ──► Process ─┬─ stdin, stdout, stderr    the channel, and what drains into a Tail
//!                                   └─ Control ─► leader        signals, exit, reap
//!                                                   │ dropped or given up on
//!                                                   ▼
//!                                                 reaper        one plain thread; keeps the Hold until all is gone
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
mod descriptors;
mod disposition;
mod environment;
mod exited;
mod guardian;
mod hold;
mod ladder;
mod launcher;
mod leader;
mod limits;
#[cfg(target_os = "linux")]
mod look;
#[cfg(not(target_os = "linux"))]
#[path = "no_look.rs"]
mod look;
mod lookup;
mod membership;
#[cfg(target_os = "linux")]
mod orphans;
mod os;
mod pace;
mod plan;
mod reaper;
mod sigchld;
mod sigpipe;
mod spawn;
mod stderr;
mod stdin;
mod stdio;
mod sweeper;
#[cfg(target_os = "linux")]
mod table;
mod tail;
mod thread;
mod usage;
mod watch;

pub use cgroup::CgroupMode;
pub use command::{Command, CommandError, CommandMistake, Wiring};
pub use control::{Control, KILL_WAIT, Unkillable};
pub(crate) use disposition::{is_ignored, is_pending};
pub use environment::Environment;
pub use exited::{Exited, Status, Success};
pub use guardian::{GuardianError, guardian};
pub use hold::Hold;
pub use ladder::{Ended, Ladder, Rung, kill, terminate};
pub use launcher::{Launcher, Process, Stderr, Stdout};
pub use limits::{Limits, LimitsError};
#[cfg(target_os = "linux")]
pub use orphans::Adopted;
pub use os::{OsLauncher, OsLauncherBuilder};
pub use rustix::process::Signal;
pub use spawn::Technique;
pub use stderr::{LineLog, drain};
pub(crate) use stderr::{drain_into, let_others_run};
pub use stdin::Stdin;
pub use stdio::Sockets;
pub use tail::Tail;
pub use usage::{Gauge, Usage};
