//! The worker actor: linked first, owner of the driver, addressed by messages.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::value::RawValue;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{
    diagnostics::{WorkerDiagnostics, WorkerHistory},
    driver::Driver,
    spec::WorkerSpec,
    worker_channel::WorkerChannel,
};
use crate::{
    exit::Exit,
    id::{ChildId, Incarnation, TreePath},
    log_event::log_event,
    restart::CrashLoop,
    rpc::{CallError, CallOptions, Timeout},
    snapshot::WorkerSnapshot,
    supervision::{
        ChildSpec, Node, NotReady, SnapshotSource, SpecErrors, Start, StartContext, Started, StopHandle,
        StopRequest, panics::caught,
    },
};

/// The actor of a process worker.
#[derive(Debug)]
pub struct WorkerActor;

/// What a worker actor takes as a message, for those who hold only its `ActorRef`.
/// [`WorkerRef`](super::WorkerRef) does the same without the detour through the mailbox, and survives incarnations.
#[derive(Debug)]
pub enum WorkerMessage {
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
    /// End in order. Not for users: a worker that ends without its supervisor having asked may be restarted.
    Stop(StopRequest),
    /// The driver has come to the end of the process.
    Ended(Box<Exit>),
}

/// What a worker actor starts from.
#[derive(Debug)]
pub struct WorkerArguments {
    spec: Arc<WorkerSpec>,
    cx: StartContext,
    diagnostics: Arc<WorkerDiagnostics>,
    channel: Arc<WorkerChannel>,
    ready: oneshot::Sender<()>,
}

/// Owned by the actor: dropped with it, and the process with both.
#[derive(Debug)]
pub struct WorkerState {
    channel: Arc<WorkerChannel>,
    path: TreePath,
    incarnation: Incarnation,
    clock: crate::time::Clock,
    stop: watch::Sender<Option<StopRequest>>,
    driver: AbortOnDrop,
    ended: bool,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for WorkerState {
    fn drop(&mut self) {
        self.driver.0.abort();
        self.channel.diagnostics.actor_dropped();
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for WorkerActor {
    type Msg = WorkerMessage;
    type State = WorkerState;
    type Arguments = WorkerArguments;

    async fn pre_start(
        &self,
        me: ActorRef<WorkerMessage>,
        arguments: WorkerArguments,
    ) -> Result<WorkerState, ActorProcessingErr> {
        let WorkerArguments { spec, cx, diagnostics, channel, ready } = arguments;
        let (stop, stopped) = watch::channel(None);
        let (path, incarnation) = (cx.node.path().clone(), cx.incarnation);
        let clock = cx.scope.clock();
        let driver =
            Driver { spec, cx, diagnostics, channel: channel.clone(), ready: Some(ready), stop: stopped };
        let driver = tokio::spawn(async move {
            // What is not ours and may panic in here: the protocol, `on_ready`, the command's maker, the launcher.
            let exit = caught("the worker's driver", driver.run()).await.unwrap_or_else(|exit| exit);
            // Refused when the actor is in its `post_stop`, which waits for this task.
            let _ = me.cast(WorkerMessage::Ended(Box::new(exit)));
        });
        Ok(WorkerState { channel, path, incarnation, clock, stop, driver: AbortOnDrop(driver), ended: false })
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Call { method, params, timeout, reply } => {
                let (channel, path) = (state.channel.clone(), state.path.clone());
                tokio::spawn(async move {
                    let answer = match channel.peer() {
                        Some(peer) => peer.call_value(&method, &params, CallOptions::timeout(timeout)).await,
                        None if channel.has_no_channel() => Err(CallError::NoChannel { method, path }),
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
            WorkerMessage::Notify { method, params } => {
                if let Some(peer) = state.channel.peer() {
                    // A notification has nobody who could be told.
                    let _ = peer.try_notify_value(&method, &params);
                } else if state.channel.has_no_channel() {
                    let error = CallError::NoChannel { method, path: state.path.clone() };
                    log_event!(warn, state.path, state.incarnation, "{error}");
                }
            }
            WorkerMessage::Diagnostics(reply) => {
                let _ = reply.send(state.channel.diagnostics.worker(state.clock.now()));
            }
            WorkerMessage::Stop(request) => {
                state.stop.send_replace(Some(request));
            }
            WorkerMessage::Ended(exit) => {
                state.ended = true;
                // Every end is told as a typed error: that is how its supervisor learns the cause.
                return Err(exit);
            }
        }
        Ok(())
    }

    /// Somebody called ractor's own `stop`: the process still gets its orderly end.
    async fn post_stop(
        &self,
        _: ActorRef<WorkerMessage>,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        if !state.ended {
            state.stop.send_replace(Some(StopRequest { deadline: None }));
            let _ = (&mut state.driver.0).await;
        }
        Ok(())
    }
}

impl WorkerSpec {
    /// A child of a supervisor; required at start by default.
    pub fn child(self, id: impl Into<ChildId>) -> ChildSpec {
        let policy = self.policy();
        ChildSpec::new(id, policy, WorkerStart::new(self))
    }
}

/// Starts one incarnation after the other of a worker.
#[derive(Debug)]
pub(crate) struct WorkerStart {
    spec: Arc<WorkerSpec>,
    history: Arc<Mutex<WorkerHistory>>,
}

impl WorkerStart {
    /// What a new incarnation shows of itself.
    fn diagnostics(&self) -> Arc<WorkerDiagnostics> {
        Arc::new(WorkerDiagnostics::new(
            self.spec.program(),
            self.spec.protocol.name().to_owned(),
            self.spec.stderr_tail_bytes,
            self.history.clone(),
        ))
    }

    pub(crate) fn new(spec: WorkerSpec) -> WorkerStart {
        WorkerStart { spec: Arc::new(spec), history: Arc::default() }
    }
}

#[async_trait]
impl Start for WorkerStart {
    fn adopted(&self, node: &Node) {
        if !node.has_details() {
            node.set_details(self.diagnostics());
        }
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.spec.validate()
    }

    /// Processes crash for reasons of their own.
    fn own_budget(&self) -> Option<CrashLoop> {
        Some(CrashLoop::default())
    }

    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let spec = self.spec.clone();
        let diagnostics = self.diagnostics();
        cx.node.set_details(diagnostics.clone());
        let channel = Arc::new(WorkerChannel::new(diagnostics.clone()));
        let (ready, became_ready) = oneshot::channel();
        let supervisor = cx.supervisor.clone();
        let arguments = WorkerArguments { spec, cx, diagnostics, channel: channel.clone(), ready };
        let (actor, join) = WorkerActor::spawn_linked(None, WorkerActor, arguments, supervisor)
            .await
            .map_err(|e| Exit::from_error(&e))?;
        let asked = actor.clone();
        Ok(Started {
            cell: actor.get_cell(),
            join,
            ready: Some(Box::pin(async move { became_ready.await.map_err(|_| NotReady) })),
            stop: StopHandle::Request(Arc::new(move |request| {
                // Refused when it is ending by itself.
                let _ = asked.cast(WorkerMessage::Stop(request));
            })),
            attachment: Some(channel),
        })
    }
}
