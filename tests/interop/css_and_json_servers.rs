//! `vscode-langservers-extracted`: the language servers for CSS and JSON of an editor, in Node.

use procession::{
    protocol::Lsp,
    rpc::{MethodRouter, RpcError},
};
use serde_json::{json, value::to_raw_value};

use crate::{
    installed::program,
    stage::{Notes, at, opened, stage},
};

const CSS: &str = "file:///x/a.css";
const JSON: &str = "file:///x/a.json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_css_server_is_supervised() {
    let Some(command) = program("vscode-css-language-server") else { return };
    let notes = Notes::of(&["textDocument/publishDiagnostics"]);
    // With this capability it asks for settings at each request, and answers `null` to what it does not get.
    let lsp = Lsp::new(json!({ "capabilities": { "workspace": { "configuration": true } } }));
    let lsp = lsp.with_settings(json!({ "css": { "lint": { "unknownProperties": "error" } } }));
    let mut stage = stage("css", command.arg("--stdio"), lsp, notes).await;
    let text = format!("/* a\u{2028}😀 {} */\na {{ colour: red; }}\n", "x".repeat(1 << 20));
    stage.notify("textDocument/didOpen", opened(CSS, "css", &text)).await;
    let published = stage.note("textDocument/publishDiagnostics", |note| note["uri"] == CSS).await;
    assert_eq!(published["diagnostics"][0]["code"], "unknownProperties");
    assert_eq!(published["diagnostics"][0]["severity"], 1, "as the settings say");
    let hover = stage.call("textDocument/hover", at(CSS, 1, 0)).await;
    assert!(hover["contents"].to_string().contains("<a>"));
    let completion = stage.call("textDocument/completion", at(CSS, 1, 4)).await;
    assert!(completion.to_string().contains("color"));
    let unknown = stage.try_call("no/such", json!({})).await.unwrap_err();
    assert_eq!(unknown.remote().unwrap().code, -32601);

    stage.killed_in_mid_call("textDocument/hover", at(CSS, 1, 0)).await;
    stage.notify("textDocument/didOpen", opened(CSS, "css", "a { }")).await;
    let hover = stage.call("textDocument/hover", at(CSS, 0, 0)).await;
    assert!(hover["contents"].to_string().contains("<a>"));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_server_is_supervised() {
    let Some(command) = program("vscode-json-language-server") else { return };
    let notes = Notes::of(&["textDocument/publishDiagnostics"]);
    // It fetches schemas through its host: a request of its own kind, which only a route of the user's can
    // answer.
    let schemas = |router: MethodRouter| {
        router.method_value("vscode/content", |_, _| async {
            let schema = json!({ "properties": { "size": { "type": "number" } } });
            to_raw_value(&schema.to_string()).map_err(RpcError::internal)
        })
    };
    let lsp = Lsp::new(json!({ "initializationOptions": { "handledSchemaProtocols": ["file"] } })).with_settings(
        json!({ "json": { "validate": { "enable": true }, "schemas": [{ "fileMatch": ["*.json"], "url": "demo:/schema" }] } }),
    );
    let mut stage = stage("json", command.arg("--stdio"), lsp, notes.and(schemas)).await;
    stage.notify("textDocument/didOpen", opened(JSON, "json", r#"{"size": "big",}"#)).await;
    let by_schema = |note: &serde_json::Value| note.to_string().contains("Expected \\\"number\\\"");
    stage.note("textDocument/publishDiagnostics", by_schema).await;
    let symbols = stage.call("textDocument/documentSymbol", json!({ "textDocument": { "uri": JSON } })).await;
    assert_eq!(symbols[0]["name"], "size");

    stage.killed_in_mid_call("textDocument/documentSymbol", json!({ "textDocument": { "uri": JSON } })).await;
    stage.notify("textDocument/didOpen", opened(JSON, "json", r#"{"other": 1}"#)).await;
    let symbols = stage.call("textDocument/documentSymbol", json!({ "textDocument": { "uri": JSON } })).await;
    assert_eq!(symbols[0]["name"], "other");
    stage.end().await;
}
