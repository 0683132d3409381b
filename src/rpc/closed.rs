//! Why a channel has ended: [`Closed`], and how its owner ends it: [`Ending`].
//!
//! Plain data. It says what happened to the channel, never what happened to a process: only its owner knows that.

use std::{fmt, sync::Arc, time::Duration};

use crate::{exit::Exit, foreign::shown, rpc::Lost};

/// Why a channel has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
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
    /// The other side made this one queue more than a limit allows.
    LimitExceeded {
        /// The name of the limit.
        which: &'static str,
    },
    /// The other side did not read for the whole of `write_stall`.
    WriteStalled {
        /// The bound that was reached.
        after: Duration,
    },
    /// The owner closed it, or dropped the last handle.
    Requested,
}

impl Closed {
    /// The exit of a process that lives on after its channel has ended in this way.
    pub fn to_exit(&self) -> Exit {
        match self {
            Closed::Violation { reason } => Exit::ProtocolViolation { reason: reason.clone() },
            Closed::LimitExceeded { which } => Exit::LimitExceeded { which: (*which).to_owned() },
            Closed::WriteStalled { .. } => Exit::Unresponsive { reason: self.to_string() },
            Closed::Requested => Exit::Requested,
            Closed::Eof | Closed::ReadFailed { .. } | Closed::WriteFailed { .. } => {
                Exit::ChannelLost { reason: self.to_string() }
            }
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Eof => f.write_str("the other side closed its output"),
            Closed::ReadFailed { reason } => write!(f, "reading failed: {reason}"),
            Closed::WriteFailed { reason } => write!(f, "the other side closed its input: {reason}"),
            Closed::Violation { reason } => write!(f, "protocol violation: {}", shown(reason)),
            Closed::LimitExceeded { which } => write!(f, "limit exceeded: {which}"),
            Closed::WriteStalled { after } => write!(f, "nothing was read by the other side for {after:?}"),
            Closed::Requested => f.write_str("closed on request"),
        }
    }
}

/// How a peer ended for its callers: what every call that is still open, and every later one, is answered with.
#[derive(Clone, Debug)]
pub enum Ending {
    /// The process behind it ended: [`CallError::WorkerLost`](crate::rpc::CallError::WorkerLost).
    Lost(Arc<Lost>),
    /// Only the channel's end is known: [`CallError::Closed`](crate::rpc::CallError::Closed).
    Closed(Closed),
}

impl From<Lost> for Ending {
    fn from(lost: Lost) -> Ending {
        Ending::Lost(Arc::new(lost))
    }
}

impl From<Arc<Lost>> for Ending {
    fn from(lost: Arc<Lost>) -> Ending {
        Ending::Lost(lost)
    }
}

impl From<Closed> for Ending {
    fn from(closed: Closed) -> Ending {
        Ending::Closed(closed)
    }
}
