//! Errors of calls: [`CallError`], the error object [`RpcError`], and [`CallEffect`], which says
//! what is known of a call's effect.
//!
//! Plain data, owned by the caller. It knows nothing of tasks and streams.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{
    channel::close_reason::CloseReason,
    exit::{Exit, ExitReport},
    id::TreePath,
    state::ChildState,
    untrusted::{
        borrowed_json::{display_text, members, text},
        into_one_line, one_line,
    },
};

/// Error codes that JSON-RPC 2.0 itself defines (section 5.1), and the one this crate adds for overload.
pub mod error_codes {
    /// The text has a method, but is not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The text has a method, but is not a valid request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The handler failed without an answer of its own: it panicked, or its output could not be serialised.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// Too many requests are waiting for a handler; nothing was done.
    pub const OVERLOADED: i64 = -32000;
}

/// The error object of a JSON-RPC response, in either direction.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{} (code {code})", one_line(.message))]
pub struct RpcError {
    /// The code: one of [`error_codes`], or one of the application's.
    pub code: i64,
    /// A short sentence; at most 1 MiB of it is kept. The text form of the error shows it as one
    /// line of at most some 2 KiB.
    #[serde(default)]
    pub message: String,
    /// Further data, exactly as the other side wrote it. `None` means absent; an explicit `null` is
    /// kept as `null`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// Keeps a member that is present but `null`, which serde would take for absent.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(value).map(Some)
}

/// How much of an error's message is kept.
const MESSAGE_BYTES: usize = 1024 * 1024;

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into(), data: None }
    }

    /// Reads the error object of a response; fails with the reason if it is not one.
    pub(crate) fn read(raw: &RawValue) -> Result<RpcError, String> {
        let wrong = |what: &str| format!("not an error object: {what}: {}", display_text(raw, 400));
        let [code, message, data] =
            members(raw, ["code", "message", "data"]).ok_or_else(|| wrong("it is not an object"))?;
        let code = code.ok_or_else(|| wrong("missing field `code`"))?;
        let code = code.get().parse().map_err(|_| wrong("`code` is not an integer"))?;
        let message = match message {
            Some(message) => {
                text(message, MESSAGE_BYTES).ok_or_else(|| wrong("`message` is not a string"))?
            }
            None => String::new(),
        };
        Ok(RpcError { code, message, data: data.map(ToOwned::to_owned) })
    }

    /// The same error with data. Data that cannot be serialised is left out.
    #[must_use]
    pub fn with_data(mut self, data: &impl Serialize) -> RpcError {
        self.data = serde_json::value::to_raw_value(data).ok();
        self
    }

    /// −32601 for this method.
    pub fn method_not_found(method: &str) -> RpcError {
        RpcError::new(error_codes::METHOD_NOT_FOUND, format!("method `{}` not found", one_line(method)))
    }

    /// −32602 with the reason.
    pub fn invalid_params(reason: impl fmt::Display) -> RpcError {
        RpcError::new(
            error_codes::INVALID_PARAMS,
            format!("invalid params: {}", into_one_line(reason.to_string())),
        )
    }

    /// −32603 with the reason.
    pub fn internal(reason: impl fmt::Display) -> RpcError {
        RpcError::new(
            error_codes::INTERNAL_ERROR,
            format!("internal error: {}", into_one_line(reason.to_string())),
        )
    }
}

/// What is known of a failed call's effect (C-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEffect {
    /// No byte of it has left this process: sending it again is safe.
    NotSent,
    /// It was handed to the channel and not answered: it may have been carried out.
    Unknown,
    /// The other side answered.
    Answered,
}

