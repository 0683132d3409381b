//! From a [`Command`](super::Command) to a running process.
//!
//! ```text
//! os_launcher ── launch_rate ──► launch_thread ──► exec_plan ─► program_lookup
//!                                                ├► spawn                 clone3, posix_spawn or the standard library
//!                                                └► launched_process ───► os_control, back on the caller's runtime
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

pub use os_launcher::{OsLauncher, OsLauncherBuilder};
pub use spawn::Technique;
