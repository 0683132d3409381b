//! Runs after each input: grants leases, assigns slots, stops workers, and sets the timer.

use std::time::Duration;

use super::{
    DrainState, GivenUpKey, Ledger, LedgerAction, Refusal, RevokeReason, StopReason,
    status::increment,
    worker_slot::{SlotState, SwapPhase},
};
use crate::{clock::TreeInstant, event::RecycleReason, id::ChildId};

/// The pause after a swap that has failed.
pub(in crate::pool) const SWAP_PAUSE: Duration = Duration::from_secs(60);

impl Ledger {
    /// Does everything that can be done now for the waiting callers.
    pub(super) fn rebalance(&mut self, out: &mut Vec<LedgerAction>) {
        if self.drain != DrainState::No {
            return self.finish_drain(out);
        }
        loop {
            // An eviction can make overtaking allowed again, so repeat until nothing changes.
            let moved = if self.config.is_keyed() {
                // Slots first: while a free slot is unassigned, it would look as if it were on its way
                // to the next caller in the queue.
                self.assign_slots() | self.grant_waiting(out) | self.evict(out)
            } else {
                self.grant_waiting(out)
                    | self.refuse_waiting(out)
                    | self.assign_new_workers()
                    | self.evict(out)
            };
            if !moved {
                break;
            }
        }
        self.expire(out);
        self.begin_starts(out);
        self.arm_timer(out);
    }

    /// Grants leases to waiting callers that need no slot, the oldest first.
    fn grant_waiting(&mut self, out: &mut Vec<LedgerAction>) -> bool {
        let mut moved = false;
        while let Some((&seq, &ix)) = self.indexes.grantable.first_key_value() {
            if !self.may_overtake(seq) {
                break;
            }
            self.count_overtaking(seq);
            let Some((_, ticket)) = self.change(ix, |slot| slot.queue.pop_first()) else { break };
            self.hand_over(ix, ticket, out);
            moved = true;
        }
        while !self.queue.is_empty() {
            let Some(&(_, _, ix)) = self.indexes.by_load.first() else { break };
            let Some((_, ticket)) = self.queue.pop_first() else { break };
            self.hand_over(ix, ticket, out);
            moved = true;
        }
        moved
    }

    /// Refuses all callers of an anonymous pool that pauses and has no worker left: none would be
    /// started for them.
    fn refuse_waiting(&mut self, out: &mut Vec<LedgerAction>) -> bool {
        if self.queue.is_empty() || self.indexes.live() > 0 {
            return false;
        }
        let Some(GivenUpKey { why, until, .. }) = self.pause(None).cloned() else { return false };
        for ticket in std::mem::take(&mut self.queue).into_values() {
            self.tickets.remove(&ticket);
            self.refuse(ticket, Refusal::Failed { why: why.clone(), until: Some(until) }, out);
        }
        true
    }

    fn hand_over(&mut self, ix: u32, ticket: super::Ticket, out: &mut Vec<LedgerAction>) {
        self.tickets.remove(&ticket);
        let granted = self.lease(ix);
        out.push(LedgerAction::Grant { ticket, granted });
    }

    /// Keyed pools: assigns free slots to the keys that wait, the oldest first.
    fn assign_slots(&mut self) -> bool {
        let mut moved = false;
        while self.indexes.used < self.config.max {
            let Some((_, &ix)) = self.indexes.startable.first_key_value() else { break };
            self.reserve(ix);
            moved = true;
        }
        moved
    }

    /// Anonymous pools: assigns free slots to as many new workers as the waiting callers and the spares
    /// require.
    fn assign_new_workers(&mut self) -> bool {
        let mut moved = false;
        // A reservation that is no longer needed is returned; the latest first.
        while let Some((_, &ix)) = self.indexes.reserved.last_key_value() {
            let without = self.indexes.coming - 1;
            if self.is_short_with(without) || self.indexes.live() <= self.warm_target() {
                break;
            }
            self.vacate(ix);
        }
        while self.indexes.used < self.config.max {
            let spare_due = self.indexes.live() < self.warm_target() && self.now >= self.spares_after;
            if !spare_due && (self.pause(None).is_some() || !self.is_short_with(self.indexes.coming)) {
                break;
            }
            self.workers_named += 1;
            let ix = self.slot_for(ChildId::from(format!("w{}", self.workers_named)));
            self.reserve(ix);
            moved = true;
        }
        moved
    }

    fn is_short_with(&self, coming: usize) -> bool {
        self.queue.len() > coming.saturating_mul(self.config.capacity())
    }

