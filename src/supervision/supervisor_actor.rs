//! The general supervisor: a ractor actor around an engine, and [`SupervisorRef`], the address that
//! survives it.

use std::sync::Arc;

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::oneshot;

use super::{
    actor_child_ref::ActorChildRef,
    child_info::{ChildCounts, ChildInfo},
    child_policy::ChildPolicy,
    engine::{Engine, EngineArgs, EngineHandle, EngineWakeUp},
    errors::{FindError, RequestError, SpecErrors},
    machine::{ReloadWhen, Reply, Request},
    node::{LiveAttachment, Node},
    spec::{ChildSpec, SupervisorSpec},
    start::{ReadinessError, Start, StartContext, Started, StopHandle, StopRequest},
};
use crate::{
    exit::Exit,
    id::{ChildId, Incarnation, TreePath},
    snapshot::NodeSnapshot,
};

/// The actor of a supervisor. The root of a tree is one too.
#[derive(Debug)]
pub struct SupervisorActor;

/// The messages of a [`SupervisorActor`], for code that holds only its `ActorRef`. [`SupervisorRef`]
/// offers the same and survives restarts of the supervisor.
#[derive(Debug)]
pub enum SupervisorActorMessage {
    /// Wakes the engine. Not for users; harmless.
    Engine(EngineWakeUp),
    /// Stop all children in order and end. Not for users: a supervisor that ends unasked may be
    /// restarted.
    Stop(StopRequest),
    /// The children in start order.
    WhichChildren(RpcReplyPort<Vec<ChildInfo>>),
    /// How many children there are.
    CountChildren(RpcReplyPort<ChildCounts>),
    /// The supervisor and everything below it.
    Snapshot(RpcReplyPort<NodeSnapshot>),
}

/// What a [`SupervisorActor`] starts from.
#[derive(Debug)]
pub struct SupervisorActorArguments {
    pub(super) engine: EngineArgs,
}

/// Owned by a [`SupervisorActor`].
#[derive(Debug)]
pub struct SupervisorActorState {
    engine: Engine,
}

impl From<EngineWakeUp> for SupervisorActorMessage {
    fn from(message: EngineWakeUp) -> SupervisorActorMessage {
        SupervisorActorMessage::Engine(message)
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for SupervisorActor {
    type Msg = SupervisorActorMessage;
    type State = SupervisorActorState;
    type Arguments = SupervisorActorArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(SupervisorActorState { engine: host::engine(arguments.engine, me) })
    }

    async fn post_start(
        &self,
        me: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.engine.boot();
        host::conclude(&state.engine, &me)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: SupervisorActorMessage,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorActorMessage::Engine(message) => state.engine.message(message),
            SupervisorActorMessage::Stop(request) => state.engine.stop(request),
            SupervisorActorMessage::WhichChildren(reply) => {
                let _ = reply.send(state.engine.which_children());
            }
            SupervisorActorMessage::CountChildren(reply) => {
                let _ = reply.send(state.engine.count());
            }
            SupervisorActorMessage::Snapshot(reply) => {
                let _ = reply.send(state.engine.node().snapshot());
            }
        }
        host::conclude(&state.engine, &me)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.engine.supervision_event(event);
        host::conclude(&state.engine, &me)
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.engine.drain().await;
        Ok(())
    }
}

/// What all actors around an engine have in common.
pub(crate) mod host {
    use super::*;

    pub(crate) fn engine<M: ractor::Message + From<EngineWakeUp>>(
        args: EngineArgs,
        me: ActorRef<M>,
    ) -> Engine {
        let cell = me.get_cell();
        Engine::new(args, cell, move |message| me.cast(message.into()).is_ok())
    }

    /// Ends the actor when its engine has exited: without an error if a stop was requested.
    pub(crate) fn conclude<M>(engine: &Engine, me: &ActorRef<M>) -> Result<(), ActorProcessingErr> {
        match engine.exit() {
            None => Ok(()),
            Some(Exit::Requested) => {
                me.stop(None);
                Ok(())
            }
            Some(exit) => Err(Box::new(exit.clone())),
        }
    }

