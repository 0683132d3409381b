//! A bidirectional JSON-RPC 2.0 peer over any `AsyncRead` and `AsyncWrite`.
//!
//! ```text
//!   Peer ──call──► outbox ──► writer task ──► AsyncWrite
//!    ▲               ▲
//!    │ answer        │ replies
//!  pending        handlers (≤ 64 tasks) ◄── queue
//!    ▲               ▲                        ▲
//!    └──────── reader task ── notifications, requests ──── AsyncRead
//! ```
//!
//! * The reader waits for bytes and for nothing else; the writer for frames and for the stream; neither for a handler.
//!   So two sides that call each other at full load never deadlock.
//! * Every wait has a bound: calls in flight, bytes queued, handlers, requests queued, frame size.
//! * Every call is answered exactly once, and every failure says what is known of its effect ([`CallOutcome`]).
//! * Params and results stay raw until somebody who knows their type reads them, once.
//!
//! A peer is owned by whoever owns the streams (a worker, or a child's `main`). It knows nothing of processes,
//! restarts and handshakes: what *ready*, *cancel* and *log* look like on the wire is filled in through
//! [`PeerConfig`]'s hooks by the layer above.

mod config;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod incoming;
mod method;
mod outgoing;
mod peer;
mod peer_shared;
mod stats;
mod wire;

pub use crate::channel::close_reason::{CloseReason, FailWith};
pub use crate::channel::framing::Framing;
/// What every call is answered with whose process has ended.
pub use crate::exit::ExitReport;
pub(crate) use config::MAX_OUTGOING_FRAME_BYTES;
pub use config::{CallOptions, CancelHook, IncomingCancelHook, Noise, PeerConfig, Timeout};
pub use error::{CallError, CallOutcome, RpcError, error_codes};
pub use incoming::handler::{Context, Handler, NoHandler};
pub use incoming::router::Router;
pub use method::{Method, Notification};
pub use peer::Peer;
pub use stats::PeerStats;
pub use wire::request_id::RequestId;
