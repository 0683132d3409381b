//! What reaches an engine: its channel ([`Inbox`]), and how operators use it ([`EngineHandle`]).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    exit::Exit,
    id::{ChildId, Incarnation},
    state::{ChildKind, ChildState},
    supervision::{
        errors::RequestError,
        incarnation::{StartOutcome, slot_waker::Slot},
        machine::{ChildCounts, IncarnationKey, Reply, Request},
        policy::ChildPolicy,
        spec::ChildSpec,
    },
    time::Timestamp,
};

/// What an actor around an engine must take as a message and hand to [`Engine::message`](super::Engine::message).
#[derive(Debug)]
pub enum EngineMessage {
    /// There is something on the engine's channel.
    Poke,
}

/// Sends a message to the actor around an engine; `false` if the actor takes no messages any more.
pub(super) type WakeActor = Box<dyn Fn(EngineMessage) -> bool + Send + Sync>;

/// Something on an engine's channel.
pub(super) enum InboxMessage {
    /// Look after the incarnation here.
    Ring(Slot),
    /// A start that took its time is over.
    Begun(Box<StartOutcome>),
    Alarm,
    /// The process of an incarnation has ended at this moment, and its exit, this one as it seems, is judged later.
    Died(IncarnationKey, Timestamp, Box<Exit>),
    Operator(Box<OperatorRequest>, oneshot::Sender<Result<Reply, RequestError>>),
    Shutdown {
        deadline: Option<Timestamp>,
        kill: bool,
    },
    Count(oneshot::Sender<ChildCounts>),
    Which(oneshot::Sender<Vec<ChildInfo>>),
    Spec(ChildId, oneshot::Sender<Result<ChildSpec, RequestError>>),
    SetPolicy(ChildId, Box<ChildPolicy>, oneshot::Sender<Result<(), RequestError>>),
}

/// A request with everything that the machine must not know.
#[derive(Debug)]
pub(super) enum OperatorRequest {
    Plain(Request),
    Start(ChildSpec),
    Reload(ChildSpec),
}

/// One child in the answer to `which_children`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// The child.
    pub id: ChildId,
    /// What it is.
    pub kind: ChildKind,
    /// What it is doing.
    pub state: ChildState,
    /// Its last incarnation.
    pub incarnation: Incarnation,
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
    pub(super) fn announce(&self, on: bool) {
        self.0.woken.swap(!on, Ordering::AcqRel);
    }

    pub(crate) fn ring(&self, slot: Slot) {
        let _ = self.send(InboxMessage::Ring(slot));
    }

    /// What a start has come to; it comes back if there is no engine any more.
    pub(crate) fn deliver(&self, delivery: Box<StartOutcome>) -> Result<(), Box<StartOutcome>> {
        match self.send(InboxMessage::Begun(delivery)) {
            Err(InboxMessage::Begun(delivery)) => Err(delivery),
            _ => Ok(()),
        }
    }

    pub(crate) fn alarm(&self) {
        let _ = self.send(InboxMessage::Alarm);
    }

    /// Posts of which nobody hears any more come back.
    fn send(&self, post: InboxMessage) -> Result<(), InboxMessage> {
        self.0.tx.send(post).map_err(|refused| refused.0)?;
        self.wake_actor();
        Ok(())
    }

    /// Announces that there is something on the channel, unless that is known.
    pub(super) fn wake_actor(&self) {
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            // Refused: the actor is in its `post_stop`, where the engine reads its channel itself, or it is gone.
            (self.0.wake_actor)(EngineMessage::Poke);
        }
    }
}

/// How operators reach an engine. Held by the supervisor's place; works from any task.
#[derive(Debug)]
pub(crate) struct EngineHandle {
    inbox: Inbox,
}

impl EngineHandle {
    pub(super) fn new(inbox: Inbox) -> EngineHandle {
        EngineHandle { inbox }
    }

    /// Hands a request over now, at the call: requests reach the engine in the order in which they were made, whenever
    /// their answers are awaited.
    fn ask(
        &self,
        operator: OperatorRequest,
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::Operator(Box::new(operator), tx));
        // An engine that ends drops what it has not answered.
        async { rx.await.unwrap_or(Err(RequestError::ShuttingDown)) }
    }

    /// Performs a request that needs no new declaration.
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
    ) -> impl Future<Output = Result<Reply, RequestError>> + Send + use<> {
        self.ask(OperatorRequest::Reload(spec))
    }

    pub(crate) async fn set_policy(&self, id: ChildId, policy: ChildPolicy) -> Result<(), RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::SetPolicy(id, Box::new(policy), tx));
        rx.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    pub(crate) async fn count(&self) -> Result<ChildCounts, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::Count(tx));
        rx.await.map_err(|_| RequestError::ShuttingDown)
    }

    pub(crate) async fn which(&self) -> Result<Vec<ChildInfo>, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::Which(tx));
        rx.await.map_err(|_| RequestError::ShuttingDown)
    }

    pub(crate) async fn child_spec(&self, id: ChildId) -> Result<ChildSpec, RequestError> {
        let (tx, rx) = oneshot::channel();
        let _ = self.inbox.send(InboxMessage::Spec(id, tx));
        rx.await.unwrap_or(Err(RequestError::ShuttingDown))
    }

    /// The process of an incarnation has ended at this moment. Its exit, this one as it seems, is judged later.
    pub(crate) fn died(&self, key: IncarnationKey, at: Timestamp, exit: Exit) {
        let _ = self.inbox.send(InboxMessage::Died(key, at, Box::new(exit)));
    }

    /// Asks the supervisor to stop its children and to exit.
    pub(crate) fn shutdown(&self, deadline: Option<Timestamp>) {
        let _ = self.inbox.send(InboxMessage::Shutdown { deadline, kill: false });
    }

    /// As `shutdown`, and no child gets any more time.
    pub(crate) fn kill(&self) {
        let _ = self.inbox.send(InboxMessage::Shutdown { deadline: None, kill: true });
    }
}
