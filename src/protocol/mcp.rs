//! MCP servers over stdio: [`Mcp`].
//!
//! The revisions with `initialize`, from 2024-11-05 to 2025-11-25. What a server asks of its client (roots, sampling,
//! elicitation) is for the worker's handler; announce it in `capabilities`.

use std::borrow::Cow;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{
    exit::Exit,
    protocol::{Channel, Goodbye, Hello, LogEntry, LogLevel, Protocol, Session, alive, id_in, refused},
    rpc::{CallError, CallOptions, Framing, Peer, RequestId, Router, RpcError, Timeout},
};

/// The revisions that this client understands, newest first. The first is offered.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// An MCP server on stdin and stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Mcp {
    /// What the client can do; `{}` for nothing.
    pub capabilities: Value,
    /// The client's name and version.
    pub client_info: Value,
}

impl Default for Mcp {
    fn default() -> Mcp {
        Mcp {
            capabilities: json!({}),
            client_info: json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    protocol_version: String,
}

#[async_trait]
impl Protocol for Mcp {
    fn name(&self) -> &str {
        "mcp"
    }

    fn channel(&self) -> Channel {
        Channel::Rpc(Framing::Lines)
    }

    async fn handshake(&self, peer: &Peer, _: &Hello) -> Result<Session, Exit> {
        let params = json!({
            "protocolVersion": REVISIONS[0],
            "capabilities": self.capabilities,
            "clientInfo": self.client_info,
        });
        let options = CallOptions::unannounced(Timeout::Never);
        let info = peer.call_value("initialize", &params, options).await.map_err(refused)?;
        let answer: Answer = serde_json::from_str(info.get()).map_err(|error| Exit::HandshakeFailed {
            reason: format!("the answer to `initialize` is not as expected: {error}"),
        })?;
        if !REVISIONS.contains(&answer.protocol_version.as_str()) {
            let reason = format!("protocol version `{}` is not supported", answer.protocol_version);
            return Err(Exit::HandshakeFailed { reason });
        }
        peer.notify_value("notifications/initialized", &()).await.map_err(refused)?;
        Ok(Session { methods: None, info: Some(info) })
    }

    async fn shutdown(&self, _: &Peer) -> Goodbye {
        Goodbye::CloseStdin
    }

    async fn ping(&self, peer: &Peer) -> Option<Result<(), CallError>> {
        Some(alive(peer.call_value("ping", &(), CallOptions::unannounced(Timeout::Never)).await))
    }

    fn cancel(&self, request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        let params = json!({ "requestId": request, "reason": "the caller does not wait any more" });
        Some(("notifications/cancelled".into(), to_raw_value(&params).ok()?))
    }

    fn incoming_cancel(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "notifications/cancelled").then(|| id_in(params, "requestId"))?
    }

    fn log(&self, method: &str, params: Option<&RawValue>) -> Option<LogEntry> {
        #[derive(Deserialize)]
        struct Params {
            #[serde(default)]
            level: String,
            #[serde(default)]
            logger: Option<String>,
            data: Value,
        }
        if method != "notifications/message" {
            return None;
        }
        let Params { level, logger, data } = serde_json::from_str(params?.get()).ok()?;
        let message = match data {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let meta = logger.and_then(|logger| to_raw_value(&json!({ "logger": logger })).ok());
        Some(LogEntry { level: LogLevel::from_name(&level), message, meta })
    }

    /// The server's `ping` is answered at once, as the specification demands.
    fn routes(&self) -> Router {
        Router::new()
            .method_value("ping", |_, _| async { to_raw_value(&json!({})).map_err(RpcError::internal) })
    }
}
