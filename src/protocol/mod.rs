//! What *ready*, *stop*, *cancel*, *healthy* and *log* look like on the wire: [`Protocol`] and the
//! built-in protocols.
//!
//! | protocol | ready when | stop by | cancel by | ping |
//! |---|---|---|---|---|
//! | [`NoChannel`] | launched | signal | – | – |
//! | [`ReadyLine`] | it prints the expected line | signal | – | – |
//! | [`Plugin`] | `initialize` is answered with `ok` | `shutdown` | `$/cancelRequest` | `ping`, if announced |
//! | [`Mcp`] | `initialize` is answered and `notifications/initialized` sent, or `server/discover` is answered | closing stdin | `notifications/cancelled` | `ping` or `server/discover` |
//! | [`Lsp`] | `initialize` is answered, `initialized` sent | `shutdown`, `exit` | `$/cancelRequest` | – |
//!
//! A protocol is owned by a worker's spec and shared by all its incarnations, so it holds no state of
//! any of them: what a handshake finds out is the [`SessionInfo`]. It knows nothing of processes and
//! supervision: the worker bounds the time of its steps, kills a child that does not answer, and counts
//! failures.
//!
//! A child's requests to its host are answered by the worker's handler, usually a [`MethodRouter`]. If the
//! handler does not know the method, the protocol answers where every host that speaks it must have an
//! answer; [`Lsp`] and [`Mcp`] say which methods these are.
//!
//! # A protocol of your own
//!
//! is one small implementation; everything but the name and the channel has a default. The trait is an
//! async trait made with the crate `async-trait` (`async-trait = "0.1"` in your `Cargo.toml`), which
//! makes it usable as a trait object.
//!
//! ```
//! use procession::{
//!     exit::Exit,
//!     protocol::{self, StdioUse, StopReply, ChildIdentity, Protocol, SessionInfo},
//!     rpc::{CallOptions, Framing, Peer, Timeout},
//! };
//!
//! #[derive(Debug)]
//! struct Greeting;
//!
//! #[async_trait::async_trait]
//! impl Protocol for Greeting {
//!     fn name(&self) -> &str {
//!         "greeting"
//!     }
//!     fn stdio_use(&self) -> StdioUse {
//!         StdioUse::Rpc(Framing::Lines)
//!     }
//!     async fn handshake(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
//!         let options = CallOptions::unannounced(Timeout::Never);
//!         let info = peer.call_value("hello", &identity.path, options).await;
//!         let info = info.map_err(protocol::handshake_failed)?;
//!         Ok(SessionInfo { info: Some(info), ..SessionInfo::default() })
//!     }
//!     async fn shutdown(&self, peer: &Peer) -> StopReply {
//!         match peer.notify_value("bye", &()).await {
//!             Ok(()) => StopReply::Acknowledged,
//!             Err(_) => StopReply::CloseStdin,
//!         }
//!     }
//! }
//! ```

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::{
    exit::Exit,
    rpc::{
        CallEffect, CallError, Framing, MAX_OUTGOING_FRAME_BYTES, MethodRouter, Peer, PeerConfig, RequestId,
    },
    untrusted::{LINE_BYTES, borrowed_json::members},
};

mod log_entry;
mod lsp_client;
mod mcp;
mod no_channel;
mod plugin;
pub mod plugin_error_codes;
mod session_info;
mod strip_ansi;
mod worker_side;

pub use log_entry::{LogEntry, LogLevel};
pub use lsp_client::Lsp;
pub use mcp::{Mcp, McpEra, McpList, McpListCache, McpSubscriptionFilter, McpSubscriptions};
pub use no_channel::{NoChannel, ReadyLine};
pub use plugin::Plugin;
pub(crate) use session_info::ProbeState;
pub use session_info::{ChildIdentity, ProgramInfo, SessionInfo, StopReply};
pub(crate) use strip_ansi::strip_ansi;
pub use worker_side::{InitializeParams, Served, Server};

/// What stdin and stdout are used for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StdioUse {
    /// A JSON-RPC channel. When it ends, so does the incarnation (P-11).
    Rpc(Framing),
    /// No channel: stdout is logged by line (target `procession::stdout`), and closed stdio is not an
    /// error. There is no peer, so handshake, shutdown and ping are never called.
    Output(Ready),
}

impl StdioUse {
    /// Whether there is a channel to call on.
    pub fn is_rpc(&self) -> bool {
        matches!(self, StdioUse::Rpc(_))
    }
}

