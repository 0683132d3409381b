//! [`Pool`]: the address of a pool, valid for all its incarnations.

use std::{sync::Arc, time::Duration};

use super::{
    core::{LivePool, PoolCore},
    errors::AcquireError,
    lease::Lease,
    ledger::LedgerInput,
    pool_issue::PoolIssue,
    report::PoolReport,
};
use crate::{
    event::RecycleReason,
    id::{ChildId, Incarnation, TreePath},
    state::{ChildKind, ChildState},
    supervision::{FindError, Node, RequestError, Unavailable, machine::Request},
    worker::WorkerRef,
};

/// Leases the workers of a pool. Cheap to clone, usable from any task and any thread.
///
/// A lease on a warm worker is granted without a detour through an actor. While the pool itself is not
/// running, every request fails at once with [`Unavailable`]; [`Pool::wait_ready`] waits. After a
/// restart of the pool its keys return on demand.
#[derive(Clone, Debug)]
pub struct Pool {
    node: Node,
}

impl Pool {
    /// The pool at a node. Whether there is one shows at the first request.
    pub fn new(node: Node) -> Pool {
        Pool { node }
    }

    /// Where it is in the tree.
    pub fn path(&self) -> &TreePath {
        self.node.path()
    }

    /// Its node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What it is doing.
    pub fn state(&self) -> ChildState {
        self.node.state()
    }

    fn core(&self) -> Result<Arc<PoolCore>, Unavailable> {
        let live = self.node.load_live();
        let attachment = live
            .as_ref()
            .and_then(|live| live.attachment.as_ref())
            .and_then(|attachment| attachment.as_any().downcast_ref::<LivePool>());
        attachment.map(|attachment| attachment.0.clone()).ok_or_else(|| {
            let mut unavailable = self.node.unavailable();
            if unavailable.state == ChildState::Ready {
                // It is ending, and its supervisor has not noticed yet.
                unavailable.state = ChildState::Stopping;
            }
            unavailable
        })
    }

