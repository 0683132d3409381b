//! Calls through a peer that do not keep its channel open: [`DetachedPeer`].

use std::sync::Arc;

use serde::Serialize;

use crate::{
    channel::close_reason::CloseReason,
    rpc::{
        config::CallOptions,
        error::CallError,
        peer::Peer,
        peer_shared::{PeerShared, StandingUse},
    },
};

/// For tasks that go on for as long as a channel does, and must not be what keeps it open.
#[derive(Clone, Debug)]
pub(crate) struct DetachedPeer(Arc<PeerShared>);

impl Peer {
    pub(crate) fn detached(&self) -> DetachedPeer {
        DetachedPeer(self.inner.shared.clone())
    }
}

impl DetachedPeer {
    /// Calls a method by name; returns the text of the result.
    pub(crate) async fn call<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: CallOptions,
    ) -> Result<String, CallError> {
        self.0.call(method, params, options, None).await
    }

    /// Returns when the channel has ended.
    pub(crate) async fn closed(&self) -> CloseReason {
        self.0.channel.ended().await
    }

    /// Returns once the channel takes no new calls: an orderly stop has begun.
    pub(crate) async fn retired(&self) {
        self.0.retired().await;
    }

    /// A use of the process until this is dropped: the process is not idle.
    pub(crate) fn standing_use(&self) -> StandingUse<'_> {
        self.0.standing_use()
    }

    /// Whose channel it is, for logs.
    pub(crate) fn whose(&self) -> (&crate::id::TreePath, crate::id::Incarnation) {
        self.0.channel.whose()
    }
}
