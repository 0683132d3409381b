//! [`PoolStatus`]: a snapshot of a ledger (L-8). Plain data, separate from the live records.

use serde::{Deserialize, Serialize};

use super::{GivenUpKey, Ledger, worker_slot::SlotState};
use crate::{
    clock::TreeInstant,
    id::{ChildId, Incarnation},
    state::ChildState,
};

/// A pool at one moment. Taking it changes nothing and does not count as use (L-9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolStatus {
    /// The workers that occupy a slot, by key.
    pub(crate) workers: Vec<WorkerStatus>,
    /// Keyed pools: keys that callers wait for and that have no slot, the longest waiting first.
    pub(crate) wanted: Vec<WantedKeyStatus>,
    /// Keys that were given up and are not retried yet.
    pub(crate) given_up: Vec<GivenUpKey>,
    /// Workers that are kept alive even when idle; zero in a keyed pool.
    pub(crate) min: usize,
    /// The cap.
    pub(crate) max: usize,
    /// Slots in use: starting, ready, waiting for a restart and stopping.
    pub(crate) used: usize,
    /// Ready workers.
    pub(crate) ready: usize,
    /// Ready workers without leases.
    pub(crate) idle: usize,
    /// Leases held.
    pub(crate) leases: usize,
    /// Callers that wait for any reason.
    pub(crate) waiting: usize,
    /// No more leases are granted.
    pub(crate) draining: bool,
    /// What has happened since the pool began.
    pub(crate) totals: LifetimeTotals,
}

/// One worker of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its key.
    pub key: ChildId,
    /// What it is doing.
    pub state: ChildState,
    /// The newest incarnation that was reported; [`Incarnation::NONE`] before the first report.
    pub incarnation: Incarnation,
    /// The session registered for its key.
    pub session: Option<String>,
    /// Leases held.
    pub leases: usize,
    /// Leases granted since the slot was assigned.
    pub served: u64,
    /// Callers that wait for this key.
    pub waiting: usize,
    /// The last acquire or release.
    pub last_used: Option<TreeInstant>,
    /// When its first start was requested.
    pub started: Option<TreeInstant>,
    /// Since when the present incarnation has been ready.
    pub ready_since: Option<TreeInstant>,
}

/// A key that callers wait for and that has no slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedKeyStatus {
    /// The key.
    pub key: ChildId,
    /// Callers that wait for it.
    pub waiting: usize,
}

/// Counters of a pool. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifetimeTotals {
    /// Leases granted.
    pub granted: u64,
    /// Callers refused.
    pub refused: u64,
    /// Callers that gave up while they waited.
    pub cancelled: u64,
    /// Leases that ended before their holder released them.
    pub revoked: u64,
    /// Workers started by the pool.
    pub started: u64,
    /// Workers stopped to make room.
    pub evicted: u64,
    /// Workers stopped because they were unused.
    pub expired: u64,
    /// Reports that were dropped: about an old incarnation, or about a key that has no worker.
    pub stale: u64,
}

pub(super) fn increment(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

impl Ledger {
    /// A snapshot of everything (L-8).
    pub(crate) fn status(&self) -> PoolStatus {
        let mut workers: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| slot.state != SlotState::Absent)
            .map(|slot| WorkerStatus {
                key: slot.key.clone(),
                state: slot.child_state(),
                incarnation: slot.incarnation,
                session: self.sessions.get(&slot.key).cloned(),
                leases: slot.leases.len(),
                served: slot.served,
                waiting: slot.queue.len(),
                last_used: slot.last_used,
                started: slot.started,
                ready_since: slot.ready_since,
            })
            .collect();
        workers.sort_by(|a, b| a.key.cmp(&b.key));
        let wanted = self.indexes.startable.values().map(|&ix| {
            let slot = self.slot(ix);
            WantedKeyStatus { key: slot.key.clone(), waiting: slot.queue.len() }
        });
        PoolStatus {
            wanted: wanted.collect(),
            given_up: self.given_up.at(self.now),
            min: self.config.min,
            max: self.config.max,
            used: self.indexes.used,
            ready: self.indexes.ready,
            idle: self.indexes.idle.len(),
            leases: workers.iter().map(|w| w.leases).sum(),
            waiting: self.tickets.len(),
            draining: self.is_draining(),
            totals: self.totals,
            workers,
        }
    }
}
