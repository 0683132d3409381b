//! Workers whose end has become known: [`FailingWorkers`], until the ledger has heard of it.
//!
//! An end is noticed on any thread, perhaps inside a lock of the channel. So it is noted here, and the ledger is told before
//! it is next used. Until the exit is known, and handled by the pool's actor, nothing else would.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{
    core::{PoolCore, PoolInner},
    ledger::LedgerInput,
};
use crate::{
    id::{ChildId, Incarnation},
    time::Timestamp,
};

#[derive(Debug, Default)]
pub(super) struct FailingWorkers {
    /// Read without the lock at each lease.
    any: AtomicBool,
    workers: Mutex<Vec<(ChildId, Incarnation)>>,
}

impl FailingWorkers {
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
    pub(super) fn heed_ends(&self, inner: &mut PoolInner, now: Timestamp) {
        if !self.failing.any.load(Ordering::Acquire) {
            return;
        }
        for (key, incarnation) in self.failing.take() {
            inner.feed(now, LedgerInput::Failing { key, incarnation });
        }
    }
}
