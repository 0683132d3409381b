//! The result of creating a process: [`SpawnedProcess`] or [`SpawnError`].

use std::os::fd::OwnedFd;

use rustix::process::Pid;

use crate::{containment::Containment, exit::LaunchStage};

/// A process that has just been created.
#[derive(Debug)]
pub(in crate::process::launch) struct SpawnedProcess {
    pub(in crate::process::launch) pid: Pid,
    /// Where the technique returns one.
    pub(in crate::process::launch) pidfd: Option<OwnedFd>,
    /// The layers of containment that this technique provides.
    pub(in crate::process::launch) containment: Containment,
}

/// Why no process was created.
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
