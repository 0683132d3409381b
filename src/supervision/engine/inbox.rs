//! What reaches an engine: its channel, [`InboxSender`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::{children::ChildIndex, incarnation_cleanup::IncarnationCleanup, running_actor::RunningActor};
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

/// A message that the actor around an engine must accept and hand to the engine.
/// It says that there is something in the engine's inbox.
#[derive(Debug)]
pub struct EngineWakeUp;

/// Sends a message to the actor around an engine. Returns `false` if the actor no longer accepts
/// messages.
pub(super) type WakeActor = Box<dyn Fn(EngineWakeUp) -> bool + Send + Sync>;

/// A message in an engine's inbox.
pub(super) enum InboxMessage {
    /// Check the incarnations of this child.
    Check(ChildIndex),
    /// A start that went on in a task of its own has finished.
    StartFinished(Box<StartOutcome>),
    TimerTaskFired,
    /// The process of an incarnation ended at this time. Its exit (this one, as far as is known) is
    /// judged later.
    ProcessEnded(IncarnationKey, TreeInstant, Box<Exit>),
    /// The process or the channel of this incarnation has ended, and nothing reaches it any longer.
    Failing(IncarnationKey),
    Operator(Box<OperatorRequest>, oneshot::Sender<Result<Reply, RequestError>>),
    Shutdown {
        deadline: Option<TreeInstant>,
        kill: bool,
    },
    CountChildren(oneshot::Sender<ChildCounts>),
    WhichChildren(oneshot::Sender<Vec<ChildInfo>>),
    Spec(ChildId, oneshot::Sender<Result<ChildSpec, RequestError>>),
    SetPolicy(ChildId, Box<ChildPolicy>, oneshot::Sender<Result<(), RequestError>>),
}

/// The outcome of a start that went on in a task of its own.
pub(crate) struct StartOutcome {
    pub(crate) index: ChildIndex,
    /// Whether the incarnation became ready.
    pub(crate) ready: bool,
    pub(crate) running: Result<RunningActor, Exit>,
    pub(crate) cleanup: IncarnationCleanup,
}

/// A request, together with everything that the machine must not know.
#[derive(Debug)]
pub(super) enum OperatorRequest {
    Plain(Request),
    Start(ChildSpec),
    Reload(ChildSpec, ReloadWhen),
    /// Changes a part of how a child is started.
    Modify(ChildId, Arc<dyn StartModification>, ReloadWhen),
}

/// The sending side of an engine's channel.
#[derive(Clone)]
pub(crate) struct InboxSender(Arc<InboxSenderInner>);

struct InboxSenderInner {
    tx: mpsc::UnboundedSender<InboxMessage>,
    wake_actor: WakeActor,
    /// A wake-up is on its way, so a second one is not needed.
    woken: AtomicBool,
}

impl std::fmt::Debug for InboxSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl InboxSender {
    /// Creates the two ends of a channel. `wake_actor` tells the actor that the inbox is not empty.
    pub(super) fn new(wake_actor: WakeActor) -> (InboxSender, mpsc::UnboundedReceiver<InboxMessage>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (InboxSender(Arc::new(InboxSenderInner { tx, wake_actor, woken: AtomicBool::new(false) })), rx)
    }

    /// Sets whether the next message wakes the actor. While the engine reads its inbox by itself,
    /// it does not. Everything sent without a wake-up can be read once this call has returned.
    pub(super) fn wake_on_send(&self, on: bool) {
        self.0.woken.swap(!on, Ordering::AcqRel);
    }

    pub(crate) fn check(&self, index: ChildIndex) {
        let _ = self.send(InboxMessage::Check(index));
    }

    /// Delivers the outcome of a start. It is returned if the engine no longer exists.
    pub(crate) fn deliver(&self, delivery: Box<StartOutcome>) -> Result<(), Box<StartOutcome>> {
        match self.send(InboxMessage::StartFinished(delivery)) {
            Err(InboxMessage::StartFinished(delivery)) => Err(delivery),
            _ => Ok(()),
        }
    }

    pub(crate) fn timer_task_fired(&self) {
        let _ = self.send(InboxMessage::TimerTaskFired);
    }

    /// Messages that no engine will read are returned.
    pub(super) fn send(&self, message: InboxMessage) -> Result<(), InboxMessage> {
        self.0.tx.send(message).map_err(|refused| refused.0)?;
        self.wake_actor();
        Ok(())
    }

    /// Wakes the actor, unless a wake-up is already on its way.
    pub(super) fn wake_actor(&self) {
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            // If this fails, the actor is in its `post_stop`, where the engine reads its inbox
            // itself, or it has ended.
            (self.0.wake_actor)(EngineWakeUp);
        }
    }
}
