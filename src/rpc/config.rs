//! How a peer behaves: [`PeerConfig`], and how one call does: [`CallOptions`].

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    channel::{
        channel_shared::{ChannelConfig, EndHook},
        framing::Framing,
    },
    id::{Incarnation, TreePath},
    rpc::{
        incoming::stream_acceptor::StreamAcceptor, trace_context::TraceContextHook,
        wire::request_id::RequestId,
    },
};

/// Makes the notification that tells the other side that a request was given up.
pub type CancelHook = Arc<dyn Fn(&RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> + Send + Sync>;

/// Finds out which request an incoming notification (its method and params) cancels, if it cancels one.
pub type IncomingCancelHook = Arc<dyn Fn(&str, Option<&RawValue>) -> Option<RequestId> + Send + Sync>;

/// Finds out which call of this side an incoming notification (its method and params) reports progress of,
/// if it does.
pub type ProgressHook = Arc<dyn Fn(&str, Option<&RawValue>) -> Option<RequestId> + Send + Sync>;

/// Makes the params of a request that asks for reports of its progress; `None` leaves them as they are.
pub type AskProgressHook = Arc<dyn Fn(&RequestId, &RawValue) -> Option<Box<RawValue>> + Send + Sync>;

/// The largest frame that is sent unless the configuration or a protocol sets another size. It
/// equals the largest that is read.
pub(crate) const MAX_OUTGOING_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// How a line is treated that is not a message: not JSON, or JSON without a method, a result or an
/// error (C-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoisePolicy {
    /// It is logged, shortened and at a bounded rate, and counted.
    #[default]
    Log,
    /// The channel ends with [`CloseReason::Violation`](crate::rpc::CloseReason::Violation).
    Violation,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeout {
    /// The timeout of the method, or else that of the peer.
    #[default]
    Default,
    /// This long. Zero is refused.
    After(Duration),
    /// Without a bound.
    Never,
}

impl Timeout {
    /// This timeout, or `other` where this one leaves it open.
    #[must_use]
    pub fn or(self, other: Timeout) -> Timeout {
        match self {
            Timeout::Default => other,
            set => set,
        }
    }
}

/// Options of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long the call may take, waiting for room included.
    pub timeout: Timeout,
    /// Send the call even if the other side has not announced its method: for the protocol's own requests.
    pub unannounced: bool,
    /// Sending the request twice has the effect of sending it once: a [`WorkerRef`](crate::worker::WorkerRef)
    /// may send it again if its worker ends before it has answered (C-9). A typed method may say so of
    /// itself ([`Method::IDEMPOTENT`](crate::rpc::Method::IDEMPOTENT)).
    pub idempotent: bool,
    /// How long the call may take at most, from its beginning, if the other side reports progress: each
    /// report gives it its timeout once more from that moment (C-14). `None`: progress changes nothing.
    /// Without effect on a call without a timeout, and on protocols without reports.
    pub max_total: Option<Duration>,
    /// What a report of progress gives to the call, if that is not its timeout.
    pub(crate) extend_by: Option<Duration>,
    /// The call is made on behalf of a request of the other side.
    pub(crate) for_request: bool,
    /// The call stays open for as long as the channel does, as that of a subscription. It needs no permit. An
    /// orderly stop waits for it, so its caller gives it up then
    /// ([`DetachedPeer::retired`](crate::rpc::DetachedPeer::retired)).
    pub(crate) standing: bool,
}

impl CallOptions {
    /// With this timeout.
    pub const fn timeout(timeout: Timeout) -> CallOptions {
        CallOptions {
            timeout,
            unannounced: false,
            idempotent: false,
            max_total: None,
            extend_by: None,
            for_request: false,
            standing: false,
        }
    }

    /// With this timeout, and sent even if the method was not announced.
    pub const fn unannounced(timeout: Timeout) -> CallOptions {
        CallOptions { unannounced: true, ..CallOptions::timeout(timeout) }
    }

    /// The same call, which may be sent again ([`idempotent`](CallOptions::idempotent)).
    #[must_use]
    pub const fn idempotent(mut self) -> CallOptions {
        self.idempotent = true;
        self
    }
}

impl CallOptions {
    /// A call of the protocol itself that stays open for as long as the channel does, as that of a
    /// subscription.
    pub(crate) const fn standing() -> CallOptions {
        CallOptions { standing: true, ..CallOptions::unannounced(Timeout::Never) }
    }

