//! What snapshots read of a node: [`SharedNodeStatus`], and for a supervisor its [`RestartsUsed`].
//!
//! It is owned by the node, behind its lock, and does not know who writes it.

use std::sync::Arc;

use super::WorkerSnapshotSource;
use crate::{
    clock::TreeInstant,
    exit::Exit,
    id::Incarnation,
    restart::{Intensity, Window},
    snapshot::{SecondSnapshot, SupervisorSnapshot},
    state::{ChildKind, ChildState, DownReason, SecondIncarnationRole, Strategy},
    supervision::start::JudgementDelay,
};

pub(super) struct SharedNodeStatus {
    pub(super) kind: ChildKind,
    pub(super) state: ChildState,
    pub(super) since: TreeInstant,
    pub(super) consecutive_failures: u32,
    /// When these failures will have been forgotten, if the child stays ready.
    pub(super) forgets: Option<TreeInstant>,
    pub(super) total_failures: u64,
    pub(super) total_restarts: u32,
    /// Failures and restarts that earlier incarnations of the supervisor counted.
    pub(super) earlier: (u64, u32),
    /// Failures and restarts that its current incarnation has counted.
    counted: (u64, u32),
    pub(super) has_been_ready: bool,
    /// A demand starts the child.
    pub(super) on_demand: bool,
    /// The incarnation beside the primary one.
    pub(super) second: Option<Box<SecondSnapshot>>,
    /// How the last spare ended, if it ended by itself and none has been ready since.
    spare_exit: Option<Box<Exit>>,
    /// How long an exit of this child may wait to be judged.
    pub(super) judgement_delay: JudgementDelay,
    /// The newest incarnation that has been retracted: its end may be noticed before its start is
    /// published.
    pub(super) retracted: Incarnation,
    pub(super) last_exit: Option<Box<Exit>>,
    pub(super) restarts_used: Option<Box<RestartsUsed>>,
    pub(super) snapshot_source: Option<Arc<dyn WorkerSnapshotSource>>,
    /// The same for an incarnation that is not the primary one.
    pub(super) second_source: Option<Box<(Incarnation, Arc<dyn WorkerSnapshotSource>)>>,
}

impl SharedNodeStatus {
    pub(super) fn new(kind: ChildKind, now: TreeInstant) -> SharedNodeStatus {
        SharedNodeStatus {
            kind,
            state: ChildState::down(DownReason::NeverStarted),
            since: now,
            consecutive_failures: 0,
            forgets: None,
            total_failures: 0,
            total_restarts: 0,
            earlier: (0, 0),
            counted: (0, 0),
            has_been_ready: false,
            on_demand: false,
            second: None,
            spare_exit: None,
            judgement_delay: JudgementDelay::default(),
            retracted: Incarnation::NONE,
            last_exit: None,
            restarts_used: None,
            snapshot_source: None,
            second_source: None,
        }
    }

    /// What the incarnation beside the primary one is doing has changed.
    pub(super) fn second_changed(
        &mut self,
        incarnation: Incarnation,
        role: SecondIncarnationRole,
        state: &ChildState,
    ) {
        if role != SecondIncarnationRole::Spare || *state == ChildState::Ready {
            self.spare_exit = None;
        }
        let last_exit = self.spare_exit.as_deref().cloned();
        let second = SecondSnapshot { incarnation, role, state: state.clone(), last_exit };
        self.second = (!state.is_down()).then(|| Box::new(second));
    }

    /// An incarnation ended. Returns whether it was the second one, and did not have the place of the
    /// primary one before.
    pub(super) fn second_ended(&mut self, incarnation: Incarnation, exit: &Exit) -> bool {
        let Some(second) = self.second.take_if(|second| second.incarnation == incarnation) else {
            return false;
        };
        if second.role == SecondIncarnationRole::Spare && second.state != ChildState::Stopping {
            self.spare_exit = Some(Box::new(exit.clone()));
        }
        matches!(second.role, SecondIncarnationRole::Spare | SecondIncarnationRole::Successor)
    }