    /// How many workers an anonymous pool keeps alive without callers.
    fn warm_target(&self) -> usize {
        let spares = if self.config.min_idle == 0 { 0 } else { self.indexes.busy + self.config.min_idle };
        self.config.min.max(spares).min(self.config.max)
    }

    fn reserve(&mut self, ix: u32) {
        let last_touch = (self.next_seq(), self.now);
        self.change(ix, |slot| {
            slot.state = SlotState::Reserved;
            slot.reserved = last_touch.0;
            slot.last_touch = last_touch;
        });
    }

    /// Makes room: for a lowered cap, then for the keys that wait and cannot count on a slot yet. First
    /// it stops workers that wait for a restart that no caller wants (L-7), then the least recently
    /// used idle one (L-4), then, if allowed, the least recently granted busy one. A lowered cap never
    /// costs a busy worker.
    fn evict(&mut self, out: &mut Vec<LedgerAction>) -> bool {
        let mut moved = false;
        // Slots that were assigned before the cap was lowered, and are not used yet, are returned: the
        // latest first.
        while self.indexes.used > self.config.max {
            let Some((_, &ix)) = self.indexes.reserved.last_key_value() else { break };
            self.vacate(ix);
            moved = true;
        }
        loop {
            let (live, demands) = (self.indexes.live(), self.indexes.demands.len());
            let over = live > self.config.max;
            if !over && (demands == 0 || live + demands <= self.config.max) {
                return moved;
            }
            let unused =
                self.indexes.unwanted_restarts.first_key_value().or(self.indexes.idle.first_key_value());
            let (ix, reason) = match unused {
                Some((_, &ix)) if over => (ix, StopReason::Resize),
                Some((_, &ix)) => (ix, StopReason::Evicted),
                None if over => return moved,
                None => match self.busy_victim() {
                    Some(ix) => (ix, StopReason::EvictedBusy),
                    None => return moved,
                },
            };
            increment(&mut self.totals.evicted);
            self.stop(ix, reason, out);
            moved = true;
        }
    }

    /// The least recently granted busy worker, if a caller arrived after its newest lease.
    fn busy_victim(&self) -> Option<u32> {
        let (&granted, &ix) = self.indexes.leased.first_key_value()?;
        let (&newest, _) = self.indexes.demands.last_key_value()?;
        (granted < newest).then_some(ix)
    }

    /// Stops workers that have not been used for the idle TTL (L-5).
    fn expire(&mut self, out: &mut Vec<LedgerAction>) {
        while let Some((ix, _)) = self.next_expiry().filter(|&(_, due)| due <= self.now) {
            increment(&mut self.totals.expired);
            self.stop(ix, StopReason::Idle, out);
        }
    }

    /// The worker that has been unused for longest, and when it may be stopped; `None` if it is kept
    /// warm.
    fn next_expiry(&self) -> Option<(u32, TreeInstant)> {
        let ttl = self.config.idle_ttl?;
        // While callers of an anonymous pool wait, every worker that will return is wanted.
        if !self.queue.is_empty() || (!self.config.is_keyed() && self.indexes.live() <= self.warm_target()) {
            return None;
        }
        let idle = self.indexes.idle.first_key_value();
        let unwanted_restarts = self.indexes.unwanted_restarts.first_key_value();
        let (_, &ix) = idle.into_iter().chain(unwanted_restarts).min()?;
        Some((ix, self.slot(ix).last_touch.1.after(ttl)))
    }

    /// Starts workers in reserved slots, as many at a time as allowed, the oldest first.
    fn begin_starts(&mut self, out: &mut Vec<LedgerAction>) {
        while self.indexes.starting < self.config.start_concurrency {
            let Some((_, &ix)) = self.indexes.reserved.first_key_value() else { return };
            let now = self.now;
            let key = self.change(ix, |slot| {
                slot.state = SlotState::Starting;
                slot.started = Some(now);
                slot.key.clone()
            });
            increment(&mut self.totals.started);
            out.push(LedgerAction::Start { key });
        }
    }

    /// Makes sure that the timer fires no later than it must. It may fire earlier, and then finds
    /// nothing to do, so that a pool in use does not move it on each lease.
    pub(super) fn arm_timer(&mut self, out: &mut Vec<LedgerAction>) {
        if self.config.is_keyed() && self.config.idle_ttl.is_none() {
            return;
        }
        let spares = !self.config.is_keyed()
            && self.indexes.live() < self.warm_target()
            && self.indexes.used < self.config.max;
        // Callers that wait for a live worker get another one when the pause is over.
        let pause = self.pause(None).filter(|_| !self.queue.is_empty()).map(|pause| pause.until);
        let expiry = self.next_expiry().map(|(_, due)| due);
        let due = expiry.into_iter().chain(spares.then_some(self.spares_after)).chain(pause);
        let Some(due) = due.min() else { return };
        if self.timer_at.is_none_or(|at| due < at) {
            self.timer_at = Some(due);
            out.push(LedgerAction::Timer { at: Some(due) });
        }
    }