    /// Waits until the pool is running, for at most `deadline`.
    ///
    /// # Errors
    /// [`Unavailable`] at the deadline, or at once if it is not going to be started.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Incarnation, Unavailable> {
        match tokio::time::timeout(deadline, self.node.wait_ready()).await {
            Ok(live) => Ok(live?.incarnation),
            Err(_) => Err(self.node.unavailable()),
        }
    }

    /// A lease on the worker of a key. The worker is started if necessary. Waits as long as the pool's
    /// declaration says.
    ///
    /// # Errors
    /// [`AcquireError`]. Dropping the future gives up the caller's place in the queue.
    pub async fn acquire(&self, key: impl Into<ChildId>) -> Result<Lease, AcquireError> {
        let core = self.core()?;
        Pool::acquire_from(&core, Some(key.into()), core.acquire_timeout).await
    }

    /// [`acquire`](Pool::acquire) with its own deadline. With zero it succeeds only if it need not
    /// wait.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn acquire_within(
        &self,
        key: impl Into<ChildId>,
        deadline: Duration,
    ) -> Result<Lease, AcquireError> {
        Pool::acquire_from(&self.core()?, Some(key.into()), deadline).await
    }

    /// A lease on the least loaded worker of an anonymous pool.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn acquire_any(&self) -> Result<Lease, AcquireError> {
        let core = self.core()?;
        Pool::acquire_from(&core, None, core.acquire_timeout).await
    }

    /// [`acquire_any`](Pool::acquire_any) with its own deadline.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn acquire_any_within(&self, deadline: Duration) -> Result<Lease, AcquireError> {
        Pool::acquire_from(&self.core()?, None, deadline).await
    }

    /// A lease if a worker is ready and has room. It does not wait and starts nothing.
    pub fn try_acquire(&self, key: &ChildId) -> Option<Lease> {
        self.core().ok()?.lease_now(Some(key))
    }

    pub(super) async fn acquire_from(
        core: &Arc<PoolCore>,
        key: Option<ChildId>,
        deadline: Duration,
    ) -> Result<Lease, AcquireError> {
        if let Some(lease) = core.lease_now(key.as_ref()) {
            return Ok(lease);
        }
        if key.as_ref().is_some_and(|key| key.as_str().is_empty()) {
            return Err(AcquireError::EmptyKey { path: core.node.path().clone() });
        }
        if let Some(key) = &key {
            Pool::check_length(core, "key", key.as_str())?;
        }
        core.enqueue(key)?.wait(deadline).await
    }

    /// Changes the cap (rule L-5). A smaller cap stops idle workers at once and busy ones when they
    /// become idle; zero pauses the pool. A restart of the pool restores the declared cap.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn resize(&self, max: usize) -> Result<(), Unavailable> {
        self.core()?.submit(LedgerInput::Resize { max });
        Ok(())
    }

    /// Takes no more work, stops each worker when its leases are over, and returns when no worker is
    /// left (rule L-5). Cancel safe: the pool goes on draining.
    ///
    /// # Errors
    /// [`Unavailable`] if the pool itself ends meanwhile.
    pub async fn drain(&self) -> Result<(), Unavailable> {
        let core = self.core()?;
        core.submit(LedgerInput::Drain);
        core.drained().await
    }

    /// Stops the worker of a key, leased or not, and returns when nothing of it is left. The key
    /// returns on demand.
    ///
    /// # Errors
    /// [`RequestError::NotFound`] if the key has no worker.
    pub async fn stop_key(&self, key: impl Into<ChildId>) -> Result<(), RequestError> {
        let engine = self.node.engine().ok_or(RequestError::ShuttingDown)?;
        engine.request(Request::RemoveChild(key.into())).await.map(drop)
    }

    /// Allows all given-up keys to be retried (see
    /// [`PoolSpec::failed_pause`](super::PoolSpec::failed_pause)): for an operator who has repaired the
    /// cause. The next caller triggers a start.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn reset_failed(&self) -> Result<(), Unavailable> {
        self.core()?.submit(LedgerInput::ResetFailed);
        Ok(())
    }

    /// Replaces the worker of a key when it is unused (rule W-5): it gets no new leases, is stopped
    /// when idle, and returns on demand; with [`PoolSpec::overlap`](super::PoolSpec::overlap) a successor
    /// takes its place, if the cap has room. Has no effect if the key has no ready worker.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn recycle(&self, key: impl Into<ChildId>) -> Result<(), Unavailable> {
        let (core, key) = (self.core()?, key.into());
        if let Some(incarnation) = self.node.child(&key).map(|node| node.incarnation()) {
            let why = RecycleReason::Requested;
            core.submit(LedgerInput::Recycle { key, incarnation, why });
        }
        Ok(())
    }

    /// The pool and its workers (rule L-8). Does not count as use.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn status(&self) -> Result<PoolReport, Unavailable> {
        Ok(PoolReport::of(&self.core()?))
    }

    /// Registers the session of a key, or forgets it; the key need not have a worker yet (rule L-1). It
    /// outlives the key's workers and restarts of the pool. A session belongs to one key: a key that
    /// had it before loses it.
    ///
    /// Sessions are kept until they are forgotten; the caller must bound their number.
    ///
    /// # Errors
    /// [`AcquireError::Unavailable`], and [`AcquireError::TooLong`] for a key or a session that is too
    /// long.
    pub fn set_session(&self, key: impl Into<ChildId>, session: Option<&str>) -> Result<(), AcquireError> {
        let (core, key) = (self.core()?, key.into());
        Pool::check_length(&core, "key", key.as_str())?;
        Pool::check_length(&core, "session", session.unwrap_or_default())?;
        if let Some(before) = core.sessions.set(&key, session) {
            core.submit(LedgerInput::SetSession { key: before, session: None });
        }
        core.submit(LedgerInput::SetSession { key, session: session.map(str::to_owned) });
        Ok(())
    }

    fn check_length(core: &PoolCore, what: &'static str, text: &str) -> Result<(), AcquireError> {
        match text.len() {
            ..=ChildId::MAX_BYTES => Ok(()),
            bytes => Err(AcquireError::TooLong { path: core.node.path().clone(), what, bytes }),
        }
    }

    /// The session registered for a key.
    pub fn session(&self, key: &ChildId) -> Option<String> {
        self.core().ok()?.sessions.of_key(key)
    }

    /// The key that a session is registered for.
    pub fn key_of_session(&self, session: &str) -> Option<ChildId> {
        self.core().ok()?.sessions.key_of(session)
    }

    /// The worker of a key, for diagnostics and restarts. Does not count as use and does not protect
    /// the worker from eviction.
    ///
    /// # Errors
    /// [`FindError::NotFound`] if the key has no worker.
    pub fn worker(&self, key: &ChildId) -> Result<WorkerRef, FindError> {
        let node = self.node.child(key).ok_or_else(|| FindError::NotFound(self.path().join(key)))?;
        Ok(WorkerRef::new(node))
    }

    /// What is wrong with the pool that no child shows: given-up keys and missing workers have no
    /// child.
    pub(crate) fn issues(&self) -> Vec<PoolIssue> {
        self.core().map(|core| core.issues()).unwrap_or_default()
    }

    /// Checks that this is the node of a pool, as far as that can be known.
    pub(crate) fn check(self) -> Result<Pool, FindError> {
        let live = self.node.load_live().is_some();
        if self.node.kind() == ChildKind::Supervisor && (!live || self.core().is_ok()) {
            return Ok(self);
        }
        Err(FindError::WrongKind { path: self.path().clone(), expected: "a pool" })
    }
}
