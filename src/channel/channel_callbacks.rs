//! The user of a channel, as its reader and writer see it: [`ChannelCallbacks`].

use crate::channel::{channel_shared::ChannelShared, close_reason::CloseReason};

/// The protocol on top of a channel. The channel's tasks tell it about the end, since only the
/// protocol knows what it has to answer then.
///
/// Never called through a vtable: reader and writer are generic over it, so that a frame costs no
/// dynamic call.
pub(crate) trait ChannelCallbacks: Send + Sync + 'static {
    fn channel(&self) -> &ChannelShared;

    /// Ends the channel. The first cause stays.
    fn end(&self, cause: CloseReason);

    /// Whether several frames are likely to be queued at the same moment. The writer then lets
    /// their senders run first, so that one write carries all of them.
    fn expects_more_frames(&self) -> bool;
}
