//! [`GivenUpKeys`]: whose worker was given up a moment ago, and until when nobody tries again.
//!
//! Owned by the ledger. Without it, whoever asks for a broken key would pay for a whole series of failed starts with
//! each request, as often as callers ask. It knows nothing of slots or callers.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{id::ChildId, state::DownReason, time::Timestamp};

/// A key whose worker was given up and that is not tried again yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUpKey {
    /// The key; in an anonymous pool the name of the worker, for all that would come after it.
    pub key: ChildId,
    /// When the next caller has it tried anew.
    pub until: Timestamp,
    /// What was reported of it.
    pub why: DownReason,
}

#[derive(Debug, Default)]
pub(super) struct GivenUpKeys {
    pauses: HashMap<ChildId, GivenUpKey>,
    /// In the order in which they end: each lasts equally long. An entry whose moment is not that of its rest is void.
    by_end: VecDeque<(Timestamp, ChildId)>,
}

impl GivenUpKeys {
    /// Rests that are remembered. Beyond it the oldest ends early: what callers name must not fill the memory.
    const MAX: usize = 1024;

    pub(super) fn insert(&mut self, pause: GivenUpKey) {
        self.by_end.push_back((pause.until, pause.key.clone()));
        self.pauses.insert(pause.key.clone(), pause);
        while self.by_end.len() > GivenUpKeys::MAX {
            self.end_first();
        }
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
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

    /// The last that began, and so the last that ends.
    pub(super) fn last(&self) -> Option<&GivenUpKey> {
        self.pauses.get(&self.by_end.back()?.1)
    }

    pub(super) fn clear(&mut self) {
        *self = GivenUpKeys::default();
    }

    pub(super) fn len(&self) -> usize {
        self.pauses.len()
    }

    /// Those that last at that moment, by key.
    pub(super) fn at(&self, now: Timestamp) -> Vec<GivenUpKey> {
        let mut all: Vec<GivenUpKey> =
            self.pauses.values().filter(|pause| pause.until > now).cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }
}
