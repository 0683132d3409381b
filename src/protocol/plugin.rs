//! Plugin workers: [`Plugin`] (G-2, G-4). The worker's side of it, in Rust, is
//! [`Server`](crate::protocol::Server).

use std::{borrow::Cow, collections::BTreeSet, fmt};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    exit::Exit,
    protocol::{
        ChildIdentity, LogEntry, LogLevel, Protocol, SessionInfo, StdioUse, StopReply, cancel_params,
        counts_as_alive, handshake_failed, request_id_from,
        session_info::{MAX_METHOD_BYTES, MAX_METHODS},
    },
    rpc::{CallError, CallOptions, Framing, Peer, RequestId, Timeout, error_codes},
    untrusted::{
        LINE_BYTES, SHOWN_BYTES,
        borrowed_json::{display_text, elements, members, text},
    },
};

/// A worker that implements a plugin of a host. JSON-RPC 2.0, one JSON text per line on stdin and
/// stdout; stderr is for logs.
///
/// `docs/PLUGIN-PROTOCOL.md` specifies the protocol completely, for authors of workers in any language;
/// `examples/workers` has workers in Python, JavaScript, Perl and Tcl.
///
/// A whole session, `→` from the host:
///
/// ```text
/// → {"jsonrpc":"2.0","id":1,"method":"initialize","params":{"manifest":…,"config":…,
///    "instanceInfo":{"path":"/plugins/x","incarnation":1,"pid":77,"hostPid":70,
///    "hostId":"editor","hostVersion":"3.1"},"apiVersion":"1"}}
/// ← {"jsonrpc":"2.0","id":1,"result":{"ok":true,"supportedMethods":["add","ping"]}}
/// → {"jsonrpc":"2.0","id":2,"method":"add","params":[1,2]}
/// ← {"jsonrpc":"2.0","method":"log","params":{"level":"info","message":"adding","meta":{"n":2}}}
/// ← {"jsonrpc":"2.0","id":"a","method":"host/method","params":{}}      a request of the worker's own
/// → {"jsonrpc":"2.0","id":"a","result":…}
/// ← {"jsonrpc":"2.0","id":2,"result":3}
/// → {"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":7}}   request 7 need no longer be answered
/// ← {"jsonrpc":"2.0","id":"b","method":"streams.open","params":{"stream":"s1","channel":"rows","scope":"t",
///    "request":2,"credit":true}}                                        a stream of items
/// → {"jsonrpc":"2.0","id":"b","result":{"ok":true,"credit":64}}
/// ← {"jsonrpc":"2.0","method":"streams.emit","params":{"stream":"s1","item":…}}
/// → {"jsonrpc":"2.0","method":"streams.credit","params":{"stream":"s1","items":32}}
/// ← {"jsonrpc":"2.0","method":"streams.close","params":{"stream":"s1"}}
/// ← {"jsonrpc":"2.0","method":"$/progress","params":{"request":2,…}}   call 2 gets more time
/// → {"jsonrpc":"2.0","id":3,"method":"configChanged","params":{"config":…}}
/// ← {"jsonrpc":"2.0","id":3,"result":null}                             it has it; an error refuses it
/// → {"jsonrpc":"2.0","method":"retiring"}                              no new calls follow; open ones go on
/// → {"jsonrpc":"2.0","id":8,"method":"shutdown"}
/// ← {"jsonrpc":"2.0","id":8,"result":null}                             and then the worker exits
/// ```
///
/// The answer to `initialize` may also describe the worker, with the members that MCP servers use:
/// `serverInfo` (`name`, `version`), `protocolVersion`, `capabilities`, `instructions`
/// ([`WorkerRef::session`](crate::worker::WorkerRef::session)). `hostId` and `hostVersion` are there if a
/// plugin host starts the worker.
///
/// A stream (C-10) has an id of the worker's choice, a number or a string that it has not used before.
/// `scope` says what part of the channel it is about; `request` is the id of the host's call that it
/// belongs to. Both are optional. The request is refused with −32602 if it is malformed or the id was
/// used, with −32001 if nothing takes streams of this channel, and with −32000 if there are too many. The
/// worker ends its stream by `streams.close`, with an `"error":{"code":…,"message":…}` if it failed, and
/// sends nothing after that. The host ends it by `streams.close` with the `"reason"` `"overflow"` (an item
/// found no room) or `"cancelled"`; items that the worker sends later are dropped. A worker that asks for
/// `"credit":true` sends no more items than the answer allows, and more as `streams.credit` comes. Its
/// stream then has room for each item, unless the bytes of all streams are used up.
///
/// To refuse, answer `initialize` with `{"ok":false,"reason":"…"}`. Methods that were not announced are
/// not called; without `supportedMethods`, any may be. `ping` may be answered with anything, and is sent
/// only if announced. `configChanged` is sent only if announced, and answered as any request; an error,
/// with the reason as its message, refuses the configuration and keeps the old one. `retiring` is sent only
/// if announced, when the worker is being stopped or its successor has taken its place: from then on it may
/// refuse work that it would begin by itself. `shutdown` is sent
/// when all calls have been answered, or have taken too long for the stop. The worker need not know it:
/// then its stdin is closed, which it should treat the same way. The smallest worker in Python, which does
/// one thing at a time and makes no calls:
///
/// ```python
/// import json, sys
///
/// METHODS = {"add": lambda params: params[0] + params[1], "ping": lambda params: None}
///
/// def answer(method, params):
///     if method == "initialize":
///         return {"result": {"ok": True, "supportedMethods": list(METHODS)}}
///     if method == "shutdown":
///         return {"result": None}
///     if method not in METHODS:
///         return {"error": {"code": -32601, "message": f"there is no method {method}"}}
///     try:
///         return {"result": METHODS[method](params)}
///     except Exception as error:                     # the call fails, the worker lives on
///         return {"error": {"code": -32603, "message": repr(error)}}
///
/// for line in sys.stdin:
///     message = json.loads(line)
///     method = message.get("method")
///     if "id" not in message or method is None:
///         continue                                   # a notification, or an answer to a request of ours
///     reply = answer(method, message.get("params"))
///     print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
///     if method == "shutdown":
///         break
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Plugin {
    /// What the plugin is, according to the host's catalogue.
    #[serde(default)]
    pub manifest: Value,
    /// The user's settings for the plugin.
    #[serde(default)]
    pub config: Value,
    /// The version of the host's methods.
    #[serde(default = "first_version")]
    pub api_version: String,
    /// How messages are delimited: by line, or by `Content-Length` as the libraries for language
    /// servers do it.
    #[serde(default)]
    pub framing: Framing,
}

