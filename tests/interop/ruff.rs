//! `ruff server`: a linter for Python, in Rust. Told to end in any other way than by `shutdown` and `exit`,
//! it exits with 2.

use procession::protocol::Lsp;
use serde_json::json;

use crate::{
    installed::program,
    stage::{Notes, opened, stage},
};

const FILE: &str = "file:///x/a.py";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_supervised() {
    let Some(command) = program("ruff") else { return };
    let notes = Notes::of(&["textDocument/publishDiagnostics"]);
    let lsp = Lsp::new(json!({
        "initializationOptions": { "settings": { "lint": { "extendSelect": ["I"] } } },
        "capabilities": {
            "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } },
            "textDocument": { "formatting": { "dynamicRegistration": true } },
        },
    }));
    let mut stage = stage("ruff", command.arg("server"), lsp, notes).await;
    // It begins by asking to register; a refusal would stand in its stderr.
    stage.until_logged(&["procession::stderr", "Registering workspace"]).await;
    let text = "import os\nx=undefined # 😀\u{2028}\n";
    stage.notify("textDocument/didOpen", opened(FILE, "python", text)).await;
    let published = stage.note("textDocument/publishDiagnostics", |note| note["uri"] == FILE).await;
    assert!(published.to_string().contains("F821"), "{published}");
    let format =
        json!({ "textDocument": { "uri": FILE }, "options": { "tabSize": 4, "insertSpaces": true } });
    let edits = stage.call("textDocument/formatting", format.clone()).await;
    assert!(edits.to_string().contains("x = undefined"), "{edits}");
    let unknown = stage.try_call("no/such", json!({})).await.unwrap_err();
    assert_eq!(unknown.remote().unwrap().code, -32601);
    // An error of a notification is told in a message, which goes to the log.
    stage.notify("textDocument/didChange", json!({ "textDocument": {} })).await;

    stage.killed_in_mid_call("textDocument/formatting", format.clone()).await;
    stage.notify("textDocument/didOpen", opened(FILE, "python", "y=1")).await;
    let edits = stage.call("textDocument/formatting", format).await;
    assert!(edits.to_string().contains("y = 1"), "{edits}");
    assert!(!stage.has_logged(&["Got an error from the client"]));
    stage.end().await;
}