    /// Stops a worker; its leases are over.
    pub(super) fn stop(&mut self, ix: u32, reason: StopReason, out: &mut Vec<LedgerAction>) {
        self.revoke(ix, RevokeReason::Evicted, out);
        let key = self.change(ix, |slot| {
            slot.state = SlotState::Stopping { ours: Some(reason) };
            slot.key.clone()
        });
        out.push(LedgerAction::Stop { key, reason });
    }

    /// Stops or replaces a worker whose last lease was awaited, if that lease has ended.
    pub(super) fn stop_if_due(&mut self, ix: u32, out: &mut Vec<LedgerAction>) {
        let slot = self.slot(ix);
        if !slot.is_idle() {
            return;
        }
        if self.drain == DrainState::Draining {
            self.stop(ix, StopReason::Drain, out);
        } else if let Some(why) = slot.recycle {
            if slot.swap.is_some() {
                return; // it is being replaced, or the one before it has not ended yet
            }
            // Waiting for room instead would be no better: idle workers may fill the cap for ever.
            if self.has_room_for_successor() {
                self.begin_swap(ix, why, out);
            } else {
                self.stop(ix, StopReason::Recycle, out);
            }
        }
    }

    /// Whether a second process may be started without exceeding the cap and without taking a slot that a
    /// caller waits for.
    fn has_room_for_successor(&self) -> bool {
        let (max, indexes) = (self.config.max, &self.indexes);
        self.config.overlap && indexes.used < max && indexes.live() + indexes.demands.len() < max
    }

    fn begin_swap(&mut self, ix: u32, why: RecycleReason, out: &mut Vec<LedgerAction>) {
        let (key, incarnation) = self.change(ix, |slot| {
            slot.swap = Some(SwapPhase::Starting);
            (slot.key.clone(), slot.incarnation)
        });
        out.push(LedgerAction::Swap { key, incarnation, why });
    }

    /// A key has one process again.
    pub(super) fn end_swap(&mut self, key: &ChildId, out: &mut Vec<LedgerAction>) {
        let Some(&ix) = self.by_key.get(key) else { return };
        if self.slot(ix).swap.is_none() {
            return;
        }
        let retry_at = self.now.after(SWAP_PAUSE);
        self.change(ix, |slot| {
            if slot.is_awaiting_successor() {
                // It goes on.
                slot.recycle = None;
                slot.no_swap_before = retry_at;
            }
            slot.swap = None;
        });
        // Its own replacement may have been waiting for that.
        self.stop_if_due(ix, out);
        self.rebalance(out);
    }

    pub(super) fn begin_drain(&mut self, out: &mut Vec<LedgerAction>) {
        if self.drain != DrainState::No {
            return;
        }
        self.drain = DrainState::Draining;
        let mut waiting: Vec<_> = self.tickets.iter().map(|(&ticket, &(seq, _))| (seq, ticket)).collect();
        waiting.sort_unstable(); // the order of a hash map decides nothing
        for (_, ticket) in waiting {
            self.remove_waiter(ticket);
            self.refuse(ticket, Refusal::Draining, out);
        }
        let mut by_use: Vec<_> = self.by_key.values().map(|&ix| (self.slot(ix).last_touch.0, ix)).collect();
        by_use.sort_unstable();
        for (_, ix) in by_use {
            match self.slot(ix).state {
                SlotState::Reserved => self.vacate(ix), // a spare
                SlotState::Starting | SlotState::Failing | SlotState::Waiting { .. } => {
                    self.stop(ix, StopReason::Drain, out)
                }
                SlotState::Absent | SlotState::Ready | SlotState::Stopping { .. } => {
                    self.stop_if_due(ix, out)
                }
            }
        }
        self.finish_drain(out);
    }

    fn finish_drain(&mut self, out: &mut Vec<LedgerAction>) {
        if self.timer_at.take().is_some() {
            out.push(LedgerAction::Timer { at: None });
        }
        if self.drain == DrainState::Draining && self.indexes.used == 0 {
            self.drain = DrainState::Drained;
            out.push(LedgerAction::Drained);
        }
    }
}
