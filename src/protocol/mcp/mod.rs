//! MCP servers over stdio, of both eras: [`Mcp`].

mod era;
mod list_cache;
mod revisions;
mod subscriptions;

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

pub use era::McpEra;
pub use list_cache::{McpList, McpListCache};
pub use subscriptions::{McpSubscriptionFilter, McpSubscriptions};

use crate::{
    exit::Exit,
    protocol::{
        ChildIdentity, LogEntry, LogLevel, Protocol, SessionInfo, StdioUse, StopReply, counts_as_alive,
        empty_object, request_id_from,
    },
    rpc::{CallError, CallOptions, Framing, MethodRouter, Peer, RequestId, Timeout, with_meta},
    untrusted::{
        ID_BYTES, LINE_BYTES,
        borrowed_json::{display_text, members, text},
    },
};

/// The longest line that all servers can be relied on to take. Servers made with the TypeScript SDK
/// (1.32: `STDIO_DEFAULT_MAX_BUFFER_SIZE`) buffer at most 10 MiB of unread input. The buffer may hold
/// the beginning of the next line too, since Node reads up to 64 KiB at once: measured, a line of 10
/// MiB less one byte passes alone, and may end the server if another line follows. The Python SDK (2.3)
/// has no such bound.
const MAX_LINE_BYTES: usize = 10 * 1024 * 1024 - 64 * 1024;

/// An MCP server on stdin and stdout, of any revision from 2024-11-05 to 2026-07-28.
///
/// # Eras
///
/// Servers up to revision 2025-11-25 begin with `initialize`; those of 2026-07-28 have no handshake, and each
/// request says in `_meta` what the client is ([`McpEra`]). Which of the two a server is, is found out by
/// asking it `server/discover`, and remembered at its node for the next incarnation. An error that is none of
/// 2026-07-28 means the older era. If the server says nothing for two seconds, it gets `initialize` as well,
/// and the first good answer decides. A server that ends because of that question is launched again without
/// it, in the same incarnation (rule W-10). [`with_era`](Mcp::with_era) leaves the question out: declare the
/// era of a server that answers the question and does not work well after it.
///
/// [`SessionInfo::protocol_version`] says what was found. In the stateless era, a host adds nothing to its
/// calls: the members of `_meta` that each request needs are added to it, unless the caller has set them. A
/// result with `"resultType": "input_required"` is a result like any other; the caller gets it.
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
///
/// # Liveness
///
/// is a `ping`; in the stateless era, which has none, `server/discover`, and only while no call is open. Any
/// answer is a sign of life.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Mcp {
    /// What the client can do; `{}` for nothing.
    pub capabilities: Value,
    /// The client's name and version.
    pub client_info: Value,
    /// The era of the server, if it is known; by default it is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<McpEra>,
    /// From which level on the server logs by `notifications/message`. By default, what the server does by
    /// itself: servers with a handshake usually log, stateless ones do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// What is subscribed to at each incarnation of the server.
    #[serde(skip)]
    pub subscriptions: Option<McpSubscriptions>,
    /// Where the lists of the server are kept.
    #[serde(skip)]
    pub list_cache: Option<McpListCache>,
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
            era: None,
            log_level: None,
            subscriptions: None,
            list_cache: None,
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

    /// A server whose era is known, so that it is not asked.
    #[must_use]
    pub fn with_era(mut self, era: McpEra) -> Mcp {
        self.era = Some(era);
        self
    }

    /// Asks the server to log from this level on.
    #[must_use]
    pub fn with_log_level(mut self, level: LogLevel) -> Mcp {
        self.log_level = Some(level);
        self
    }

    /// Keeps these subscriptions at every incarnation of the server (W-8). The notifications go to
    /// the worker's handler.
    #[must_use]
    pub fn with_subscriptions(mut self, subscriptions: McpSubscriptions) -> Mcp {
        self.subscriptions = Some(subscriptions);
        self
    }

    /// Keeps the lists of the server in this cache, which is told of changes.
    #[must_use]
    pub fn with_list_cache(mut self, cache: McpListCache) -> Mcp {
        self.list_cache = Some(cache);
        self
    }

    /// What each request of the stateless era says in `_meta`.
    fn request_meta(&self, version: &str) -> Vec<(String, Value)> {
        let level = self.log_level.map(|level| json!(level_name(level)));
        let members = [
            ("protocolVersion", Some(json!(version))),
            ("clientInfo", Some(self.client_info.clone())),
            ("clientCapabilities", Some(self.capabilities.clone())),
            ("logLevel", level),
        ];
        let prefixed = |(name, value): (&str, Option<Value>)| Some((format!("{META_PREFIX}{name}"), value?));
        members.into_iter().filter_map(prefixed).collect()
    }
}

/// What MCP's own members of `_meta` begin with.
const META_PREFIX: &str = "io.modelcontextprotocol/";

/// The name of a level in MCP, which has syslog's levels.
fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace | LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warning",
        LogLevel::Error => "error",
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

    async fn handshake(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let session = self.find_era(peer, identity).await?;
        if let Some(level) = self.log_level
            && !peer.has_request_meta()
            && has_capability(&session, "logging")
        {
            let params = json!({ "level": level_name(level) });
            let options = CallOptions::unannounced(Timeout::Never);
            // A server that does not take it logs at its own level.
            let _ = peer.call_value("logging/setLevel", &params, options).await;
        }
        if let Some(subscriptions) = &self.subscriptions {
            subscriptions.keep_at(peer);
        }
        if let Some(cache) = &self.list_cache {
            let filter = self.subscriptions.as_ref().map(McpSubscriptions::filter).unwrap_or_default();
            let is_stateless = peer.has_request_meta();
            cache.session_began(&session, |list| !is_stateless || filter.has_changes_of(list));
        }
        Ok(session)
    }

    async fn shutdown(&self, _: &Peer) -> StopReply {
        StopReply::CloseStdin
    }

    async fn ping(&self, peer: &Peer) -> Option<Result<(), CallError>> {
        let options = CallOptions::unannounced(Timeout::Never);
        let answer = if !peer.has_request_meta() {
            peer.call_value("ping", &(), options).await
        } else if peer.has_open_calls() {
            return Some(Ok(()));
        } else {
            peer.call_value("server/discover", &(), options).await
        };
        Some(counts_as_alive(answer))
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
        with_meta(params, &[("progressToken", &serde_json::to_string(request).ok()?)])
    }

    fn has_meta(&self) -> bool {
        true
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

    fn notified(&self, method: &str, _: Option<&RawValue>) {
        if let Some(cache) = &self.list_cache {
            cache.notified(method);
        }
    }

    /// The server's `ping` is answered, as the specification demands.
    fn routes(&self) -> MethodRouter {
        MethodRouter::new().method_immediate("ping", empty_object())
    }
}

/// Whether the server has declared a capability.
fn has_capability(session: &SessionInfo, name: &str) -> bool {
    let capabilities = session.capabilities.as_deref();
    capabilities.and_then(|capabilities| members(capabilities, [name])).is_some_and(|[found]| found.is_some())
}
