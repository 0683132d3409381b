//! The timers of one engine: an ordered set, and one task that sleeps until the first is due.

use std::collections::{BTreeMap, HashMap};

use tokio::task::AbortHandle;

use super::{engine::Posts, machine::Timer};
use crate::time::{At, Clock};

/// Armed timers. Those that are due at the same moment fire in the order in which they were armed.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(At, u64), Timer>,
    index: HashMap<Timer, (At, u64)>,
    next: u64,
    alarm: Option<(At, AbortHandle)>,
}

impl Timers {
    pub(crate) fn arm(&mut self, timer: Timer, at: At, clock: Clock, posts: &Posts) {
        self.disarm(&timer);
        let key = (at, self.next);
        self.next += 1;
        self.index.insert(timer.clone(), key);
        self.due.insert(key, timer);
        self.set_alarm(clock, posts);
    }

    pub(crate) fn disarm(&mut self, timer: &Timer) {
        if let Some(key) = self.index.remove(timer) {
            self.due.remove(&key);
        }
        if self.due.is_empty() {
            self.silence();
        }
    }

    /// The next timer that is due.
    pub(crate) fn pop(&mut self, now: At) -> Option<Timer> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.index.remove(&timer);
        Some(timer)
    }

    /// The alarm went off and what was due has been taken: set it anew.
    pub(crate) fn rearm(&mut self, clock: Clock, posts: &Posts) {
        self.alarm = None;
        self.set_alarm(clock, posts);
    }

    /// Makes sure that the alarm goes off when the first timer is due. An alarm that is too early does no harm.
    fn set_alarm(&mut self, clock: Clock, posts: &Posts) {
        let Some((&(first, _), _)) = self.due.first_key_value() else { return };
        if self.alarm.as_ref().is_some_and(|(at, _)| *at <= first) {
            return;
        }
        self.silence();
        let posts = posts.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep_until(clock.instant(first)).await;
            posts.alarm();
        });
        self.alarm = Some((first, alarm.abort_handle()));
    }

    fn silence(&mut self) {
        if let Some((_, alarm)) = self.alarm.take() {
            alarm.abort();
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.silence();
    }
}
