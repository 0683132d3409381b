//! [`UnreportedWorkerEnds`]: workers whose end has become known and has not been reported to the ledger yet.
//!
//! An end may be noticed on any thread, possibly under a lock of the channel, so it is only noted here;
//! the ledger is informed before its next use. Otherwise it would lease such a worker until the exit is
//! known and the pool's actor has handled it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::id::{ChildId, Incarnation};

#[derive(Debug, Default)]
pub(super) struct UnreportedWorkerEnds {
    /// Read without the lock on each lease.
    any: AtomicBool,
    workers: Mutex<Vec<(ChildId, Incarnation)>>,
}

impl UnreportedWorkerEnds {
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