    /// The same call, which may take this long while the other side reports progress
    /// ([`max_total`](CallOptions::max_total)).
    #[must_use]
    pub const fn max_total(mut self, longest: Duration) -> CallOptions {
        self.max_total = Some(longest);
        self
    }
}

impl From<Duration> for Timeout {
    fn from(after: Duration) -> Timeout {
        Timeout::After(after)
    }
}

impl From<Duration> for CallOptions {
    fn from(after: Duration) -> CallOptions {
        CallOptions::timeout(after.into())
    }
}

impl From<Timeout> for CallOptions {
    fn from(timeout: Timeout) -> CallOptions {
        CallOptions::timeout(timeout)
    }
}

/// How a peer behaves. `Default` is right for a process on the other side of a pipe; change fields
/// from there.
///
/// # What the other side can make this one hold
///
/// Whatever the other side sends, a peer holds no more than the sum of these bounds
/// ([`worst_case_bytes`](PeerConfig::worst_case_bytes)) and a fifth of it for what an allocator adds:
///
/// | what | bound |
/// |---|---|
/// | the frame that is being read | `max_frame_bytes` |
/// | the answer that is on its way to its caller | `max_frame_bytes` |
/// | answers whose callers have not taken them | `max_answer_bytes` |
/// | params of requests that run, and the copies that their handlers get | 2 × `max_handler_bytes` |
/// | replies of handlers that wait for room | `max_handler_bytes`, or `max_outgoing_frame_bytes` if that is more |
/// | params of requests that wait for a handler | `max_queued_request_bytes` |
/// | ids and names of requests, and their tasks | 8 KiB × (`max_handlers` + `max_queued_requests`) |
/// | frames that wait to be written | `max_queued_bytes`, or `max_outgoing_frame_bytes` if that is more |
/// | the reserve for what cannot wait to be written | `max_queued_bytes` |
/// | replies that wait for the rest of their batch | 2 × `max_queued_bytes` |
/// | calls in flight | 512 bytes × `max_in_flight` |
/// | items of streams that wait for their consumers | `max_stream_bytes` |
/// | streams, and their names | 4 KiB × `max_streams` |
/// | buffers, and the ids of calls and streams that have ended | 1 MiB |
///
/// A single request, answer or reply that is larger than its bound is let in alone: where a bound
/// is below `max_frame_bytes`, that counts in its place. The sum does not include what the host
/// itself keeps: the params of its calls while they wait for their turn, answers that their callers
/// have taken, and what its handlers make of the params. That depends on the types they are read
/// as: a `serde_json::Value` takes some 25 times the bytes of its text, a `RawValue` takes exactly
/// those.
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerConfig {
    /// How frames are told apart.
    pub framing: Framing,
    /// How a line is treated that is not a message.
    pub noise: NoisePolicy,
    /// The timeout of calls that do not set one; 60 s, `None` for no timeout.
    pub timeout: Option<Duration>,
    /// No call takes longer than this, whatever the call, its method or `timeout` say; `None`, the default:
    /// no such bound. Not for the calls of a protocol itself, such as its handshake.
    pub max_timeout: Option<Duration>,
    /// The largest frame that is read; 64 MiB. A larger one ends the channel as a violation.
    pub max_frame_bytes: usize,
    /// The largest frame that is sent. `None` leaves it to the protocol
    /// (`Protocol::max_outgoing_frame_bytes`), or 64 MiB if the protocol sets none. A program that
    /// cannot take a frame may end because of it, and lose all its work. So calls and notifications
    /// that are larger fail with [`CallError::TooLarge`](crate::rpc::CallError::TooLarge) and are
    /// not sent; a result of a handler becomes the error −32603. The bytes of the JSON text are
    /// counted.
    pub max_outgoing_frame_bytes: Option<usize>,
    /// Calls that may wait for an answer at the same time; 1,024. Further ones wait for room, up to
    /// their timeout.
    pub max_in_flight: usize,
    /// Bytes that may wait to be written; 8 MiB. Calls, notifications and replies of handlers wait
    /// for room; a call that waits behind another one is not serialised before its turn comes. As
    /// much again is kept for what cannot wait (replies made by the reader). A single larger frame
    /// goes out alone. The same bounds hold for replies that wait until the batch they belong to is
    /// complete.
    pub max_queued_bytes: usize,
    /// Handlers of requests that may run at the same time; 64.
    pub max_handlers: usize,
    /// Bytes of params that handlers may work on at the same time; 64 MiB. A request that would
    /// exceed it waits. A single larger one runs alone.
    pub max_handler_bytes: usize,
    /// Requests that may wait for a handler; 1,024. Further ones are answered with −32000.
    pub max_queued_requests: usize,
    /// Bytes of params that may wait for a handler; 8 MiB.
    pub max_queued_request_bytes: usize,
    /// Bytes of answers that wait for their callers; 64 MiB. A caller that is being polled takes
    /// its answer at once, so only answers to calls that are not polled add up. An answer that does
    /// not fit is dropped, and its call fails with
    /// [`CallError::AnswerDropped`](crate::rpc::CallError::AnswerDropped). A single larger one is
    /// kept.
    pub max_answer_bytes: usize,
    /// Streams of the other side that may be open at the same time, together with those whose consumers
    /// have not seen the end yet; 256. Further ones are refused with −32000 (C-10).
    pub max_streams: usize,
    /// Bytes of items of all streams that wait for their consumers; 8 MiB. Each item counts 64 bytes more
    /// than its text. An item that does not fit ends its stream with
    /// [`StreamEnd::Overflow`](crate::rpc::StreamEnd::Overflow), also if it is the only one.
    pub max_stream_bytes: usize,
    /// Whether the other side may open streams, by the methods `streams.open`, `streams.emit` and
    /// `streams.close` ([`protocol::Plugin`](crate::protocol::Plugin) has them). On for a protocol that has
    /// streams, and if there is a `stream_acceptor`. Otherwise these methods go to the handler.
    pub streams: bool,
    /// Takes the streams that the other side opens, except those of calls whose callers take them.
    /// Without it, all others are refused with −32001.
    pub stream_acceptor: Option<Arc<dyn StreamAcceptor>>,
    /// How long a write may make no progress; 60 s, `None` for no bound (C-11).
    pub write_stall: Option<Duration>,
    /// Whether open calls stay open after the end of the channel, until the owner calls
    /// [`Peer::close`](crate::rpc::Peer::close): for an owner that is about to learn how the
    /// process ended. Off.
    pub hold_pending: bool,
    /// The child on the other side, for the context of handlers and for logs.
    pub path: TreePath,
    /// The incarnation of that child.
    pub incarnation: Incarnation,
    /// Tells the other side that a call was given up (C-3).
    pub cancel: Option<CancelHook>,
    /// Recognises that the other side gives up a request.
    pub incoming_cancel: Option<IncomingCancelHook>,
    /// Recognises that the other side reports progress of a call (C-14).
    pub progress: Option<ProgressHook>,
    /// Asks the other side to report the progress of a call with a
    /// [`max_total`](CallOptions::max_total), if it has to be asked.
    pub ask_progress: Option<AskProgressHook>,
    /// Gives the trace that a call belongs to: `traceparent` and `tracestate` of it are added to `_meta` in
    /// the call's params, where the protocol has such a member ([`has_meta`](PeerConfig::has_meta)) and the
    /// caller has not set them.
    pub trace_context: Option<TraceContextHook>,
    /// Whether the other side takes a member `_meta` in the params of requests. Off; a protocol turns it on.
    pub has_meta: bool,
    /// Called when the channel ends, before the end can be seen anywhere; perhaps more than once.
    pub(crate) at_end: Option<EndHook>,
}

