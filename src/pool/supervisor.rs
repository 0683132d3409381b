//! [`PoolSupervisor`]: the actor of a pool, around an engine.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::{sync::oneshot, task::AbortHandle};

use super::{
    core::{CalledFrom, EngineCommand, LivePool, PoolCore},
    errors::AcquireError,
    handle::Pool,
    lease::Lease,
    ledger::{Ledger, LedgerInput},
    memory_watch::watch_memory,
    report::PoolReport,
    session_map::SessionMap,
    spec::{PoolSpec, misplaced_policy},
};
use crate::{
    clock::TreeInstant,
    event::{RecycleReason, StartReason},
    exit::{Exit, LaunchStage},
    id::ChildId,
    log_event_macro::log_event,
    state::{ChildState, DownReason, GiveUpReason},
    supervision::{
        ChildPolicy, ChildSpec, SpecErrors, Start, StartContext, Started, StopRequest, SupervisorSpec,
        Unavailable,
        engine::{Engine, EngineArgs, EngineWakeUp},
        host,
        machine::IncarnationKey,
    },
};

/// The actor of a pool.
#[derive(Debug)]
pub struct PoolSupervisor;

/// The messages of a pool's actor, for code that holds only its `ActorRef`. [`Pool`] offers the same
/// without the detour through the mailbox, and survives the pool's restarts.
#[derive(Debug)]
pub enum PoolSupervisorMessage {
    /// For the engine. Not for users.
    #[doc(hidden)]
    Engine(EngineWakeUp),
    /// Commands are queued. Not for users; harmless.
    #[doc(hidden)]
    Work,
    /// The ledger's timer has fired. Not for users; harmless.
    #[doc(hidden)]
    Tick,
    /// Stop all workers and end. Not for users: a pool that ends without a request of its supervisor
    /// may be restarted.
    Stop(StopRequest),
    /// Acquire a lease. A request whose sender vanishes keeps its place in the queue until the
    /// deadline.
    Acquire {
        /// The key in a keyed pool, `None` in an anonymous one.
        key: Option<ChildId>,
        /// How long to wait; `None` for the time in the pool's declaration.
        within: Option<Duration>,
        /// Answered exactly once. A lease that is not received ends.
        reply: RpcReplyPort<Result<Lease, AcquireError>>,
    },
    /// The pool and its workers.
    Status(RpcReplyPort<PoolReport>),
    /// Take no more work; answered when no worker is left.
    Drain(RpcReplyPort<Result<(), Unavailable>>),
    /// Change the cap.
    Resize(usize),
}

impl From<EngineWakeUp> for PoolSupervisorMessage {
    fn from(message: EngineWakeUp) -> PoolSupervisorMessage {
        PoolSupervisorMessage::Engine(message)
    }
}

/// The arguments of a [`PoolSupervisor`].
#[derive(Debug)]
pub struct PoolSupervisorArguments {
    engine: EngineArgs,
    core: Arc<PoolCore>,
    spec: Arc<PoolSpec>,
}

/// The state of a [`PoolSupervisor`]. When it is dropped, all callers and lease holders are told that
/// the pool has ended.
#[derive(Debug)]
pub struct PoolSupervisorState {
    engine: Engine,
    core: Arc<PoolCore>,
    spec: Arc<PoolSpec>,
    /// The policy of the last worker, shared by all workers with an equal one.
    policy: Arc<ChildPolicy>,
    timer: Option<AbortHandle>,
    memory_watch: Option<AbortHandle>,
    /// Keys whose swap has not been reported as over.
    swaps: Vec<ChildId>,
}

