//! From a [`Command`](super::Command) to a running process.
//!
//! ```text
//! os_launcher ──► launch_thread ──► launched_process ─┬─► exec_plan ─► program_lookup
//!   │ launch_rate                                     ├─► spawn: clone3, posix_spawn, the standard library
//!   ◄─────────────── on the caller's runtime ─────────┴── os_control
//! ```

mod exec_plan;
mod launch_rate;
mod launch_thread;
mod launched_process;
mod os_control;
mod os_launcher;
mod program_lookup;
mod sigchld;
mod spawn;

#[cfg(feature = "watch")]
pub(crate) use exec_plan::program_of;
pub use os_launcher::{OsLauncher, OsLauncherBuilder};
pub use spawn::Technique;
