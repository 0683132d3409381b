//! Which children are stopped and started, in which order, and when a supervisor gives up.
//!
//! Two halves. The pure [`machine`] decides: inputs in, actions out, no I/O, no clock. The [`engine`] performs, inside a
//! ractor actor: it starts and stops incarnations, feeds the machine with what becomes of them, writes the board that
//! snapshots read and the event stream. Every supervisor of the crate is a thin actor around an engine; there is one
//! implementation of supervision.
//!
//! ```text
//!  Place ◄── board, live pointer ── Engine ──► Life of an incarnation ──► actor (ractor)
//!    ▲                               │  ▲                                    │
//!    │ ChildRef, WorkerRef …         ▼  └─────────── bell ◄──────────────────┘
//!  users                          Machine
//! ```
//!
//! This folder must not know OS processes or RPC: to it a child is something that a [`Start`] brings to life.

mod bus;
mod child_ref;
pub mod engine;
mod errors;
mod incarnation;
pub mod machine;
mod meeting;
pub(crate) mod panics;
mod place;
mod policy;
mod remains;
mod root;
mod spec;
mod start;
mod stop_notice;
mod supervisor;
mod timers;
mod verdict;

pub use bus::{EventBus, Events, EventsError};
pub use child_ref::{ChildRef, SendError};
pub use engine::Which;
pub use errors::{FindError, RequestError, SpecError, SpecErrors, Unavailable};
pub use machine::Count;
pub use place::{Attachment, Details, Live, Place};
pub use policy::{AutoShutdown, ChildPolicy, Flags, Shutdown, StartMode};
pub use remains::{Gone, Remains};
pub use root::{Root, RootOptions, StartError};
pub use spec::{ChildSpec, SupervisorSpec};
pub(crate) use start::ExitGrace;
pub use start::{
    ActorStart, Admission, BoxFuture, NotReady, Readiness, Scope, Start, StartContext, Started, StopHandle,
    StopRequest,
};
pub(crate) use supervisor::host;
pub use supervisor::{Supervisor, SupervisorMessage, SupervisorRef};
pub(crate) use verdict::never_starts;
