//! What waits to be changed about a child, and what its last good definition was: [`ReloadState`].

use std::sync::Arc;

use crate::{event::StartReason, supervision::child_policy::ChildPolicy};

/// What is known of a child's definition beside the policy in force.
#[derive(Debug, Default)]
pub(super) struct ReloadState {
    /// Some change waits for the next start.
    pub(super) waiting: bool,
    /// The policy among the changes that wait.
    pub(super) policy: Option<Arc<ChildPolicy>>,
    /// Some request wants the child reloaded as soon as possible.
    pub(super) wanted: bool,
    /// Why it was last wanted.
    pub(super) reason: StartReason,
    /// The policy of the newest definition that a start has taken, if it is not the one in force.
    pub(super) newest: Option<Arc<ChildPolicy>>,
    /// The newest definition is unconfirmed, and this is the policy of the last confirmed one.
    pub(super) confirmed: Option<Arc<ChildPolicy>>,
}
