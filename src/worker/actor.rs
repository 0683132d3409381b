//! [`WorkerActor`]: linked first, owns the process lifecycle, and takes messages.

use std::{any::Any, sync::Arc};

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::value::RawValue;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{
    diagnostics::WorkerDiagnostics, live_worker::LiveWorker, process_lifecycle::ProcessLifecycle,
    spec::WorkerSpec,
};
use crate::{
    exit::Exit,
    id::{ChildId, Incarnation, TreePath},
    log_event_macro::log_event,
    process::CommandChange,
    restart::CrashLoop,
    rpc::{CallError, CallOptions, Timeout},
    snapshot::WorkerSnapshot,
    supervision::{
        ChildSpec, Node, ReadinessError, SpecErrors, Start, StartContext, StartModification, Started,
        StopHandle, StopRequest, WorkerSnapshotSource, panics::catch_panic_async,
    },
};

/// The actor of a process worker.
#[derive(Debug)]
pub struct WorkerActor;

/// The messages of a worker's actor, for code that holds only its `ActorRef`.
/// [`WorkerRef`](super::WorkerRef) offers the same without the detour through the mailbox, and survives
/// incarnations.
#[derive(Debug)]
pub enum WorkerActorMessage {
    /// Call a method of the process.
    Call {
        /// The method's name.
        method: String,
        /// Its params.
        params: Box<RawValue>,
        /// How long it may take.
        timeout: Timeout,
        /// Answered exactly once, unless the actor is killed.
        reply: RpcReplyPort<Result<Box<RawValue>, CallError>>,
    },
    /// Send a notification to the process, if there is room for it now.
    Notify {
        /// The method's name.
        method: String,
        /// Its params.
        params: Box<RawValue>,
    },
    /// The figures of this incarnation.
    Diagnostics(RpcReplyPort<WorkerSnapshot>),
    /// Stop in order. Not for users: a worker that ends without a request of its supervisor may be
    /// restarted.
    Stop(StopRequest),
    /// The process lifecycle has ended, with the exit of the process. Not for users.
    #[doc(hidden)]
    Ended(Box<Exit>),
}

/// The arguments of a [`WorkerActor`].
#[derive(Debug)]
pub struct WorkerActorArguments {
    spec: Arc<WorkerSpec>,
    cx: StartContext,
    diagnostics: Arc<WorkerDiagnostics>,
    live: Arc<LiveWorker>,
    ready: oneshot::Sender<()>,
}

/// The state of a [`WorkerActor`]. Dropping it kills the process.
#[derive(Debug)]
pub struct WorkerActorState {
    live: Arc<LiveWorker>,
    path: TreePath,
    incarnation: Incarnation,
    clock: crate::clock::Clock,
    stop: watch::Sender<Option<StopRequest>>,
    /// Aborted when the state is dropped.
    lifecycle: JoinHandle<()>,
    ended: bool,
}

