//! How operators reach an engine: [`EngineHandle`].

use std::sync::Arc;

use tokio::sync::oneshot;

use super::inbox::{InboxMessage, InboxSender, OperatorRequest};
use crate::{
    clock::TreeInstant,
    exit::Exit,
    id::ChildId,
    supervision::{
        child_info::{ChildCounts, ChildInfo},
        child_policy::ChildPolicy,
        errors::RequestError,
        machine::{IncarnationKey, ReloadWhen, Reply, Request},
        spec::ChildSpec,
        start::StartModification,
    },
};

/// How operators reach an engine. It is kept in the supervisor's node and works from any task.
#[derive(Debug)]
pub(crate) struct EngineHandle {
    inbox: InboxSender,
}

impl EngineHandle {
    pub(super) fn new(inbox: InboxSender) -> EngineHandle {
        EngineHandle { inbox }
    }

    /// Sends a request at the time of the call: requests reach the engine in the order in which
    /// they were made, whenever their replies are awaited.
    fn ask(
        &self,
        operator: OperatorRequest,
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::Operator(Box::new(operator), tx));
        // An engine that ends drops the requests that it has not answered.
        async { rx.await.unwrap_or(Err(RequestError::ShuttingDown)) }
    }

    /// Sends a request that needs no new declaration.
    pub(crate) fn request(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        self.ask(OperatorRequest::Plain(request))
    }

    pub(crate) fn start_child(
        &self,
        spec: ChildSpec,
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        self.ask(OperatorRequest::Start(spec))
    }

    pub(crate) fn reload_child(
        &self,
        spec: ChildSpec,
        when: ReloadWhen,
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        self.ask(OperatorRequest::Reload(spec, when))
    }

    pub(crate) fn modify_child(
        &self,
        id: ChildId,
        change: Arc<dyn StartModification>,
        when: ReloadWhen,
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        self.ask(OperatorRequest::Modify(id, change, when))
    }

    pub(crate) async fn set_policy(&self, id: ChildId, policy: ChildPolicy) -> Result<(), RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::SetPolicy(id, Box::new(policy), tx));
        rx.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    pub(crate) async fn count(&self) -> Result<ChildCounts, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::CountChildren(tx));
        rx.await.map_err(|_| RequestError::ShuttingDown)
    }

    pub(crate) async fn which_children(&self) -> Result<Vec<ChildInfo>, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::WhichChildren(tx));
        rx.await.map_err(|_| RequestError::ShuttingDown)
    }

    pub(crate) async fn child_spec(&self, id: ChildId) -> Result<ChildSpec, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::Spec(id, tx));
        rx.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    /// Reports that the process of an incarnation ended at this time. Its exit (this one, as far as
    /// is known) is judged later.
    pub(crate) fn process_ended(&self, key: IncarnationKey, at: TreeInstant, exit: Exit) {
        let _ = self.inbox.send(InboxMessage::ProcessEnded(key, at, Box::new(exit)));
    }

    /// Reports that nothing reaches an incarnation any longer, since its process or its channel has
    /// ended.
    pub(crate) fn failing(&self, key: IncarnationKey) {
        let _ = self.inbox.send(InboxMessage::Failing(key));
    }

    /// Asks the supervisor to stop its children and to exit.
    pub(crate) fn shutdown(&self, deadline: Option<TreeInstant>) {
        let _ = self.inbox.send(InboxMessage::Shutdown { deadline, kill: false });
    }

    /// As `shutdown`, but every child is killed without time to stop.
    pub(crate) fn kill(&self) {
        let _ = self.inbox.send(InboxMessage::Shutdown { deadline: None, kill: true });
    }
}
