//! Where there is no `clone3`, or nobody has written the few instructions that it takes.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::spawned_process::{SpawnError, SpawnedProcess};
use crate::process::launch::exec_plan::ExecPlan;

#[derive(Debug)]
pub(super) enum Stack {}

/// Refuses.
pub(super) fn spawn(
    _: &mut Option<Stack>,
    _: &ExecPlan,
    _: &[OwnedFd; 3],
    _: Option<BorrowedFd<'_>>,
) -> Option<Result<SpawnedProcess, SpawnError>> {
    None
}

pub(super) fn is_available() -> bool {
    false
}
