//! From a [`Command`](super::Command) to a running process.

mod exec_plan;
mod launch_rate;
mod launch_thread;
mod os_launcher;
mod program_lookup;
mod sigchld;
mod spawn;

pub use os_launcher::{OsLauncher, OsLauncherBuilder};
pub use spawn::Technique;
