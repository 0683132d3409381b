//! The side of a peer that answers: [`Handler`] and the [`Context`] of one request or notification.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::sync::SetOnce;

use crate::{
    id::{Incarnation, TreePath},
    log_rate::LogTopic,
    rpc::{error::RpcError, peer_shared::PeerInner, wire::request_id::RequestId},
};

/// Answers what the other side asks. Usually built with a [`Router`](crate::rpc::Router).
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. Runs beside other requests (up to `max_handlers`) and never delays reading or writing. A
    /// panic is answered with −32603. The future is dropped at its next await point when the peer is closed; when the
    /// other side cancels the request, only [`Context::cancelled`] tells.
    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError>;

    /// Takes a notification. Called by the reader itself, in order of arrival and before any response that follows,
    /// so it must not block: whatever takes time goes into a channel or a task.
    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>);

    /// Whether this method is a notification here. Some libraries write `"id": null` into their notifications, which makes
    /// them look like requests; what is a notification is then taken as one. `false` unless a handler says otherwise.
    fn is_notification(&self, _method: &str) -> bool {
        false
    }
}

/// Who asks, and whether they still want to know.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Where the other side is in the tree.
    pub path: TreePath,
    /// Which life of it this is. A reply never reaches another one.
    pub incarnation: Incarnation,
    /// The id of the request; `None` for a notification.
    pub request: Option<RequestId>,
    pub(crate) cancel: Option<Arc<SetOnce<()>>>,
    pub(crate) peer: Weak<PeerInner>,
}

impl Context {
    /// Returns when the other side has cancelled the request; never for a notification.
    pub async fn cancelled(&self) {
        match &self.cancel {
            Some(cancelled) => *cancelled.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Whether the other side has cancelled the request.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancelled| cancelled.initialized())
    }

    /// Whether a line of the log about this may be written now. Once the channel is gone there is none to count for.
    pub(crate) fn may_log(&self, about: LogTopic) -> bool {
        self.peer.upgrade().is_some_and(|inner| inner.shared.channel.log.admit(about))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("path", &self.path)
            .field("incarnation", &self.incarnation)
            .field("request", &self.request)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Answers every request with −32601 and ignores notifications.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHandler;

#[async_trait]
impl Handler for NoHandler {
    async fn request(
        &self,
        _: Context,
        method: &str,
        _: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        Err(RpcError::method_not_found(method))
    }

    fn notification(&self, _: Context, _: &str, _: Option<&RawValue>) {}
}