impl PeerConfig {
    /// How long a call with this timeout may take; `None` without a bound.
    pub(crate) fn time_of(&self, timeout: Timeout) -> Option<Duration> {
        let wanted = match timeout {
            Timeout::Default => self.timeout,
            Timeout::After(after) => Some(after),
            Timeout::Never => None,
        };
        match (wanted, self.max_timeout) {
            (Some(wanted), Some(max)) => Some(wanted.min(max)),
            (wanted, max) => wanted.or(max),
        }
    }

    /// How many bytes the other side can make this one hold, whatever it sends: the sum of the
    /// bounds in the table [above](PeerConfig#what-the-other-side-can-make-this-one-hold). With the
    /// defaults it is some 500 MiB; a worker that behaves needs next to nothing of it.
    ///
    /// ```
    /// use procession::rpc::PeerConfig;
    ///
    /// const MIB: usize = 1024 * 1024;
    /// let mut config = PeerConfig::default();
    /// config.max_frame_bytes = 4 * MIB;
    /// config.max_outgoing_frame_bytes = Some(4 * MIB);
    /// config.max_answer_bytes = 4 * MIB;
    /// config.max_handler_bytes = 4 * MIB;
    /// config.max_stream_bytes = 4 * MIB;
    /// assert!(config.worst_case_bytes() < 80 * MIB);
    /// ```
    pub fn worst_case_bytes(&self) -> usize {
        const PER_REQUEST: usize = 8 * 1024;
        const PER_CALL: usize = 512;
        const PER_STREAM: usize = 4 * 1024;
        const BUFFERS: usize = 1024 * 1024;
        let PeerConfig { max_frame_bytes: frame, max_queued_bytes: queued, .. } = *self;
        let handlers = self.max_handler_bytes.max(frame);
        let outgoing = self.max_outgoing_frame_bytes.unwrap_or(MAX_OUTGOING_FRAME_BYTES);
        let requests = self.max_handlers.saturating_add(self.max_queued_requests);
        let bounds = [
            frame,
            frame,
            self.max_answer_bytes.max(frame),
            handlers.saturating_mul(2),
            self.max_handler_bytes.max(outgoing),
            queued.max(outgoing),
            self.max_queued_request_bytes,
            requests.saturating_mul(PER_REQUEST),
            queued.saturating_mul(3),
            self.max_in_flight.saturating_mul(PER_CALL),
            self.max_stream_bytes,
            self.max_streams.saturating_mul(PER_STREAM),
            BUFFERS,
        ];
        bounds.into_iter().fold(0, usize::saturating_add)
    }

