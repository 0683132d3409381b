//! The incarnation beside the primary one, as data: [`Second`].

use std::sync::Arc;

use crate::{
    clock::TreeInstant,
    event::StartReason,
    id::Incarnation,
    state::{ChildState, SecondIncarnationRole},
    supervision::child_policy::ChildPolicy,
};

/// Which incarnation of a child a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrimaryOrSecond {
    Primary,
    Second,
}

#[derive(Debug)]
pub(super) struct Second {
    pub(super) incarnation: Incarnation,
    pub(super) role: SecondIncarnationRole,
    /// Why it was started.
    pub(super) reason: StartReason,
    /// Starting, ready or stopping; backing off, if it is a spare that waits for its next start.
    pub(super) state: ChildState,
    /// The policy of the definition that it was started from.
    pub(super) policy: Arc<ChildPolicy>,
    /// The primary incarnation has ended, and the child waits for this one.
    pub(super) outlives_primary: bool,
    /// It is failing, and has been asked to stop all the same.
    pub(super) failing_asked: bool,
    /// How often in a row a spare has ended without being asked.
    pub(super) failures: u32,
    pub(super) ready_since: Option<TreeInstant>,
}

impl Second {
    pub(super) fn is_alive(&self) -> bool {
        self.state.is_alive()
    }
}

/// A second incarnation, as [`Machine::children`](super::Machine::children) returns it.
#[derive(Clone, Copy, Debug)]
pub struct SecondView<'a> {
    /// Its number; that of the last one, if it is a spare that waits for its next start.
    pub incarnation: Incarnation,
    /// What it is there for.
    pub role: SecondIncarnationRole,
    /// What it is doing.
    pub state: &'a ChildState,
    /// The policy that it was started with.
    pub policy: &'a ChildPolicy,
}

pub(super) fn view(second: &Second) -> SecondView<'_> {
    SecondView {
        incarnation: second.incarnation,
        role: second.role,
        state: &second.state,
        policy: &second.policy,
    }
}
