//! What goes into a ledger and what comes out: [`LedgerInput`] and [`LedgerAction`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason},
    time::Timestamp,
};

/// One request for a lease. Numbered by whoever feeds the ledger; a number in use is never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

/// One lease, numbered by the ledger and never again. A lease that is over is recognised and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    pub(super) number: u64,
    pub(super) slot: u32,
}

impl LeaseId {
    /// The number of the worker's slot: small, and no other worker's as long as it has it.
    pub(in crate::pool) fn slot(&self) -> usize {
        self.slot as usize
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}", self.number)
    }
}

/// The right to use one incarnation of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// What to release when done.
    pub lease: LeaseId,
    /// The worker.
    pub key: ChildId,
    /// The life of it that the lease is for (L-7).
    pub incarnation: Incarnation,
}

/// What happened in the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LedgerInput {
    /// A caller wants a lease. Answered once, by [`LedgerAction::Grant`] or [`LedgerAction::Refuse`], unless cancelled before.
    Acquire {
        /// The request.
        ticket: Ticket,
        /// The key in a keyed pool, `None` in an anonymous one.
        key: Option<ChildId>,
    },
    /// A waiting caller vanished or reached its deadline. Ignored if it has been answered: then whoever could not
    /// deliver the grant releases it (L-6).
    Cancel {
        /// The request.
        ticket: Ticket,
    },
    /// A holder is done. Ignored if the lease has been revoked.
    Release {
        /// The lease.
        lease: LeaseId,
    },
    /// A worker changed state.
    ///
    /// `BackingOff`, `CoolingOff` and `Down` carry the incarnation that ended, or [`Incarnation::NONE`] with `Down`
    /// if none came to life; a `Starting` after a death carries the new one. `Down` means *gone*: nothing of the
    /// worker is left and nothing more is reported of it. It is also the answer to a [`LedgerAction::Start`] that could
    /// not be performed, and to an [`LedgerAction::Stop`] of a worker that had already gone.
    Child {
        /// The worker.
        key: ChildId,
        /// The life that the state belongs to.
        incarnation: Incarnation,
        /// The state it is in now.
        state: ChildState,
    },
    /// The end of a worker has become known, and how it ended has not: it gets no new leases, and those it has are over.
    /// What becomes of it is reported later, as [`LedgerInput::Child`]; until then it counts as one that comes back. Ignored if
    /// it is not ready.
    Failing {
        /// The worker.
        key: ChildId,
        /// The life that ends; another one is left alone.
        incarnation: Incarnation,
    },
    /// The worker shall be replaced when nobody uses it (W-5): it gets no new leases, is stopped when idle, and
    /// comes back on demand.
    Recycle {
        /// The worker.
        key: ChildId,
        /// The life to end; another one is left alone.
        incarnation: Incarnation,
    },
    /// The cap changes. A smaller one stops idle workers, and busy ones once they are idle. Zero pauses the pool.
    Resize {
        /// The new cap.
        max: usize,
    },
    /// No more leases; stop each worker once its leases are over; then say [`LedgerAction::Drained`].
    Drain,
    /// The timer fired (or time passed).
    Tick,
    /// What was given up need not rest any longer.
    ResetFailed,
    /// A session belongs to a key (L-1). It outlives the workers of the key.
    SetSession {
        /// The key, known or not.
        key: ChildId,
        /// The session, or `None` to forget it.
        session: Option<String>,
    },
}

/// What the pool has to do, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LedgerAction {
    /// Start a worker for this key; report what becomes of it.
    Start {
        /// The worker.
        key: ChildId,
    },
    /// Stop this worker, whatever it is doing; report `Down` when it is gone.
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
    /// Tell the caller that it gets none.
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
    /// Send [`LedgerInput::Tick`] at that moment, and forget any earlier timer; `None`: only forget it.
    Timer {
        /// The moment.
        at: Option<Timestamp>,
    },
    /// The drained pool has no worker left. StderrExcerpt once.
    Drained,
}

/// Why a pool stops a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// All workers are in use and as many callers wait as may.
    #[error("the pool is exhausted: all workers are in use and the queue is full")]
    Exhausted,
    /// The pool takes no more work.
    #[error("the pool is draining")]
    Draining,
    /// The worker that the caller waited for did not become ready and will not be tried again by itself.
    #[error("the worker could not be started: {}", ChildState::down(why.clone()))]
    Failed {
        /// How its start ended.
        why: DownReason,
        /// When the pool would try it anew, if it rests until then.
        until: Option<Timestamp>,
    },
    /// Misuse: a keyed pool needs a key, an anonymous one takes none.
    #[error("a keyed pool is asked for a key, an anonymous pool for any worker")]
    WrongKind,
}

impl Refusal {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Refusal::Exhausted)
    }
}

/// Why a lease ended before its holder released it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevokeReason {
    /// Its worker was stopped to make room for another key.
    #[error("the worker was stopped to make room for another key")]
    Evicted,
    /// Its worker died, or was replaced by another incarnation.
    #[error("the worker died")]
    Lost,
    /// Its worker was asked to stop by somebody other than the pool.
    #[error("the worker is being stopped")]
    Stopping,
}