    /// This is the primary incarnation now.
    pub(super) fn incarnation_changed(&mut self, incarnation: Incarnation) {
        self.second.take_if(|second| second.incarnation == incarnation);
        if let Some(second) = self.second_source.take_if(|second| second.0 <= incarnation)
            && second.0 == incarnation
        {
            self.snapshot_source = Some(second.1);
        }
    }

    pub(super) fn set_state(&mut self, state: ChildState, at: TreeInstant) {
        self.has_been_ready |= state == ChildState::Ready;
        self.state = state;
        self.since = at;
    }

    /// A new incarnation of the supervisor begins; it counts from zero.
    pub(super) fn adopted(&mut self) {
        self.earlier = (self.total_failures, self.total_restarts);
        self.counted = (0, 0);
        (self.consecutive_failures, self.forgets) = (0, None);
        (self.second, self.spare_exit, self.second_source) = (None, None, None);
    }

    /// Failures in a row, as an exit at this moment would find them.
    pub(super) fn failures_in_a_row(&self, now: TreeInstant) -> u32 {
        if self.forgets.is_some_and(|at| at <= now) { 0 } else { self.consecutive_failures }
    }

    /// Writes what the current incarnation of the supervisor has counted.
    pub(super) fn count(&mut self, failures: u64, restarts: u32) {
        if failures < self.counted.0 || restarts < self.counted.1 {
            // An operator has revived the child, so earlier counts no longer apply.
            self.earlier = (0, 0);
        }
        self.counted = (failures, restarts);
        self.total_failures = self.earlier.0.saturating_add(failures);
        self.total_restarts = self.earlier.1.saturating_add(restarts);
    }
}

/// A supervisor's restarts, as a snapshot shows them.
///
/// The times are kept, and counted when a snapshot is taken. Restarts leave the window without any
/// event, and a figure computed at each change would be computed a thousand times in a storm and be
/// stale afterwards.
#[derive(Clone, Debug)]
pub(crate) struct RestartsUsed {
    strategy: Strategy,
    intensity: Intensity,
    restarts: Window,
}

impl RestartsUsed {
    /// With no restart used.
    pub(crate) fn new(strategy: Strategy, intensity: Intensity) -> RestartsUsed {
        RestartsUsed { strategy, intensity, restarts: Window::new() }
    }

    /// Counts a restart.
    pub(super) fn count_restart(&mut self, at: TreeInstant) {
        // It was within the intensity: the window of the supervisor, which has the same times, has
        // allowed it.
        let _ = self.restarts.try_restart(at, &self.intensity);
    }

    /// How much is used in the period that ends now.
    pub(super) fn at(&mut self, now: TreeInstant) -> SupervisorSnapshot {
        let Intensity { max_restarts, period } = self.intensity;
        let restarts_used = self.restarts.used(now, &self.intensity);
        let restarts_left = max_restarts.saturating_sub(restarts_used);
        SupervisorSnapshot { strategy: self.strategy, max_restarts, period, restarts_used, restarts_left }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_restart_leaves_the_budget_when_it_is_too_old_and_not_before() {
        // S-2, E-2: nothing is written meanwhile.
        let second = |n| TreeInstant::new(Duration::from_secs(n));
        let mut restarts_used =
            RestartsUsed::new(Strategy::OneForOne, Intensity::new(3, Duration::from_secs(5)));
        restarts_used.count_restart(second(1));
        restarts_used.count_restart(second(4));
        let mut used = |now| {
            let node = restarts_used.at(second(now));
            (node.restarts_used, node.restarts_left)
        };
        assert_eq!(used(4), (2, 1));
        assert_eq!(used(6), (2, 1), "of age 5, it counts");
        assert_eq!(used(7), (1, 2), "the second is still there");
        assert_eq!(used(10), (0, 3));
    }
}
