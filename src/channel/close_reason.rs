//! Why a channel has ended: [`CloseReason`], and how its owner ends it: [`FailCallsWith`].
//!
//! Plain data. It says what happened to the channel, not what happened to a process: only the owner
//! of the process knows that.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    exit::{Exit, ExitReport},
    untrusted::one_line,
};

/// Why a channel has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other side closed its output.
    Eof,
    /// Reading failed in another way.
    ReadFailed {
        /// The system's message.
        reason: String,
    },
    /// The other side closed its input, or writing failed in another way.
    WriteFailed {
        /// The system's message.
        reason: String,
    },
    /// The other side broke the protocol.
    Violation {
        /// The rule that was broken.
        reason: String,
    },
    /// The other side made this side queue more than a limit allows.
    LimitExceeded {
        /// The name of the limit.
        which: &'static str,
    },
    /// The other side did not read for the whole of `write_stall`.
    WriteStalled {
        /// The value of `write_stall`.
        after: Duration,
    },
    /// The owner closed it, or dropped the last handle.
    Requested,
    /// It takes no new calls, because its process is being stopped. Those that are open are still
    /// answered.
    Retiring,
}

impl CloseReason {
    /// The exit of a process that is still alive after its channel has ended for this reason.
    pub fn to_exit(&self) -> Exit {
        match self {
            CloseReason::Violation { reason } => Exit::ProtocolViolation { reason: reason.clone() },
            CloseReason::LimitExceeded { which } => Exit::LimitExceeded { which: (*which).to_owned() },
            CloseReason::WriteStalled { .. } => Exit::Unresponsive { reason: self.to_string() },
            CloseReason::Requested | CloseReason::Retiring => Exit::Requested,
            CloseReason::Eof | CloseReason::ReadFailed { .. } | CloseReason::WriteFailed { .. } => {
                Exit::ChannelLost { reason: self.to_string() }
            }
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Eof => f.write_str("the other side closed its output"),
            CloseReason::ReadFailed { reason } => write!(f, "reading failed: {reason}"),
            CloseReason::WriteFailed { reason } => write!(f, "the other side closed its input: {reason}"),
            CloseReason::Violation { reason } => write!(f, "protocol violation: {}", one_line(reason)),
            CloseReason::LimitExceeded { which } => write!(f, "limit exceeded: {which}"),
            CloseReason::WriteStalled { after } => {
                write!(f, "the other side read nothing for {after:?}")
            }
            CloseReason::Requested => f.write_str("closed on request"),
            CloseReason::Retiring => f.write_str("its process is being stopped and takes no new calls"),
        }
    }
}

/// What a closed peer tells its callers: the error of every call that is still open, and of every later one.
#[derive(Clone, Debug)]
pub enum FailCallsWith {
    /// The process behind it ended: [`CallError::WorkerLost`](crate::rpc::CallError::WorkerLost).
    Lost(Arc<ExitReport>),
    /// Only the channel's end is known: [`CallError::Closed`](crate::rpc::CallError::Closed).
    Closed(CloseReason),
}

impl From<ExitReport> for FailCallsWith {
    fn from(lost: ExitReport) -> FailCallsWith {
        FailCallsWith::Lost(Arc::new(lost))
    }
}

impl From<Arc<ExitReport>> for FailCallsWith {
    fn from(lost: Arc<ExitReport>) -> FailCallsWith {
        FailCallsWith::Lost(lost)
    }
}

impl From<CloseReason> for FailCallsWith {
    fn from(closed: CloseReason) -> FailCallsWith {
        FailCallsWith::Closed(closed)
    }
}
