//! [`Pool`]: the address of a pool, good for all its incarnations.

use std::{sync::Arc, time::Duration};

use super::{
    core::{PoolAttachment, PoolCore},
    errors::AcquireError,
    health::PoolIssue,
    lease::Lease,
    ledger::LedgerInput,
    report::PoolReport,
};
use crate::{
    id::{ChildId, Incarnation, TreePath},
    state::{ChildKind, ChildState},
    supervision::{FindError, Node, RequestError, Unavailable, machine::Request},
    worker::WorkerRef,
};

/// Leases the workers of a pool. Cheap to clone, usable from any task and any thread.
///
/// A lease on a warm worker is given without a detour through an actor. While the pool itself is not running every
/// request fails at once with [`Unavailable`]; [`Pool::wait_ready`] waits. After a restart of the pool its keys come back
/// on demand.
#[derive(Clone, Debug)]
pub struct Pool {
    node: Node,
}

impl Pool {
    /// The pool at a place. Whether one is there shows at the first request.
    pub fn new(node: Node) -> Pool {
        Pool { node }
    }

    /// Where it is in the tree.
    pub fn path(&self) -> &TreePath {
        self.node.path()
    }

    /// Its place.
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
            .and_then(|attachment| attachment.as_any().downcast_ref::<PoolAttachment>());
        attachment.map(|attachment| attachment.0.clone()).ok_or_else(|| {
            let mut unavailable = self.node.unavailable();
            if unavailable.state == ChildState::Ready {
                // Its supervisor has not heard yet that it ends.
                unavailable.state = ChildState::Stopping;
            }
            unavailable
        })
    }

    /// Waits until the pool is running, for at most `deadline`.
    ///
    /// # Errors
    /// [`Unavailable`] at the deadline, or at once when nobody is going to start it.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Incarnation, Unavailable> {
        match tokio::time::timeout(deadline, self.node.wait_ready()).await {
            Ok(live) => Ok(live?.incarnation),
            Err(_) => Err(self.node.unavailable()),
        }
    }

    /// A lease on the worker of a key, which is started if it has to be; waits as long as the pool's declaration says.
    ///
    /// # Errors
    /// [`AcquireError`]. Dropping the future gives the caller's place in line to the next.
    pub async fn acquire(&self, key: impl Into<ChildId>) -> Result<Lease, AcquireError> {
        let core = self.core()?;
        Pool::acquire_from(&core, Some(key.into()), core.acquire_timeout).await
    }

    /// [`acquire`](Pool::acquire) with a deadline of its own. With zero it succeeds only if it need not wait.
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

    /// [`acquire_any`](Pool::acquire_any) with a deadline of its own.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn acquire_any_within(&self, deadline: Duration) -> Result<Lease, AcquireError> {
        Pool::acquire_from(&self.core()?, None, deadline).await
    }

    /// A lease if a worker is ready and has room: nobody waits, nothing is started.
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

    /// Changes the cap (rule L-5). A smaller one stops idle workers, and busy ones when they are idle; zero pauses the
    /// pool. A restart of the pool goes back to its declaration.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn resize(&self, max: usize) -> Result<(), Unavailable> {
        self.core()?.submit(LedgerInput::Resize { max });
        Ok(())
    }

    /// Takes no more work, stops each worker when its leases are over, and returns when none is left (rule L-5). Cancel
    /// safe: the pool goes on draining.
    ///
    /// # Errors
    /// [`Unavailable`] if the pool itself ends meanwhile.
    pub async fn drain(&self) -> Result<(), Unavailable> {
        let core = self.core()?;
        core.submit(LedgerInput::Drain);
        core.drained().await
    }

    /// Stops the worker of a key, leased or not, and returns when nothing of it is left. The key comes back on demand.
    ///
    /// # Errors
    /// [`RequestError::NotFound`] if the key has no worker.
    pub async fn stop_key(&self, key: impl Into<ChildId>) -> Result<(), RequestError> {
        let engine = self.node.engine().ok_or(RequestError::ShuttingDown)?;
        engine.request(Request::RemoveChild(key.into())).await.map(drop)
    }

    /// Ends the rests of all that was given up (see [`PoolSpec::failed_pause`](super::PoolSpec::failed_pause)): for an
    /// operator who has repaired the cause. The next caller has it tried again.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn reset_failed(&self) -> Result<(), Unavailable> {
        self.core()?.submit(LedgerInput::ResetFailed);
        Ok(())
    }

    /// Replaces the worker of a key when nobody uses it (rule W-5): it gets no new leases, is stopped when idle, and
    /// comes back on demand. Nothing happens if the key has no worker that is ready.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn recycle(&self, key: impl Into<ChildId>) -> Result<(), Unavailable> {
        let (core, key) = (self.core()?, key.into());
        if let Some(incarnation) = self.node.child(&key).map(|node| node.incarnation()) {
            core.submit(LedgerInput::Recycle { key, incarnation });
        }
        Ok(())
    }

    /// The pool and its workers (rule L-8). It counts as no use.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn status(&self) -> Result<PoolReport, Unavailable> {
        Ok(PoolReport::of(&self.core()?))
    }

    /// Registers the session of a key, or forgets it; the key need not have a worker yet (rule L-1). It outlives the
    /// key's workers and restarts of the pool. A session belongs to one key: another one that had it has none now.
    ///
    /// Sessions are kept until they are forgotten: their number is the caller's to bound.
    ///
    /// # Errors
    /// [`AcquireError::Unavailable`], and [`AcquireError::TooLong`] for a key or a session that is.
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

    /// The worker of a key, for diagnostics and restarts. It counts as no use, and is not protected from eviction.
    ///
    /// # Errors
    /// [`FindError::NotFound`] if the key has no worker.
    pub fn worker(&self, key: &ChildId) -> Result<WorkerRef, FindError> {
        let node = self.node.child(key).ok_or_else(|| FindError::NotFound(self.path().join(key)))?;
        Ok(WorkerRef::new(node))
    }

    /// What is wrong here that no child shows: what rests has none, and workers that are missing have none either.
    pub(crate) fn issues(&self) -> Vec<PoolIssue> {
        self.core().map(|core| core.issues()).unwrap_or_default()
    }

    /// Whether this is the place of a pool, as far as it can be known.
    pub(crate) fn check(self) -> Result<Pool, FindError> {
        let live = self.node.load_live().is_some();
        if self.node.kind() == ChildKind::Supervisor && (!live || self.core().is_ok()) {
            return Ok(self);
        }
        Err(FindError::WrongKind { path: self.path().clone(), expected: "a pool" })
    }
}
