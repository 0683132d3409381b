//! The rules of pools, one by one, and random histories of them.

mod anonymous;
mod cost;
mod ends;
mod eviction;
mod failing_workers;
mod given_up_keys;
mod history;
mod keyed;
mod swaps;

use std::time::Duration;

use super::{config::PoolKind, *};
use crate::{
    id::Incarnation,
    state::{ChildState, DownReason, GiveUpReason},
};

/// A ledger with a clock, whose actions are checked as text.
struct Bench {
    ledger: Ledger,
    now: TreeInstant,
    tickets: u64,
}

impl Bench {
    fn keyed(max: usize) -> Bench {
        Bench::with(LedgerConfig::keyed(max))
    }

    fn with(config: LedgerConfig) -> Bench {
        Bench { ledger: Ledger::new(config).unwrap(), now: TreeInstant::EPOCH, tickets: 0 }
    }

    fn feed(&mut self, input: LedgerInput) -> Vec<String> {
        self.now = self.now.after(Duration::from_millis(1));
        self.feed_raw(input).iter().map(show).collect()
    }

    fn feed_raw(&mut self, input: LedgerInput) -> Vec<LedgerAction> {
        let mut out = Vec::new();
        self.ledger.handle(self.now, input, &mut out);
        self.ledger.audit();
        out
    }

    fn ask(&mut self, key: &str) -> Vec<String> {
        self.tickets += 1;
        let key = (key != "*").then(|| key.into());
        self.feed(LedgerInput::Acquire { ticket: Ticket(self.tickets), key })
    }

    fn cancel(&mut self, ticket: u64) -> Vec<String> {
        self.feed(LedgerInput::Cancel { ticket: Ticket(ticket) })
    }

    fn report(&mut self, key: &str, incarnation: u64, state: ChildState) -> Vec<String> {
        self.feed(LedgerInput::Child { key: key.into(), incarnation: Incarnation(incarnation), state })
    }

    fn ready(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, ChildState::Ready)
    }

    fn gone(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, ChildState::down(DownReason::Ended))
    }

    /// It is as old as it may be.
    fn recycle(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        let (incarnation, why) = (Incarnation(incarnation), RecycleReason::Age);
        self.feed(LedgerInput::Recycle { key: key.into(), incarnation, why })
    }

    fn swap_over(&mut self, key: &str) -> Vec<String> {
        self.feed(LedgerInput::SwapOver { key: key.into() })
    }

    fn gives_up(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, ChildState::down(DownReason::GaveUp { why: GiveUpReason::NeverStarts }))
    }

    fn backs_off(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, ChildState::BackingOff { until: TreeInstant::NEVER, attempt: 1 })
    }

    /// The newest lease on a key.
    fn lease_on(&self, key: &str) -> LeaseId {
        let slot = self.ledger.by_key[key];
        LeaseId { number: *self.ledger.slot(slot).leases.last().unwrap(), slot }
    }

    fn release(&mut self, key: &str) -> Vec<String> {
        let lease = self.lease_on(key);
        self.feed(LedgerInput::Release { lease })
    }

    /// A worker that is ready and leased once.
    fn lend(&mut self, key: &str) {
        self.ask(key);
        if self
            .ledger
            .status()
            .workers
            .iter()
            .any(|w| w.key.as_str() == key && w.state == ChildState::Starting)
        {
            self.ready(key, 1);
        }
        assert_eq!(self.worker(key).leases, 1);
    }

    /// A worker that is ready and idle.
    fn warm(&mut self, key: &str) {
        self.lend(key);
        self.release(key);
    }

    fn worker(&self, key: &str) -> WorkerStatus {
        self.ledger.status().workers.into_iter().find(|w| w.key.as_str() == key).unwrap()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now = self.now.after(time);
        self.feed_raw(LedgerInput::Tick).iter().map(show).collect()
    }
}

fn show(action: &LedgerAction) -> String {
    match action {
        LedgerAction::Start { key } => format!("start {key}"),
        LedgerAction::Swap { key, incarnation, why } => format!("swap {key}{incarnation} {why:?}"),
        LedgerAction::Stop { key, reason } => format!("stop {key} {reason:?}"),
        LedgerAction::Grant { ticket, granted } => {
            format!("grant {} {}{}", ticket.0, granted.key, granted.incarnation)
        }
        LedgerAction::Refuse { ticket, refusal: Refusal::Failed { .. } } => {
            format!("refuse {} Failed", ticket.0)
        }
        LedgerAction::Refuse { ticket, refusal } => format!("refuse {} {refusal:?}", ticket.0),
        LedgerAction::Revoke { why, .. } => format!("revoke {why:?}"),
        LedgerAction::Timer { at: Some(at) } => format!("timer {at}"),
        LedgerAction::Timer { at: None } => "timer off".into(),
        LedgerAction::Drained => "drained".into(),
    }
}

impl Ledger {
    /// The session registered for a key (L-1), whether or not it has a worker.
    fn session(&self, key: &ChildId) -> Option<&str> {
        self.sessions.get(key).map(String::as_str)
    }

    /// Every index is consistent with the slots.
    fn audit(&self) {
        let mut indexes = Indexes::default();
        let mut waiting = self.queue.len();
        for (&seq, ticket) in &self.queue {
            assert_eq!(self.tickets[ticket], (seq, None));
        }
        for (ix, slot) in self.slots.iter().enumerate() {
            let ix = u32::try_from(ix).unwrap();
            indexes.record(true, ix, slot, &self.config);
            let known = self.by_key.get(&slot.key) == Some(&ix);
            assert_ne!(known, self.free_slots.contains(&ix), "{slot:?}");
            assert!(
                known || (slot.state == SlotState::Absent && slot.queue.is_empty() && slot.leases.is_empty())
            );
            assert!(slot.swap.is_none() || !matches!(slot.state, SlotState::Absent | SlotState::Reserved));
            assert!(slot.leases.is_empty() || slot.state == SlotState::Ready, "leases only on ready workers");
            for (&seq, ticket) in &slot.queue {
                assert_eq!(self.tickets[ticket], (seq, Some(ix)));
            }
            waiting += slot.queue.len();
        }
        assert_eq!(indexes, self.indexes);
        assert_eq!(waiting, self.tickets.len());
        assert_eq!(self.by_key.len() + self.free_slots.len(), self.slots.len());
    }
}
