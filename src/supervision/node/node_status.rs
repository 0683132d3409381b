//! The entry of a place on the board, which snapshots read: [`NodeStatus`], and a supervisor's [`RestartsUsed`] in it.
//!
//! Owned by the place, behind its lock. It knows nothing of who writes it.

use std::sync::Arc;

use super::SnapshotSource;
use crate::{
    exit::Exit,
    id::Incarnation,
    restart::{Intensity, Window},
    snapshot::SupervisorSnapshot,
    state::{ChildKind, ChildState, DownReason, Strategy},
    supervision::start::ExitGrace,
    time::Timestamp,
};

pub(super) struct NodeStatus {
    pub(super) kind: ChildKind,
    pub(super) state: ChildState,
    pub(super) since: Timestamp,
    pub(super) consecutive_failures: u32,
    /// When those will have been forgotten, if the child goes on being ready.
    pub(super) forgets: Option<Timestamp>,
    pub(super) total_failures: u64,
    pub(super) total_restarts: u32,
    /// What earlier lives of the supervisor have counted.
    pub(super) earlier: (u64, u32),
    /// What its present life has counted.
    counted: (u64, u32),
    pub(super) has_been_ready: bool,
    /// How long an exit here may wait to be judged.
    pub(super) exit_grace: ExitGrace,
    /// The last incarnation that was to be reached no more: its end may be noticed before its beginning is told.
    pub(super) retracted: Incarnation,
    pub(super) last_exit: Option<Box<Exit>>,
    pub(super) restarts_used: Option<Box<RestartsUsed>>,
    pub(super) snapshot_source: Option<Arc<dyn SnapshotSource>>,
}

impl NodeStatus {
    pub(super) fn new(kind: ChildKind, now: Timestamp) -> NodeStatus {
        NodeStatus {
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
            exit_grace: ExitGrace::default(),
            retracted: Incarnation::NONE,
            last_exit: None,
            restarts_used: None,
            snapshot_source: None,
        }
    }

    pub(super) fn set_state(&mut self, state: ChildState, at: Timestamp) {
        self.has_been_ready |= state == ChildState::Ready;
        self.state = state;
        self.since = at;
    }

    /// A life of the supervisor begins, which counts from zero.
    pub(super) fn adopted(&mut self) {
        self.earlier = (self.total_failures, self.total_restarts);
        self.counted = (0, 0);
        (self.consecutive_failures, self.forgets) = (0, None);
    }

    /// Failures in a row, as an exit at this moment would find them.
    pub(super) fn failures_in_a_row(&self, now: Timestamp) -> u32 {
        if self.forgets.is_some_and(|at| at <= now) { 0 } else { self.consecutive_failures }
    }

    /// Writes what the present life of the supervisor has counted.
    pub(super) fn count(&mut self, failures: u64, restarts: u32) {
        if failures < self.counted.0 || restarts < self.counted.1 {
            // An operator has revived the child: nothing counts that was before.
            self.earlier = (0, 0);
        }
        self.counted = (failures, restarts);
        self.total_failures = self.earlier.0.saturating_add(failures);
        self.total_restarts = self.earlier.1.saturating_add(restarts);
    }
}

/// A supervisor's restarts, as a snapshot shows them.
///
/// The times are kept, and counted when somebody looks: restarts leave the window without anybody telling, and a figure
/// that is made at each change would be made a thousand times in a storm and be stale after it.
#[derive(Clone, Debug)]
pub(crate) struct RestartsUsed {
    strategy: Strategy,
    intensity: Intensity,
    restarts: Window,
}

impl RestartsUsed {
    /// Nothing of it is used.
    pub(crate) fn new(strategy: Strategy, intensity: Intensity) -> RestartsUsed {
        RestartsUsed { strategy, intensity, restarts: Window::new() }
    }

    /// A restart has been counted.
    pub(super) fn count_restart(&mut self, at: Timestamp) {
        // It was within the intensity: the supervisor's own window, which has the same times, has said so.
        let _ = self.restarts.try_restart(at, &self.intensity);
    }

    /// What is used in the period that ends now.
    pub(super) fn at(&mut self, now: Timestamp) -> SupervisorSnapshot {
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
        // S-2, E-2: nobody writes meanwhile.
        let second = |n| Timestamp::new(Duration::from_secs(n));
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
