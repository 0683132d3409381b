//! MCP servers over stdio: [`Mcp`].

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{
    exit::Exit,
    protocol::{
        ChildIdentity, LogEntry, LogLevel, Protocol, SessionInfo, StdioUse, StopReply, counts_as_alive,
        empty_object, handshake_failed, request_id_from,
    },
    rpc::{CallError, CallOptions, Framing, MethodRouter, Peer, RequestId, Timeout},
    untrusted::{
        ID_BYTES, LINE_BYTES,
        borrowed_json::{display_text, members, text},
    },
};

/// The revisions that this client understands, newest first. The first is offered.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The longest line that all servers can be relied on to take. Servers made with the TypeScript SDK
/// (1.32: `STDIO_DEFAULT_MAX_BUFFER_SIZE`) buffer at most 10 MiB of unread input. The buffer may hold
/// the beginning of the next line too, since Node reads up to 64 KiB at once: measured, a line of 10
/// MiB less one byte passes alone, and may end the server if another line follows. The Python SDK (2.3)
/// has no such bound.
const MAX_LINE_BYTES: usize = 10 * 1024 * 1024 - 64 * 1024;

/// An MCP server on stdin and stdout, of any revision with `initialize`, from 2024-11-05 to 2025-11-25.
///
/// # What a server asks of its host
///
/// Its `ping` is answered by default, also during the handshake. Everything else (`roots/list`,
/// `sampling/createMessage`, `elicitation/create`) is for the worker's handler, together with the
/// matching capability; without a route it is answered with −32601, which servers take for "not
/// supported":
///
/// ```
/// use procession::{
///     process::Command,
///     protocol::Mcp,
///     rpc::{MethodRouter, RpcError},
///     worker::WorkerSpec,
/// };
/// use serde_json::{json, value::to_raw_value};
///
/// let router = MethodRouter::new()
///     .method_value("roots/list", |_, _| async {
///         to_raw_value(&json!({ "roots": [{ "uri": "file:///srv/data" }] })).map_err(RpcError::internal)
///     })
///     .notification_value("notifications/tools/list_changed", |cx, _| {
///         println!("{} has other tools", cx.path)
///     });
/// let mcp = Mcp::default().with_capabilities(json!({ "roots": {} }));
/// // Of the host's environment only a short list passes, without secrets: name those that the server needs.
/// let command = Command::new("some-mcp-server").pass_env("API_KEY");
/// let server = WorkerSpec::new(command).protocol(mcp).handler(router);
/// ```
///
/// # Its environment
///
/// Servers that are configured by environment variables see only those that the `Command` passes
/// (`pass_env`) or sets (`env`), besides `PATH`, `HOME` and similar ones.
///
/// # Logs
///
/// `notifications/message` is logged at its level; the handler gets it too, like all other
/// notifications (`notifications/progress`, `…/list_changed`, `…/resources/updated`).
///
/// # Sizes
///
/// A server that is made with the TypeScript SDK stops reading at a line of 10 MiB, and then usually
/// ends with exit code 0. So nothing larger than 10 MiB less 64 KiB is sent: such calls and
/// notifications fail with [`CallError::TooLarge`]. For servers that take more (those made with the
/// Python SDK have no bound of their own), raise
/// [`PeerConfig::max_outgoing_frame_bytes`](crate::rpc::PeerConfig::max_outgoing_frame_bytes).
///
/// # The end
///
/// A stop waits until the calls under way are answered, then until the server's own requests are, and
/// then closes stdin: at the latest when a fifth of the ladder's `drain` is left, 2 s at most. (Servers
/// that are made with the Python SDK abort their work when their stdin ends.) Some servers wait a
/// minute for the answer to a request that they sent too late; these get SIGTERM after `drain`. A call
/// that is cancelled may nevertheless be carried out; its answer, if one comes, is dropped.
///
/// An error of a *tool* is not an error of the call: it is a result with `isError`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Mcp {
    /// What the client can do; `{}` for nothing.
    pub capabilities: Value,
    /// The client's name and version.
    pub client_info: Value,
}

impl fmt::Debug for Mcp {
    /// Without the values for the server, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp").finish_non_exhaustive()
    }
}

impl Default for Mcp {
    fn default() -> Mcp {
        Mcp {
            capabilities: json!({}),
            client_info: json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }),
        }
    }
}

