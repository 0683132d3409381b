//! What an engine waits for: [`Timers`], an ordered set, and [`TimerTask`], the single task that sleeps
//! until the first one is due.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use tokio::task::AbortHandle;

use super::inbox::InboxSender;
use crate::{
    clock::{Clock, TreeInstant},
    supervision::machine::Timer,
};

/// Armed timers. Timers due at the same moment fire in the order in which they were armed.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(TreeInstant, u64), Timer>,
    index: HashMap<Timer, (TreeInstant, u64), RandomState>,
    next: u64,
}

impl Timers {
    pub(crate) fn arm(&mut self, timer: Timer, at: TreeInstant) {
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
    pub(crate) fn pop(&mut self, now: TreeInstant) -> Option<Timer> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.index.remove(&timer);
        Some(timer)
    }

    /// When the first timer is due.
    pub(crate) fn first(&self) -> Option<TreeInstant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }
}

/// Wakes the engine. A task that fires too early does no harm, so it is set again only for
/// something that is due sooner. A child that stops at once therefore costs no timer, although it
/// had a deadline.
#[derive(Debug, Default)]
pub(crate) struct TimerTask(Option<(TreeInstant, AbortHandle)>);

impl TimerTask {
    /// Makes sure that it fires at `at` or earlier.
    pub(crate) fn set(&mut self, at: TreeInstant, clock: Clock, inbox: &InboxSender) {
        if self.0.as_ref().is_some_and(|(set, _)| *set <= at) {
            return;
        }
        self.cancel();
        let inbox = inbox.clone();
        let timer_task = tokio::spawn(async move {
            tokio::time::sleep_until(clock.instant(at)).await;
            inbox.timer_task_fired();
        });
        self.0 = Some((at, timer_task.abort_handle()));
    }

    /// It has fired, or is no longer needed.
    pub(crate) fn cancel(&mut self) {
        if let Some((_, timer_task)) = self.0.take() {
            timer_task.abort();
        }
    }
}

impl Drop for TimerTask {
    fn drop(&mut self) {
        self.cancel();
    }
}
