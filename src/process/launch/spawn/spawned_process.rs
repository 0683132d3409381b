//! What comes out of the creation of a process: [`SpawnedProcess`] or [`SpawnError`].

use std::os::fd::OwnedFd;

use rustix::process::Pid;

use crate::{containment::Containment, exit::LaunchStage};

/// A process that has just been created.
#[derive(Debug)]
pub(in crate::process::launch) struct SpawnedProcess {
    pub(in crate::process::launch) pid: Pid,
    /// From its very creation, where the technique has that.
    pub(in crate::process::launch) pidfd: Option<OwnedFd>,
    /// What this technique holds it by.
    pub(in crate::process::launch) containment: Containment,
}

/// Why there is no process.
#[derive(Debug)]
pub(in crate::process::launch) struct SpawnError {
    pub(in crate::process::launch) stage: LaunchStage,
    pub(in crate::process::launch) errno: Option<i32>,
    pub(in crate::process::launch) what: String,
}

impl SpawnError {
    pub(super) fn new(stage: LaunchStage, errno: Option<i32>, what: String) -> SpawnError {
        SpawnError { stage, errno, what }
    }
}
