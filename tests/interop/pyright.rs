//! `pyright-langserver`: a type checker for Python, in Node. It exits when a request of its own is refused.

use procession::protocol::Lsp;
use serde_json::json;

use crate::{
    installed::program,
    stage::{Notes, at, opened, stage},
};

const FILE: &str = "file:///x/a.py";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_supervised() {
    let Some(command) = program("pyright-langserver") else { return };
    let notes = Notes::of(&["textDocument/publishDiagnostics", "window/logMessage", "$/progress"]);
    // Everything that makes it ask: for settings, for folders, to register, for a place to show progress in.
    let lsp = Lsp::new(json!({
        "workspaceFolders": [],
        "capabilities": {
            "workspace": {
                "configuration": true,
                "workspaceFolders": true,
                "didChangeConfiguration": { "dynamicRegistration": true },
                "didChangeWatchedFiles": { "dynamicRegistration": true },
                "semanticTokens": { "refreshSupport": true },
                "inlayHint": { "refreshSupport": true },
            },
            "window": { "workDoneProgress": true },
        },
    }));
    let lsp = lsp.with_settings(json!({ "python": { "analysis": { "typeCheckingMode": "strict" } } }));
    let mut stage = stage("pyright", command.arg("--stdio"), lsp, notes).await;
    // Its log goes to ours, and to the handler.
    stage.until_logged(&["procession::log", "Pyright language server"]).await;
    stage.note("window/logMessage", |note| note["message"].to_string().contains("starting")).await;

    let text = "def double(x):\n    return x * 2\nnumber: int = 'é\u{2028}'\n";
    stage.notify("textDocument/didOpen", opened(FILE, "python", text)).await;
    let published = stage.note("textDocument/publishDiagnostics", |note| note["uri"] == FILE).await;
    let published = published.to_string();
    assert!(published.contains("reportAssignmentType"), "{published}");
    assert!(published.contains("reportMissingParameterType"), "the setting has arrived: {published}");
    let hover = stage.call("textDocument/hover", at(FILE, 2, 0)).await;
    assert!(hover["contents"]["value"].to_string().contains("int"));
    let completion = stage.call("textDocument/completion", at(FILE, 2, 0)).await;
    assert!(completion.to_string().contains("double"));

    stage.killed_in_mid_call("textDocument/hover", at(FILE, 2, 0)).await;
    stage.notify("textDocument/didOpen", opened(FILE, "python", "name = 'x'\n")).await;
    let hover = stage.call("textDocument/hover", at(FILE, 0, 0)).await;
    assert!(hover["contents"]["value"].to_string().contains("name"));
    stage.end().await;
}

// P-9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_stopped_as_soon_as_it_is_ready() {
    let Some(command) = program("pyright-langserver") else { return };
    let stage = stage("pyright-brief", command.arg("--stdio"), Lsp::default(), Notes::of(&[])).await;
    stage.end().await;
}