    /// Spawns an actor around an engine as a child. It is linked first, and ready when its engine
    /// is. `attachment` is published with the live incarnation.
    pub(crate) async fn start<A>(
        actor: A,
        args: A::Arguments,
        ready: oneshot::Receiver<()>,
        cx: &StartContext,
        attachment: Option<Arc<dyn LiveAttachment>>,
    ) -> Result<Started, Exit>
    where
        A: Actor,
    {
        let node = cx.node.clone();
        let spawned = A::spawn_linked(None, actor, args, cx.supervisor.clone()).await;
        let (actor, join) = spawned.map_err(super::super::start::spawn_error)?;
        let stop = StopHandle::Request(Arc::new(move |request: StopRequest| {
            if let Some(engine) = node.engine() {
                engine.shutdown(request.deadline);
            }
        }));
        let ready = Box::pin(async move { ready.await.map_err(|_| ReadinessError) });
        Ok(Started { cell: actor.get_cell(), join, ready: Some(ready), stop, attachment })
    }
}

/// Starts a nested supervisor.
#[derive(Debug)]
pub(crate) struct SupervisorStarter {
    spec: SupervisorSpec,
}

impl SupervisorStarter {
    pub(crate) fn new(spec: SupervisorSpec) -> SupervisorStarter {
        SupervisorStarter { spec }
    }
}

#[async_trait]
impl Start for SupervisorStarter {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let (tx, rx) = oneshot::channel();
        let arguments = SupervisorActorArguments { engine: EngineArgs::nested(self.spec.clone(), &cx, tx) };
        host::start(SupervisorActor, arguments, rx, &cx, None).await
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.spec.validate()
    }
}

impl ChildSpec {
    /// A nested supervisor. Defaults: permanent, restarted at once, required at start, unlimited
    /// time to stop.
    ///
    /// A *transient* supervisor that gives up stays down, as in OTP, which is rarely what is
    /// wanted.
    pub fn supervisor(id: impl Into<ChildId>, spec: SupervisorSpec) -> ChildSpec {
        ChildSpec::new(id, ChildPolicy::supervisor(), SupervisorStarter::new(spec))
    }
}

impl EngineArgs {
    /// Arguments for a supervisor that is a child.
    pub(crate) fn nested(spec: SupervisorSpec, cx: &StartContext, ready: oneshot::Sender<()>) -> EngineArgs {
        EngineArgs {
            spec,
            node: cx.node.clone(),
            wait_group: cx.wait_group.clone(),
            tree: cx.tree.clone(),
            ready: Some(ready),
            exit: None,
            observer: None,
        }
    }
}

/// The address of a supervisor: cheap to clone, usable from any task, and valid for all
/// incarnations of it.
#[derive(Clone, Debug)]
pub struct SupervisorRef {
    node: Node,
}

impl SupervisorRef {
    pub(crate) fn new(node: Node) -> SupervisorRef {
        SupervisorRef { node }
    }

    fn engine(&self) -> Result<Arc<EngineHandle>, RequestError> {
        self.node.engine().ok_or(RequestError::ShuttingDown)
    }

    /// Its path in the tree.
    pub fn path(&self) -> &TreePath {
        self.node.path()
    }

