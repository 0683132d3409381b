//! Requests to the supervisor of the child at a node.

use std::sync::Arc;

use super::Node;
use crate::{
    clock::TreeInstant,
    event::StartReason,
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::{
        engine::EngineHandle,
        errors::RequestError,
        machine::{DefinitionChange, IncarnationKey, ReloadWhen, Reply, Request},
        start::StartModification,
    },
};

impl Node {
    /// The engine of the supervisor of this child.
    pub(crate) fn controller(&self) -> Option<Arc<EngineHandle>> {
        self.0.parent.upgrade()?.engine.load_full()
    }

    /// Asks this child's supervisor to restart it, and waits until it is ready (rule R-8).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn restart(&self) -> Result<Incarnation, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        match engine.request(Request::Restart(id)).await? {
            Reply::Ready(incarnation) => Ok(incarnation),
            Reply::Done | Reply::Ignored => Ok(Incarnation::NONE),
        }
    }

    /// Asks this child's supervisor to stop it, and waits until nothing of it is left.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn stop(&self) -> Result<(), RequestError> {
        let (id, engine) = self.child_and_controller()?;
        engine.request(Request::TerminateChild(id)).await.map(drop)
    }

    pub(super) fn child_and_controller(&self) -> Result<(ChildId, Arc<EngineHandle>), RequestError> {
        let id = self.0.path.last().ok_or(RequestError::ShuttingDown)?;
        Ok((id, self.controller().ok_or(RequestError::ShuttingDown)?))
    }

    /// Asks the supervisor to change how this child is started (G-13).
    pub(crate) async fn modify(
        &self,
        change: Arc<dyn StartModification>,
        when: ReloadWhen,
    ) -> Result<Option<Incarnation>, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        Ok(started(engine.modify_child(id, change, when).await?))
    }

    /// Asks the supervisor to replace the live incarnation by one of the same definition.
    pub(crate) async fn recycle(&self, reason: StartReason) -> Result<Option<Incarnation>, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        let recycle = Request::Reload(id, DefinitionChange::None(reason), ReloadWhen::Now);
        Ok(started(engine.request(recycle).await?))
    }

    /// Asks the supervisor to stop this incarnation, which is idle, until the next demand.
    pub(crate) async fn stop_idle(&self, incarnation: Incarnation) {
        if let Ok((id, engine)) = self.child_and_controller() {
            let _ = engine.request(Request::StopIdle(id, incarnation)).await;
        }
    }

    /// Asks the supervisor to start this child unless it was stopped or given up, and waits until it is
    /// ready. `None` if its start was ignored.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn demand(&self) -> Result<Option<Incarnation>, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        Ok(started(engine.request(Request::Demand(id)).await?))
    }

    /// Reports that the process of this incarnation ended at this time. Its exit (this one, as far
    /// as is known) is judged later; its back-off counts from this time.
    pub(crate) fn report_process_end(&self, incarnation: Incarnation, at: TreeInstant, exit: Exit) {
        if let Ok((child, engine)) = self.child_and_controller() {
            engine.process_ended(IncarnationKey { child, incarnation }, at, exit);
        }
    }
}

/// The incarnation that a request has started, if it was awaited.
fn started(reply: Reply) -> Option<Incarnation> {
    match reply {
        Reply::Ready(incarnation) => Some(incarnation),
        Reply::Done | Reply::Ignored => None,
    }
}
