//! The rules of pools, one by one, and random histories of them.

mod anonymous;
mod cost;
mod ends;
mod eviction;
mod failing;
mod history;
mod keyed;
mod resting;

use std::time::Duration;

use super::*;
use crate::{
    id::Incarnation,
    vocabulary::{Down, Limit, State},
};

/// A ledger with a clock and a memory of what it said.
struct Bench {
    ledger: Ledger,
    now: At,
    tickets: u64,
}

impl Bench {
    fn keyed(max: usize) -> Bench {
        Bench::with(LedgerConfig::keyed(max))
    }

    fn with(config: LedgerConfig) -> Bench {
        Bench { ledger: Ledger::new(config).unwrap(), now: At::EPOCH, tickets: 0 }
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        self.now = self.now.after(Duration::from_millis(1));
        self.feed_raw(input).iter().map(show).collect()
    }

    fn feed_raw(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.ledger.handle(self.now, input, &mut out);
        self.ledger.audit();
        out
    }

    fn ask(&mut self, key: &str) -> Vec<String> {
        self.tickets += 1;
        let key = (key != "*").then(|| key.into());
        self.feed(Input::Acquire { ticket: Ticket(self.tickets), key })
    }

    fn cancel(&mut self, ticket: u64) -> Vec<String> {
        self.feed(Input::Cancel { ticket: Ticket(ticket) })
    }

    fn report(&mut self, key: &str, incarnation: u64, state: State) -> Vec<String> {
        self.feed(Input::Child { key: key.into(), incarnation: Incarnation(incarnation), state })
    }

    fn ready(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, State::Ready)
    }

    fn gone(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, State::down(Down::Ended))
    }

    fn gives_up(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, State::down(Down::GaveUp { why: Limit::NeverStarts }))
    }

    fn backs_off(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.report(key, incarnation, State::BackingOff { until: At::NEVER, attempt: 1 })
    }

    /// The newest lease on a key.
    fn lease_on(&self, key: &str) -> LeaseId {
        let place = self.ledger.by_key[key];
        LeaseId { number: *self.ledger.place(place).leases.last().unwrap(), place }
    }

    fn release(&mut self, key: &str) -> Vec<String> {
        let lease = self.lease_on(key);
        self.feed(Input::Release { lease })
    }

    /// A worker that is ready and leased once.
    fn lend(&mut self, key: &str) {
        self.ask(key);
        if self.ledger.status().workers.iter().any(|w| w.key.as_str() == key && w.state == State::Starting) {
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
        self.feed_raw(Input::Tick).iter().map(show).collect()
    }
}

fn show(action: &Action) -> String {
    match action {
        Action::Start { key } => format!("start {key}"),
        Action::Stop { key, reason } => format!("stop {key} {reason:?}"),
        Action::Grant { ticket, granted } => {
            format!("grant {} {}{}", ticket.0, granted.key, granted.incarnation)
        }
        Action::Refuse { ticket, refusal: Refusal::Failed { .. } } => format!("refuse {} Failed", ticket.0),
        Action::Refuse { ticket, refusal } => format!("refuse {} {refusal:?}", ticket.0),
        Action::Revoke { why, .. } => format!("revoke {why:?}"),
        Action::Timer { at: Some(at) } => format!("timer {at}"),
        Action::Timer { at: None } => "timer off".into(),
        Action::Drained => "drained".into(),
    }
}

impl Ledger {
    /// The roster, and every other index, is what the places say.
    fn audit(&self) {
        let mut roster = Roster::default();
        let mut waiting = self.line.len();
        for (&seq, ticket) in &self.line {
            assert_eq!(self.tickets[ticket], (seq, None));
        }
        for (ix, place) in self.places.iter().enumerate() {
            let ix = u32::try_from(ix).unwrap();
            roster.mark(true, ix, place, &self.config);
            let known = self.by_key.get(&place.key) == Some(&ix);
            assert_ne!(known, self.spare.contains(&ix), "{place:?}");
            assert!(
                known || (place.life == Life::Absent && place.line.is_empty() && place.leases.is_empty())
            );
            assert!(place.leases.is_empty() || place.life == Life::Ready, "leases only on ready workers");
            for (&seq, ticket) in &place.line {
                assert_eq!(self.tickets[ticket], (seq, Some(ix)));
            }
            waiting += place.line.len();
        }
        assert_eq!(roster, self.roster);
        assert_eq!(waiting, self.tickets.len());
        assert_eq!(self.by_key.len() + self.spare.len(), self.places.len());
    }
}
