//! Code of the user that answers the other side: [`Handler`], and the [`Context`] of one request or
//! notification.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::sync::SetOnce;

use crate::{
    id::{Incarnation, TreePath},
    log_limiter::LogTopic,
    rpc::{error::RpcError, peer_shared::ClosePeerOnDrop, wire::request_id::RequestId},
};

/// Answers requests of the other side and takes its notifications. Usually built with a
/// [`MethodRouter`](crate::rpc::MethodRouter).
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. Runs beside other requests (up to `max_handlers`) and never delays
    /// reading or writing. A panic is answered with −32603. When the peer is closed, the future is
    /// dropped at its next await point. When the other side cancels the request, the future goes
    /// on, and only [`Context::cancelled`] shows it.
    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError>;

    /// The result of a request that takes no work, such as a ping. The reader asks before it takes a request
    /// and sends such a result itself, so that it waits behind no handler (C-6): a process whose handlers are
    /// all busy still shows that it lives. Must not block. `None`, the default, hands the request to
    /// [`request`](Handler::request).
    fn immediate_result(&self, _method: &str) -> Option<Box<RawValue>> {
        None
    }

    /// Whether this handler may answer requests of this method with anything but −32601. `true` by default.
    /// If it does not, a default of the protocol, such as the answer to a ping, is sent without asking it.
    fn may_answer(&self, _method: &str) -> bool {
        true
    }

    /// Takes a notification. The reader itself calls this, in order of arrival and before any
    /// response that follows, so it must not block: hand longer work to a task or a channel.
    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>);

    /// Whether this method is a notification here. Some libraries write `"id": null` into their
    /// notifications, which makes them look like requests. If this returns `true`, such a message
    /// is taken as a notification. `false` by default.
    fn is_notification(&self, _method: &str) -> bool {
        false
    }
}

/// Where a request or notification comes from, and whether it was cancelled.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Where the other side is in the tree.
    pub path: TreePath,
    /// The incarnation of that child. A reply never reaches another incarnation.
    pub incarnation: Incarnation,
    /// The id of the request; `None` for a notification.
    pub request: Option<RequestId>,
    pub(crate) cancel: Option<Arc<SetOnce<()>>>,
    pub(crate) peer: Weak<ClosePeerOnDrop>,
}

impl Context {
    /// Returns when the other side has cancelled the request; never returns for a notification.
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

    /// Whether a line of the log about this may be written now; `false` once the channel is gone.
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

    fn may_answer(&self, _: &str) -> bool {
        false
    }

    fn notification(&self, _: Context, _: &str, _: Option<&RawValue>) {}
}
