//! How a stream of items has ended: [`StreamEnd`].
//!
//! Plain data, owned by the consumer of the stream.

use std::sync::Arc;

use crate::{
    channel::close_reason::{CloseReason, FailCallsWith},
    exit::ExitReport,
    rpc::error::RpcError,
};

/// How a stream of items has ended. Every stream ends exactly once (C-10).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The other side closed it: all items have come.
    #[error("the stream was closed")]
    Closed,
    /// The other side closed it with an error. At most 2 KiB of the error's message are kept.
    #[error("the stream failed: {0}")]
    Failed(RpcError),
    /// An item found no room, because its consumer takes items more slowly than the other side sends
    /// them. The items that had found room were delivered before this end.
    #[error(
        "the stream was ended because an item found no room; take items faster, give it a larger buffer, or let the other side ask for credit"
    )]
    Overflow,
    /// The consumer gave it up.
    #[error("the stream was cancelled by its consumer")]
    Cancelled,
    /// The process behind the peer has ended.
    #[error("the stream was lost because its worker ended: {0}")]
    WorkerLost(Arc<ExitReport>),
    /// The channel has ended, and no process is known behind it.
    #[error("the stream was lost because the channel is closed ({0})")]
    ChannelClosed(CloseReason),
}

impl From<&FailCallsWith> for StreamEnd {
    fn from(fail_with: &FailCallsWith) -> StreamEnd {
        match fail_with {
            FailCallsWith::Lost(lost) => StreamEnd::WorkerLost(lost.clone()),
            FailCallsWith::Closed(reason) => StreamEnd::ChannelClosed(reason.clone()),
        }
    }
}