fn first_version() -> String {
    "1".to_owned()
}

impl Plugin {
    /// A plugin without configuration.
    pub fn new(manifest: Value, api_version: impl Into<String>) -> Plugin {
        Plugin { manifest, config: Value::Null, api_version: api_version.into(), framing: Framing::Lines }
    }

    /// With this configuration.
    #[must_use]
    pub fn with_config(mut self, config: Value) -> Plugin {
        self.config = config;
        self
    }

    /// With this framing: [`Framing::ContentLength`] for workers written with a library that speaks
    /// nothing else, such as Node's `vscode-jsonrpc` or Python's `pygls`.
    #[must_use]
    pub fn with_framing(mut self, framing: Framing) -> Plugin {
        self.framing = framing;
        self
    }
}

impl Default for Plugin {
    fn default() -> Plugin {
        Plugin::new(Value::Null, first_version())
    }
}

impl fmt::Debug for Plugin {
    /// Without manifest and configuration, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("api_version", &self.api_version)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// The notification that the worker gets no more calls.
const RETIRING: &str = "retiring";

/// The methods that the answer to `initialize` announces, or why it is not acceptable. An answer without
/// `supportedMethods` announces nothing that is known; an empty list announces that there are none.
fn announced(answer: &RawValue) -> Result<Option<BTreeSet<String>>, String> {
    let unexpected =
        |what: &str| format!("unexpected answer to `initialize`: {what}: {}", display_text(answer, 400));
    let names = ["ok", "supportedMethods", "reason", "error", "message"];
    let [ok, methods, reasons @ ..] =
        members(answer, names).ok_or_else(|| unexpected("it is not an object"))?;
    match ok.map(RawValue::get) {
        Some("true") => {}
        Some("false") => {
            let reason = reasons.into_iter().flatten().find(|reason| reason.get() != "null");
            return Err(reason.map_or_else(
                || "the worker answered `initialize` with `ok: false`".to_owned(),
                |reason| display_text(reason, SHOWN_BYTES),
            ));
        }
        Some(_) => return Err(unexpected("`ok` is neither true nor false")),
        None => return Err(unexpected("missing field `ok`")),
    }
    let (mut announced, mut bytes, mut strings) = (BTreeSet::new(), 0, true);
    let Some(methods) = methods else { return Ok(None) };
    let all = elements(methods, |name| {
        bytes += name.get().len();
        strings = name.get().starts_with('"');
        if !strings || announced.len() >= MAX_METHODS || bytes > MAX_METHOD_BYTES {
            return false;
        }
        announced.extend(text(name, MAX_METHOD_BYTES));
        true
    });
    match all {
        Some(true) => Ok(Some(announced)),
        Some(false) if strings => {
            Err(format!("it announces more than {MAX_METHODS} methods, or more than 256 KiB of their names"))
        }
        _ => Err(unexpected("`supportedMethods` is not an array of strings")),
    }
}

#[async_trait]
impl Protocol for Plugin {
    fn name(&self) -> &str {
        "plugin"
    }

