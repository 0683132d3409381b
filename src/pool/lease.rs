//! [`Lease`]: the right to use one incarnation of one worker.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::{
    core::PoolCore,
    errors::{LeaseCallError, Revocation},
    ledger::LeaseId,
};
use crate::{
    clock::TreeInstant,
    id::{ChildId, Incarnation, TreePath},
    process::UsageProbe,
    rpc::{CallEffect, CallError, CallOptions, Method, Notification, Peer},
    supervision::Node,
    worker::WorkerRef,
};

/// One incarnation of a worker as its lease holders see it. All leases on an incarnation end together.
#[derive(Debug)]
pub(super) struct LeasedIncarnation {
    pub(super) key: ChildId,
    pub(super) incarnation: Incarnation,
    pub(super) node: Node,
    pub(super) ready_at: TreeInstant,
    /// Calls made through leases, across all incarnations since the key got its slot.
    pub(super) calls: Arc<AtomicU64>,
    /// The same for this incarnation only.
    pub(super) own_calls: AtomicU64,
    /// A lease on it has ended since its memory was looked at.
    pub(super) released: AtomicBool,
    pub(super) usage_probe: Option<UsageProbe>,
    pid: Option<u32>,
    ready_line: Option<Arc<str>>,
    peer: Option<Peer>,
    /// The end of the incarnation has become known.
    failing: Arc<AtomicBool>,
    ended: OnceLock<Revocation>,
    told: Notify,
}

impl LeasedIncarnation {
    /// The incarnation that is live at this node, if it is the given one. From then on the pool is
    /// notified when its end becomes known.
    pub(super) fn live(
        core: &Arc<PoolCore>,
        key: &ChildId,
        incarnation: Incarnation,
        node: Node,
        calls: Arc<AtomicU64>,
    ) -> Option<LeasedIncarnation> {
        let worker = WorkerRef::new(node.clone());
        // `None` if its protocol has no channel.
        let peer = worker.peer().ok().filter(|(of, _)| *of == incarnation).map(|(_, peer)| peer);
        let ready_line = worker.ready_line().filter(|(of, _)| *of == incarnation).map(|(_, line)| line);
        let live = node.live().filter(|live| live.incarnation == incarnation)?;
        let failing = Arc::new(AtomicBool::new(false));
        // Not the whole pool: the pool refers to the worker, and the worker must not keep it alive.
        let (unreported_ends, of, failing_flag) =
            (core.unreported_ends.clone(), key.clone(), failing.clone());
        let watched = WorkerRef::watch(&live, move || {
            // In this order: where the note has been taken, the flag is seen.
            failing_flag.store(true, Ordering::Release);
            unreported_ends.note(of, incarnation);
        });
        if !watched {
            return None;
        }
        Some(LeasedIncarnation {
            key: key.clone(),
            incarnation,
            ready_at: core.clock.now(),
            calls,
            own_calls: AtomicU64::new(0),
            released: AtomicBool::new(false),
            usage_probe: WorkerRef::usage_probe(&live),
            pid: worker.pid(),
            ready_line,
            peer,
            ended: OnceLock::new(),
            told: Notify::new(),
            failing,
            node,
        })
    }

    /// Whether it may be leased: no longer once its end is known.
    pub(super) fn is_live(&self) -> bool {
        !self.failing.load(Ordering::Acquire)
    }

    /// Ends all leases. The first reason is kept.
    pub(super) fn end(&self, why: Revocation) {
        if self.ended.set(why).is_ok() {
            self.told.notify_waiters();
        }
    }

    async fn ended(&self) -> Revocation {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            if let Some(why) = self.ended.get() {
                return why.clone();
            }
            told.await;
        }
    }
}

/// The right to use exactly one incarnation of one worker of a pool. It ends when it is dropped (rule
/// L-6).
///
/// Calls go straight to that incarnation's channel. If the worker dies or is evicted, the holder is
/// notified as soon as the reason is known ([`Lease::revoked`]); calls under way fail, and so do later
/// ones. None is ever sent to another incarnation: the key's next acquire gets the next incarnation.
#[must_use = "a lease ends when it is dropped"]
pub struct Lease {
    core: Arc<PoolCore>,
    id: LeaseId,
    leased: Arc<LeasedIncarnation>,
}

impl Lease {
    pub(super) fn new(core: Arc<PoolCore>, id: LeaseId, leased: Arc<LeasedIncarnation>) -> Lease {
        Lease { core, id, leased }
    }

    /// The key whose worker is leased.
    pub fn key(&self) -> &ChildId {
        &self.leased.key
    }

    /// The incarnation that the lease is for.
    pub fn incarnation(&self) -> Incarnation {
        self.leased.incarnation
    }

    /// Where the worker is in the tree.
    pub fn path(&self) -> &TreePath {
        self.leased.node.path()
    }

    /// The process of this incarnation.
    pub fn pid(&self) -> Option<u32> {
        self.leased.pid
    }

