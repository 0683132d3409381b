//! [`Ledger`]: the bookkeeping of a pool: which lease is on which worker, which worker is evicted next,
//! which callers wait.
//!
//! Owned by the pool, which feeds it [`LedgerInput`]s and performs the [`LedgerAction`]s in the order
//! in which they are produced. It is a pure state machine: no I/O, no clock, no randomness, no runtime;
//! it does not know processes, actors, restart policies or deadlines (a caller whose deadline passes is
//! a [`LedgerInput::Cancel`]). The same inputs always give the same actions.
//!
//! # Guarantees
//!
//! * The cap is never exceeded: a slot is free only when nothing of its worker is left (L-3). A swap
//!   (W-5) occupies one more slot while it lasts, and never one that a caller waits for.
//! * Each request is answered exactly once, unless it was cancelled; each lease is on one incarnation
//!   that was ready when it was granted, and is released or revoked exactly once (L-7).
//! * No caller waits for a slot while one is free or an idle worker could make room (L-4); none waits
//!   for a start that has failed for good (L-1).
//! * A key that a worker's policy has given up stays given up for `failed_pause`: nothing is started
//!   for it, and callers that would need a start are refused at once.
//! * The first caller in the queue is overtaken by at most `max_overtakes` younger callers while no
//!   slot is on its way to it.
//!
//! # Fairness
//!
//! A caller for a worker that is ready and has room needs no slot and is served at once. A worker that
//! becomes idle while another key waits for a slot is stopped for that key, the longest waiting key
//! first, even if the worker is in frequent use: the waiting caller came first. Stopping workers are
//! counted, not assigned: *n* of them are as good as *n* free slots to the first *n* demands, so two
//! demands never count on the same victim, and the victim of a caller that gave up serves the next one.
//!
//! # Cost
//!
//! Granting and releasing a lease on a warm worker takes one hash lookup (none for the release) and a
//! few steps in ordered trees; every other step is O(log n) per action, except [`Ledger::status`] and
//! the beginning of a drain.

mod action;
mod config;
mod given_up_keys;
mod ids;
mod indexes;
mod input;
mod scheduling;
mod status;
#[cfg(test)]
mod tests;
mod worker_reports;
mod worker_slot;

use std::collections::{BTreeMap, HashMap};

pub(super) use self::{
    action::{LedgerAction, Refusal, RevokeReason, StopReason},
    config::{InvalidPool, LedgerConfig, LedgerConfigMistake},
    ids::{Granted, LeaseId, Ticket},
    input::LedgerInput,
    scheduling::SWAP_PAUSE,
    status::PoolStatus,
};
pub use self::{
    given_up_keys::GivenUpKey,
    status::{LifetimeTotals, WantedKeyStatus, WorkerStatus},
};

use self::{
    given_up_keys::GivenUpKeys,
    indexes::Indexes,
    status::increment,
    worker_slot::{SlotState, WorkerSlot},
};
use crate::{
    clock::TreeInstant,
    event::RecycleReason,
    id::{ChildId, Incarnation},
};

