//! From a running process to nothing: how it is asked to end, killed, reaped and searched for survivors.
//!
//! ```text
//! ladder ──► ProcessControl ─┬─► process_group ──► survivor_query ─► survivor_scan ─► process_table
//!                            │     ▲                                      ▲
//!                  exit_watch┘     │                                      │ reaps on each walk
//!                                reaper: dropped or given up            orphans
//! ```
//!
//! `process_group` is the centre: everything that is done to one process happens there, under one lock.

#[cfg(target_os = "linux")]
pub(super) mod adopted_orphans;
pub(super) mod exit_watch;
#[cfg(target_os = "linux")]
mod group_members;
mod ladder;
pub(super) mod process_group;
#[cfg(target_os = "linux")]
mod process_table;
pub(super) mod reaper;
mod survivor_query;
#[cfg(target_os = "linux")]
mod survivor_scan;
#[cfg(not(target_os = "linux"))]
#[path = "survivor_scan_unsupported.rs"]
mod survivor_scan;

#[cfg(target_os = "linux")]
pub use adopted_orphans::AdoptedOrphansToReap;
pub use ladder::{Ladder, Rung, StopOutcome, kill, terminate};
