//! The era of real MCP servers is found out within one incarnation, and nothing is counted for it (W-10).

use procession::{
    process::Command,
    protocol::{Mcp, McpEra},
};
use serde_json::{Value, json};

use crate::{
    installed::{program, python_script},
    stage::{Notes, stage},
};

/// Starts a server without saying of which era it is, and expects this version.
async fn speaks(name: &str, command: Command, version: &str) {
    let stage = stage(name, command, Mcp::default(), Notes::of(&[])).await;
    let session = stage.worker.session().unwrap();
    assert_eq!(session.protocol_version.as_deref(), Some(version), "{:?}", session.info);
    assert!(stage.worker.node().incarnation().0 == 1 && session.server.is_some(), "{session:?}");
    let child = stage.tree.snapshot().root.children[0].clone();
    assert_eq!((child.total_failures, child.total_restarts), (0, 0));
    let tools = stage.call("tools/list", json!({})).await;
    assert!(!tools["tools"].as_array().unwrap().is_empty());
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_typescript_sdk() {
    let Some(command) = program("mcp-server-everything") else { return };
    speaks("everything-era", command, "2025-11-25").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_python_sdk() {
    let Some(command) = python_script("mcp", "mcp_server.py") else { return };
    speaks("python-era", command, "2026-07-28").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_both_speaks_what_was_declared() {
    for (era, version) in [(McpEra::Initialize, "2025-11-25"), (McpEra::Stateless, "2026-07-28")] {
        let Some(command) = python_script("mcp", "mcp_server.py") else { return };
        let mcp = Mcp::default().with_era(era);
        let stage = stage(&format!("python-{version}"), command, mcp, Notes::of(&[])).await;
        assert_eq!(stage.worker.session().unwrap().protocol_version.as_deref(), Some(version));
        let arguments = json!({ "name": "echo", "arguments": { "text": "caf\u{e9} \u{1f980}" } });
        let answer: Value = stage.call("tools/call", arguments).await;
        assert_eq!(answer["content"][0]["text"], "caf\u{e9} \u{1f980}", "{answer}");
        stage.end().await;
    }
}
