//! `pylsp`: a language server for Python in Python, made with python-lsp-jsonrpc.

use procession::protocol::Lsp;
use serde_json::json;

use crate::{
    installed::program,
    stage::{Notes, at, opened, stage},
};

const FILE: &str = "file:///x/a.py";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_supervised() {
    let Some(command) = program("pylsp") else { return };
    let notes = Notes::of(&["textDocument/publishDiagnostics"]);
    let mut stage = stage("pylsp", command, Lsp::default(), notes).await;
    let text = "import os\n\ndef greet():\n    \"\"\"Says é\u{2028}.\"\"\"\n\ngreet()\n";
    stage.notify("textDocument/didOpen", opened(FILE, "python", text)).await;
    stage.note("textDocument/publishDiagnostics", |note| note["uri"] == FILE).await;
    let hover = stage.call("textDocument/hover", at(FILE, 5, 1)).await;
    assert!(hover.to_string().contains("Says é"), "{hover}");
    let unknown = stage.try_call("no/such", json!({})).await.unwrap_err();
    assert_eq!(unknown.remote().unwrap().code, -32601);
    // It writes a stack trace for that.
    stage.until_logged(&["procession::stderr", "JsonRpcMethodNotFound"]).await;

    stage.killed_in_mid_call("textDocument/hover", at(FILE, 5, 1)).await;
    stage.notify("textDocument/didOpen", opened(FILE, "python", text)).await;
    let symbols = stage.call("textDocument/documentSymbol", json!({ "textDocument": { "uri": FILE } })).await;
    assert!(symbols.to_string().contains("greet"), "{symbols}");
    stage.end().await;
}
