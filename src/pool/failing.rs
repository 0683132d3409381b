//! Workers whose end has become known: [`Failing`], until the ledger has heard of it.
//!
//! An end is noticed on any thread, perhaps inside a lock of the channel. So it is noted here, and the ledger is told before
//! it is next used. Until the exit is known, and handled by the pool's actor, nothing else would.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{
    core::{Inner, PoolCore},
    ledger::Input,
};
use crate::{
    id::{ChildId, Incarnation},
    time::At,
};

#[derive(Debug, Default)]
pub(super) struct Failing {
    /// Read without the lock at each lease.
    any: AtomicBool,
    workers: Mutex<Vec<(ChildId, Incarnation)>>,
}

impl Failing {
    fn workers(&self) -> MutexGuard<'_, Vec<(ChildId, Incarnation)>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, key: ChildId, incarnation: Incarnation) {
        let mut workers = self.workers();
        workers.push((key, incarnation));
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<(ChildId, Incarnation)> {
        let mut workers = self.workers();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut workers)
    }
}

impl PoolCore {
    /// Tells the ledger of those whose end has become known, before it gives anything of them away.
    pub(super) fn heed_ends(&self, inner: &mut Inner, now: At) {
        if !self.failing.any.load(Ordering::Acquire) {
            return;
        }
        for (key, incarnation) in self.failing.take() {
            inner.feed(now, Input::Failing { key, incarnation });
        }
    }
}
