//! [`LspHandler`]: the order of a language server's session.
//!
//! Owned by a served channel. It lets messages through when the protocol allows them, and leaves every
//! answer except that to `shutdown` to the router.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::sync::watch;

use crate::{
    log_event_macro::log_event,
    log_limiter::LogTopic,
    protocol::worker_side::server_shutdown_state::ServerShutdownState,
    rpc::{Context, Handler, MethodRouter, RpcError, error_codes},
    untrusted::one_line,
};

/// The Language Server Protocol's code for requests that come before `initialize`.
const SERVER_NOT_INITIALIZED: i64 = -32002;

/// The handler of a language server's channel.
pub(super) struct LspHandler {
    router: MethodRouter,
    initialized: AtomicBool,
    shutdown_state: watch::Sender<ServerShutdownState>,
}

impl LspHandler {
    pub(super) fn new(
        router: MethodRouter,
        shutdown_state: watch::Sender<ServerShutdownState>,
    ) -> LspHandler {
        LspHandler { router, initialized: AtomicBool::new(false), shutdown_state }
    }

    async fn initialize(&self, cx: Context, params: Option<&RawValue>) -> Result<Box<RawValue>, RpcError> {
        let answer = match self.router.request(cx, "initialize", params).await {
            Err(error) if error.code == error_codes::METHOD_NOT_FOUND => {
                to_raw_value(&json!({ "capabilities": {} })).map_err(RpcError::internal)?
            }
            answer => answer?,
        };
        self.initialized.store(true, Ordering::Release);
        Ok(answer)
    }
}

#[async_trait]
impl Handler for LspHandler {
    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        let initialized = self.initialized.load(Ordering::Acquire);
        match method {
            _ if self.shutdown_state.borrow().shutdown => {
                Err(RpcError::new(error_codes::INVALID_REQUEST, "the server is shutting down"))
            }
            "initialize" if initialized => {
                Err(RpcError::new(error_codes::INVALID_REQUEST, "`initialize` may be sent only once"))
            }
            "initialize" => self.initialize(cx, params).await,
            _ if !initialized => {
                Err(RpcError::new(SERVER_NOT_INITIALIZED, "the server is not initialized yet"))
            }
            "shutdown" => {
                self.shutdown_state.send_modify(|shutdown_state| shutdown_state.shutdown = true);
                to_raw_value(&()).map_err(RpcError::internal)
            }
            _ => self.router.request(cx, method, params).await,
        }
    }

    fn is_notification(&self, method: &str) -> bool {
        matches!(method, "exit" | "initialized") || self.router.is_notification(method)
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        match method {
            "exit" => self.shutdown_state.send_modify(|shutdown_state| shutdown_state.exit = true),
            _ if self.initialized.load(Ordering::Acquire) => {
                Handler::notification(&self.router, cx, method, params);
            }
            _ if tracing::enabled!(target: "procession::protocol", tracing::Level::DEBUG)
                && cx.may_log(LogTopic::Notification) =>
            {
                log_event!(
                    debug, target: "procession::protocol", cx.path, cx.incarnation,
                    "dropped before `initialize`: `{}`", one_line(method)
                );
            }
            _ => {}
        }
    }
}
