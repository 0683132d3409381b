//! What a report about a worker means for its slot, its leases and its callers.

use super::{
    Drain, GivenUpKey, Ledger, LedgerAction, Refusal, Revoked, StopReason, status::bump,
    worker_slot::SlotState,
};
use crate::{
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason},
    time::Timestamp,
};

impl Ledger {
    /// A worker changed state. Whatever is of an old incarnation, or impossible, is dropped and counted.
    pub(super) fn child(
        &mut self,
        key: &ChildId,
        incarnation: Incarnation,
        state: ChildState,
        out: &mut Vec<LedgerAction>,
    ) {
        let Some(&ix) = self.by_key.get(key) else { return bump(&mut self.totals.stale) };
        let place = self.place(ix);
        let newer = incarnation > place.incarnation;
        let current = incarnation >= place.incarnation;
        let accepted = match (place.life, &state) {
            (SlotState::Absent | SlotState::Reserved, _) => false,
            (_, ChildState::Down { .. }) => current || incarnation == Incarnation::NONE,
            // A stop of ours is followed by nothing but the end. What was under way before it was heard is no error.
            (SlotState::Stopping { ours: Some(_) }, _) => return,
            (SlotState::Starting, ChildState::Starting | ChildState::Ready) => current,
            (_, ChildState::Starting | ChildState::Ready) => newer,
            (_, _) => current,
        };
        if !accepted {
            return bump(&mut self.totals.stale);
        }
        match state {
            ChildState::Starting => {
                self.revoke(ix, Revoked::Lost, out);
                self.change(ix, |place| {
                    place.reborn(SlotState::Starting, incarnation);
                    place.worked = false;
                });
            }
            ChildState::Ready => {
                self.revoke(ix, Revoked::Lost, out);
                let (seq, now) = (self.next_seq(), self.now);
                self.change(ix, |place| {
                    if place.life != SlotState::Starting || place.incarnation != incarnation {
                        place.worked = false;
                    }
                    place.reborn(SlotState::Ready, incarnation);
                    place.was_ready = true;
                    place.ready_since = Some(now);
                    // Only the first one makes the place young again: a worker that crashes while nobody uses it
                    // must not look used (L-9).
                    if !place.proven {
                        place.proven = true;
                        place.touch = (seq, now);
                    }
                });
            }
            ChildState::BackingOff { until, attempt } => {
                self.waits(ix, incarnation, SlotState::Waiting { until, attempt: Some(attempt) }, out)
            }
            ChildState::CoolingOff { until } => {
                self.waits(ix, incarnation, SlotState::Waiting { until, attempt: None }, out)
            }
            ChildState::Stopping => {
                self.revoke(ix, Revoked::Stopping, out);
                self.change(ix, |place| {
                    place.life = SlotState::Stopping { ours: None };
                    place.incarnation = incarnation;
                    place.recycle = false;
                });
            }
            ChildState::Down { why } => return self.gone(ix, why, out),
        }
        // Nothing lives on in a draining pool, whoever has restarted it; one whose life has just begun has no leases.
        if self.drain == Drain::Draining && !matches!(self.place(ix).life, SlotState::Stopping { .. }) {
            self.stop(ix, StopReason::Drain, out);
        }
    }

    /// The end of a worker has become known.
    pub(super) fn failing(&mut self, key: &ChildId, incarnation: Incarnation, out: &mut Vec<LedgerAction>) {
        let Some(&ix) = self.by_key.get(key) else { return };
        let place = self.place(ix);
        if place.life != SlotState::Ready || place.incarnation != incarnation {
            return;
        }
        self.revoke(ix, Revoked::Lost, out);
        self.change(ix, |place| {
            place.life = SlotState::Failing;
            place.ready_since = None;
            place.recycle = false;
        });
        if self.drain == Drain::Draining {
            self.stop(ix, StopReason::Drain, out);
        }
    }

    fn waits(&mut self, ix: u32, incarnation: Incarnation, life: SlotState, out: &mut Vec<LedgerAction>) {
        self.revoke(ix, Revoked::Lost, out);
        self.change(ix, |place| place.reborn(life, incarnation));
    }

    /// The worker is gone for good and its slot is free. Those who waited for a start that has failed hear of it; those
    /// who waited for a worker that was stopped, or has merely ended, are demands again. What its policy gave up rests.
    fn gone(&mut self, ix: u32, why: DownReason, out: &mut Vec<LedgerAction>) {
        self.revoke(ix, Revoked::Lost, out);
        let place = self.place(ix);
        let asked = matches!(place.life, SlotState::Stopping { ours: Some(_) });
        let failed = !asked && (!place.was_ready || matches!(why, DownReason::GaveUp { .. }));
        let idle_death = !asked && !place.worked;
        let rests = !asked && matches!(why, DownReason::GaveUp { .. }) && !self.config.failed_pause.is_zero();
        let until = rests.then(|| self.now.after(self.config.failed_pause));
        if let Some(until) = until {
            let key = place.key.clone();
            self.resting.insert(GivenUpKey { key, until, why: why.clone() });
        }
        if failed {
            let heads = if self.config.is_keyed() { &self.place(ix).line } else { &self.line };
            let count = if self.config.is_keyed() { usize::MAX } else { self.config.capacity() };
            let refused: Vec<_> = heads.values().take(count).copied().collect();
            for ticket in refused {
                let (seq, line) = self.tickets.remove(&ticket).unwrap_or_default();
                match line {
                    Some(ix) => self.change(ix, |place| place.line.remove(&seq)),
                    None => self.line.remove(&seq),
                };
                self.refuse(ticket, Refusal::Failed { why: why.clone(), until }, out);
            }
        }
        if idle_death {
            self.spares_after = self.now.after(self.config.spare_pause);
        }
        // A spare would be the next to fail.
        self.spares_after = self.spares_after.max(until.unwrap_or(Timestamp::EPOCH));
        self.vacate(ix);
    }

    /// Ends every lease on the live incarnation, the oldest first (L-7).
    pub(super) fn revoke(&mut self, ix: u32, why: Revoked, out: &mut Vec<LedgerAction>) {
        if self.place(ix).leases.is_empty() {
            return;
        }
        let leases = self.change(ix, |place| std::mem::take(&mut place.leases));
        for number in leases {
            bump(&mut self.totals.revoked);
            out.push(LedgerAction::Revoke { lease: super::LeaseId { number, place: ix }, why });
        }
    }
}
