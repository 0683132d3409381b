//! One row of the machine's table: [`Child`].

use std::{sync::Arc, time::Duration};

use super::{
    input::{IncarnationKey, NewChild, OperatorRequestId, Timer},
    reload_state::ReloadState,
    second_incarnation::Second,
};
use crate::{
    clock::TreeInstant,
    event::StartReason,
    id::{ChildId, Incarnation},
    restart::{RestartTracker, RestartType},
    state::{ChildState, DownReason},
    supervision::child_policy::{ChildPolicy, StartMode},
};

/// Why the current or last start was made. It decides what a failed start means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartCause {
    /// By the supervisor: its own start, a restart by policy, a group restart.
    Supervisor,
    /// By an operator's `restart`, after which the policy applies.
    Restart,
    /// By a demand, after which the policy applies.
    Demand,
    /// By an operator's `restart_child`: a failure is reported, and the child stays down.
    Once,
    /// By a reload: a failure is reported, and the child returns with the definition before (G-13).
    Reload,
    /// By an operator's `start_child`: a failure is reported, and the child is removed.
    Provisional,
}

/// What follows when a child that is being stopped has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterStop {
    /// It stays down.
    Stay,
    /// It stays down until the group restart reaches it.
    Group,
    /// It starts again.
    Start(StartCause),
    /// It is removed.
    Forget,
    /// It stays down until it is demanded.
    Idle,
    /// Its exit has been judged, and leads to the state in `settles_as`.
    Settle,
}

/// A request that waits for this child.
#[derive(Clone, Copy, Debug)]
pub(super) enum RequestWaiter {
    /// Until it is down.
    Stop(OperatorRequestId),
    /// Until it is ready, or its start has failed.
    Start(OperatorRequestId),
    /// As `Start`, by a `restart`: it joins the start that another restart has caused.
    Restart(OperatorRequestId),
    /// Until a start that took its change is ready or has failed.
    Reload {
        id: OperatorRequestId,
        /// The start in flight, or the next one if that is stopped, has taken its change.
        taken: bool,
    },
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) policy: Arc<ChildPolicy>,
    pub(super) state: ChildState,
    /// Its primary incarnation: `state` is about it.
    pub(super) incarnation: Incarnation,
    /// The newest incarnation, primary or second.
    pub(super) last: Incarnation,
    pub(super) second: Option<Box<Second>>,
    pub(super) reload: Option<Box<ReloadState>>,
    /// The state that follows `AfterStop::Settle`.
    pub(super) settles_as: Option<Box<ChildState>>,
    pub(super) tracker: RestartTracker,
    pub(super) cause: StartCause,
    /// Why the current start was made or, if it is not alive, the next one will be.
    pub(super) reason: StartReason,
    pub(super) after: AfterStop,
    /// An operator has stopped it.
    pub(super) stopped_by_operator: bool,
    /// An operator has stopped it during the current pass, or its end was judged while the pass was
    /// starting others: the pass leaves it alone.
    pub(super) skip_pass: bool,
    /// The timer for its next start is armed.
    pub(super) armed: bool,
    /// It has been ready at least once.
    pub(super) has_been_ready: bool,
    /// When the process of its current incarnation ended, if that was reported before the exit.
    pub(super) process_ended_at: Option<TreeInstant>,
    /// When an operator last restarted it.
    pub(super) restarted_by_operator: Option<TreeInstant>,
    pub(super) waiters: Vec<RequestWaiter>,
}

impl Child {
    pub(super) fn new(new: NewChild) -> Child {
        let mut tracker = RestartTracker::new(new.seed);
        if new.has_been_ready {
            tracker.set_has_been_ready();
        }
        Child {
            id: new.id,
            policy: new.policy,
            state: ChildState::down(if new.stopped_by_operator {
                DownReason::Stopped
            } else {
                DownReason::NeverStarted
            }),
            incarnation: new.last_incarnation,
            last: new.last_incarnation,
            second: None,
            reload: None,
            settles_as: None,
            tracker,
            cause: StartCause::Supervisor,
            reason: StartReason::Initial,
            after: AfterStop::Stay,
            stopped_by_operator: new.stopped_by_operator,
            skip_pass: false,
            armed: false,
            has_been_ready: false,
            process_ended_at: None,
            restarted_by_operator: None,
            waiters: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> IncarnationKey {
        IncarnationKey { child: self.id.clone(), incarnation: self.incarnation }
    }

    pub(super) fn timer(&self) -> Timer {
        Timer::Child(self.key())
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.policy.restart.restart == RestartType::Temporary
    }

    /// Whether a group restart, or the supervisor's own start, starts this child (rule S-12). One
    /// that waits for its own timer does not need it.
    pub(super) fn joins_pass(&self) -> bool {
        let gave_up = matches!(self.state, ChildState::Down { why: DownReason::GaveUp { .. } });
        !self.state.is_alive()
            && !self.armed
            && !gave_up
            && !self.is_left_alone()
            && (!self.is_dormant() || !self.waiters.is_empty())
    }

    /// Whether it is started by a demand alone (S-28).
    pub(super) fn is_dormant(&self) -> bool {
        match self.state {
            ChildState::Down { why: DownReason::Idle } => true,
            ChildState::Down { why: DownReason::NeverStarted } => self.policy.start == StartMode::OnDemand,
            _ => false,
        }
    }

    /// How long a restart by an operator would have to wait (rule R-8).
    pub(super) fn too_soon(&self, now: TreeInstant) -> Option<Duration> {
        let wait = self.policy.restart.min_interval?.checked_sub(now.since(self.restarted_by_operator?))?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Notes why the next start is made, as far as its cause says so.
    pub(super) fn note_reason(&mut self, cause: StartCause) {
        self.reason = match cause {
            StartCause::Restart | StartCause::Once => StartReason::Operator,
            StartCause::Demand => StartReason::Demand,
            StartCause::Reload => self.reload_reason(),
            StartCause::Supervisor | StartCause::Provisional => return,
        };
    }

    /// The cause of the start that is in flight, or that follows the current stop.
    pub(super) fn start_in_flight(&self) -> Option<StartCause> {
        match (&self.state, self.after) {
            (ChildState::Starting, _) => Some(self.cause),
            (ChildState::Stopping, AfterStop::Start(cause)) => Some(cause),
            _ => None,
        }
    }

    /// Whether the supervisor cannot start without this child (rule S-7).
    pub(super) fn is_required_for_boot(&self) -> bool {
        !self.has_been_ready && self.policy.start == StartMode::Required
    }

    /// Whether no pass starts this child, because an operator does not want it to run.
    pub(super) fn is_left_alone(&self) -> bool {
        self.skip_pass
            || (self.stopped_by_operator && self.policy.restart.restart == RestartType::UnlessStopped)
    }
}
