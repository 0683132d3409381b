//! Language servers: [`Lsp`], the host's side. A server in Rust is
//! [`Server::lsp`](crate::protocol::Server::lsp).

use std::{borrow::Cow, fmt};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{
    exit::Exit,
    log_event_macro::log_event,
    log_limiter::LogTopic,
    protocol::{
        ChildIdentity, LogEntry, LogLevel, Protocol, SessionInfo, StdioUse, StopReply, cancel_params,
        handshake_failed, request_id_from,
    },
    rpc::{CallOptions, Framing, MethodRouter, Peer, RequestId, RpcError, Timeout, with_member},
    untrusted::{
        LINE_BYTES,
        borrowed_json::{elements, members, text},
        one_line_up_to,
    },
};

/// A language server on stdin and stdout (Language Server Protocol 3.17), with `Content-Length` framing.
///
/// # What a server asks of its host
///
/// Servers send requests of their own, some of them before `initialize` is answered, and not all
/// servers survive a refusal (one exits when `workspace/configuration` is answered with an error). So
/// each of these requests has a default answer, which is that of a host without a screen:
///
/// | request | default answer |
/// |---|---|
/// | `workspace/configuration` | for each item its section of [`settings`](Lsp::settings), else `null` |
/// | `workspace/workspaceFolders` | the `workspaceFolders` of [`initialize`](Lsp::initialize), else `null` |
/// | `client/registerCapability`, `client/unregisterCapability` | accepted, and nothing is done |
/// | `window/workDoneProgress/create` | accepted; the progress goes to the handler as `$/progress` |
/// | `window/showMessageRequest` | `null`: no button was pressed (the question is logged) |
/// | `window/showDocument` | `{"success": false}` |
/// | `workspace/applyEdit` | `{"applied": false}`, with the reason |
/// | `workspace/…/refresh` | accepted, and nothing is done |
///
/// The worker's handler goes first: a [`MethodRouter`] with a route for one of these requests replaces the
/// default. A host that announces a capability in `initialize` (`workspace.applyEdit`, dynamic
/// registration) should bring the route that goes with it. All other requests are answered with −32601,
/// unless the handler knows them.
///
/// ```
/// use procession::{
///     process::Command,
///     protocol::Lsp,
///     rpc::{MethodRouter, RpcError},
///     worker::WorkerSpec,
/// };
/// use serde_json::{json, value::to_raw_value};
///
/// let router = MethodRouter::new()
///     .method_value("workspace/applyEdit", |_, _edit| async {
///         to_raw_value(&json!({ "applied": true })).map_err(RpcError::internal)
///     })
///     .notification_value("textDocument/publishDiagnostics", |cx, _params| println!("{}", cx.path));
/// let workspace = json!({ "applyEdit": true, "configuration": true });
/// let lsp = Lsp::new(json!({ "capabilities": { "workspace": workspace } }))
///     .with_settings(json!({ "python": { "analysis": { "typeCheckingMode": "strict" } } }));
/// let command = Command::new("pyright-langserver").arg("--stdio");
/// let server = WorkerSpec::new(command).protocol(lsp).handler(router);
/// ```
///
/// # Logs
///
/// `window/logMessage`, `window/showMessage`, `window/showMessageRequest` and `$/logTrace` are logged, at
/// their level; the handler gets them as well.
///
/// # The end
///
/// A stop waits until the calls under way and the server's own requests are answered. Then it sends
/// `shutdown` (after which a server takes no more requests) and, whatever the answer, `exit` (at which
/// the server ends, in the middle of any work). It leaves stdin open: servers take the end of stdin for
/// a crash of the host and then exit with 1 or 2. Stdin is closed only if the server has not answered
/// `shutdown` when a fifth of the ladder's `drain` is left. The exit of an orderly stop is
/// [`Exit::Requested`], regardless of the code. An exit without a request is classified by its code;
/// servers that exit with 0 when they lose interest end as `Clean`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Lsp {
    /// The params of `initialize`: an object. `processId`, `clientInfo`, `rootUri` and `capabilities`
    /// are filled in where they are missing.
    #[serde(default)]
    pub initialize: Value,
    /// The server's settings: sent with `workspace/didChangeConfiguration` once it is initialized, and
    /// returned by section when it asks with `workspace/configuration`. Null for none.
    #[serde(default)]
    pub settings: Value,
}

