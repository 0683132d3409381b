//! What goes into the machine: inputs, requests, timers, and the names in them.

use std::{fmt, sync::Arc};

use crate::{
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::policy::ChildPolicy,
};

/// One life of one child: the only way in which the machine and the engine speak of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IncarnationKey {
    /// The child.
    pub child: ChildId,
    /// Its life.
    pub incarnation: Incarnation,
}

impl fmt::Display for IncarnationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.child, self.incarnation)
    }
}

/// Names a request until it is answered, which happens exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorRequestId(pub u64);

/// A child as it enters the machine's table.
#[derive(Clone, Debug)]
pub struct NewChild {
    /// Its id.
    pub id: ChildId,
    /// Its policy; shared, since a pool has thousands of children with one policy.
    pub policy: Arc<ChildPolicy>,
    /// The last incarnation that its place has seen.
    pub last_incarnation: Incarnation,
    /// Whether an operator has stopped it and that still stands.
    pub stopped_by_operator: bool,
    /// Whether its place has been ready before, in an earlier life of its supervisor (rule R-6).
    pub has_been_ready: bool,
    /// Seeds the jitter of its back-off.
    pub seed: u64,
}

/// An operator's request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Adds a child and starts it (OTP's `start_child`): a required one is awaited, and removed again if its start
    /// fails; a background one is not awaited, and its policy rules from the first start on. Where siblings restart
    /// together and are just being started, it is started after them.
    StartChild(NewChild),
    /// Stops a child and keeps its declaration, unless it is temporary (OTP's `terminate_child`).
    TerminateChild(ChildId),
    /// Starts a child that is down; if that fails it stays down (OTP's `restart_child`). In its turn, as `StartChild`.
    RestartChild(ChildId),
    /// Removes a child that is down (OTP's `delete_child`).
    DeleteChild(ChildId),
    /// Stops a child, in whatever state it is, and removes it. Not in OTP, where it takes two calls.
    RemoveChild(ChildId),
    /// Restarts a child in whatever state it is (rule R-8); joins a restart under way. A start in flight by
    /// `StartChild`, or by the supervisor's own start, is made again and keeps its meaning.
    Restart(ChildId),
    /// Wants a child to run that was not stopped (rule G-10): joins a start, starts one that has never been started or
    /// has ended by itself, and leaves its counters alone. One that an operator has stopped, or its policy has given up,
    /// stays down.
    Demand(ChildId),
    /// Changes a child's policy and, if it is alive or waiting, stops it and starts it anew; a start that fails is not
    /// retried, unless it is made by a group restart under way, whose rules it follows then.
    Reload(ChildId, Arc<ChildPolicy>),
}

impl Request {
    /// The child of which nothing of an earlier incarnation is to be left when the answer comes: one that is told to end.
    pub fn ends(&self) -> Option<&ChildId> {
        match self {
            Request::StartChild(_) | Request::RestartChild(_) | Request::Demand(_) => None,
            Request::TerminateChild(id)
            | Request::DeleteChild(id)
            | Request::RemoveChild(id)
            | Request::Restart(id)
            | Request::Reload(id, _) => Some(id),
        }
    }
}

/// What happened, as the engine tells it.
#[derive(Clone, Debug)]
pub enum Input {
    /// The supervisor itself starts: start the children.
    Boot,
    /// An incarnation is ready. One that is ready and gone at the same moment is told as both, in this order: what ends
    /// without having been ready is a failed start, however well it ended.
    Ready(IncarnationKey),
    /// An incarnation has ended and everything it owned is gone; also when it never became ready.
    Ended(IncarnationKey, Exit),
    /// A timer that was armed has fired.
    Fired(Timer),
    /// An operator asks.
    Request(OperatorRequestId, Request),
    /// Stop all children and exit.
    Shutdown,
    /// As `Shutdown`, and children get no more time: they are killed, still in order.
    Kill,
}

/// A timer of the machine. One that fires late, or for an incarnation that is no more, does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The back-off or cool-off after the end of this incarnation.
    Child(IncarnationKey),
    /// The delay of a group restart. It alone ends that delay, however late it fires.
    Pass(u64),
}