impl Mcp {
    /// A client that can do this, such as `{"roots": {}}`.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Value) -> Mcp {
        self.capabilities = capabilities;
        self
    }
}

#[async_trait]
impl Protocol for Mcp {
    fn name(&self) -> &str {
        "mcp"
    }

    fn stdio_use(&self) -> StdioUse {
        StdioUse::Rpc(Framing::Lines)
    }

    fn max_outgoing_frame_bytes(&self) -> usize {
        MAX_LINE_BYTES
    }

    async fn handshake(&self, peer: &Peer, _: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let params = json!({
            "protocolVersion": REVISIONS[0],
            "capabilities": self.capabilities,
            "clientInfo": self.client_info,
        });
        let options = CallOptions::unannounced(Timeout::Never);
        let info = peer.call_value("initialize", &params, options).await.map_err(handshake_failed)?;
        let failed = |reason: String| Exit::HandshakeFailed { reason };
        let [version] = members(&info, ["protocolVersion"]).unwrap_or_default();
        let version = version.and_then(|version| text(version, ID_BYTES)).ok_or_else(|| {
            failed(format!(
                "the answer to `initialize` has no `protocolVersion`: {}",
                display_text(&info, 400)
            ))
        })?;
        if !REVISIONS.contains(&version.as_str()) {
            return Err(failed(format!("protocol version `{version}` is not supported")));
        }
        peer.notify_value("notifications/initialized", &()).await.map_err(handshake_failed)?;
        Ok(SessionInfo::from_answer(info))
    }

    async fn shutdown(&self, _: &Peer) -> StopReply {
        StopReply::CloseStdin
    }

    async fn ping(&self, peer: &Peer) -> Option<Result<(), CallError>> {
        Some(counts_as_alive(peer.call_value("ping", &(), CallOptions::unannounced(Timeout::Never)).await))
    }

    fn cancel(&self, request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        let params = json!({ "requestId": request, "reason": "the caller no longer waits" });
        Some(("notifications/cancelled".into(), to_raw_value(&params).ok()?))
    }

    fn incoming_cancel(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "notifications/cancelled").then(|| request_id_from(params, "requestId"))?
    }

    fn progress(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "notifications/progress").then(|| request_id_from(params, "progressToken"))?
    }

    /// Adds `_meta.progressToken`, which is the id of the request, unless the caller has set one of its own.
    fn ask_progress(&self, request: &RequestId, params: &RawValue) -> Option<Box<RawValue>> {
        let token = format!(r#""progressToken":{}"#, serde_json::to_string(request).ok()?);
        let with = |object: &str, member: &str| {
            let rest = object.strip_prefix('{')?.trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            Some(format!("{{{member}{comma}{rest}"))
        };
        let text = params.get();
        let asking = if text == "null" {
            format!(r#"{{"_meta":{{{token}}}}}"#)
        } else {
            let [meta] = members(params, ["_meta"])?;
            match meta {
                None => with(text, &format!(r#""_meta":{{{token}}}"#))?,
                Some(meta) => {
                    let [None] = members(meta, ["progressToken"])? else { return None };
                    // It is a part of that text.
                    let at = meta.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
                    let (before, rest) = text.split_at_checked(at)?;
                    let after = rest.strip_prefix(meta.get())?;
                    format!("{before}{}{after}", with(meta.get(), &token)?)
                }
            }
        };
        RawValue::from_string(asking).ok()
    }

    fn is_notification(&self, method: &str) -> bool {
        method.starts_with("notifications/")
    }

    fn log(&self, method: &str, params: Option<&RawValue>) -> Option<LogEntry> {
        if method != "notifications/message" {
            return None;
        }
        let [level, logger, data] = members(params?, ["level", "logger", "data"])?;
        let level = level.map(|level| LogLevel::from_name(level.get().trim_matches('"'))).unwrap_or_default();
        let logger = logger.and_then(|logger| text(logger, ID_BYTES));
        let meta = logger.and_then(|logger| to_raw_value(&json!({ "logger": logger })).ok());
        Some(LogEntry { level, message: display_text(data?, LINE_BYTES), meta })
    }

    /// The server's `ping` is answered, as the specification demands.
    fn routes(&self) -> MethodRouter {
        MethodRouter::new().method_immediate("ping", empty_object())
    }
}
