//! What comes out of a ledger: [`LedgerAction`].

use serde::{Deserialize, Serialize};

use super::ids::{Granted, LeaseId, Ticket};
use crate::{
    clock::TreeInstant,
    event::RecycleReason,
    id::{ChildId, Incarnation},
    state::DownReason,
};

/// An action for the pool to perform. Actions are performed in the order in which they are produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LedgerAction {
    /// Start a worker for this key, and report its states.
    Start {
        /// The worker.
        key: ChildId,
    },
    /// Start a successor beside this worker, which takes its place when it is ready (W-5). Report
    /// [`LedgerInput::SwapOver`](super::LedgerInput::SwapOver) when the key has one process again, or at
    /// once if this worker is not ready any longer.
    Swap {
        /// The worker.
        key: ChildId,
        /// The incarnation to replace.
        incarnation: Incarnation,
        /// Why.
        why: RecycleReason,
    },
    /// Stop this worker in any state, and its successor; report `Down` when nothing of either is left.
    Stop {
        /// The worker.
        key: ChildId,
        /// Why.
        reason: StopReason,
    },
    /// Give the caller its lease.
    Grant {
        /// The request.
        ticket: Ticket,
        /// The lease.
        granted: Granted,
    },
    /// Tell the caller that it gets no lease.
    Refuse {
        /// The request.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
    /// Tell the holder that its lease is over. It need not be released.
    Revoke {
        /// The lease.
        lease: LeaseId,
        /// Why.
        why: RevokeReason,
    },
    /// Send [`LedgerInput::Tick`](super::LedgerInput::Tick) at that moment, and forget any earlier
    /// timer; `None`: only forget the earlier timer.
    Timer {
        /// The moment.
        at: Option<TreeInstant>,
    },
    /// The drained pool has no worker left. Reported once.
    Drained,
}

/// Why a pool stops a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopReason {
    /// It was idle, or waiting for a restart, and another key needed its slot.
    Evicted,
    /// It was busy, no other was idle, and another key needed its slot.
    EvictedBusy,
    /// It was not used for the idle TTL.
    Idle,
    /// The cap was lowered.
    Resize,
    /// It was to be recycled.
    Recycle,
    /// The pool is draining.
    Drain,
}

/// Why a caller gets no lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// All workers are in use and the wait queue is full.
    Exhausted,
    /// The pool takes no more work.
    Draining,
    /// The worker that the caller waited for did not become ready and will not be retried by itself.
    Failed {
        /// How its start ended.
        why: DownReason,
        /// Until when the key stays given up, if it does.
        until: Option<TreeInstant>,
    },
    /// Misuse: a keyed pool needs a key, an anonymous pool takes none.
    WrongKind,
}

/// Why a lease ended before its holder released it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RevokeReason {
    /// Its worker was stopped to make room for another key.
    Evicted,
    /// Its worker died, or was replaced by another incarnation.
    Lost,
    /// Its worker was asked to stop by something other than the pool.
    Stopping,
}
