//! Where there is no `clone3`, or nobody has written the few instructions that it takes.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Born, Failure};
use crate::process::plan::Plan;

#[derive(Debug)]
pub(super) enum Stack {}

/// Refuses.
pub(super) fn spawn(
    _: &mut Option<Stack>,
    _: &Plan,
    _: &[OwnedFd; 3],
    _: Option<BorrowedFd<'_>>,
) -> Option<Result<Born, Failure>> {
    None
}

pub(super) fn is_available() -> bool {
    false
}