/// When a child without a channel is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// As soon as it is launched.
    Launched,
    /// When it prints a line to stdout that begins with this prefix. Only the visible part of a line
    /// counts: leading blanks, colours and a byte order mark do not. A carriage return begins a line
    /// too. A line without a line end counts when nothing more is printed for a while, a second at
    /// most, or when stdout ends.
    Line(Arc<str>),
}

impl Ready {
    /// Whether this line of output makes the child ready.
    pub fn is_met_by(&self, line: &str) -> bool {
        match self {
            Ready::Launched => true,
            Ready::Line(_) => self.line(line).is_some(),
        }
    }

    /// The visible text of the line if it makes the child ready.
    pub(crate) fn line(&self, line: &str) -> Option<Arc<str>> {
        let Ready::Line(prefix) = self else { return None };
        let seen = line.split(['\r', '\n']).map(strip_ansi).find(|seen| {
            // A blank line does not count.
            !seen.trim_end().is_empty() && seen.starts_with(prefix.trim_start())
        })?;
        Some(seen.trim_end().into())
    }

    /// Why it can never be met, if so.
    pub(crate) fn unmatchable(&self) -> Option<String> {
        let Ready::Line(prefix) = self else { return None };
        if prefix.len() > LINE_BYTES {
            return Some(format!("is longer than the {LINE_BYTES} bytes of a line that are compared"));
        }
        let unseen = prefix.contains(['\r', '\n']) || strip_ansi(prefix) != prefix.trim_start();
        unseen.then(|| {
            "has a line break, an escape sequence or a byte order mark, which are removed before lines are compared".to_owned()
        })
    }
}

/// How to talk to a kind of worker. See the [module](self) for the built-in protocols and for how to
/// write one.
#[async_trait]
pub trait Protocol: fmt::Debug + Send + Sync + 'static {
    /// Its name, for logs and snapshots.
    fn name(&self) -> &str;

    /// What stdin and stdout are used for.
    fn stdio_use(&self) -> StdioUse;

    /// The largest frame that children with this protocol can be relied on to take, in bytes of the
    /// JSON text; 64 MiB. A worker's [`PeerConfig`] may override it.
    fn max_outgoing_frame_bytes(&self) -> usize {
        MAX_OUTGOING_FRAME_BYTES
    }

    /// How long the handshake may take; 15 s (W-1).
    fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// Makes the child ready. No other call is sent before this has returned; requests of the child are
    /// answered meanwhile. The future is dropped at the
    /// [`handshake_timeout`](Protocol::handshake_timeout) and at the child's exit, so nothing in it
    /// needs a timeout of its own.
    ///
    /// # Errors
    /// How the incarnation ends: usually [`handshake_failed`].
    async fn handshake(&self, _peer: &Peer, _hello: &ChildIdentity) -> Result<SessionInfo, Exit> {
        Ok(SessionInfo::default())
    }

    /// Tells the child that it gets no more calls: it is being stopped, or its successor has taken its
    /// place. Calls that are open go on. Called at the beginning of an orderly stop, before
    /// [`shutdown`](Protocol::shutdown), which does not wait for this. By default nothing is sent.
    async fn retiring(&self, _peer: &Peer) {}

    /// Asks the child to end. Called once the calls under way and the child's own requests have been
    /// answered, or once that takes too long for the stop (P-9). If this takes too long in turn, the
    /// child's stdin is closed. The future is dropped when the child has ended or its time to drain is
    /// over.
    async fn shutdown(&self, _peer: &Peer) -> StopReply {
        StopReply::CloseStdin
    }

    /// Whether this protocol can [`ping`](Protocol::ping) at all. If not, a worker with `Liveness` is
    /// refused, since its pings would have no effect. `true` by default.
    fn has_ping(&self) -> bool {
        true
    }

    /// Asks the child for a sign of life; `None` if the protocol has no means to. The caller bounds the
    /// time. An error response of the child is a sign of life too.
    async fn ping(&self, _peer: &Peer) -> Option<Result<(), CallError>> {
        None
    }

    /// The notification that cancels this outgoing request, if there is one (C-3).
    fn cancel(&self, _request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        None
    }

    /// Which of the child's requests this notification cancels, if it is a cancellation.
    fn incoming_cancel(&self, _method: &str, _params: Option<&RawValue>) -> Option<RequestId> {
        None
    }

    /// Which of the host's calls this notification reports progress of, if it does. It gives the call more
    /// time, if the call allows that ([`CallOptions::max_total`](crate::rpc::CallOptions::max_total)), and
    /// then goes to the worker's handler, like any other (C-14).
    fn progress(&self, _method: &str, _params: Option<&RawValue>) -> Option<RequestId> {
        None
    }

    /// The params of a request that asks the child to report its progress, made from those that it has
    /// otherwise (`null` for none); `None` leaves them as they are. Asked for calls that have a `max_total`.
    fn ask_progress(&self, _request: &RequestId, _params: &RawValue) -> Option<Box<RawValue>> {
        None
    }

    /// Whether this method is a notification in this protocol, even with `"id": null`, as some
    /// libraries write it. A method that the worker's own handler takes as a notification always is
    /// one.
    fn is_notification(&self, _method: &str) -> bool {
        false
    }

    /// The log entry in this notification, if it is one (G-4). The entry is logged, and then the
    /// notification goes to the worker's handler, like any other.
    fn log(&self, _method: &str, _params: Option<&RawValue>) -> Option<LogEntry> {
        None
    }

    /// Whether children with this protocol take a member `_meta` in the params of requests, for the
    /// trace that a call belongs to ([`PeerConfig::trace_context`]). `false` by default.
    fn has_meta(&self) -> bool {
        false
    }

    /// Told of each notification of the child, before the worker's handler is. It must not wait. By default
    /// nothing happens.
    fn notified(&self, _method: &str, _params: Option<&RawValue>) {}

    /// Whether a child may open streams of items, by the methods `streams.open`, `streams.emit` and
    /// `streams.close` of the [plugin protocol](Plugin) (C-10). `false` by default: these methods then go to
    /// the worker's handler, unless its declaration turns streams on.
    fn has_streams(&self) -> bool {
        false
    }

    /// Default answers to requests that a child may send to any host with this protocol. The worker's
    /// own handler is asked first; requests that it answers with −32601 (method not found) are answered
    /// from here.
    fn routes(&self) -> MethodRouter {
        MethodRouter::new()
    }
}