impl Drop for PoolSupervisorState {
    fn drop(&mut self) {
        for task in [&self.timer, &self.memory_watch].into_iter().flatten() {
            task.abort();
        }
        self.core.abandon();
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for PoolSupervisor {
    type Msg = PoolSupervisorMessage;
    type State = PoolSupervisorState;
    type Arguments = PoolSupervisorArguments;

    async fn pre_start(
        &self,
        me: ActorRef<PoolSupervisorMessage>,
        arguments: PoolSupervisorArguments,
    ) -> Result<PoolSupervisorState, ActorProcessingErr> {
        let PoolSupervisorArguments { mut engine, core, spec } = arguments;
        let actor = me.clone();
        core.set_waker(Box::new(move || {
            // Refused when the actor is ending: its commands are void then.
            let _ = actor.cast(PoolSupervisorMessage::Work);
        }));
        let observing = core.clone();
        engine.observer = Some(Box::new(move |key, kind| observing.observe(key, kind)));
        let mut engine = host::engine(engine, me);
        // A change of a worker's command must not exceed the cap.
        engine.forbid_swaps();
        let policy = Arc::new(ChildPolicy::actor());
        let memory_watch = spec.recycling.max_rss_bytes.map(|max_rss_bytes| {
            tokio::spawn(watch_memory(Arc::downgrade(&core), max_rss_bytes)).abort_handle()
        });
        Ok(PoolSupervisorState { engine, core, spec, policy, timer: None, memory_watch, swaps: Vec::new() })
    }

    async fn post_start(
        &self,
        me: ActorRef<PoolSupervisorMessage>,
        state: &mut PoolSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.engine.boot();
        // The warm workers of an anonymous pool.
        state.tick();
        state.conclude(&me)
    }

    async fn handle(
        &self,
        me: ActorRef<PoolSupervisorMessage>,
        message: PoolSupervisorMessage,
        state: &mut PoolSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PoolSupervisorMessage::Engine(message) => state.engine.message(message),
            PoolSupervisorMessage::Work => {}
            PoolSupervisorMessage::Tick => state.tick(),
            PoolSupervisorMessage::Stop(request) => state.engine.stop(request),
            PoolSupervisorMessage::Acquire { key, within, reply } => {
                let core = state.core.clone();
                tokio::spawn(async move {
                    let within = within.unwrap_or(core.acquire_timeout);
                    // A lease that is not received ends here.
                    let _ = reply.send(Pool::acquire_from(&core, key, within).await);
                });
            }
            PoolSupervisorMessage::Status(reply) => {
                let _ = reply.send(PoolReport::of(&state.core));
            }
            PoolSupervisorMessage::Drain(reply) => {
                let core = state.core.clone();
                core.submit(LedgerInput::Drain);
                tokio::spawn(async move {
                    let _ = reply.send(core.drained().await);
                });
            }
            PoolSupervisorMessage::Resize(max) => state.core.submit(LedgerInput::Resize { max }),
        }
        state.conclude(&me)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<PoolSupervisorMessage>,
        event: SupervisionEvent,
        state: &mut PoolSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.engine.supervision_event(event);
        state.conclude(&me)
    }

    async fn post_stop(
        &self,
        _: ActorRef<PoolSupervisorMessage>,
        state: &mut PoolSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.core.close();
        state.engine.drain().await;
        state.core.report_downs();
        state.core.publish();
        Ok(())
    }
}

impl PoolSupervisorState {
    fn tick(&mut self) {
        self.core.update(CalledFrom::Actor, None, |inner, now| inner.feed(now, LedgerInput::Tick));
    }

    /// After each message: performs the ledger's commands, in their order.
    fn conclude(&mut self, me: &ActorRef<PoolSupervisorMessage>) -> Result<(), ActorProcessingErr> {
        self.core.publish();
        loop {
            if self.engine.is_stopping() {
                self.core.close();
                self.core.report_downs();
                break;
            }
            self.report_ended_swaps();
            // Removed children are reported to the ledger when they have left the table.
            let still_listed = self.core.still_listed();
            let commands = self.core.take_commands();
            if still_listed.is_empty() && commands.is_empty() {
                break;
            }
            for child in still_listed {
                self.engine.remove(child);
            }
            for command in commands {
                match command {
                    EngineCommand::Start(key) => self.start(key),
                    EngineCommand::Stop(key) => self.engine.remove(key),
                    EngineCommand::Swap(worker, why) => self.swap(worker, why),
                    EngineCommand::Timer(at) => self.arm(at, me),
                }
            }
            self.core.publish();
        }
        host::conclude(&self.engine, me)
    }

    fn start(&mut self, key: ChildId) {
        let started = self.child(&key).map(|child| {
            self.core.lock().last_added = None; // from an earlier start
            self.engine.add(child);
        });
        let (why, exit) = match started {
            Ok(()) if self.core.was_added(&key) => return,
            // Not the key's fault, and over when the other child is gone.
            Ok(()) => (
                DownReason::NeverStarted,
                unstartable(format!(
                    "the pool's supervisor has another child named `{key}`; stop that one first"
                )),
            ),
            Err(exit) => (DownReason::GaveUp { why: GiveUpReason::NeverStarts }, exit),
        };
        let node = &self.core.node;
        log_event!(error, node.path(), node.incarnation(), %key, "{exit}");
        self.core.not_startable(key, why, exit);
    }

