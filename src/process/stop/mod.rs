//! From a running process to nothing.

pub(super) mod exit_watch;
mod ladder;
pub(super) mod leader;
#[cfg(target_os = "linux")]
pub(super) mod orphans;
#[cfg(target_os = "linux")]
mod process_table;
pub(super) mod reaper;
#[cfg(target_os = "linux")]
mod survivor_scan;
#[cfg(not(target_os = "linux"))]
#[path = "no_survivor_scan.rs"]
mod survivor_scan;

pub use ladder::{Ladder, Rung, StopOutcome, kill, terminate};
#[cfg(target_os = "linux")]
pub use orphans::ReapAdopted;