/// A peer's configuration with the protocol's framing and cancellations filled in; `None` without a
/// channel.
pub fn peer_config(protocol: &Arc<dyn Protocol>) -> Option<PeerConfig> {
    let StdioUse::Rpc(framing) = protocol.stdio_use() else { return None };
    let mut config = PeerConfig::default();
    fill_peer_config(protocol, framing, &mut config);
    Some(config)
}

/// Fills in the protocol's settings: its framing, its cancellations, whether it has streams, and its bound on
/// frames.
pub(crate) fn fill_peer_config(protocol: &Arc<dyn Protocol>, framing: Framing, config: &mut PeerConfig) {
    let (outgoing, incoming) = (protocol.clone(), protocol.clone());
    config.framing = framing;
    config.streams |= protocol.has_streams();
    config.has_meta |= protocol.has_meta();
    config.max_outgoing_frame_bytes.get_or_insert_with(|| protocol.max_outgoing_frame_bytes());
    config.cancel = Some(Arc::new(move |id| outgoing.cancel(id)));
    config.incoming_cancel = Some(Arc::new(move |method, params| incoming.incoming_cancel(method, params)));
    let (reported, asking) = (protocol.clone(), protocol.clone());
    config.progress = Some(Arc::new(move |method, params| reported.progress(method, params)));
    config.ask_progress = Some(Arc::new(move |request, params| asking.ask_progress(request, params)));
}

/// The exit of an incarnation whose handshake failed with this error.
pub fn handshake_failed(error: CallError) -> Exit {
    match error {
        CallError::Timeout { after, .. } => Exit::HandshakeTimeout { after, awaited: None },
        CallError::WorkerLost { lost, .. } => lost.exit.clone(),
        CallError::Closed { reason, .. } => reason.to_exit(),
        other => Exit::HandshakeFailed { reason: other.to_string() },
    }
}

/// `{}`, the answer to a ping.
fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Whether the child answered at all; the contents of the answer are irrelevant.
fn counts_as_alive(answer: Result<Box<RawValue>, CallError>) -> Result<(), CallError> {
    match answer {
        Err(error) if error.effect() != CallEffect::Answered && error.remote().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// The id in the params of a cancellation.
fn request_id_from(params: Option<&RawValue>, field: &str) -> Option<RequestId> {
    let [id] = members(params?, [field])?;
    RequestId::from_raw(id?)
}

/// `{"<field>": <id>}`
fn cancel_params(request: &RequestId, field: &str) -> Option<Box<RawValue>> {
    let params = std::collections::BTreeMap::from([(field, request)]);
    serde_json::value::to_raw_value(&params).ok()
}
