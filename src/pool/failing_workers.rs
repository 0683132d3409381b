//! Workers whose end has become known: [`FailingWorkers`], until the ledger has heard of it.
//!
//! An end is noticed on any thread, perhaps inside a lock of the channel. So it is noted here, and the ledger is told before
//! it is next used. Until the exit is known, and handled by the pool's actor, nothing else would.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::id::{ChildId, Incarnation};

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

    /// Those that were noted since the last call. Without a lock if there are none.
    pub(super) fn take(&self) -> Vec<(ChildId, Incarnation)> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut workers = self.workers();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut workers)
    }
}
