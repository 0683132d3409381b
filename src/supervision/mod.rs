//! Which children are stopped and started, in which order, and when a supervisor gives up.
//!
//! There are two halves. The pure `machine` decides: inputs in, actions out, no I/O, no clock. The
//! `engine` performs its actions inside a ractor actor: it starts and stops incarnations, reports
//! the results to the machine, and writes the node status and the event stream. Every supervisor of
//! the crate is a thin actor around an engine; there is one implementation of supervision.
//!
//! ```text
//!  Node ◄── status, live pointer ── Engine ──► incarnation ──► actor (ractor)
//!    ▲                               │  ▲                         │
//!    │ ActorChildRef, WorkerRef …    ▼  └──── child waker ◄───────┘
//!  users                          Machine
//! ```
//!
//! This folder must not know OS processes or RPC: to it a child is something that a [`Start`]
//! starts.
//!
//! # Children of your own
//!
//! Any ractor actor can be a child ([`ChildSpec::actor`]). A type of your own that implements
//! [`Start`] controls more: it gets a [`StartContext`], returns a [`Started`], may attach something
//! to the live incarnation ([`LiveAttachment`], found by [`Node::live`]), may bound concurrent starts
//! ([`StartPermit`]), and keeps a clone of its [`IncarnationWaitGroup`] in whatever may outlive the
//! actor.

mod actor_child_ref;
mod child_info;
mod child_policy;
pub(crate) mod engine;
mod errors;
mod event_bus;
mod exit_class;
mod incarnation_wait_group;
pub(crate) mod machine;
mod node;
pub(crate) mod panics;
pub(crate) mod root;
mod spec;
mod start;
mod supervisor_actor;
mod supervisor_flags;
mod tree_context;
mod tree_stop_state;

pub use actor_child_ref::{ActorChildRef, SendError};
pub use child_info::{ChildCounts, ChildInfo};
pub use child_policy::{ChildPolicy, Shutdown, StartMode};
pub use errors::{FindError, RequestError, SpecError, SpecErrors, TreeStartError, Unavailable};
pub(crate) use event_bus::EventBus;
pub use event_bus::{EventReceiver, RecvError};
pub(crate) use exit_class::never_starts;
pub use incarnation_wait_group::IncarnationWaitGroup;
pub use machine::ReloadWhen;
pub(crate) use node::WorkerSnapshotSource;
pub use node::{LiveAttachment, LiveIncarnation, Node};
pub(crate) use root::Root;
pub use spec::{ChildSpec, SupervisorSpec};
pub(crate) use start::JudgementDelay;
pub use start::{
    ActorStarter, BoxFuture, Readiness, ReadinessError, Start, StartContext, StartModification, StartPermit,
    Started, StopHandle, StopRequest,
};
pub(crate) use supervisor_actor::host;
pub use supervisor_actor::{
    SupervisorActor, SupervisorActorArguments, SupervisorActorMessage, SupervisorActorState, SupervisorRef,
};
pub use supervisor_flags::{AutoShutdown, SupervisorFlags};
pub use tree_context::TreeContext;

pub use crate::state::{ChildKind, ChildState, DownReason, GiveUpReason, Strategy};