impl Drop for WorkerActorState {
    fn drop(&mut self) {
        self.lifecycle.abort();
        self.live.diagnostics.actor_dropped();
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for WorkerActor {
    type Msg = WorkerActorMessage;
    type State = WorkerActorState;
    type Arguments = WorkerActorArguments;

    async fn pre_start(
        &self,
        me: ActorRef<WorkerActorMessage>,
        arguments: WorkerActorArguments,
    ) -> Result<WorkerActorState, ActorProcessingErr> {
        let WorkerActorArguments { spec, cx, diagnostics, live, ready } = arguments;
        let (stop, stopped) = watch::channel(None);
        let (path, incarnation) = (cx.node.path().clone(), cx.incarnation);
        let clock = cx.tree.clock();
        let lifecycle =
            ProcessLifecycle { spec, cx, diagnostics, live: live.clone(), ready: Some(ready), stop: stopped };
        let lifecycle = tokio::spawn(async move {
            // Code of users may panic in here: the protocol, `on_ready`, the maker of commands, the
            // launcher.
            // Boxed, since an async block holds room for a future that it was given twice.
            let exit = catch_panic_async("the worker's task", Box::pin(lifecycle.run())).await;
            let exit = exit.unwrap_or_else(|exit| exit);
            // Refused when the actor is in its `post_stop`, which waits for this task.
            let _ = me.cast(WorkerActorMessage::Ended(Box::new(exit)));
        });
        Ok(WorkerActorState { live, path, incarnation, clock, stop, lifecycle, ended: false })
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerActorMessage>,
        message: WorkerActorMessage,
        state: &mut WorkerActorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerActorMessage::Call { method, params, timeout, reply } => {
                let (live, path) = (state.live.clone(), state.path.clone());
                tokio::spawn(async move {
                    let answer = match live.peer() {
                        Some(peer) => peer.call_value(&method, &params, CallOptions::timeout(timeout)).await,
                        None if live.has_no_channel() => Err(CallError::NoChannel { method, path }),
                        None => Err(CallError::Unavailable {
                            method,
                            path,
                            state: crate::state::ChildState::Starting,
                            retry_after: None,
                        }),
                    };
                    let _ = reply.send(answer);
                });
            }
            WorkerActorMessage::Notify { method, params } => {
                if let Some(peer) = state.live.peer() {
                    // The sender of a notification gets no reply, so a failure is dropped.
                    let _ = peer.try_notify_value(&method, &params);
                } else if state.live.has_no_channel() {
                    let error = CallError::NoChannel { method, path: state.path.clone() };
                    log_event!(warn, state.path, state.incarnation, "{error}");
                }
            }
            WorkerActorMessage::Diagnostics(reply) => {
                let _ = reply.send(state.live.diagnostics.worker(state.clock.now()));
            }
            WorkerActorMessage::Stop(request) => {
                state.stop.send_replace(Some(request));
            }
            WorkerActorMessage::Ended(exit) => {
                state.ended = true;
                // Every end is reported as a typed error: this is how the supervisor learns the cause.
                return Err(exit);
            }
        }
        Ok(())
    }

    /// Ractor's own `stop` was called: the process still gets its orderly stop.
    async fn post_stop(
        &self,
        _: ActorRef<WorkerActorMessage>,
        state: &mut WorkerActorState,
    ) -> Result<(), ActorProcessingErr> {
        if !state.ended {
            state.stop.send_replace(Some(StopRequest { deadline: None }));
            let _ = (&mut state.lifecycle).await;
        }
        Ok(())
    }
}

impl WorkerSpec {
    /// A child of a supervisor; required at start by default.
    pub fn child(self, id: impl Into<ChildId>) -> ChildSpec {
        let policy = self.policy();
        ChildSpec::new(id, policy, WorkerStarter::new(self))
    }
}

/// Starts the incarnations of a worker, one after the other.
#[derive(Debug)]
pub(crate) struct WorkerStarter {
    spec: Arc<WorkerSpec>,
}

impl WorkerStarter {
    /// The diagnostics of a new incarnation at this node. What is remembered of those before it belongs
    /// to the node, whatever declaration they were started from.
    fn diagnostics(&self, node: &Node) -> Arc<WorkerDiagnostics> {
        let before = node.snapshot_source();
        let before = before.as_deref().and_then(|source| source.as_any().downcast_ref::<WorkerDiagnostics>());
        Arc::new(WorkerDiagnostics::new(
            self.spec.program(),
            self.spec.protocol.name().to_owned(),
            self.spec.stderr_tail_bytes,
            before.map(WorkerDiagnostics::pass_on_history).unwrap_or_default(),
        ))
    }

    pub(crate) fn new(spec: WorkerSpec) -> WorkerStarter {
        WorkerStarter { spec: Arc::new(spec) }
    }
}

impl StartModification for CommandChange {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[async_trait]
impl Start for WorkerStarter {
    fn changed(&self, change: &dyn StartModification) -> Option<Arc<dyn Start>> {
        let change = change.as_any().downcast_ref::<CommandChange>()?;
        let spec = Arc::new(self.spec.with_command_change(change)?);
        Some(Arc::new(WorkerStarter { spec }))
    }

    fn adopted(&self, node: &Node) {
        if !node.has_snapshot_source() {
            node.set_snapshot_source(node.incarnation(), self.diagnostics(node));
        }
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.spec.validate()
    }

    /// Each process pays for its own crashes.
    fn own_budget(&self) -> Option<CrashLoop> {
        Some(CrashLoop::default())
    }

    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let spec = self.spec.clone();
        let diagnostics = self.diagnostics(&cx.node);
        cx.node.set_snapshot_source(cx.incarnation, diagnostics.clone());
        let live = Arc::new(LiveWorker::new(diagnostics.clone()));
        let (ready, became_ready) = oneshot::channel();
        let supervisor = cx.supervisor.clone();
        let arguments = WorkerActorArguments { spec, cx, diagnostics, live: live.clone(), ready };
        let (actor, join) = WorkerActor::spawn_linked(None, WorkerActor, arguments, supervisor)
            .await
            .map_err(|e| Exit::from_error(&e))?;
        let asked = actor.clone();
        Ok(Started {
            cell: actor.get_cell(),
            join,
            ready: Some(Box::pin(async move { became_ready.await.map_err(|_| ReadinessError) })),
            stop: StopHandle::Request(Arc::new(move |request| {
                // Refused when it is already ending.
                let _ = asked.cast(WorkerActorMessage::Stop(request));
            })),
            attachment: Some(live),
        })
    }
}
