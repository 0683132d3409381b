//! Language servers: [`Lsp`].

use std::borrow::Cow;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::{
    exit::Exit,
    protocol::{Channel, Goodbye, Hello, LogEntry, LogLevel, Protocol, Session, id_as, id_in, refused},
    rpc::{CallOptions, Framing, Peer, RequestId, Timeout},
};

/// A language server on stdin and stdout (Language Server Protocol 3.17), with `Content-Length` framing.
///
/// After an orderly stop servers exit with 0, 1 or 2; name those that count as success in the worker's spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Lsp {
    /// The params of `initialize`: an object. `processId`, `clientInfo`, `rootUri` and `capabilities` are filled in
    /// where they are missing.
    #[serde(default)]
    pub initialize: Value,
}

impl Lsp {
    /// A server that gets these params with `initialize`.
    pub fn new(initialize: Value) -> Lsp {
        Lsp { initialize }
    }
}

impl Default for Lsp {
    fn default() -> Lsp {
        Lsp::new(json!({}))
    }
}

#[async_trait]
impl Protocol for Lsp {
    fn name(&self) -> &str {
        "lsp"
    }

    fn channel(&self) -> Channel {
        Channel::Rpc(Framing::ContentLength)
    }

    async fn handshake(&self, peer: &Peer, _: &Hello) -> Result<Session, Exit> {
        let mut params = match &self.initialize {
            Value::Object(params) => params.clone(),
            Value::Null => serde_json::Map::new(),
            _ => {
                let reason = "the params of `initialize` must be an object".to_owned();
                return Err(Exit::HandshakeFailed { reason });
            }
        };
        let client = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
        params.entry("processId").or_insert_with(|| json!(std::process::id()));
        params.entry("clientInfo").or_insert(client);
        params.entry("rootUri").or_insert(Value::Null);
        params.entry("capabilities").or_insert_with(|| json!({}));
        let options = CallOptions::unannounced(Timeout::Never);
        let info = peer.call_value("initialize", &params, options).await.map_err(refused)?;
        peer.notify_value("initialized", &json!({})).await.map_err(refused)?;
        Ok(Session { methods: None, info: Some(info) })
    }

    async fn shutdown(&self, peer: &Peer) -> Goodbye {
        let answer = peer.call_value("shutdown", &(), CallOptions::unannounced(Timeout::Never)).await;
        // `exit` goes out either way: a server that refuses to shut down ends with code 1.
        let told = peer.notify_value("exit", &()).await;
        match answer.and(told) {
            Ok(()) => Goodbye::Acknowledged,
            Err(error) => Goodbye::Failed { reason: error.to_string() },
        }
    }

    fn cancel(&self, request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        Some(("$/cancelRequest".into(), id_as(request, "id")?))
    }

    fn incoming_cancel(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "$/cancelRequest").then(|| id_in(params, "id"))?
    }

    fn log(&self, method: &str, params: Option<&RawValue>) -> Option<LogEntry> {
        #[derive(Deserialize)]
        struct Params {
            #[serde(default, rename = "type")]
            kind: u8,
            message: String,
        }
        if !matches!(method, "window/logMessage" | "window/showMessage") {
            return None;
        }
        let Params { kind, message } = serde_json::from_str(params?.get()).ok()?;
        let level = match kind {
            1 => LogLevel::Error,
            2 => LogLevel::Warn,
            5 => LogLevel::Debug,
            _ => LogLevel::Info,
        };
        Some(LogEntry { level, message, meta: None })
    }
}