/// Why a call did not return its output. Every call is answered exactly once, by its output or by
/// one of these (C-4).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The other side answered with an error.
    #[error("`{method}` failed: {error}")]
    Remote {
        /// The method called.
        method: String,
        /// The error object, as it came.
        error: RpcError,
    },
    /// The other side reported an error that names no request, while this call was the only open
    /// one and the last thing that had been sent.
    #[error(
        "`{method}` failed: the worker reported an error without a request id, and this was its only open call: {error}"
    )]
    Unattributed {
        /// The method called.
        method: String,
        /// The error object, as it came.
        error: RpcError,
    },
    /// There was no answer in time, or no room to send the call in time (then the effect is
    /// [`CallEffect::NotSent`]).
    #[error("`{method}` was not answered within {after:?}")]
    Timeout {
        /// The method called.
        method: String,
        /// The timeout that applied; for a call that progress may extend
        /// ([`CallOptions::max_total`](crate::rpc::CallOptions::max_total)), the time that it had.
        after: Duration,
        /// What is known of the effect.
        effect: CallEffect,
    },
    /// The process behind the peer has ended.
    #[error("`{method}` was lost because its worker ended: {}", .lost)]
    WorkerLost {
        /// The method called.
        method: String,
        /// The exit and the tail of stderr, shared by all calls that were lost together.
        lost: Arc<ExitReport>,
        /// What is known of the effect.
        effect: CallEffect,
    },
    /// The channel has ended, and no process is known behind it.
    #[error("`{method}` was not answered: the channel is closed ({reason})")]
    Closed {
        /// The method called.
        method: String,
        /// Why it is closed.
        reason: CloseReason,
        /// What is known of the effect.
        effect: CallEffect,
    },
    /// There is no live incarnation to call right now.
    #[error("`{method}` was not sent: `{path}` is not available: {}", .state.doing(*.retry_after))]
    Unavailable {
        /// The method called.
        method: String,
        /// Where the worker is in the tree.
        path: TreePath,
        /// What the worker is doing instead.
        state: ChildState,
        /// When an incarnation may be there, if that is known.
        retry_after: Option<Duration>,
    },
    /// Misuse: the worker's protocol has no channel on which it could be called.
    #[error(
        "`{method}` was not sent to `{path}`: its protocol has no channel; declare a worker that is to be called with \
         `.protocol(…)`"
    )]
    NoChannel {
        /// The method called.
        method: String,
        /// Where the worker is in the tree.
        path: TreePath,
    },
    /// Misuse: the parameters cannot be written as JSON.
    #[error("the params of `{method}` cannot be serialised: {reason}")]
    InvalidParams {
        /// The method called.
        method: String,
        /// Serde's message.
        reason: String,
    },
    /// The call is larger than the other side takes
    /// ([`PeerConfig::max_outgoing_frame_bytes`](crate::rpc::PeerConfig::max_outgoing_frame_bytes)).
    /// It was not sent.
    #[error(
        "`{method}` was not sent: it is {bytes} bytes large, and the other side is sent no more than {max_bytes}; send less at once, or raise `max_outgoing_frame_bytes` if it takes more"
    )]
    TooLarge {
        /// The method called.
        method: String,
        /// The size that the frame would have; slightly less if characters in it would have been escaped.
        bytes: usize,
        /// The largest that is sent.
        max_bytes: usize,
    },
    /// The other side answered, but the result cannot be read or does not have the type of the
    /// method's output.
    #[error("the result of `{method}` does not have the type that the method declares: {}", one_line(.reason))]
    InvalidResult {
        /// The method called.
        method: String,
        /// Serde's message with the path of the field. For text that is not JSON: its beginning and
        /// the position of the mistake.
        reason: String,
    },
    /// The other side answered, but the answer was dropped: it did not fit beside those that wait
    /// for their callers
    /// ([`PeerConfig::max_answer_bytes`](crate::rpc::PeerConfig::max_answer_bytes)).
    #[error(
        "the answer to `{method}` was dropped: {bytes} bytes do not fit beside the answers that other callers have not taken yet; make fewer calls at once, or raise `max_answer_bytes`"
    )]
    AnswerDropped {
        /// The method called.
        method: String,
        /// The size of the answer.
        bytes: usize,
    },
    /// Misuse: a timeout of zero. Use [`Timeout::Never`](crate::rpc::Timeout::Never) to call
    /// without a timeout.
    #[error("`{method}` was called with a timeout of zero; use `Timeout::Never` for no timeout")]
    ZeroTimeout {
        /// The method called.
        method: String,
    },
    /// The other side did not announce this method in its handshake, so it was not sent.
    #[error("method `{method}` was not announced by the worker in its handshake, so it was not sent")]
    MethodNotSupported {
        /// The method called.
        method: String,
    },
}

impl CallError {
    /// What is known of the call's effect.
    pub fn effect(&self) -> CallEffect {
        match self {
            CallError::Remote { .. } | CallError::InvalidResult { .. } | CallError::AnswerDropped { .. } => {
                CallEffect::Answered
            }
            CallError::Unattributed { .. } => CallEffect::Unknown,
            CallError::Timeout { effect, .. }
            | CallError::WorkerLost { effect, .. }
            | CallError::Closed { effect, .. } => *effect,
            CallError::Unavailable { .. }
            | CallError::NoChannel { .. }
            | CallError::InvalidParams { .. }
            | CallError::TooLarge { .. }
            | CallError::ZeroTimeout { .. }
            | CallError::MethodNotSupported { .. } => CallEffect::NotSent,
        }
    }

    /// Whether the call itself was wrong, so that it fails each time it is made.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            CallError::InvalidParams { .. }
                | CallError::TooLarge { .. }
                | CallError::NoChannel { .. }
                | CallError::ZeroTimeout { .. }
                | CallError::MethodNotSupported { .. }
        )
    }

    /// Whether the same call can safely be sent again: it had no effect and may work next time.
    /// `false` if the worker's policy has given it up, since then only an operator brings it back.
    pub fn is_retryable(&self) -> bool {
        let given_up = matches!(self, CallError::Unavailable { state, .. } if state.is_given_up());
        self.effect() == CallEffect::NotSent && !self.is_misuse() && !given_up
    }

    /// The exit of the worker, if the call failed because of it.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            CallError::WorkerLost { lost, .. } => Some(&lost.exit),
            _ => None,
        }
    }

    /// The error object of the other side, if it sent one.
    pub fn remote(&self) -> Option<&RpcError> {
        match self {
            CallError::Remote { error, .. } | CallError::Unattributed { error, .. } => Some(error),
            _ => None,
        }
    }
}
