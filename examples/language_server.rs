//! A language server in Rust: `cargo run --example language_server`. An editor, another supervisor,
//! or a worker of this crate with `protocol::Lsp` starts it.
//!
//! It marks the lines of open documents that contain a TODO, and it has some commands: `echo`
//! answers with its arguments, `fail` with an error that carries them as data, `wait` when it is
//! cancelled, and `ask` with the client's answer to `workspace/configuration`.

use std::process::ExitCode;

use procession::{
    protocol::{Served, Server},
    rpc::{Context, Method, MethodRouter, Notification, RpcError, Timeout},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The code of the Language Server Protocol for a request that the client has cancelled.
const REQUEST_CANCELLED: i64 = -32800;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<ExitCode> {
    let router = MethodRouter::new()
        .method::<InitializeParams, _, _>(|_, _| async { Ok(capabilities()) })
        .method::<Execute, _, _>(|cx, command| async move { execute(cx, command).await })
        .notification::<DidOpen>(|cx, opened| mark(&cx, opened.text_document));
    Ok(match Server::lsp(router).serve_stdio().await? {
        Served::Shutdown => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

struct InitializeParams;

impl Method for InitializeParams {
    const NAME: &'static str = "initialize";
    type Params = Value;
    type Output = Value;
}

fn capabilities() -> Value {
    json!({
        "capabilities": {
            "textDocumentSync": 1,
            "executeCommandProvider": { "commands": ["echo", "fail", "wait", "ask"] },
        },
        "serverInfo": { "name": "language_server", "version": env!("CARGO_PKG_VERSION") },
    })
}

struct DidOpen;

impl Notification for DidOpen {
    const NAME: &'static str = "textDocument/didOpen";
    type Params = Opened;
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    text_document: Document,
}

#[derive(Serialize, Deserialize)]
struct Document {
    uri: String,
    text: String,
}

fn mark(cx: &Context, document: Document) {
    let Some(peer) = cx.peer() else { return };
    let diagnostics: Vec<Value> = (0..)
        .zip(document.text.lines())
        .filter(|(_, line)| line.contains("TODO"))
        .map(|(number, line): (u32, &str)| {
            let end = line.encode_utf16().count();
            let range = json!({
                "start": { "line": number, "character": 0 },
                "end": { "line": number, "character": end },
            });
            json!({ "range": range, "severity": 3, "message": "still to be done" })
        })
        .collect();
    // A notification handler must not wait, so the notification is sent by a task that may wait for
    // room.
    tokio::spawn(async move {
        let params = json!({ "uri": document.uri, "diagnostics": diagnostics });
        if let Err(error) = peer.notify_value("textDocument/publishDiagnostics", &params).await {
            eprintln!("the diagnostics were not sent: {error}");
        }
    });
}

struct Execute;

impl Method for Execute {
    const NAME: &'static str = "workspace/executeCommand";
    type Params = Command;
    type Output = Value;
}

#[derive(Serialize, Deserialize)]
struct Command {
    command: String,
    #[serde(default)]
    arguments: Vec<Value>,
}

async fn execute(cx: Context, Command { command, arguments }: Command) -> Result<Value, RpcError> {
    match command.as_str() {
        "echo" => Ok(Value::Array(arguments)),
        "fail" => Err(RpcError::new(-32050, "as you wish").with_data(&arguments)),
        "wait" => {
            cx.cancelled().await;
            Err(RpcError::new(REQUEST_CANCELLED, "cancelled"))
        }
        "ask" => {
            let peer = cx.peer().ok_or_else(|| RpcError::internal("the client is gone"))?;
            let items = json!({ "items": [{ "section": "demo" }] });
            let answer = peer.call_value("workspace/configuration", &items, Timeout::Default).await;
            let answer = answer.map_err(RpcError::internal)?;
            serde_json::from_str(answer.get()).map_err(RpcError::internal)
        }
        other => Err(RpcError::invalid_params(format!("there is no command `{other}`"))),
    }
}