    /// The part of the configuration that concerns the channel.
    pub(crate) fn channel(&self) -> ChannelConfig {
        ChannelConfig {
            framing: self.framing,
            max_frame_bytes: self.max_frame_bytes,
            max_queued_bytes: self.max_queued_bytes,
            write_stall: self.write_stall,
            closes_at_end: !self.hold_pending,
            path: self.path.clone(),
            incarnation: self.incarnation,
            at_end: self.at_end.clone(),
        }
    }

    /// The fields whose values make no sense: bounds and times of zero, with which no message would
    /// ever get through.
    pub fn mistakes(&self) -> Vec<&'static str> {
        let zero = |time: Option<Duration>| time == Some(Duration::ZERO);
        let fields = [
            ("timeout", zero(self.timeout)),
            ("max_timeout", zero(self.max_timeout)),
            ("max_frame_bytes", self.max_frame_bytes == 0),
            ("max_outgoing_frame_bytes", self.max_outgoing_frame_bytes == Some(0)),
            ("max_in_flight", self.max_in_flight == 0),
            ("max_queued_bytes", self.max_queued_bytes == 0),
            ("max_handlers", self.max_handlers == 0),
            ("write_stall", zero(self.write_stall)),
        ];
        fields.into_iter().filter(|(_, wrong)| *wrong).map(|(field, _)| field).collect()
    }
}

impl Default for PeerConfig {
    fn default() -> PeerConfig {
        const MIB: usize = 1024 * 1024;
        PeerConfig {
            framing: Framing::Lines,
            noise: NoisePolicy::Log,
            timeout: Some(Duration::from_secs(60)),
            max_timeout: None,
            max_frame_bytes: 64 * MIB,
            max_outgoing_frame_bytes: None,
            max_in_flight: 1024,
            max_queued_bytes: 8 * MIB,
            max_handlers: 64,
            max_handler_bytes: 64 * MIB,
            max_queued_requests: 1024,
            max_queued_request_bytes: 8 * MIB,
            max_answer_bytes: 64 * MIB,
            max_streams: 256,
            max_stream_bytes: 8 * MIB,
            streams: false,
            stream_acceptor: None,
            write_stall: Some(Duration::from_secs(60)),
            hold_pending: false,
            path: TreePath::root(),
            incarnation: Incarnation::NONE,
            cancel: None,
            incoming_cancel: None,
            progress: None,
            ask_progress: None,
            trace_context: None,
            has_meta: false,
            at_end: None,
        }
    }
}

impl fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerConfig")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .field("framing", &self.framing)
            .field("noise", &self.noise)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
