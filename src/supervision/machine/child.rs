//! One row of the machine's table.

use std::sync::Arc;

use super::io::{Key, NewChild, RequestId, Timer};
use crate::{
    id::{ChildId, Incarnation},
    restart::{RestartType, Tracker},
    supervision::policy::ChildPolicy,
    vocabulary::{Down, State},
};

/// Why the current or last start was made. It decides what a failed start means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// By the supervisor: its own start, a restart by policy, a group restart.
    Supervisor,
    /// By an operator's `restart`, after which the policy rules.
    Restart,
    /// By an operator's `restart_child` or `reload`: a failure is reported, and the child stays down.
    Once,
    /// By an operator's `start_child`: a failure is reported, and the child is forgotten.
    Provisional,
}

/// What follows when a child that is being stopped has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It stays down.
    Stay,
    /// It stays down until the group restart comes to it.
    Group,
    /// It starts again.
    Start(Cause),
    /// It is forgotten.
    Forget,
}

/// A request that waits for this child.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    /// Until it is down.
    Gone(RequestId),
    /// Until it is ready, or is not going to be.
    Verdict(RequestId),
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) policy: Arc<ChildPolicy>,
    pub(super) state: State,
    pub(super) incarnation: Incarnation,
    /// The incarnation has been started and has not been reported as gone.
    pub(super) alive: bool,
    pub(super) tracker: Tracker,
    pub(super) cause: Cause,
    pub(super) after: After,
    /// An operator has stopped it.
    pub(super) held: bool,
    /// An operator has stopped it during the group restart under way, which leaves it alone then.
    pub(super) skip_pass: bool,
    /// It has been ready at least once.
    pub(super) proven: bool,
    pub(super) waiters: Vec<Waiter>,
}

impl Child {
    pub(super) fn new(new: NewChild) -> Child {
        Child {
            id: new.id,
            policy: new.policy,
            state: State::down(if new.held { Down::Stopped } else { Down::NeverStarted }),
            incarnation: new.last_incarnation,
            alive: false,
            tracker: Tracker::new(new.seed),
            cause: Cause::Supervisor,
            after: After::Stay,
            held: new.held,
            skip_pass: false,
            proven: false,
            waiters: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> Key {
        Key { child: self.id.clone(), incarnation: self.incarnation }
    }

    pub(super) fn timer(&self) -> Timer {
        Timer::Child(self.key())
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.policy.restart.restart == RestartType::Temporary
    }

    /// Whether a group restart, or the supervisor's own start, brings this child to life (rule S-12).
    pub(super) fn joins_pass(&self) -> bool {
        let stays_stopped = self.held && self.policy.restart.restart == RestartType::UnlessStopped;
        let gave_up = matches!(self.state, State::Down { why: Down::GaveUp { .. } });
        !self.state.is_alive() && !stays_stopped && !gave_up && !self.skip_pass
    }
}
