//! What an engine waits for: [`Timers`], an ordered set, and [`Alarm`], the one task that sleeps until the first is due.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use tokio::task::AbortHandle;

use super::inbox::Inbox;
use crate::{
    supervision::machine::Timer,
    time::{Clock, Timestamp},
};

/// Armed timers. Those that are due at the same moment fire in the order in which they were armed.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Timestamp, u64), Timer>,
    index: HashMap<Timer, (Timestamp, u64), RandomState>,
    next: u64,
}

impl Timers {
    pub(crate) fn arm(&mut self, timer: Timer, at: Timestamp) {
        self.disarm(&timer);
        let key = (at, self.next);
        self.next += 1;
        self.index.insert(timer.clone(), key);
        self.due.insert(key, timer);
    }

    pub(crate) fn disarm(&mut self, timer: &Timer) {
        if let Some(key) = self.index.remove(timer) {
            self.due.remove(&key);
        }
    }

    /// The next timer that is due.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Timer> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.index.remove(&timer);
        Some(timer)
    }

    /// When the first is due.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }
}

/// Wakes the engine. One that goes off too early does no harm, so that it is set anew only for what is due before it:
/// a child that is stopped and ends at once costs no timer, although its patience was one.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<(Timestamp, AbortHandle)>);

impl Alarm {
    /// Makes sure that it goes off when `at` has come.
    pub(crate) fn set(&mut self, at: Timestamp, clock: Clock, inbox: &Inbox) {
        if self.0.as_ref().is_some_and(|(set, _)| *set <= at) {
            return;
        }
        self.cancel();
        let inbox = inbox.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep_until(clock.instant(at)).await;
            inbox.alarm();
        });
        self.0 = Some((at, alarm.abort_handle()));
    }

    /// It has gone off, or is not needed.
    pub(crate) fn cancel(&mut self) {
        if let Some((_, alarm)) = self.0.take() {
            alarm.abort();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.cancel();
    }
}