    /// The line that made this incarnation ready, such as its address, if its protocol waits for one
    /// ([`WorkerRef::ready_line`]).
    pub fn ready_line(&self) -> Option<&str> {
        self.leased.ready_line.as_deref()
    }

    /// The session registered for the key (rule L-1).
    pub fn session(&self) -> Option<String> {
        self.core.sessions.of_key(&self.leased.key)
    }

    /// The worker itself, for diagnostics and restarts. Calls made through it are not bound to this
    /// incarnation.
    pub fn worker(&self) -> WorkerRef {
        WorkerRef::new(self.leased.node.clone())
    }

    /// Why the lease is over, if it is.
    pub fn revocation(&self) -> Option<&Revocation> {
        self.leased.ended.get()
    }

    /// Waits until the lease ends for a reason other than its drop, and returns that reason. Cancel
    /// safe.
    pub async fn revoked(&self) -> Revocation {
        self.leased.ended().await
    }

    /// The channel of this incarnation.
    ///
    /// # Errors
    /// [`LeaseCallError::Revoked`], or [`LeaseCallError::NoChannel`] if the worker's protocol has no channel.
    pub fn peer(&self) -> Result<&Peer, LeaseCallError> {
        self.peer_for("peer")
    }

    fn peer_for(&self, method: &str) -> Result<&Peer, LeaseCallError> {
        if let Some(why) = self.leased.ended.get() {
            return Err(self.over(method, why.clone(), CallEffect::NotSent));
        }
        self.leased
            .peer
            .as_ref()
            .ok_or_else(|| LeaseCallError::NoChannel { method: method.to_owned(), path: self.path().clone() })
    }

    fn over(&self, method: &str, why: Revocation, effect: CallEffect) -> LeaseCallError {
        LeaseCallError::Revoked { method: method.to_owned(), path: self.path().clone(), why, effect }
    }

    /// Calls `M` and waits for its output, at most as long as its timeout.
    ///
    /// # Errors
    /// [`LeaseCallError`]. Dropping the future cancels the call.
    pub async fn call<M: Method>(&self, params: &M::Params) -> Result<M::Output, LeaseCallError> {
        self.bound(M::NAME, self.peer_for(M::NAME)?.call::<M>(params)).await
    }

    /// [`call`](Lease::call) with options.
    ///
    /// # Errors
    /// [`LeaseCallError`].
    pub async fn call_with<M: Method>(
        &self,
        params: &M::Params,
        options: CallOptions,
    ) -> Result<M::Output, LeaseCallError> {
        self.bound(M::NAME, self.peer_for(M::NAME)?.call_with::<M>(params, options)).await
    }

    /// Calls a method by name with any serialisable params; the result stays raw.
    ///
    /// # Errors
    /// [`LeaseCallError`].
    pub async fn call_value<P: Serialize + Sync + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: impl Into<CallOptions>,
    ) -> Result<Box<RawValue>, LeaseCallError> {
        self.bound(method, self.peer_for(method)?.call_value(method, params, options)).await
    }

    /// Sends a notification; waits for room.
    ///
    /// # Errors
    /// When it cannot be sent; nothing was sent then.
    pub async fn notify<N: Notification>(&self, params: &N::Params) -> Result<(), LeaseCallError> {
        Ok(self.peer_for(N::NAME)?.notify::<N>(params).await?)
    }

    /// [`notify`](Lease::notify) by name.
    ///
    /// # Errors
    /// As [`notify`](Lease::notify).
    pub async fn notify_value<P: Serialize + Sync + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<(), LeaseCallError> {
        Ok(self.peer_for(method)?.notify_value(method, params).await?)
    }

    /// If the worker dies, its channel fails the call with the exit and the tail of stderr. A worker
    /// that was asked to stop may still answer. In all other cases the holder gets the reason without
    /// waiting for the process.
    async fn bound<T>(
        &self,
        method: &str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, LeaseCallError> {
        let cut = async {
            match self.leased.ended().await {
                Revocation::Stopping => std::future::pending().await,
                why => why,
            }
        };
        let result = tokio::select! {
            biased;
            result = call => result.map_err(|error| self.because(method, error)),
            why = cut => Err(self.over(method, why, CallEffect::Unknown)),
        };
        self.leased.calls.fetch_add(1, Ordering::Relaxed);
        self.leased.own_calls.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// The process of an evicted worker ends on request, which is not why the call failed.
    fn because(&self, method: &str, error: CallError) -> LeaseCallError {
        let lost = matches!(error, CallError::WorkerLost { .. } | CallError::Closed { .. });
        match self.leased.ended.get() {
            Some(why @ (Revocation::Evicted | Revocation::PoolEnded)) if lost => {
                self.over(method, why.clone(), error.effect())
            }
            _ => error.into(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.core.release(self.id, &self.leased);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("path", self.path())
            .field("incarnation", &self.incarnation())
            .field("pid", &self.pid())
            .field("revocation", &self.revocation())
            .finish_non_exhaustive()
    }
}
