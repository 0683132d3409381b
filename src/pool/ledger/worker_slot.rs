//! [`WorkerSlot`]: what a ledger knows about one key.

use std::collections::{BTreeMap, BTreeSet};

use super::{action::StopReason, ids::Ticket};
use crate::{
    clock::TreeInstant,
    event::RecycleReason,
    id::{ChildId, Incarnation},
    state::ChildState,
};

/// The state of a slot. All but `Absent` occupy one of the pool's slots (L-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// No worker and no assigned slot: callers wait for one.
    Absent,
    /// Assigned; the start waits for its turn.
    Reserved,
    /// A start was requested or, after a death, reported.
    Starting,
    /// Leases may be granted.
    Ready,
    /// Its end has become known, but not how it ended or what follows.
    Failing,
    /// Waits for a restart that its supervisor has decided on: backing off, or cooling off without an
    /// attempt.
    Waiting { until: TreeInstant, attempt: Option<u32> },
    /// Stopping: for the pool's own reason, or for another one.
    Stopping { ours: Option<StopReason> },
}

/// How far a swap is (W-5). While it lasts, its key has two processes and occupies one more of the pool's
/// slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwapPhase {
    /// The successor is starting beside the worker.
    Starting,
    /// The successor is the worker now. The incarnation before it is ending, or has ended.
    Leaving,
}

/// One key: its worker, the leases on it, and the callers that wait for it.
#[derive(Debug)]
pub(super) struct WorkerSlot {
    pub(super) key: ChildId,
    pub(super) state: SlotState,
    pub(super) incarnation: Incarnation,
    /// The numbers of the leases on the live incarnation.
    pub(super) leases: BTreeSet<u64>,
    /// Keyed pools: the callers that wait for this key, oldest first.
    pub(super) queue: BTreeMap<u64, Ticket>,
    /// The slot's position in the order of use, and the time that it stands for.
    pub(super) last_touch: (u64, TreeInstant),
    /// The position of the newest lease in the same order.
    pub(super) granted: u64,
    /// The position at which the slot was assigned.
    pub(super) reserved: u64,
    pub(super) last_used: Option<TreeInstant>,
    pub(super) started: Option<TreeInstant>,
    pub(super) ready_since: Option<TreeInstant>,
    /// Leases granted since the slot was assigned.
    pub(super) served: u64,
    /// Whether any incarnation since the slot was assigned has been ready.
    pub(super) ever_ready: bool,
    /// Whether the present incarnation has been ready.
    pub(super) was_ready: bool,
    /// Whether the present incarnation has been leased.
    pub(super) was_leased: bool,
    /// It is due: it gets no more leases, and is replaced when it is idle.
    pub(super) recycle: Option<RecycleReason>,
    /// It has a second process.
    pub(super) swap: Option<SwapPhase>,
    /// After a swap that failed: no other one before this, unless it is asked for.
    pub(super) no_swap_before: TreeInstant,
}

impl WorkerSlot {
    pub(super) fn new(key: ChildId) -> WorkerSlot {
        WorkerSlot {
            key,
            state: SlotState::Absent,
            incarnation: Incarnation::NONE,
            leases: BTreeSet::new(),
            queue: BTreeMap::new(),
            last_touch: (0, TreeInstant::EPOCH),
            granted: 0,
            reserved: 0,
            last_used: None,
            started: None,
            ready_since: None,
            served: 0,
            ever_ready: false,
            was_ready: false,
            was_leased: false,
            recycle: None,
            swap: None,
            no_swap_before: TreeInstant::EPOCH,
        }
    }

    /// The position of the first caller that waits for this key.
    pub(super) fn first_waiter(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(&seq, _)| seq)
    }

    /// Whether one more lease may be granted.
    pub(super) fn has_room(&self, capacity: usize) -> bool {
        self.state == SlotState::Ready && self.recycle.is_none() && self.leases.len() < capacity
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == SlotState::Ready && self.leases.is_empty()
    }

    /// Whether callers wait for a successor that is starting, as they would wait for a first start.
    pub(super) fn is_awaiting_successor(&self) -> bool {
        self.state == SlotState::Ready && self.swap == Some(SwapPhase::Starting)
    }

    /// Forgets the worker, keeps the waiting callers.
    pub(super) fn vacate(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        *self = WorkerSlot { queue, ..WorkerSlot::new(self.key.clone()) };
    }

    /// Begins another incarnation, or the wait for it.
    pub(super) fn begin_incarnation(&mut self, state: SlotState, incarnation: Incarnation) {
        self.state = state;
        self.incarnation = incarnation;
        self.was_ready = false;
        self.ready_since = None;
        self.recycle = None;
        // Its successor has taken over, or has become its restart.
        self.swap = self.swap.map(|_| SwapPhase::Leaving);
    }

    /// The state as all layers name it.
    pub(super) fn child_state(&self) -> ChildState {
        match self.state {
            SlotState::Absent => ChildState::down(crate::state::DownReason::NeverStarted),
            SlotState::Reserved | SlotState::Starting => ChildState::Starting,
            SlotState::Ready => ChildState::Ready,
            SlotState::Waiting { until, attempt: Some(attempt) } => ChildState::BackingOff { until, attempt },
            SlotState::Waiting { until, attempt: None } => ChildState::CoolingOff { until },
            SlotState::Failing | SlotState::Stopping { .. } => ChildState::Stopping,
        }
    }
}