    /// W-5
    fn swap(&mut self, worker: IncarnationKey, why: RecycleReason) {
        let IncarnationKey { child, incarnation } = worker;
        let node = self.core.node.child(&child);
        // It may have ended since, and its restart is not to be hurried.
        if node.is_some_and(|node| node.incarnation() == incarnation && node.state() == ChildState::Ready) {
            self.engine.swap(child.clone(), StartReason::Recycle(why));
        }
        self.swaps.push(child);
    }

    /// Tells the ledger of keys that have one process again.
    fn report_ended_swaps(&mut self) {
        let engine = &self.engine;
        for key in self.swaps.extract_if(.., |key| !engine.has_second(key)) {
            self.core.update(CalledFrom::Actor, None, |inner, now| {
                inner.feed(now, LedgerInput::SwapOver { key });
            });
        }
    }

    fn child(&mut self, key: &ChildId) -> Result<ChildSpec, Exit> {
        let made = catch_unwind(AssertUnwindSafe(|| self.spec.template.make(key)));
        let worker = made.map_err(|_| unstartable(format!("the template panicked for `{key}`")))?;
        if let Some((field, problem)) = misplaced_policy(&worker) {
            return Err(unstartable(format!("`{field}` {problem}")));
        }
        let mut child = worker.child(key).restart(self.spec.restart_policy()).background();
        if self.spec.rules.overlap {
            child = child.overlap();
        }
        if *self.policy != *child.policy {
            self.policy = child.policy;
        }
        child.policy = self.policy.clone();
        let valid = self.spec.flags().validate([(key.as_str(), &*child.policy)]);
        valid.map_err(|errors| unstartable(errors.to_string()))?;
        Ok(child)
    }

    fn arm(&mut self, at: Option<TreeInstant>, me: &ActorRef<PoolSupervisorMessage>) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        let Some(at) = at else { return };
        let (me, at) = (me.clone(), self.core.clock.instant(at));
        let sleep = async move {
            tokio::time::sleep_until(at).await;
            // Refused when the pool is gone.
            let _ = me.cast(PoolSupervisorMessage::Tick);
        };
        self.timer = Some(tokio::spawn(sleep).abort_handle());
    }
}

fn unstartable(reason: String) -> Exit {
    Exit::NeverStarted { errno: None, stage: LaunchStage::Command, reason }
}

impl PoolSpec {
    /// A child of a supervisor: required at start (a pool is ready at once, since its workers start
    /// later), with unlimited time to stop, permanent, and restarted without delay.
    pub fn child(self, id: impl Into<ChildId>) -> ChildSpec {
        ChildSpec::new(id, ChildPolicy::supervisor(), PoolStarter::new(self))
    }
}

/// Starts the incarnations of a pool, one after the other.
#[derive(Debug)]
pub(super) struct PoolStarter {
    spec: Arc<PoolSpec>,
    sessions: Arc<SessionMap>,
}

impl PoolStarter {
    pub(super) fn new(spec: PoolSpec) -> PoolStarter {
        PoolStarter { spec: Arc::new(spec), sessions: Arc::default() }
    }
}

#[async_trait]
impl Start for PoolStarter {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let spec = self.spec.clone();
        let ledger = Ledger::new(spec.rules.clone()).map_err(|e| Exit::from_error(&e))?;
        let core = PoolCore::new(
            ledger,
            cx.node.clone(),
            cx.tree.clock(),
            spec.acquire_timeout,
            spec.recycling,
            self.sessions.clone(),
        );
        let (tx, rx) = oneshot::channel();
        let supervisor = SupervisorSpec { flags: spec.flags(), children: Vec::new() };
        let engine = EngineArgs::nested(supervisor, &cx, tx);
        let arguments = PoolSupervisorArguments { engine, core: core.clone(), spec };
        host::start(PoolSupervisor, arguments, rx, &cx, Some(Arc::new(LivePool(core)))).await
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.spec.validate()
    }
}
