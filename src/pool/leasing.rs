//! What callers do with the pool's [`PoolCore`]: lease, wait, release, submit.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::oneshot;

use super::{
    core::{AcquireResponder, CalledFrom, PoolCore, PoolCoreState},
    errors::AcquireError,
    lease::{Lease, LeasedIncarnation},
    lease_wait::LeaseWait,
    ledger::{Granted, LeaseId, LedgerInput, PoolStatus, Ticket},
};
use crate::{clock::TreeInstant, id::ChildId, state::ChildState, supervision::Unavailable};

impl PoolCore {
    /// A lease on a ready worker, without waiting.
    pub(super) fn lease_now(self: &Arc<Self>, key: Option<&ChildId>) -> Option<Lease> {
        if self.spares {
            return self.update(CalledFrom::Anyone, None, |inner, now| {
                let lease = self.lease_warm(inner, now, key);
                inner.feed(now, LedgerInput::Tick);
                lease
            });
        }
        let (lease, pending) = {
            let mut inner = self.lock();
            let now = self.clock.now();
            self.report_failing(&mut inner, now);
            let lease = self.lease_warm(&mut inner, now, key);
            (lease, !inner.actions.is_empty())
        };
        if pending {
            self.update(CalledFrom::Anyone, None, |_, _| ());
        }
        lease
    }

    fn lease_warm(
        self: &Arc<Self>,
        inner: &mut PoolCoreState,
        now: TreeInstant,
        key: Option<&ChildId>,
    ) -> Option<Lease> {
        if inner.closed || (inner.unpublished && inner.is_newly_ready(key)) {
            return None;
        }
        while let Some(granted) = inner.ledger.lease_now(now, key) {
            let leased = inner.leased(&granted)?.clone();
            if leased.is_live() {
                return Some(self.lease(inner, granted, leased));
            }
            // Its end has become known since failing workers were last reported.
            let Granted { key, incarnation, .. } = granted;
            inner.feed(now, LedgerInput::Failing { key, incarnation });
        }
        None
    }

    /// Puts the caller into the queue.
    pub(super) fn enqueue(self: &Arc<Self>, key: Option<ChildId>) -> Result<LeaseWait, AcquireError> {
        let (tx, rx) = oneshot::channel();
        let ticket = self.update(CalledFrom::Anyone, None, |inner, now| {
            if inner.closed {
                return Err(self.gone());
            }
            inner.next_ticket += 1;
            let ticket = Ticket(inner.next_ticket);
            inner.waiters.insert(ticket, AcquireResponder { key: key.clone(), answer: tx });
            inner.feed(now, LedgerInput::Acquire { ticket, key: key.clone() });
            Ok(ticket)
        })?;
        Ok(LeaseWait::new(self.clone(), ticket, key, rx))
    }

    pub(super) fn cancel(self: &Arc<Self>, ticket: Ticket) {
        self.update(CalledFrom::Anyone, None, |inner, now| {
            if inner.waiters.remove(&ticket).is_some() {
                inner.feed(now, LedgerInput::Cancel { ticket });
            }
        });
    }

    pub(super) fn release(self: &Arc<Self>, lease: LeaseId, leased: &LeasedIncarnation) {
        self.update(CalledFrom::Anyone, None, |inner, now| {
            if inner.leases.remove(&lease).is_none() {
                return; // revoked
            }
            leased.released.store(true, Ordering::Relaxed);
            let (calls, age) = (leased.own_calls.load(Ordering::Relaxed), now.since(leased.ready_at));
            if let Some(why) = self.recycling.is_due(calls, age) {
                let (key, incarnation) = (leased.key.clone(), leased.incarnation);
                inner.feed(now, LedgerInput::Recycle { key, incarnation, why });
            }
            inner.feed(now, LedgerInput::Release { lease });
        });
    }

    /// Feeds the ledger with a request of the pool's user.
    pub(super) fn submit(self: &Arc<Self>, input: LedgerInput) {
        self.update(CalledFrom::Anyone, None, |inner, now| inner.feed(now, input));
    }

    /// Waits until the drained pool has no worker left, and nothing that any of them left behind.
    pub(super) async fn drained(&self) -> Result<(), Unavailable> {
        self.has_drained().await?;
        self.node.swept().await;
        Ok(())
    }

    async fn has_drained(&self) -> Result<(), Unavailable> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let inner = self.lock();
                if inner.drained {
                    return Ok(());
                }
                if inner.closed {
                    return Err(self.unavailable());
                }
            }
            changed.await;
        }
    }

    /// The ledger's view, and the number of calls made on each of its workers.
    pub(super) fn status(self: &Arc<Self>) -> (PoolStatus, HashMap<ChildId, u64>) {
        // Changes nothing, but reports workers whose end has become known.
        self.update(CalledFrom::Anyone, None, |_, _| ());
        let inner = self.lock();
        let calls = |i: &Arc<LeasedIncarnation>| (i.key.clone(), i.calls.load(Ordering::Relaxed));
        (inner.ledger.status(), inner.incarnations.iter().flatten().map(calls).collect())
    }

    pub(super) fn unavailable(&self) -> Unavailable {
        Unavailable {
            path: self.node.path().clone(),
            state: ChildState::Stopping,
            retry_after: None,
            last_exit: None,
        }
    }

    pub(super) fn gone(&self) -> AcquireError {
        self.unavailable().into()
    }
}
