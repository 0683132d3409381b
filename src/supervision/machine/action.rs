//! What comes out of the machine: actions, and the replies to requests.

use super::input::{IncarnationKey, OperatorRequestId, Timer};
use crate::{
    event::EventKind,
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::{errors::RequestError, policy::Shutdown},
    time::Timestamp,
};

/// What the engine has to do. Actions are performed in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this incarnation.
    Start(IncarnationKey),
    /// From now on messages and calls reach this incarnation, which is ready. Comes before the change of state is
    /// published, so that they are seen together.
    MakeLive(IncarnationKey),
    /// Stop this incarnation and report when it is gone. May come again, to kill it.
    Stop(IncarnationKey, Shutdown),
    /// Fire this timer at that time.
    Arm(Timer, Timestamp),
    /// Forget this timer.
    Disarm(Timer),
    /// Answer this request, when everything else that the input has caused is done.
    Reply(OperatorRequestId, Result<Reply, RequestError>),
    /// Remember at the child's place whether an operator has stopped it.
    SetStoppedByOperator(ChildId, bool),
    /// Make this known: of a child, or of the supervisor itself.
    Publish(Option<IncarnationKey>, EventKind),
    /// This child has left the table.
    Forget(ChildId),
    /// All children that must be awaited are ready: the supervisor has started.
    Started,
    /// No child is left: the supervisor ends like this.
    Exit(Exit),
}

/// What a request is answered with.
pub(in crate::supervision) type ReplyResult = Result<Reply, RequestError>;

/// The good answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The child is ready.
    Ready(Incarnation),
    /// The child's start answered that there is nothing to run.
    Ignored,
}