impl Lsp {
    /// A server that gets these params with `initialize`.
    pub fn new(initialize: Value) -> Lsp {
        Lsp { initialize, settings: Value::Null }
    }

    /// With these settings.
    #[must_use]
    pub fn with_settings(mut self, settings: Value) -> Lsp {
        self.settings = settings;
        self
    }
}

impl fmt::Debug for Lsp {
    /// Without its settings, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lsp").finish_non_exhaustive()
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

    fn stdio_use(&self) -> StdioUse {
        StdioUse::Rpc(Framing::ContentLength)
    }

    fn has_ping(&self) -> bool {
        false
    }

    async fn handshake(&self, peer: &Peer, _: &ChildIdentity) -> Result<SessionInfo, Exit> {
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
        let info = peer.call_value("initialize", &params, options).await.map_err(handshake_failed)?;
        peer.notify_value("initialized", &json!({})).await.map_err(handshake_failed)?;
        if !self.settings.is_null() {
            let settings = json!({ "settings": self.settings });
            peer.notify_value("workspace/didChangeConfiguration", &settings)
                .await
                .map_err(handshake_failed)?;
        }
        Ok(SessionInfo::from_answer(info))
    }

    async fn shutdown(&self, peer: &Peer) -> StopReply {
        let answer = peer.call_value("shutdown", &(), CallOptions::unannounced(Timeout::Never)).await;
        // `exit` is sent in either case: a server that refuses to shut down ends with code 1.
        let told = peer.notify_value("exit", &()).await;
        match answer.and(told) {
            Ok(()) => StopReply::Acknowledged,
            Err(error) => StopReply::Failed { reason: error.to_string() },
        }
    }

    fn cancel(&self, request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        Some(("$/cancelRequest".into(), cancel_params(request, "id")?))
    }

    fn incoming_cancel(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "$/cancelRequest").then(|| request_id_from(params, "id"))?
    }

    fn progress(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        (method == "$/progress").then(|| request_id_from(params, "token"))?
    }

    /// Adds `workDoneToken`, which is the id of the request, unless the caller has set one of its own.
    fn ask_progress(&self, request: &RequestId, params: &RawValue) -> Option<Box<RawValue>> {
        with_member(params, ("workDoneToken", &serde_json::to_string(request).ok()?))
    }

    fn is_notification(&self, method: &str) -> bool {
        // According to the specification, methods with this prefix are notifications, and may be
        // ignored.
        method.starts_with("$/") || NOTIFICATIONS.contains(&method)
    }

    fn log(&self, method: &str, params: Option<&RawValue>) -> Option<LogEntry> {
        match method {
            "window/logMessage" | "window/showMessage" => message(params?),
            "$/logTrace" => Some(LogEntry { level: LogLevel::Trace, ..message(params?)? }),
            _ => None,
        }
    }

    fn routes(&self) -> MethodRouter {
        let refresh = |kind: &str| format!("workspace/{kind}/refresh");
        let accepted =
            ["client/registerCapability", "client/unregisterCapability", "window/workDoneProgress/create"]
                .map(ToOwned::to_owned)
                .into_iter()
                .chain(REFRESHED.map(refresh));
        let mut router = MethodRouter::new();
        for name in accepted {
            router = with_answer(router, &name, &Value::Null);
        }
        let folders = self.initialize.get("workspaceFolders").cloned().unwrap_or_default();
        router = with_answer(router, "workspace/workspaceFolders", &folders);
        router = with_answer(router, "window/showDocument", &json!({ "success": false }));
        let unapplied = json!({ "applied": false, "failureReason": "the host does not apply edits" });
        router = with_answer(router, "workspace/applyEdit", &unapplied);
        let settings = self.settings.clone();
        router
            .method_value("workspace/configuration", move |_, params| {
                let answer = configuration(&settings, params.as_deref());
                async move { answer }
            })
            .method_value("window/showMessageRequest", |cx, params| async move {
                if cx.may_log(LogTopic::Message)
                    && let Some(question) = params.as_deref().and_then(message)
                {
                    let text = one_line_up_to(usize::MAX, &question.message);
                    log_event!(info, target: "procession::log", cx.path, cx.incarnation, "{text}");
                }
                to_raw_value(&()).map_err(RpcError::internal)
            })
    }
}

