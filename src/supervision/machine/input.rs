//! What goes into the machine: inputs, requests, timers, and the names in them.

use std::{fmt, sync::Arc};

use crate::{
    event::StartReason,
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::child_policy::ChildPolicy,
};

/// One incarnation of one child: how the machine and the engine refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IncarnationKey {
    /// The child.
    pub child: ChildId,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

impl fmt::Display for IncarnationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.child, self.incarnation)
    }
}

/// Identifies a request until it is answered, which happens exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorRequestId(pub u64);

/// A child to be added to the table of the machine.
#[derive(Clone, Debug)]
pub struct NewChild {
    /// Its id.
    pub id: ChildId,
    /// Its policy; shared, since a pool has thousands of children with one policy.
    pub policy: Arc<ChildPolicy>,
    /// The newest incarnation that its node has had.
    pub last_incarnation: Incarnation,
    /// Whether an operator has stopped it and that still stands.
    pub stopped_by_operator: bool,
    /// Whether its node has been ready before, under an earlier incarnation of its supervisor (rule R-6).
    pub has_been_ready: bool,
    /// Seeds the jitter of its back-off.
    pub seed: u64,
}

/// An operator's request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Adds a child and starts it (OTP's `start_child`). A required child is awaited, and removed
    /// again if its start fails. A background child is not awaited, and its policy applies from the
    /// first start on. Where siblings restart together and are being started at the moment, it is
    /// started after them.
    StartChild(NewChild),
    /// Stops a child and keeps its declaration, unless it is temporary (OTP's `terminate_child`).
    TerminateChild(ChildId),
    /// Starts a child that is down; if that fails, it stays down (OTP's `restart_child`). It is
    /// started in its turn, as with `StartChild`.
    RestartChild(ChildId),
    /// Removes a child that is down (OTP's `delete_child`).
    DeleteChild(ChildId),
    /// Stops a child in whatever state it is, and removes it. OTP needs two calls for this.
    RemoveChild(ChildId),
    /// Restarts a child in whatever state it is (rule R-8); joins a restart that is under way. A
    /// start in flight by `StartChild`, or by the supervisor's own start, is repeated and keeps its
    /// meaning.
    Restart(ChildId),
    /// Ensures that a child runs unless it was stopped (rule G-10): joins a start, or starts a
    /// child that has never been started or has ended by itself, and leaves its counters alone. A
    /// child that an operator has stopped, or that its policy has given up, stays down.
    Demand(ChildId),
    /// Changes the definition of a child. The change waits until the next start of the child, which
    /// follows now, or not (rules G-13, G-14). A start that fails restores the last definition that
    /// was confirmed.
    Reload(ChildId, DefinitionChange, ReloadWhen),
    /// Stops a child because it is idle, if this is still its live incarnation. The next demand
    /// starts it (rule S-28).
    StopIdle(ChildId, Incarnation),
}

impl Request {
    /// The child that the request stops, if it stops one. Its reply comes only when nothing of
    /// earlier incarnations is left.
    pub fn ends(&self) -> Option<&ChildId> {
        match self {
            Request::StartChild(_) | Request::RestartChild(_) | Request::Demand(_) => None,
            Request::Reload(_, _, ReloadWhen::NextStart) => None,
            Request::TerminateChild(id)
            | Request::DeleteChild(id)
            | Request::RemoveChild(id)
            | Request::Restart(id)
            | Request::StopIdle(id, _)
            | Request::Reload(id, ..) => Some(id),
        }
    }
}

/// What a reload changes in the definition of a child, as far as the machine knows definitions. Of
/// several that wait together, the last policy decides.
#[derive(Clone, Debug)]
pub enum DefinitionChange {
    /// Nothing: the incarnation is replaced by one of the same definition (recycling, W-5), for this
    /// reason.
    None(StartReason),
    /// How it is started, and not its policy.
    KeepPolicy,
    /// Its policy, and perhaps also how it is started.
    ReplacePolicy(Arc<ChildPolicy>),
}

/// When a change of a definition takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadWhen {
    /// As soon as possible: the child is replaced, or stopped and started again.
    #[default]
    Now,
    /// When the child starts next, for whatever reason.
    NextStart,
}

/// What happened, as reported by the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// The supervisor itself starts: start the children.
    Boot,
    /// An incarnation is ready. One that becomes ready and ends at the same moment is reported as
    /// both, in this order. An incarnation that ends without having been ready is a failed start,
    /// however well it ended.
    Ready(IncarnationKey),
    /// The process or the channel of an incarnation is known to have ended; its `Ended` follows. A
    /// spare takes its place (rule W-6).
    Failing(IncarnationKey),
    /// An incarnation has ended and nothing it owned is left; also if it never became ready.
    Ended(IncarnationKey, Exit),
    /// A timer that was armed has fired.
    Fired(Timer),
    /// An operator makes a request.
    Request(OperatorRequestId, Request),
    /// Stop all children and exit.
    Shutdown,
    /// As `Shutdown`, but children get no more time: they are killed, still in order.
    Kill,
}

/// A timer of the machine. One that fires late, or for an incarnation that no longer exists, does
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The back-off or cool-off after the end of this incarnation.
    Child(IncarnationKey),
    /// The back-off of a spare, after the end of this incarnation of it.
    Spare(IncarnationKey),
    /// The delay of a group restart. It alone ends that delay, however late it fires.
    Pass(u64),
}