/// The bookkeeping of one pool. See the [module](self) for what it guarantees.
#[derive(Debug)]
pub(crate) struct Ledger {
    config: LedgerConfig,
    now: TreeInstant,
    /// One sequence for everything: tickets, leases, uses, slots.
    seq: u64,
    slots: Vec<WorkerSlot>,
    /// Indices in `slots` that belong to no key.
    free_slots: Vec<u32>,
    by_key: HashMap<ChildId, u32>,
    /// The waiting callers: their position, and the slot in whose queue they are (anonymous pools:
    /// none).
    tickets: HashMap<Ticket, (u64, Option<u32>)>,
    /// Anonymous pools: the one queue, oldest first.
    queue: BTreeMap<u64, Ticket>,
    indexes: Indexes,
    sessions: BTreeMap<ChildId, String>,
    /// The first position in the queue, and how many callers have overtaken it.
    overtaken: (u64, u32),
    timer_at: Option<TreeInstant>,
    /// Anonymous pools: no spare worker is started before this.
    spares_after: TreeInstant,
    /// Keys that were given up a moment ago.
    given_up: GivenUpKeys,
    drain: DrainState,
    workers_named: u64,
    totals: LifetimeTotals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DrainState {
    No,
    Draining,
    Drained,
}

impl Ledger {
    /// An empty ledger. Feed it a [`LedgerInput::Tick`] to start the `min` workers of an anonymous
    /// pool.
    ///
    /// # Errors
    /// Names every mistake of the configuration.
    pub(crate) fn new(config: LedgerConfig) -> Result<Ledger, InvalidPool> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(InvalidPool { mistakes });
        }
        Ok(Ledger {
            config,
            now: TreeInstant::EPOCH,
            seq: 0,
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_key: HashMap::new(),
            tickets: HashMap::new(),
            queue: BTreeMap::new(),
            indexes: Indexes::default(),
            sessions: BTreeMap::new(),
            overtaken: (0, 0),
            timer_at: None,
            spares_after: TreeInstant::EPOCH,
            given_up: GivenUpKeys::default(),
            drain: DrainState::No,
            workers_named: 0,
            totals: LifetimeTotals::default(),
        })
    }

    /// Processes `input` and appends the resulting actions to `out`. A `now` before an earlier one
    /// counts as the earlier one.
    pub(crate) fn handle(&mut self, now: TreeInstant, input: LedgerInput, out: &mut Vec<LedgerAction>) {
        self.now = self.now.max(now);
        self.given_up.expire(self.now);
        match input {
            LedgerInput::Acquire { ticket, key } => self.acquire(ticket, key, out),
            LedgerInput::Cancel { ticket } => {
                if self.remove_waiter(ticket) {
                    increment(&mut self.totals.cancelled);
                    self.rebalance(out);
                }
            }
            LedgerInput::Release { lease } => self.release(lease, out),
            LedgerInput::Child { key, incarnation, state } => {
                self.worker_changed(&key, incarnation, state, out);
                self.rebalance(out);
            }
            LedgerInput::Failing { key, incarnation } => {
                self.worker_failing(&key, incarnation, out);
                self.rebalance(out);
            }
            LedgerInput::Recycle { key, incarnation, why } => {
                if let Some(&ix) = self.by_key.get(&key) {
                    let slot = self.slot(ix);
                    let pauses = self.now < slot.no_swap_before && why != RecycleReason::Requested;
                    if slot.state == SlotState::Ready && slot.incarnation == incarnation && !pauses {
                        self.change(ix, |slot| slot.recycle = slot.recycle.or(Some(why)));
                        self.stop_if_due(ix, out);
                        self.rebalance(out);
                    }
                }
            }
            LedgerInput::SwapOver { key } => self.end_swap(&key, out),
            LedgerInput::Resize { max } => {
                self.config.max = max;
                self.rebalance(out);
            }
            LedgerInput::Drain => self.begin_drain(out),
            LedgerInput::Tick => {
                if self.timer_at.is_some_and(|at| at <= self.now) {
                    self.timer_at = None;
                }
                self.rebalance(out);
            }
            LedgerInput::ResetFailed => {
                self.given_up.clear();
                self.spares_after = TreeInstant::EPOCH;
                self.rebalance(out);
            }
            LedgerInput::SetSession { key, session } => match session {
                Some(session) => drop(self.sessions.insert(key, session)),
                None => drop(self.sessions.remove(&key)),
            },
        }
    }

    /// A lease on a worker that is ready and has room, if the caller needs neither to wait nor to start
    /// one.
    ///
    /// The warm path, for a pool whose callers share the ledger behind a lock: no ticket, no action.
    /// `None` does not say why; [`LedgerInput::Acquire`] does. Anonymous pools that keep `min_idle`
    /// spares should be fed a [`LedgerInput::Tick`] soon afterwards, so that the spare is replaced.
    pub(crate) fn lease_now(&mut self, now: TreeInstant, key: Option<&ChildId>) -> Option<Granted> {
        self.now = self.now.max(now);
        if self.drain != DrainState::No || key.is_some() != self.config.is_keyed() {
            return None;
        }
        let capacity = self.config.capacity();
        let ix = match key {
            Some(key) => {
                let ix = *self.by_key.get(key)?;
                let slot = self.slot(ix);
                // If callers wait at a worker with room, they are held back from overtaking, and so is
                // this younger caller.
                if !slot.has_room(capacity) || !self.may_overtake(self.seq + 1) {
                    return None;
                }
                ix
            }
            None if self.queue.is_empty() => self.indexes.by_load.first()?.2,
            None => return None,
        };
        Some(self.grant(ix))
    }

    /// The index of a key's slot; see [`LeaseId::slot`].
    pub(in crate::pool) fn slot_of(&self, key: &ChildId) -> Option<usize> {
        self.by_key.get(key).map(|&ix| ix as usize)
    }

    /// Whether this worker is idle, if it is ready and may be replaced now.
    pub(in crate::pool) fn is_replaceable(
        &self,
        now: TreeInstant,
        key: &ChildId,
        incarnation: Incarnation,
    ) -> Option<bool> {
        let slot = self.by_key.get(key).map(|&ix| self.slot(ix))?;
        let is_live = slot.state == SlotState::Ready && slot.incarnation == incarnation;
        let may = is_live && slot.recycle.is_none() && now >= slot.no_swap_before;
        may.then_some(slot.is_idle())
    }

    /// Whether the pool takes no more work.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain != DrainState::No
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> &LedgerConfig {
        &self.config
    }

    fn acquire(&mut self, ticket: Ticket, key: Option<ChildId>, out: &mut Vec<LedgerAction>) {
        if self.tickets.contains_key(&ticket) {
            return;
        }
        if let Some(granted) = self.lease_now(self.now, key.as_ref()) {
            out.push(LedgerAction::Grant { ticket, granted });
            if !self.config.is_keyed() {
                self.rebalance(out); // a spare was taken
            }
            return;
        }
        let refusal = if self.is_draining() {
            Some(Refusal::Draining)
        } else if key.is_some() != self.config.is_keyed() {
            Some(Refusal::WrongKind)
        } else if let Some(pause) = key.as_ref().and_then(|key| self.pause(Some(key))) {
            Some(Refusal::Failed { why: pause.why.clone(), until: Some(pause.until) })
        } else {
            (!self.may_wait(key.as_ref())).then_some(Refusal::Exhausted)
        };
        if let Some(refusal) = refusal {
            return self.refuse(ticket, refusal, out);
        }
        let seq = self.next_seq();
        let ix = key.map(|key| self.slot_for(key));
        self.tickets.insert(ticket, (seq, ix));
        match ix {
            Some(ix) => self.change(ix, |slot| slot.queue.insert(seq, ticket)),
            None => self.queue.insert(seq, ticket),
        };
        self.rebalance(out);
    }

    /// Whether one more caller may wait: always if it joins a start, or if a slot is free or can be
    /// made free for it; otherwise while the queue has room (L-4).
    fn may_wait(&self, key: Option<&ChildId>) -> bool {
        let (max, indexes) = (self.config.max, &self.indexes);
        let Some(key) = key else {
            let slots = indexes.coming + max.saturating_sub(indexes.used);
            let served = slots.saturating_mul(self.config.capacity());
            return self.queue.len() < served.saturating_add(self.config.max_waiting);
        };
        let slot = self.by_key.get(key).map(|&ix| self.slot(ix));
        let state = slot.map_or(SlotState::Absent, |slot| slot.state);
        let joins = matches!(
            state,
            SlotState::Reserved | SlotState::Starting | SlotState::Failing | SlotState::Waiting { .. }
        ) || slot.is_some_and(WorkerSlot::is_awaiting_successor);
        let demand = matches!(state, SlotState::Absent | SlotState::Stopping { .. })
            && slot.is_none_or(|slot| slot.queue.is_empty());
        let evictable =
            !indexes.idle.is_empty() || !indexes.unwanted_restarts.is_empty() || !indexes.leased.is_empty();
        let live = indexes.live();
        let has_slot = live + indexes.demands.len() < max || (live <= max && evictable);
        joins || (demand && has_slot) || indexes.queued < self.config.max_waiting
    }

    /// The pause that keeps a given-up key (in an anonymous pool: any further worker) from being
    /// started.
    fn pause(&self, key: Option<&ChildId>) -> Option<&GivenUpKey> {
        let pause = match key {
            Some(key) => self.given_up.get(key),
            None if self.config.is_keyed() => None,
            None => self.given_up.last(),
        };
        pause.filter(|pause| pause.until > self.now)
    }

    /// Whether a key is given up, and how many are.
    pub(in crate::pool) fn given_up(&self, key: &ChildId) -> (bool, usize) {
        (self.given_up.get(key).is_some(), self.given_up.len())
    }

    /// Removes a caller from its queue. `false` if it does not wait.
    fn remove_waiter(&mut self, ticket: Ticket) -> bool {
        let Some((seq, ix)) = self.tickets.remove(&ticket) else { return false };
        let Some(ix) = ix else {
            self.queue.remove(&seq);
            return true;
        };
        self.change(ix, |slot| slot.queue.remove(&seq));
        let slot = self.slot(ix);
        if slot.queue.is_empty() && matches!(slot.state, SlotState::Absent | SlotState::Reserved) {
            self.vacate(ix); // no caller wants it and nothing was started
        }
        true
    }

    fn release(&mut self, lease: LeaseId, out: &mut Vec<LedgerAction>) {
        let ix = lease.slot;
        if !self.slots.get(ix as usize).is_some_and(|slot| slot.leases.contains(&lease.number)) {
            return;
        }
        let last_touch = (self.next_seq(), self.now);
        self.change(ix, |slot| {
            slot.leases.remove(&lease.number);
            slot.last_touch = last_touch;
            slot.last_used = Some(last_touch.1);
        });
        // The warm path: no caller waits, and the timer is armed for something earlier.
        let quiet = self.tickets.is_empty()
            && self.config.is_keyed()
            && self.drain == DrainState::No
            && self.indexes.live() <= self.config.max
            && self.slot(ix).recycle.is_none();
        if quiet {
            return self.arm_timer(out);
        }
        self.stop_if_due(ix, out);
        self.rebalance(out);
    }

    /// Whether a caller at this position may have a lease that needs no slot: not if it would overtake
    /// the first in the queue once too often while no slot is on its way to that one.
    fn may_overtake(&self, seq: u64) -> bool {
        let Some(limit) = self.config.max_overtakes else { return true };
        match self.first_unserved() {
            Some(head) if head < seq => limit > if self.overtaken.0 == head { self.overtaken.1 } else { 0 },
            _ => true,
        }
    }

    /// The first position in the queue, if no slot is on its way to it.
    fn first_unserved(&self) -> Option<u64> {
        let head = self.indexes.demands.first_key_value().map(|(&seq, _)| seq)?;
        (self.indexes.live() >= self.config.max).then_some(head)
    }

    fn count_overtaking(&mut self, seq: u64) {
        if let Some(head) = self.first_unserved().filter(|&head| head < seq) {
            if self.overtaken.0 != head {
                self.overtaken = (head, 0);
            }
            self.overtaken.1 = self.overtaken.1.saturating_add(1);
        }
    }

    /// One more lease on a worker that has room for it, for a caller that has just arrived.
    fn grant(&mut self, ix: u32) -> Granted {
        self.count_overtaking(self.seq + 1);
        self.lease(ix)
    }

    fn lease(&mut self, ix: u32) -> Granted {
        let last_touch = (self.next_seq(), self.now);
        increment(&mut self.totals.granted);
        self.change(ix, |slot| {
            slot.leases.insert(last_touch.0);
            slot.last_touch = last_touch;
            slot.granted = last_touch.0;
            slot.last_used = Some(last_touch.1);
            slot.was_leased = true;
            increment(&mut slot.served);
            Granted {
                lease: LeaseId { number: last_touch.0, slot: ix },
                key: slot.key.clone(),
                incarnation: slot.incarnation,
            }
        })
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal, out: &mut Vec<LedgerAction>) {
        increment(&mut self.totals.refused);
        out.push(LedgerAction::Refuse { ticket, refusal });
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn slot(&self, ix: u32) -> &WorkerSlot {
        &self.slots[ix as usize]
    }

    /// Changes a slot and keeps the indexes consistent with it.
    fn change<R>(&mut self, ix: u32, change: impl FnOnce(&mut WorkerSlot) -> R) -> R {
        let slot = &mut self.slots[ix as usize];
        self.indexes.record(false, ix, slot, &self.config);
        let result = change(slot);
        self.indexes.record(true, ix, slot, &self.config);
        result
    }

    /// The slot of a key; a new one, `Absent`, if it has none.
    fn slot_for(&mut self, key: ChildId) -> u32 {
        if let Some(&ix) = self.by_key.get(&key) {
            return ix;
        }
        let slot = WorkerSlot::new(key.clone());
        let ix = match self.free_slots.pop() {
            Some(ix) => {
                self.slots[ix as usize] = slot;
                ix
            }
            None => {
                self.slots.push(slot);
                // There are only as many slots as workers and waiting callers: memory runs out before
                // the index does.
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_key.insert(key, ix);
        ix
    }

    /// The worker is gone. The slot is kept while callers wait for its key.
    fn vacate(&mut self, ix: u32) {
        self.change(ix, WorkerSlot::vacate);
        if self.slot(ix).queue.is_empty() {
            self.by_key.remove(&self.slots[ix as usize].key);
            self.free_slots.push(ix);
        }
    }
}
