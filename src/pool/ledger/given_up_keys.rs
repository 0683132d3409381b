//! [`GivenUpKeys`]: keys whose worker was given up a moment ago, and until when they are not retried.
//!
//! Owned by the ledger. Without it, each caller for a broken key would trigger a whole series of failed
//! starts, as often as callers ask. It knows nothing of slots or callers.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{clock::TreeInstant, id::ChildId, state::DownReason};

/// A key whose worker was given up and that is not retried yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUpKey {
    /// The key; in an anonymous pool the name of the worker, on behalf of all further workers.
    pub key: ChildId,
    /// From when on a caller triggers another start.
    pub until: TreeInstant,
    /// What was reported of it.
    pub why: DownReason,
}

#[derive(Debug, Default)]
pub(super) struct GivenUpKeys {
    pauses: HashMap<ChildId, GivenUpKey>,
    /// In the order in which they end: all pauses have the same length. An entry is void if its time
    /// differs from that of its pause.
    by_end: VecDeque<(TreeInstant, ChildId)>,
}

impl GivenUpKeys {
    /// How many pauses are remembered. Beyond that the oldest ends early: the keys that callers name
    /// must not fill the memory.
    const MAX: usize = 1024;

    pub(super) fn insert(&mut self, pause: GivenUpKey) {
        self.by_end.push_back((pause.until, pause.key.clone()));
        self.pauses.insert(pause.key.clone(), pause);
        while self.by_end.len() > GivenUpKeys::MAX {
            self.end_first();
        }
    }

    /// Forgets the pauses that are over.
    pub(super) fn expire(&mut self, now: TreeInstant) {
        while self.by_end.front().is_some_and(|(until, _)| *until <= now) {
            self.end_first();
        }
    }

    fn end_first(&mut self) {
        let Some((until, key)) = self.by_end.pop_front() else { return };
        if self.pauses.get(&key).is_some_and(|pause| pause.until == until) {
            self.pauses.remove(&key);
        }
    }

    pub(super) fn get(&self, key: &ChildId) -> Option<&GivenUpKey> {
        self.pauses.get(key)
    }

    /// The pause that began last, and so ends last.
    pub(super) fn last(&self) -> Option<&GivenUpKey> {
        self.pauses.get(&self.by_end.back()?.1)
    }

    pub(super) fn clear(&mut self) {
        *self = GivenUpKeys::default();
    }

    pub(super) fn len(&self) -> usize {
        self.pauses.len()
    }

    /// The pauses in force at that moment, by key.
    pub(super) fn at(&self, now: TreeInstant) -> Vec<GivenUpKey> {
        let mut all: Vec<GivenUpKey> =
            self.pauses.values().filter(|pause| pause.until > now).cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }
}
