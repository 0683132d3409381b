//! [`PluginSupervisor`]: the actor of a plugin host, and how it is started.

use std::sync::Arc;

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    engine_observer::observer,
    error::PluginError,
    host_spec::PluginHostSpec,
    hosted_plugins::HostedPlugins,
    live_plugin_host::LivePluginHost,
    plugins,
    spec::PluginSpec,
    status::{PluginDiagnostics, PluginStatus},
};
use crate::{
    exit::Exit,
    id::{ChildId, Incarnation},
    rpc::{CallOptions, Timeout},
    supervision::{
        ChildPolicy, ChildSpec, SpecErrors, Start, StartContext, Started, StopRequest, SupervisorSpec,
        engine::{Engine, EngineArgs, EngineWakeUp},
        host,
    },
};

/// The actor of a plugin host: a dynamic one-for-one engine with one worker per plugin.
#[derive(Debug)]
pub struct PluginSupervisor;

/// The messages of a plugin host's actor, for code that holds only its `ActorRef`.
/// [`Plugins`](super::Plugins) offers the same without the detour through the mailbox, and survives the
/// host's restarts.
#[derive(Debug)]
pub enum PluginSupervisorMessage {
    /// For the engine. Not for users.
    #[doc(hidden)]
    Engine(EngineWakeUp),
    /// Stop all plugins and end. Not for users: a host that ends without a request of its supervisor
    /// may be restarted.
    Stop(StopRequest),
    /// Start a plugin.
    StartPlugin(Box<PluginSpec>, RpcReplyPort<Result<Incarnation, PluginError>>),
    /// Stop a plugin and remove it from the host.
    StopPlugin(ChildId, RpcReplyPort<Result<(), PluginError>>),
    /// Call a method of a plugin.
    Call {
        /// The plugin.
        plugin: ChildId,
        /// The method's name.
        method: String,
        /// Its params.
        params: Box<RawValue>,
        /// How long it may take.
        timeout: Timeout,
        /// Answered exactly once, unless the runtime is shut down.
        reply: RpcReplyPort<Result<Box<RawValue>, PluginError>>,
    },
    /// All plugins.
    List(RpcReplyPort<Vec<PluginStatus>>),
    /// Everything that is known about a plugin.
    Diagnostics(ChildId, RpcReplyPort<Result<PluginDiagnostics, PluginError>>),
}

impl From<EngineWakeUp> for PluginSupervisorMessage {
    fn from(message: EngineWakeUp) -> PluginSupervisorMessage {
        PluginSupervisorMessage::Engine(message)
    }
}

/// The arguments of a [`PluginSupervisor`].
#[derive(Debug)]
pub struct PluginSupervisorArguments {
    engine: EngineArgs,
    host: LivePluginHost,
}

/// The state of a [`PluginSupervisor`].
#[derive(Debug)]
pub struct PluginSupervisorState {
    engine: Engine,
    host: LivePluginHost,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for PluginSupervisor {
    type Msg = PluginSupervisorMessage;
    type State = PluginSupervisorState;
    type Arguments = PluginSupervisorArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let PluginSupervisorArguments { engine, host } = arguments;
        Ok(PluginSupervisorState { engine: host::engine(engine, me), host })
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
        message: PluginSupervisorMessage,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let host = state.host.clone();
        match message {
            PluginSupervisorMessage::Engine(message) => state.engine.message(message),
            PluginSupervisorMessage::Stop(request) => state.engine.stop(request),
            // Work that takes time is done outside of the actor, which stays responsive.
            PluginSupervisorMessage::StartPlugin(spec, reply) => {
                tokio::spawn(async move {
                    let _ = reply.send(host.start(*spec).await);
                });
            }
            PluginSupervisorMessage::StopPlugin(id, reply) => {
                tokio::spawn(async move {
                    let _ = reply.send(host.stop(&id).await);
                });
            }
            PluginSupervisorMessage::Call { plugin, method, params, timeout, reply } => {
                tokio::spawn(async move {
                    let options = CallOptions::timeout(timeout);
                    let _ = reply.send(plugins::call_value(&host, &plugin, &method, &params, options).await);
                });
            }
            PluginSupervisorMessage::List(reply) => {
                let _ = reply.send(host.list());
            }
            PluginSupervisorMessage::Diagnostics(id, reply) => {
                let _ = reply.send(host.diagnostics(&id));
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

/// Starts the incarnations of a plugin host, one after the other, each with the plugins that belong to
/// it.
#[derive(Debug)]
pub(crate) struct PluginHostStarter {
    hosted: Arc<HostedPlugins>,
    /// The mistakes of the declaration, reported when it is used.
    mistakes: Result<(), SpecErrors>,
}

impl PluginHostSpec {
    /// A child of a supervisor: permanent, restarted without delay, required at start (its plugins are
    /// not), with unlimited time to stop.
    ///
    /// All clones of the returned value are one host: plugins that are added at run time belong to it
    /// and return when it is restarted (rule G-16).
    pub fn child(self, id: impl Into<ChildId>) -> ChildSpec {
        let mistakes = self.validate();
        let start = PluginHostStarter::new(HostedPlugins::new(self), mistakes);
        ChildSpec::new(id, ChildPolicy::supervisor(), start)
    }
}

impl PluginHostStarter {
    pub(crate) fn new(hosted: Arc<HostedPlugins>, mistakes: Result<(), SpecErrors>) -> PluginHostStarter {
        PluginHostStarter { hosted, mistakes }
    }
}

#[async_trait]
impl Start for PluginHostStarter {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let (hosted, clock) = (self.hosted.clone(), cx.tree.clock());
        let spec = SupervisorSpec {
            flags: hosted.host_context.host.flags(),
            children: hosted.children_at_start(clock),
        };
        let (tx, rx) = oneshot::channel();
        let engine = EngineArgs {
            observer: Some(observer(hosted.clone(), cx.node.clone(), clock)),
            ..EngineArgs::nested(spec, &cx, tx)
        };
        let host = LivePluginHost { hosted, node: cx.node.clone(), clock };
        let arguments = PluginSupervisorArguments { engine, host: host.clone() };
        host::start(PluginSupervisor, arguments, rx, &cx, Some(Arc::new(host))).await
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.mistakes.clone()
    }
}