    /// Adds a child and starts it. Returns when it is ready. A child that starts in the background
    /// is not waited for: this returns at once (with [`Incarnation::NONE`]), and the policy of the
    /// child handles a failed first start.
    ///
    /// # Errors
    /// After a failed start nothing is left, and the request may be repeated.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Incarnation, RequestError> {
        started(self.engine()?.start_child(spec).await)
    }

    /// Stops a child and returns when nothing of it is left. Its declaration stays, unless it is
    /// temporary.
    ///
    /// # Errors
    /// [`RequestError::NotFound`], [`RequestError::ShuttingDown`].
    pub async fn terminate_child(&self, id: impl Into<ChildId>) -> Result<(), RequestError> {
        self.engine()?.request(Request::TerminateChild(id.into())).await.map(drop)
    }

    /// Starts a child that is down, and returns when it is ready. If the start fails, the child
    /// stays down.
    ///
    /// # Errors
    /// [`RequestError::Running`] or [`RequestError::Restarting`] if it is not down;
    /// [`RequestError::StartFailed`].
    pub async fn restart_child(&self, id: impl Into<ChildId>) -> Result<Incarnation, RequestError> {
        started(self.engine()?.request(Request::RestartChild(id.into())).await)
    }

    /// Removes a child that is down.
    ///
    /// # Errors
    /// [`RequestError::Running`] or [`RequestError::Restarting`] if it is not down.
    pub async fn delete_child(&self, id: impl Into<ChildId>) -> Result<(), RequestError> {
        self.engine()?.request(Request::DeleteChild(id.into())).await.map(drop)
    }

    /// Stops a child in whatever state it is, and removes it.
    ///
    /// # Errors
    /// [`RequestError::NotFound`], [`RequestError::ShuttingDown`].
    pub async fn remove_child(&self, id: impl Into<ChildId>) -> Result<(), RequestError> {
        self.engine()?.request(Request::RemoveChild(id.into())).await.map(drop)
    }

    /// Restarts a child in whatever state it is (rule R-8). This is not a crash and uses no budget.
    ///
    /// # Errors
    /// [`RequestError::StartFailed`] if the new incarnation does not become ready; from then on its
    /// policy applies.
    pub async fn restart(&self, id: impl Into<ChildId>) -> Result<Incarnation, RequestError> {
        started(self.engine()?.request(Request::Restart(id.into())).await)
    }

    /// Gives a child a new declaration (rules G-13, G-14). If it is alive or waiting for a restart, it is
    /// stopped and started with the new declaration, or, where both declarations allow an
    /// [overlap](ChildPolicy::overlap), replaced by an incarnation that is ready. If it is down, the
    /// declaration takes effect at its next start.
    ///
    /// Reloads that come while another one is being carried out wait for its outcome, and are then
    /// carried out as one.
    ///
    /// # Errors
    /// [`RequestError::StartFailed`] if the new incarnation does not become ready; the declaration before
    /// is in force again then, and the child runs from it. [`RequestError::Stopped`] if the child was
    /// stopped or removed before the outcome was known.
    pub async fn reload_child(&self, spec: ChildSpec) -> Result<(), RequestError> {
        self.engine()?.reload_child(spec, ReloadWhen::Now).await.map(drop)
    }

    /// Gives a child a new declaration that takes effect at its next start, whatever causes that. If that
    /// start fails, the declaration before is in force again.
    ///
    /// # Errors
    /// [`RequestError::NotFound`], [`RequestError::Invalid`], [`RequestError::Stopped`] if the child is
    /// being removed.
    pub async fn reload_child_later(&self, spec: ChildSpec) -> Result<(), RequestError> {
        self.engine()?.reload_child(spec, ReloadWhen::NextStart).await.map(drop)
    }

    /// Changes the policy of a child while it runs. It takes effect at the next decision (rule
    ///
    ///
    /// # Errors
    /// [`RequestError::NotFound`], [`RequestError::Invalid`].
    pub async fn set_policy(&self, id: impl Into<ChildId>, policy: ChildPolicy) -> Result<(), RequestError> {
        self.engine()?.set_policy(id.into(), policy).await
    }

    /// The current declaration of a child, whatever the child is doing (OTP's `get_childspec`).
    ///
    /// # Errors
    /// [`RequestError::NotFound`]; [`RequestError::ShuttingDown`] when the supervisor is gone.
    pub async fn child_spec(&self, id: impl Into<ChildId>) -> Result<ChildSpec, RequestError> {
        self.engine()?.child_spec(id.into()).await
    }

    /// The children in start order.
    ///
    /// # Errors
    /// [`RequestError::ShuttingDown`] when the supervisor is gone.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, RequestError> {
        self.engine()?.which_children().await
    }

    /// How many children there are.
    ///
    /// # Errors
    /// [`RequestError::ShuttingDown`] when the supervisor is gone.
    pub async fn count_children(&self) -> Result<ChildCounts, RequestError> {
        self.engine()?.count().await
    }

    /// The supervisor and everything below it. It asks no actor.
    pub fn snapshot(&self) -> NodeSnapshot {
        self.node.snapshot()
    }

    /// The child with this id, as one that accepts messages of type `M`.
    ///
    /// # Errors
    /// [`FindError::NotFound`].
    pub fn child<M: ractor::Message>(&self, id: impl Into<ChildId>) -> Result<ActorChildRef<M>, FindError> {
        let id = id.into();
        let node = self.node.child(&id).ok_or_else(|| FindError::NotFound(self.path().join(&id)))?;
        Ok(ActorChildRef::new(node))
    }
}

fn started(answer: Result<Reply, RequestError>) -> Result<Incarnation, RequestError> {
    answer.map(|answer| match answer {
        Reply::Ready(incarnation) => incarnation,
        Reply::Done | Reply::Ignored => Incarnation::NONE,
    })
}
