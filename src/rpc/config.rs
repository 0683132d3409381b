//! How a peer behaves: [`PeerConfig`], and how one call does: [`CallOptions`].

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    id::{Incarnation, Path},
    rpc::{Framing, RequestId},
};

/// Makes the notification that tells the other side that nobody waits for a request any more.
pub type CancelHook = Arc<dyn Fn(&RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> + Send + Sync>;

/// Reads from an incoming notification (its method and params) which request it cancels.
pub type IncomingCancelHook = Arc<dyn Fn(&str, Option<&RawValue>) -> Option<RequestId> + Send + Sync>;

/// What a line that is no JSON means (C-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// It is logged, shortened and at a bounded rate, and counted.
    #[default]
    Log,
    /// The channel ends with [`Closed::Violation`](crate::rpc::Closed::Violation).
    Violation,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timeout {
    /// As long as the next one to ask says: the method, then the peer.
    #[default]
    Default,
    /// This long. Zero is refused.
    After(Duration),
    /// For ever.
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

/// What one call wants to have otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long the call may take, waiting for room included.
    pub timeout: Timeout,
    /// Send the call even if the other side has not announced its method: for the protocol's own requests.
    pub unannounced: bool,
}

impl CallOptions {
    /// With this timeout.
    pub const fn timeout(timeout: Timeout) -> CallOptions {
        CallOptions { timeout, unannounced: false }
    }

    /// With this timeout in any case, sent even if the method was not announced.
    pub const fn unannounced(timeout: Timeout) -> CallOptions {
        CallOptions { timeout, unannounced: true }
    }
}

impl From<Timeout> for CallOptions {
    fn from(timeout: Timeout) -> CallOptions {
        CallOptions::timeout(timeout)
    }
}

/// How a peer behaves. `Default` is right for a process on the other side of a pipe; change fields from there.
#[derive(Clone)]
#[non_exhaustive]
pub struct PeerConfig {
    /// How frames are told apart.
    pub framing: Framing,
    /// What a line that is no JSON means.
    pub noise: Noise,
    /// The timeout of calls that do not bring one; 60 s, `None` for none.
    pub timeout: Option<Duration>,
    /// The largest frame that is read; 64 MiB. A larger one ends the channel as a violation.
    pub max_frame_bytes: usize,
    /// Calls that may wait for an answer at once; 1,024. Further ones wait for room, up to their timeout.
    pub max_in_flight: usize,
    /// Bytes that may wait to be written; 8 MiB. Calls, notifications and replies of handlers wait for room; a call that
    /// waits behind another one is not serialised before its turn comes. As much again is kept for what cannot wait
    /// (replies made by the reader). A single larger frame goes out alone. The same bounds hold for replies that wait
    /// until the batch they belong to is complete.
    pub max_queued_bytes: usize,
    /// Handlers of requests that run at once; 64.
    pub max_handlers: usize,
    /// Bytes of params that handlers may work on at once; 64 MiB. A request that would be over it waits for a handler. A
    /// single larger one runs alone.
    pub max_handler_bytes: usize,
    /// Requests that may wait for a handler; 1,024. Further ones are answered with −32000.
    pub max_queued_requests: usize,
    /// Bytes of params that may wait for a handler; 8 MiB.
    pub max_queued_request_bytes: usize,
    /// How long a write may make no progress; 60 s, `None` for ever (C-11).
    pub write_stall: Option<Duration>,
    /// Whether the channel's end leaves open calls open until the owner calls [`Peer::close`](crate::rpc::Peer::close):
    /// for an owner that is about to learn how the process ended. Off.
    pub hold_pending: bool,
    /// Who the other side is, for the context of handlers and for logs.
    pub path: Path,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Tells the other side that a call was given up (C-3).
    pub cancel: Option<CancelHook>,
    /// Recognises when the other side gives up a request.
    pub incoming_cancel: Option<IncomingCancelHook>,
}

impl PeerConfig {
    /// The fields that make no sense: bounds and times of zero, with which nothing would ever get through.
    pub fn mistakes(&self) -> Vec<&'static str> {
        let zero = |time: Option<Duration>| time == Some(Duration::ZERO);
        let fields = [
            ("timeout", zero(self.timeout)),
            ("max_frame_bytes", self.max_frame_bytes == 0),
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
            noise: Noise::Log,
            timeout: Some(Duration::from_secs(60)),
            max_frame_bytes: 64 * MIB,
            max_in_flight: 1024,
            max_queued_bytes: 8 * MIB,
            max_handlers: 64,
            max_handler_bytes: 64 * MIB,
            max_queued_requests: 1024,
            max_queued_request_bytes: 8 * MIB,
            write_stall: Some(Duration::from_secs(60)),
            hold_pending: false,
            path: Path::root(),
            incarnation: Incarnation::NONE,
            cancel: None,
            incoming_cancel: None,
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