/// What a server tells its host.
const NOTIFICATIONS: [&str; 4] =
    ["window/logMessage", "window/showMessage", "telemetry/event", "textDocument/publishDiagnostics"];

/// What a server may ask the host to fetch again.
const REFRESHED: [&str; 6] =
    ["codeLens", "diagnostic", "foldingRange", "inlayHint", "inlineValue", "semanticTokens"];

fn with_answer(router: MethodRouter, method: &str, answer: &Value) -> MethodRouter {
    let answer = to_raw_value(answer).map_err(RpcError::internal);
    router.method_value(method, move |_, _| {
        let answer = answer.clone();
        async move { answer }
    })
}

/// The answer to `workspace/configuration`: one value for each item. It is built item by item and
/// bounded, because a few bytes can ask for all settings many times.
fn configuration(settings: &Value, params: Option<&RawValue>) -> Result<Box<RawValue>, RpcError> {
    /// Once this much is written, further items are refused. A single item gets its section however
    /// large that is.
    const ANSWER_BYTES: usize = 1024 * 1024;
    let [items] = params.and_then(|params| members(params, ["items"])).unwrap_or_default();
    let items = items.ok_or_else(|| RpcError::invalid_params("the member `items` is missing"))?;
    let mut answer = b"[".to_vec();
    let mut wrong = Ok(());
    let all = elements(items, |item| {
        if answer.len() > 1 {
            answer.push(b',');
        }
        let written = section(settings, item).and_then(|section| {
            if answer.len() > ANSWER_BYTES {
                return Err(RpcError::invalid_params("the items ask for more than 1 MiB of settings"));
            }
            serde_json::to_writer(&mut answer, section).map_err(RpcError::internal)
        });
        wrong = written;
        wrong.is_ok()
    });
    wrong?;
    all.ok_or_else(|| RpcError::invalid_params("`items` must be an array"))?;
    answer.push(b']');
    let answer = String::from_utf8(answer).map_err(RpcError::internal)?;
    RawValue::from_string(answer).map_err(RpcError::internal)
}

/// The settings that an item asks for; all of them without a `section`.
fn section<'a>(settings: &'a Value, item: &RawValue) -> Result<&'a Value, RpcError> {
    const NONE: &Value = &Value::Null;
    let [section] =
        members(item, ["section"]).ok_or_else(|| RpcError::invalid_params("each item must be an object"))?;
    let Some(section) = section.filter(|section| section.get() != "null") else { return Ok(settings) };
    let section =
        text(section, LINE_BYTES).ok_or_else(|| RpcError::invalid_params("`section` must be a string"))?;
    let mut names = section.split('.').filter(|name| !name.is_empty());
    Ok(names.try_fold(settings, |settings, name| settings.get(name)).unwrap_or(NONE))
}

fn message(params: &RawValue) -> Option<LogEntry> {
    let [kind, message] = members(params, ["type", "message"])?;
    let level = match kind.map(RawValue::get) {
        Some("1") => LogLevel::Error,
        Some("2") => LogLevel::Warn,
        Some("5") => LogLevel::Debug,
        _ => LogLevel::Info,
    };
    Some(LogEntry { level, message: text(message?, LINE_BYTES)?, meta: None })
}
