//! The child actor of an OS process: one process, one channel and one protocol make one incarnation.
//!
//! [`WorkerSpec`] declares a worker and becomes a child of any supervisor; [`WorkerRef`] is the address
//! that survives its incarnations. The actor is linked first, and launches the process in a task that
//! its state owns (the *process lifecycle*), so that killing the actor kills the process too. Calls do not go
//! through the actor: they go straight from the caller to the live incarnation's
//! [`Peer`](crate::rpc::Peer).
//!
//! ```text
//! WorkerRef ── Node ── live pointer ──► Peer ──► stdin / stdout ── process
//!                                         ▲                           ▲
//! supervisor ──► worker actor ──owns──► process lifecycle ──owns─────┘
//! ```
//!
//! This folder must not know pools, plugins or trees.

mod actor;
mod diagnostics;
mod ended_by_service_stop;
#[cfg(feature = "watch")]
mod file_watch;
mod handler;
mod live_worker;
mod mcp_client;
mod process_lifecycle;
mod recycling;
mod running_process;
mod sending;
mod session_info;
mod spec;
mod stdout_lines;
mod stop_and_reap;
mod worker_ref;

pub use actor::{WorkerActor, WorkerActorMessage};
#[cfg(feature = "watch")]
pub use file_watch::FileWatch;
pub use mcp_client::{McpClient, McpListSource, McpListing, McpToolResult};
pub use session_info::WorkerSessionInfo;
pub use spec::{Liveness, LogEntrySink, OnReady, WorkerSpec};
pub use worker_ref::WorkerRef;
