//! What reaches an engine: its channel, [`Inbox`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::{abandoned::AbandonedIncarnation, children::Slot, running_actor::RunningActor};
use crate::{
    exit::Exit,
    id::ChildId,
    supervision::{
        child_info::{ChildCounts, ChildInfo},
        errors::RequestError,
        machine::{IncarnationKey, Reply, Request},
        policy::ChildPolicy,
        spec::ChildSpec,
    },
    time::Timestamp,
};

/// What an actor around an engine must take as a message and hand to [`Engine::message`](super::Engine::message).
#[derive(Debug)]
pub enum EngineMessage {
    /// There is something in the engine's inbox.
    WakeUp,
}

/// Sends a message to the actor around an engine; `false` if the actor takes no messages any more.
pub(super) type WakeActor = Box<dyn Fn(EngineMessage) -> bool + Send + Sync>;

/// Something on an engine's channel.
pub(super) enum InboxMessage {
    /// Look after the incarnation here.
    Check(Slot),
    /// A start that took its time is over.
    StartFinished(Box<StartOutcome>),
    Alarm,
    /// The process of an incarnation has ended at this moment, and its exit, this one as it seems, is judged later.
    ProcessEnded(IncarnationKey, Timestamp, Box<Exit>),
    Operator(Box<OperatorRequest>, oneshot::Sender<Result<Reply, RequestError>>),
    Shutdown {
        deadline: Option<Timestamp>,
        kill: bool,
    },
    CountChildren(oneshot::Sender<ChildCounts>),
    WhichChildren(oneshot::Sender<Vec<ChildInfo>>),
    Spec(ChildId, oneshot::Sender<Result<ChildSpec, RequestError>>),
    SetPolicy(ChildId, Box<ChildPolicy>, oneshot::Sender<Result<(), RequestError>>),
}

/// What a start that went on has come to.
pub(crate) struct StartOutcome {
    pub(crate) slot: Slot,
    /// Whether it was ready.
    pub(crate) ready: bool,
    pub(crate) running: Result<RunningActor, Exit>,
    pub(crate) abandoned: AbandonedIncarnation,
}

/// A request with everything that the machine must not know.
#[derive(Debug)]
pub(super) enum OperatorRequest {
    Plain(Request),
    Start(ChildSpec),
    Reload(ChildSpec),
}

/// The sending side of an engine's channel.
#[derive(Clone)]
pub(crate) struct Inbox(Arc<InboxInner>);

struct InboxInner {
    tx: mpsc::UnboundedSender<InboxMessage>,
    wake_actor: WakeActor,
    /// A poke is on its way: there need not be a second one.
    woken: AtomicBool,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Posts")
    }
}

impl Inbox {
    /// The two ends of a new channel. `wake_actor` announces to the actor that there is something on it.
    pub(super) fn new(wake_actor: WakeActor) -> (Inbox, mpsc::UnboundedReceiver<InboxMessage>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Inbox(Arc::new(InboxInner { tx, wake_actor, woken: AtomicBool::new(false) })), rx)
    }

    /// Whether the next post is announced: not while the engine reads its channel by itself. Whatever was put there
    /// without an announcement can be read once this has returned.
    pub(super) fn wake_on_send(&self, on: bool) {
        self.0.woken.swap(!on, Ordering::AcqRel);
    }

    pub(crate) fn check(&self, slot: Slot) {
        let _ = self.send(InboxMessage::Check(slot));
    }

    /// What a start has come to; it comes back if there is no engine any more.
    pub(crate) fn deliver(&self, delivery: Box<StartOutcome>) -> Result<(), Box<StartOutcome>> {
        match self.send(InboxMessage::StartFinished(delivery)) {
            Err(InboxMessage::StartFinished(delivery)) => Err(delivery),
            _ => Ok(()),
        }
    }

    pub(crate) fn alarm(&self) {
        let _ = self.send(InboxMessage::Alarm);
    }

    /// Posts of which nobody hears any more come back.
    pub(super) fn send(&self, message: InboxMessage) -> Result<(), InboxMessage> {
        self.0.tx.send(message).map_err(|refused| refused.0)?;
        self.wake_actor();
        Ok(())
    }

    /// Announces that there is something on the channel, unless that is known.
    pub(super) fn wake_actor(&self) {
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            // Refused: the actor is in its `post_stop`, where the engine reads its channel itself, or it is gone.
            (self.0.wake_actor)(EngineMessage::WakeUp);
        }
    }
}
