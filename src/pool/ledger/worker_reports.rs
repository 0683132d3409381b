//! How a report about a worker changes its slot, its leases and its callers.

use super::{
    DrainState, GivenUpKey, Ledger, LedgerAction, Refusal, RevokeReason, StopReason, status::increment,
    worker_slot::SlotState,
};
use crate::{
    clock::TreeInstant,
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason},
};

impl Ledger {
    /// A worker changed state. Reports that are impossible or about an old incarnation are dropped and
    /// counted.
    pub(super) fn worker_changed(
        &mut self,
        key: &ChildId,
        incarnation: Incarnation,
        state: ChildState,
        out: &mut Vec<LedgerAction>,
    ) {
        let Some(&ix) = self.by_key.get(key) else { return increment(&mut self.totals.stale) };
        let slot = self.slot(ix);
        let newer = incarnation > slot.incarnation;
        let current = incarnation >= slot.incarnation;
        let accepted = match (slot.state, &state) {
            (SlotState::Absent | SlotState::Reserved, _) => false,
            (_, ChildState::Down { .. }) => current || incarnation == Incarnation::NONE,
            // Our own stop is followed only by the end. A report that was under way before the stop was
            // received is no error.
            (SlotState::Stopping { ours: Some(_) }, _) => return,
            (SlotState::Starting, ChildState::Starting | ChildState::Ready) => current,
            (_, ChildState::Starting | ChildState::Ready) => newer,
            (_, _) => current,
        };
        if !accepted {
            return increment(&mut self.totals.stale);
        }
        match state {
            ChildState::Starting => {
                self.revoke(ix, RevokeReason::Lost, out);
                self.change(ix, |slot| {
                    slot.begin_incarnation(SlotState::Starting, incarnation);
                    slot.was_leased = false;
                });
            }
            ChildState::Ready => {
                self.revoke(ix, RevokeReason::Lost, out);
                let (seq, now) = (self.next_seq(), self.now);
                self.change(ix, |slot| {
                    if slot.state != SlotState::Starting || slot.incarnation != incarnation {
                        slot.was_leased = false;
                    }
                    slot.begin_incarnation(SlotState::Ready, incarnation);
                    slot.was_ready = true;
                    slot.ready_since = Some(now);
                    // Only the first time refreshes the slot's age: a worker that crashes while it is
                    // unused must not look used (L-9).
                    if !slot.ever_ready {
                        slot.ever_ready = true;
                        slot.last_touch = (seq, now);
                    }
                });
            }
            ChildState::BackingOff { until, attempt } => {
                self.worker_waits(ix, incarnation, SlotState::Waiting { until, attempt: Some(attempt) }, out)
            }
            ChildState::CoolingOff { until } => {
                self.worker_waits(ix, incarnation, SlotState::Waiting { until, attempt: None }, out)
            }
            ChildState::Stopping => {
                self.revoke(ix, RevokeReason::Stopping, out);
                self.change(ix, |slot| {
                    slot.state = SlotState::Stopping { ours: None };
                    slot.incarnation = incarnation;
                    slot.recycle = None;
                });
            }
            ChildState::Down { why } => return self.gone(ix, why, out),
        }
        // Nothing stays alive in a draining pool, whatever restarted it; an incarnation that has just
        // begun has no leases.
        if self.drain == DrainState::Draining && !matches!(self.slot(ix).state, SlotState::Stopping { .. }) {
            self.stop(ix, StopReason::Drain, out);
        }
    }

    /// The end of a worker has become known.
    pub(super) fn worker_failing(
        &mut self,
        key: &ChildId,
        incarnation: Incarnation,
        out: &mut Vec<LedgerAction>,
    ) {
        let Some(&ix) = self.by_key.get(key) else { return };
        let slot = self.slot(ix);
        if slot.state != SlotState::Ready || slot.incarnation != incarnation {
            return;
        }
        self.revoke(ix, RevokeReason::Lost, out);
        self.change(ix, |slot| {
            slot.state = SlotState::Failing;
            slot.ready_since = None;
            slot.recycle = None;
        });
        if self.drain == DrainState::Draining {
            self.stop(ix, StopReason::Drain, out);
        }
    }

    fn worker_waits(
        &mut self,
        ix: u32,
        incarnation: Incarnation,
        state: SlotState,
        out: &mut Vec<LedgerAction>,
    ) {
        self.revoke(ix, RevokeReason::Lost, out);
        self.change(ix, |slot| slot.begin_incarnation(state, incarnation));
    }

    /// The worker is closed and its slot is free. Callers that waited for a start that failed are
    /// refused; callers that waited for a worker that was stopped, or has merely ended, become demands
    /// again. A key that its policy gave up stays given up for a while.
    fn gone(&mut self, ix: u32, why: DownReason, out: &mut Vec<LedgerAction>) {
        self.revoke(ix, RevokeReason::Lost, out);
        let slot = self.slot(ix);
        let asked = matches!(slot.state, SlotState::Stopping { ours: Some(_) });
        let failed = !asked && (!slot.was_ready || matches!(why, DownReason::GaveUp { .. }));
        let idle_death = !asked && !slot.was_leased;
        let pauses =
            !asked && matches!(why, DownReason::GaveUp { .. }) && !self.config.failed_pause.is_zero();
        let until = pauses.then(|| self.now.after(self.config.failed_pause));
        if let Some(until) = until {
            let key = slot.key.clone();
            self.given_up.insert(GivenUpKey { key, until, why: why.clone() });
        }
        if failed {
            let heads = if self.config.is_keyed() { &self.slot(ix).queue } else { &self.queue };
            let count = if self.config.is_keyed() { usize::MAX } else { self.config.capacity() };
            let refused: Vec<_> = heads.values().take(count).copied().collect();
            for ticket in refused {
                let (seq, queue) = self.tickets.remove(&ticket).unwrap_or_default();
                match queue {
                    Some(ix) => self.change(ix, |slot| slot.queue.remove(&seq)),
                    None => self.queue.remove(&seq),
                };
                self.refuse(ticket, Refusal::Failed { why: why.clone(), until }, out);
            }
        }
        if idle_death {
            self.spares_after = self.now.after(self.config.spare_pause);
        }
        // A spare worker would be the next to fail.
        self.spares_after = self.spares_after.max(until.unwrap_or(TreeInstant::EPOCH));
        self.vacate(ix);
    }

    /// Ends every lease on the live incarnation, the oldest first (L-7).
    pub(super) fn revoke(&mut self, ix: u32, why: RevokeReason, out: &mut Vec<LedgerAction>) {
        if self.slot(ix).leases.is_empty() {
            return;
        }
        let leases = self.change(ix, |slot| std::mem::take(&mut slot.leases));
        for number in leases {
            increment(&mut self.totals.revoked);
            out.push(LedgerAction::Revoke { lease: super::LeaseId { number, slot: ix }, why });
        }
    }
}
