//! Which children are stopped and started, in which order, and when a supervisor gives up.
//!
//! Two halves. The pure [`machine`] decides: inputs in, actions out, no I/O, no clock. The [`engine`] performs, inside a
//! ractor actor: it starts and stops incarnations, feeds the machine with what becomes of them, writes the board that
//! snapshots read and the event stream. Every supervisor of the crate is a thin actor around an engine; there is one
//! implementation of supervision.
//!
//! ```text
//!  Node ◄── board, live pointer ── Engine ──► Life of an incarnation ──► actor (ractor)
//!    ▲                               │  ▲                                    │
//!    │ ChildRef, WorkerRef …         ▼  └─────────── bell ◄──────────────────┘
//!  users                          Machine
//! ```
//!
//! This folder must not know OS processes or RPC: to it a child is something that a [`Start`] brings to life.

mod child_info;
mod child_ref;
pub mod engine;
mod errors;
mod event_bus;
mod exit_class;
mod incarnation_token;
pub mod machine;
mod node;
pub(crate) mod panics;
mod policy;
mod root;
mod spec;
mod start;
mod stop_notice;
mod supervisor;
mod tree_context;

pub use child_info::{ChildCounts, ChildInfo};
pub use child_ref::{ChildRef, SendError};
pub use errors::{FindError, RequestError, SpecError, SpecErrors, Unavailable};
pub use event_bus::{EventBus, EventReceiver, RecvError};
pub(crate) use exit_class::never_starts;
pub use incarnation_token::{IncarnationClosed, IncarnationToken};
pub use node::{Attachment, LiveIncarnation, Node, SnapshotSource};
pub use policy::{AutoShutdown, ChildPolicy, Shutdown, StartMode, SupervisorFlags};
pub use root::{Root, RootOptions, StartError};
pub use spec::{ChildSpec, SupervisorSpec};
pub(crate) use start::ExitGrace;
pub use start::{
    ActorStart, BoxFuture, NotReady, Readiness, Start, StartContext, StartPermit, Started, StopHandle,
    StopRequest,
};
pub(crate) use supervisor::host;
pub use supervisor::{Supervisor, SupervisorMessage, SupervisorRef};
pub use tree_context::TreeContext;