    fn stdio_use(&self) -> StdioUse {
        StdioUse::Rpc(self.framing)
    }

    async fn handshake(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            manifest: &'a Value,
            config: &'a Value,
            instance_info: InstanceInfo<'a>,
            api_version: &'a str,
        }

        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct InstanceInfo<'a> {
            path: &'a str,
            incarnation: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            pid: Option<u32>,
            host_pid: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            host_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            host_version: Option<&'a str>,
        }
        let params = Params {
            manifest: &self.manifest,
            config: &self.config,
            instance_info: InstanceInfo {
                path: identity.path.as_str(),
                incarnation: identity.incarnation.0,
                pid: identity.pid,
                host_pid: std::process::id(),
                host_id: identity.host.as_ref().map(|host| host.name.as_str()),
                host_version: identity.host.as_ref().and_then(|host| host.version.as_deref()),
            },
            api_version: &self.api_version,
        };
        let options = CallOptions::unannounced(Timeout::Never);
        let info = peer.call_value("initialize", &params, options).await.map_err(handshake_failed)?;
        let methods = announced(&info).map_err(|reason| Exit::HandshakeFailed { reason })?;
        Ok(SessionInfo::from_answer(info).with_methods(methods))
    }

    async fn retiring(&self, peer: &Peer) {
        if peer.announces(RETIRING) {
            // If it cannot be sent, the channel is ending.
            let _ = peer.notify_value(RETIRING, &()).await;
        }
    }

    async fn shutdown(&self, peer: &Peer) -> StopReply {
        match peer.call_value("shutdown", &(), CallOptions::unannounced(Timeout::Never)).await {
            Ok(_) => StopReply::Acknowledged,
            // It does not know this request, but it knows the end of its stdin.
            Err(CallError::Remote { error, .. }) if error.code == error_codes::METHOD_NOT_FOUND => {
                StopReply::CloseStdin
            }
            Err(error) => StopReply::Failed { reason: error.to_string() },
        }
    }

    async fn ping(&self, peer: &Peer) -> Option<Result<(), CallError>> {
        if !peer.announces("ping") {
            return None;
        }
        let options = CallOptions::unannounced(Timeout::Never);
        Some(counts_as_alive(peer.call_value("ping", &(), options).await))
    }

    fn cancel(&self, request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        Some(("$/cancelRequest".into(), cancel_params(request, "id")?))
    }

    fn incoming_cancel(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "$/cancelRequest").then(|| request_id_from(params, "id"))?
    }

    fn progress(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "$/progress").then(|| request_id_from(params, "request"))?
    }

    fn is_notification(&self, method: &str) -> bool {
        matches!(method, "log" | "$/cancelRequest" | "$/progress")
    }

    fn has_meta(&self) -> bool {
        true
    }

    fn has_streams(&self) -> bool {
        true
    }

    fn log(&self, method: &str, params: Option<&RawValue>) -> Option<LogEntry> {
        if method != "log" {
            return None;
        }
        let [level, message, meta] = members(params?, ["level", "message", "meta"])?;
        let level = level.map(|level| LogLevel::from_name(level.get().trim_matches('"'))).unwrap_or_default();
        let message = message.map(|message| display_text(message, LINE_BYTES)).unwrap_or_default();
        let meta = meta.filter(|meta| meta.get() != "null");
        let meta = meta.and_then(|meta| match meta.get().len() {
            ..=LINE_BYTES => Some(meta.to_owned()),
            _ => to_raw_value(&display_text(meta, LINE_BYTES)).ok(),
        });
        Some(LogEntry { level, message, meta })
    }
}
