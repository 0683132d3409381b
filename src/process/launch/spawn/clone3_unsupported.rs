//! Stands in for `clone3` on systems that lack it and on architectures that `arch` does not cover.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::spawned_process::{SpawnError, SpawnedProcess};
use crate::process::launch::exec_plan::ExecPlan;

#[derive(Debug)]
pub(super) enum Stack {}

/// Always `None`: the technique is not available.
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
