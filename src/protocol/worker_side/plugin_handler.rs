//! [`PluginHandler`]: what a plugin worker answers by itself: the handshake, `ping` and `shutdown`.
//!
//! Owned by a served channel. Everything else is left to the router.

use std::{collections::BTreeSet, fmt, pin::Pin};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tokio::sync::watch;

use crate::{
    protocol::{empty_object, plugin_error_codes, worker_side::server_shutdown_state::ServerShutdownState},
    rpc::{Context, Handler, MethodRouter, RpcError},
};

/// The host's params of `initialize` (G-2).
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct InitializeParams {
    /// What this plugin is, according to the host's catalogue.
    pub manifest: Value,
    /// The user's settings for the plugin.
    pub config: Value,
    /// Its path, incarnation and process id, and the host's process id.
    pub instance_info: Value,
    /// The version of the host's methods.
    pub api_version: Value,
}

impl fmt::Debug for InitializeParams {
    /// Without manifest and configuration, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitializeParams")
            .field("instance_info", &self.instance_info)
            .field("api_version", &self.api_version)
            .finish_non_exhaustive()
    }
}

pub(super) type InitializeFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
pub(super) type OnInitialize = Box<dyn Fn(InitializeParams, Context) -> InitializeFuture + Send + Sync>;

/// The handler of a plugin worker's channel.
pub(super) struct PluginHandler {
    pub(super) router: MethodRouter,
    pub(super) announced: BTreeSet<String>,
    pub(super) on_initialize: Option<OnInitialize>,
    pub(super) shutdown_state: watch::Sender<ServerShutdownState>,
}

impl PluginHandler {
    async fn initialize(&self, cx: Context, params: Option<&RawValue>) -> Result<Value, RpcError> {
        let initialize = match params {
            Some(params) => serde_json::from_str(params.get()).map_err(RpcError::invalid_params)?,
            None => InitializeParams::default(),
        };
        if let Some(on_initialize) = &self.on_initialize
            && let Err(reason) = on_initialize(initialize, cx).await
        {
            return Ok(json!({ "ok": false, "reason": reason }));
        }
        Ok(json!({ "ok": true, "supportedMethods": self.announced }))
    }
}

#[async_trait]
impl Handler for PluginHandler {
    async fn request(
        &self,
        cx: Context,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        let answer = match method {
            "initialize" => self.initialize(cx, params).await?,
            "shutdown" => {
                self.shutdown_state.send_replace(ServerShutdownState { shutdown: true, exit: true });
                Value::Null
            }
            _ if self.shutdown_state.borrow().exit => {
                return Err(RpcError::new(plugin_error_codes::UNAVAILABLE, "the worker is shutting down"));
            }
            _ => return self.router.request(cx, method, params).await,
        };
        to_raw_value(&answer).map_err(RpcError::internal)
    }

    fn may_answer(&self, method: &str) -> bool {
        matches!(method, "initialize" | "shutdown" | "ping") || self.router.may_answer(method)
    }

    fn immediate_result(&self, method: &str) -> Option<Box<RawValue>> {
        if method == "ping" && !self.router.has_method(method) {
            return Some(empty_object());
        }
        self.router.immediate_result(method)
    }

    fn is_notification(&self, method: &str) -> bool {
        self.router.is_notification(method)
    }

    fn notification(&self, cx: Context, method: &str, params: Option<&RawValue>) {
        Handler::notification(&self.router, cx, method, params);
    }
}
