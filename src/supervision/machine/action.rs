//! What comes out of the machine: actions, and the replies to requests.

use super::input::{IncarnationKey, OperatorRequestId, Timer};
use crate::{
    clock::TreeInstant,
    event::EventKind,
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::{child_policy::Shutdown, errors::RequestError},
};

/// What the engine has to do. Actions are performed in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this incarnation.
    Start(IncarnationKey),
    /// From now on messages and calls reach this incarnation, which is ready. Comes before the
    /// change of state is published, so that they are seen together.
    MakeLive(IncarnationKey),
    /// Stop this incarnation, and report when nothing of it is left. May be repeated with a harder
    /// mode.
    Stop(IncarnationKey, Shutdown),
    /// Stop this incarnation, but let it finish the calls that it has; it gets no new ones. A `Stop`
    /// may follow.
    Retire(IncarnationKey, Shutdown),
    /// From now on, starts of this child use its newest definition, with all changes that waited.
    Define(ChildId),
    /// The newest definition of this child is good.
    Confirm(ChildId),
    /// From now on, starts of this child use the last definition that was confirmed.
    Restore(ChildId),
    /// Fire this timer at that time.
    Arm(Timer, TreeInstant),
    /// Forget this timer.
    Disarm(Timer),
    /// Answer this request, after everything else that the input has caused is done.
    Reply(OperatorRequestId, Result<Reply, RequestError>),
    /// Record at the node of the child whether an operator has stopped it.
    SetStoppedByOperator(ChildId, bool),
    /// Publish this event, of a child or of the supervisor itself.
    Publish(Option<IncarnationKey>, EventKind),
    /// This child has left the table.
    Forget(ChildId),
    /// All required children are ready: the supervisor has started.
    Started,
    /// No child is left: the supervisor exits like this.
    Exit(Exit),
}

/// What a request is answered with: its reply, or why it was refused or failed.
pub(in crate::supervision) type ReplyResult = Result<Reply, RequestError>;

/// The reply to a request that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The child is ready.
    Ready(Incarnation),
    /// The start of the child found nothing to run.
    Ignored,
}
