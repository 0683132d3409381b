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
//! * The reader waits only for bytes, the writer only for frames and the stream, and neither waits
//!   for a handler. So two sides that call each other at full load never deadlock.
//! * Every wait has a bound: calls in flight, bytes queued, handlers, requests queued, frame size.
//! * Every call is answered exactly once, and every failure says what is known of its effect
//!   ([`CallEffect`]).
//! * Params and results stay raw until code that knows their type parses them, once.
//!
//! A peer is owned by the owner of the streams: a worker, or the `main` of a child. It knows
//! nothing of processes, restarts and handshakes. The layer above defines through the hooks of
//! [`PeerConfig`] what *ready*, *cancel* and *log* look like on the wire.
//!
//! The files stand in rooms: `wire/` reads and writes messages, `outgoing/` makes calls,
//! `incoming/` handles what the other side sends. Frames, queues and the end of the stream belong
//! to the layer below, `channel/`.

mod config;
mod detached_peer;
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
mod stream_end;
mod trace_context;
mod wire;

pub use crate::channel::close_reason::{CloseReason, FailCallsWith};
pub use crate::channel::framing::Framing;
/// The exit of a process and the tail of its stderr: the answer to every call that is lost with it.
pub use crate::exit::ExitReport;
pub(crate) use config::MAX_OUTGOING_FRAME_BYTES;
pub use config::{
    AskProgressHook, CallOptions, CancelHook, IncomingCancelHook, NoisePolicy, PeerConfig, ProgressHook,
    Timeout,
};
pub(crate) use detached_peer::DetachedPeer;
pub use error::{CallEffect, CallError, RpcError, error_codes};
pub use incoming::handler::{Context, Handler, NoHandler};
pub use incoming::method_router::MethodRouter;
pub use incoming::stream_acceptor::{OfferedStream, StreamAcceptor};
pub use incoming::stream_listener::{StreamBacklog, StreamListener};
pub use incoming::stream_receiver::StreamReceiver;
pub use method::{Method, Notification};
pub(crate) use outgoing::call::STREAMS_OF_A_CALL;
pub use peer::Peer;
pub use stats::PeerStats;
pub use stream_end::StreamEnd;
pub use trace_context::{TraceContext, TraceContextHook};
pub(crate) use wire::params_meta::{with_member, with_meta};
pub use wire::request_id::RequestId;
