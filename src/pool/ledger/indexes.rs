//! [`Indexes`]: the orders in which a ledger looks at its slots.
//!
//! Owned by the ledger, which removes a slot from the indexes before it changes the slot and adds it
//! again afterwards; both go through [`Indexes::record`], so that no index can be forgotten. It knows
//! nothing of tickets or time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    config::LedgerConfig,
    worker_slot::{SlotState, SwapPhase, WorkerSlot},
};

/// Slots in the order of a number that is unique among them.
pub(super) type Index = BTreeMap<u64, u32>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// Slots in use (L-3). A swap occupies one more.
    pub(super) used: usize,
    /// Slots whose worker is stopping, and the processes that a successor has replaced: each will serve
    /// one more key.
    pub(super) stopping: usize,
    /// Starts under way, those of successors included.
    pub(super) starting: usize,
    /// Ready workers.
    pub(super) ready: usize,
    /// Workers with leases.
    pub(super) busy: usize,
    /// Anonymous pools: workers that are expected to become ready by themselves.
    pub(super) coming: usize,
    /// Keyed pools: callers that wait for a slot, or for a lease on a full worker.
    pub(super) queued: usize,
    /// Ready without leases, least recently used first. A worker that is being replaced is idle as long as
    /// no caller waits for that.
    pub(super) idle: Index,
    /// Waiting for a restart that no caller waits for, least recently used first.
    pub(super) unwanted_restarts: Index,
    /// With leases, the least recently granted first; maintained only where busy workers may be
    /// evicted.
    pub(super) leased: Index,
    /// Ready with room and with queued callers, the oldest caller first.
    pub(super) grantable: Index,
    /// Wanted, and without a worker that is alive or on its way: the oldest caller first.
    pub(super) demands: Index,
    /// The demands whose former worker is closed.
    pub(super) startable: Index,
    /// Slots whose start waits for its turn, oldest first.
    pub(super) reserved: Index,
    /// Anonymous pools: ready with room, the least loaded first; among equals the most recently used, so that
    /// the others can grow idle enough to be stopped.
    pub(super) by_load: BTreeSet<(usize, Reverse<u64>, u32)>,
}

impl Indexes {
    /// Slots in use and not about to become free.
    pub(super) fn live(&self) -> usize {
        self.used - self.stopping
    }

    /// Adds a slot to the indexes, or removes it.
    pub(super) fn record(&mut self, on: bool, ix: u32, slot: &WorkerSlot, rules: &LedgerConfig) {
        let count = |n: &mut usize, by: usize| if on { *n += by } else { *n -= by };
        let list = |order: &mut Index, at: u64| {
            if on {
                order.insert(at, ix);
            } else {
                order.remove(&at);
            }
        };
        if slot.state != SlotState::Absent {
            count(&mut self.used, 1);
        }
        if let Some(phase) = slot.swap {
            count(&mut self.used, 1);
            if phase == SwapPhase::Leaving || matches!(slot.state, SlotState::Stopping { .. }) {
                count(&mut self.stopping, 1);
            } else if matches!(slot.state, SlotState::Ready | SlotState::Failing) {
                count(&mut self.starting, 1);
            }
        }
        let first = slot.first_waiter();
        match slot.state {
            SlotState::Absent | SlotState::Stopping { .. } => {
                if let Some(first) = first {
                    list(&mut self.demands, first);
                    count(&mut self.queued, slot.queue.len());
                    if slot.state == SlotState::Absent {
                        list(&mut self.startable, first);
                    }
                }
                if slot.state != SlotState::Absent {
                    count(&mut self.stopping, 1);
                }
            }
            SlotState::Reserved => {
                list(&mut self.reserved, slot.reserved);
                count(&mut self.coming, 1);
            }
            SlotState::Starting => {
                count(&mut self.starting, 1);
                count(&mut self.coming, 1);
            }
            SlotState::Ready => {
                count(&mut self.ready, 1);
                // Callers that wait for a successor join a start.
                if !slot.is_awaiting_successor() {
                    count(&mut self.queued, slot.queue.len());
                }
                if slot.leases.is_empty() {
                    if slot.recycle.is_none() || first.is_none() {
                        list(&mut self.idle, slot.last_touch.0);
                    }
                } else {
                    count(&mut self.busy, 1);
                    if rules.evict_busy {
                        list(&mut self.leased, slot.granted);
                    }
                }
                if slot.has_room(rules.capacity()) {
                    if let Some(first) = first {
                        list(&mut self.grantable, first);
                    }
                    if !rules.is_keyed() {
                        let entry = (slot.leases.len(), Reverse(slot.last_touch.0), ix);
                        if on {
                            self.by_load.insert(entry);
                        } else {
                            self.by_load.remove(&entry);
                        }
                    }
                }
            }
            // It is likely to return soon.
            SlotState::Failing => count(&mut self.coming, 1),
            SlotState::Waiting { attempt, .. } => {
                if first.is_none() {
                    list(&mut self.unwanted_restarts, slot.last_touch.0);
                }
                // A worker that died without having been leased predicts how the next one ends: callers
                // of an anonymous pool wait for its back-off instead of starting others into the same
                // fault. After a whole crash loop (cooling off) a new worker is worth a try.
                if !slot.was_leased && attempt.is_some() {
                    count(&mut self.coming, 1);
                }
            }
        }
    }
}
