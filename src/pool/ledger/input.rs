//! What goes into a ledger: [`LedgerInput`].

use serde::{Deserialize, Serialize};

use super::ids::{LeaseId, Ticket};
use crate::{
    event::RecycleReason,
    id::{ChildId, Incarnation},
    state::ChildState,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LedgerInput {
    /// A caller wants a lease. Answered once, by [`LedgerAction::Grant`] or [`LedgerAction::Refuse`], unless
    /// cancelled before.
    Acquire {
        /// The request.
        ticket: Ticket,
        /// The key in a keyed pool, `None` in an anonymous one.
        key: Option<ChildId>,
    },
    /// A waiting caller vanished or reached its deadline. Ignored if it has been answered: a grant that
    /// cannot be delivered is released by the sender (L-6).
    Cancel {
        /// The request.
        ticket: Ticket,
    },
    /// A lease holder is done. Ignored if the lease has been revoked.
    Release {
        /// The lease.
        lease: LeaseId,
    },
    /// A worker changed state.
    ///
    /// `BackingOff`, `CoolingOff` and `Down` carry the incarnation that ended, or [`Incarnation::NONE`]
    /// with `Down` if there was none; a `Starting` after a death carries the new one. `Down` means
    /// *closed*: nothing of the worker is left and nothing more is reported about it. It is also the
    /// answer to a [`LedgerAction::Start`](super::LedgerAction::Start) that could not be performed, and
    /// to a [`LedgerAction::Stop`](super::LedgerAction::Stop) of a worker that was already down.
    Child {
        /// The worker.
        key: ChildId,
        /// The incarnation that the state belongs to.
        incarnation: Incarnation,
        /// The state it is in now.
        state: ChildState,
    },
    /// The end of a worker has become known, but not how it ended: it gets no new leases, and its
    /// leases are over. The outcome is reported later, as [`LedgerInput::Child`]; until then the worker
    /// counts as one that will return. Ignored if it is not ready.
    Failing {
        /// The worker.
        key: ChildId,
        /// The incarnation that ends; other incarnations are not affected.
        incarnation: Incarnation,
    },
    /// The worker shall be replaced when it is unused (W-5): it gets no new leases. When it is idle, a
    /// successor takes its place, if that is allowed and there is room for both; otherwise it is stopped
    /// and returns on demand. For a while after a swap that failed, only
    /// [`RecycleReason::Requested`] is heard.
    Recycle {
        /// The worker.
        key: ChildId,
        /// The incarnation to replace; other incarnations are not affected.
        incarnation: Incarnation,
        /// Why.
        why: RecycleReason,
    },
    /// The key of a [`LedgerAction::Swap`](super::LedgerAction::Swap) has at most one process again. If
    /// its worker is the same as before, that is because the successor did not become ready; otherwise
    /// the successor was reported as ready, or as starting after a death, before this.
    SwapOver {
        /// The worker.
        key: ChildId,
    },
    /// The cap changes. A smaller cap stops idle workers at once, and busy ones once they are idle.
    /// Zero pauses the pool.
    Resize {
        /// The new cap.
        max: usize,
    },
    /// Grant no more leases, stop each worker once its leases are over, and then report
    /// [`LedgerAction::Drained`](super::LedgerAction::Drained).
    Drain,
    /// The timer fired (or time passed).
    Tick,
    /// Given-up keys may be retried at once.
    ResetFailed,
    /// A session belongs to a key (L-1). It outlives the workers of the key.
    SetSession {
        /// The key, known or not.
        key: ChildId,
        /// The session, or `None` to forget it.
        session: Option<String>,
    },
}
