//! What the supervisor of a child writes at the child's node.

use std::sync::{Arc, atomic::Ordering};

use super::{Node, RestartsUsed, WorkerSnapshotSource};
use crate::{
    clock::TreeInstant,
    event::EventKind,
    exit::Exit,
    id::Incarnation,
    restart::{RestartPolicy, RestartTracker},
    state::{ChildKind, ChildState, SecondIncarnationRole},
    supervision::{start::JudgementDelay, tree_context::TreeContext},
};

impl Node {
    pub(crate) fn stopped_by_operator(&self) -> bool {
        self.0.stopped_by_operator.load(Ordering::Acquire)
    }

    pub(crate) fn set_stopped_by_operator(&self, stopped_by_operator: bool) {
        self.0.stopped_by_operator.store(stopped_by_operator, Ordering::Release);
    }

    /// Sets the kind of child that is starting here. If the kind changes, nothing of the previous
    /// child is shown afterwards.
    pub(crate) fn set_kind(&self, kind: ChildKind) {
        {
            let mut status = self.status();
            if status.kind == kind {
                return;
            }
            (status.kind, status.restarts_used, status.snapshot_source) = (kind, None, None);
        }
        self.retain_children(|_| false);
    }

    /// From now on, this is the primary incarnation.
    pub(crate) fn set_incarnation(&self, incarnation: Incarnation) {
        if self.0.incarnation.fetch_max(incarnation.0, Ordering::AcqRel) < incarnation.0 {
            self.status().incarnation_changed(incarnation);
        }
    }

    /// What the incarnation beside the primary one is doing has changed.
    pub(crate) fn set_second(
        &self,
        incarnation: Incarnation,
        role: SecondIncarnationRole,
        state: &ChildState,
    ) {
        self.status().second_changed(incarnation, role, state);
    }

    /// An incarnation ended. Returns whether it was one beside the primary one.
    pub(crate) fn second_ended(&self, incarnation: Incarnation, exit: &Exit) -> bool {
        self.status().second_ended(incarnation, exit)
    }

    /// Nothing is left of an incarnation that no engine is left to judge, or it is a spare that was waiting.
    pub(crate) fn forget_second(&self, incarnation: Incarnation) {
        self.status().second.take_if(|second| second.incarnation == incarnation);
    }

    /// Whether a demand starts the child (S-28).
    pub(crate) fn is_on_demand(&self) -> bool {
        self.status().on_demand
    }

    pub(crate) fn set_on_demand(&self, on_demand: bool) {
        self.status().on_demand = on_demand;
    }

    pub(crate) fn set_last_started(&self, incarnation: Incarnation) {
        self.0.last_started.fetch_max(incarnation.0, Ordering::AcqRel);
    }

    /// Writes a state that no engine is left to write, if `incarnation` is still the newest one
    /// here.
    pub(crate) fn record(&self, tree: &TreeContext, incarnation: Incarnation, to: ChildState) {
        if self.incarnation() != incarnation {
            return;
        }
        let from = self.state();
        self.set_state(to.clone(), tree.clock().now());
        tree.bus().publish(&self.0.path, incarnation, EventKind::State { from, to, reason: None });
        self.notify_waiters();
    }

    pub(crate) fn set_exit(&self, exit: Exit) {
        self.status().last_exit = Some(Box::new(exit));
    }

    /// Writes the counters of the current incarnation of the supervisor.
    pub(crate) fn set_counters(&self, now: TreeInstant, tracker: &RestartTracker, policy: &RestartPolicy) {
        let mut status = self.status();
        status.consecutive_failures = tracker.failures_at(now, policy);
        status.forgets = tracker.forgets_at(policy);
        status.count(tracker.total_failures(), tracker.total_restarts());
    }

    /// How long an exit of this child may wait to be judged, by its current policy.
    pub(crate) fn judgement_delay(&self) -> JudgementDelay {
        self.status().judgement_delay
    }

    pub(crate) fn set_judgement_delay(&self, delay: JudgementDelay) {
        self.status().judgement_delay = delay;
    }

    /// A new incarnation of the supervisor begins; it counts from zero.
    pub(crate) fn adopted(&self) {
        self.status().adopted();
    }

    /// Whether any incarnation here has been ready.
    pub(crate) fn has_been_ready(&self) -> bool {
        self.status().has_been_ready
    }

    /// The supervisor at this node begins with an unused intensity.
    pub(crate) fn set_restarts_used(&self, restarts_used: RestartsUsed) {
        self.status().restarts_used = Some(Box::new(restarts_used));
    }

    /// The supervisor at this node has counted a restart.
    pub(crate) fn count_restart(&self, at: TreeInstant) {
        if let Some(restarts_used) = &mut self.status().restarts_used {
            restarts_used.count_restart(at);
        }
    }

    /// Whether a worker has registered itself here.
    pub(crate) fn has_snapshot_source(&self) -> bool {
        self.status().snapshot_source.is_some()
    }

    /// The source of what snapshots show of the primary incarnation of the worker here.
    pub(crate) fn snapshot_source(&self) -> Option<Arc<dyn WorkerSnapshotSource>> {
        self.status().snapshot_source.clone()
    }

    /// Sets the source of what snapshots show of the worker at this node. That of an incarnation that is
    /// not the primary one is shown once it is.
    pub(crate) fn set_snapshot_source(
        &self,
        incarnation: Incarnation,
        source: Arc<dyn WorkerSnapshotSource>,
    ) {
        let mut status = self.status();
        if incarnation <= self.incarnation() {
            status.snapshot_source = Some(source);
        } else {
            status.second_source = Some(Box::new((incarnation, source)));
        }
    }

    /// Writes the state. Waiters see it after [`notify_waiters`](Node::notify_waiters), when its
    /// event has been published.
    pub(crate) fn set_state(&self, state: ChildState, at: TreeInstant) {
        let mut status = self.status();
        self.0.unannounced.store(true, Ordering::Release);
        status.set_state(state, at);
    }

    /// The event about the current state has been published: waiters may look.
    pub(crate) fn notify_waiters(&self) {
        self.0.unannounced.store(false, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}
