//! [`RootSupervisor`]: the actor at the top of a tree, a thin shell around the engine.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::{
    snapshot::NodeSnapshot,
    supervision::{
        StopRequest,
        engine::{Engine, EngineArgs, EngineMessage},
        host,
    },
};

/// The actor at the top of a tree.
#[derive(Debug)]
pub struct RootSupervisor;

/// What the [`RootSupervisor`] takes as a message, for those who hold only its `ActorRef`. [`Tree`](super::Tree) does
/// the same.
#[derive(Debug)]
pub enum RootMessage {
    /// For the engine.
    Engine(EngineMessage),
    /// Stop everything in order and end.
    Stop(StopRequest),
    /// The whole tree.
    Snapshot(RpcReplyPort<NodeSnapshot>),
}

impl From<EngineMessage> for RootMessage {
    fn from(message: EngineMessage) -> RootMessage {
        RootMessage::Engine(message)
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for RootSupervisor {
    type Msg = RootMessage;
    type State = Engine;
    type Arguments = EngineArgs;

    async fn pre_start(
        &self,
        me: ActorRef<RootMessage>,
        args: EngineArgs,
    ) -> Result<Engine, ActorProcessingErr> {
        Ok(host::engine(args, me))
    }

    async fn post_start(
        &self,
        me: ActorRef<RootMessage>,
        engine: &mut Engine,
    ) -> Result<(), ActorProcessingErr> {
        engine.boot();
        host::conclude(engine, &me)
    }

    async fn handle(
        &self,
        me: ActorRef<RootMessage>,
        message: RootMessage,
        engine: &mut Engine,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMessage::Engine(message) => engine.message(message),
            RootMessage::Stop(request) => engine.stop(request),
            RootMessage::Snapshot(reply) => {
                let _ = reply.send(engine.node().snapshot());
            }
        }
        host::conclude(engine, &me)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<RootMessage>,
        event: SupervisionEvent,
        engine: &mut Engine,
    ) -> Result<(), ActorProcessingErr> {
        engine.supervision_event(event);
        host::conclude(engine, &me)
    }

    async fn post_stop(
        &self,
        _: ActorRef<RootMessage>,
        engine: &mut Engine,
    ) -> Result<(), ActorProcessingErr> {
        engine.drain().await;
        Ok(())
    }
}
