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
//! * Every call is answered exactly once, and every failure says what is known of its effect ([`Outcome`]).
//! * Params and results stay raw until somebody who knows their type reads them, once.
//!
//! A peer is owned by whoever owns the streams (a worker, or a child's `main`). It knows nothing of processes,
//! restarts and handshakes: what *ready*, *cancel* and *log* look like on the wire is filled in through
//! [`PeerConfig`]'s hooks by the layer above.

mod announced;
mod batch;
mod call;
mod closed;
mod config;
mod deadlines;
mod decode;
mod encode;
mod error;
mod framing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod handler;
mod inbound;
mod latch;
mod legible;
mod link;
mod message;
mod method;
mod noise;
mod outbox;
mod peer;
mod pending;
mod reader;
mod reply;
mod request_id;
mod router;
mod scan;
mod slots;
mod stats;
mod unusable;
mod writer;

/// What every call is answered with whose process has ended.
pub use crate::exit::Lost;
pub use closed::{Closed, Ending};
pub(crate) use config::MAX_OUTGOING_FRAME_BYTES;
pub use config::{CallOptions, CancelHook, IncomingCancelHook, Noise, PeerConfig, Timeout};
pub use error::{CallError, Outcome, RpcError, codes};
pub use framing::Framing;
pub use handler::{Context, Handler, NoHandler};
pub use method::{Method, Notification};
pub use peer::Peer;
pub use request_id::RequestId;
pub use router::Router;
pub use stats::PeerStats;
