//! `@modelcontextprotocol/server-memory`: an MCP server in Node that keeps a file.

use procession::protocol::Mcp;
use serde_json::{Value, json};

use crate::{
    installed::program,
    stage::{Notes, Stage, stage},
};

async fn call(stage: &Stage, name: &str, arguments: Value) -> Value {
    stage.call("tools/call", json!({ "name": name, "arguments": arguments })).await
}

fn entity(name: &str, observation: &str) -> Value {
    json!({ "entities": [{ "name": name, "entityType": "test", "observations": [observation] }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_supervised() {
    let Some(command) = program("mcp-server-memory") else { return };
    let folder = std::env::temp_dir().join(format!("procession-interop-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let command = command.env("MEMORY_FILE_PATH", folder.join("memory.jsonl"));
    let mut stage = stage("memory", command, Mcp::default(), Notes::of(&[])).await;
    stage.until_logged(&["procession::stderr", "running on stdio"]).await;

    let tools = stage.call("tools/list", json!({})).await;
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "create_entities"));
    let observation = format!("a\u{2028}b😀{}", "x".repeat(1 << 20));
    call(&stage, "create_entities", entity("one", &observation)).await;
    let read = call(&stage, "open_nodes", json!({ "names": ["one"] })).await;
    assert!(read["structuredContent"]["entities"][0]["observations"][0] == observation);
    let unfit = call(&stage, "create_entities", json!({ "entities": 5 })).await;
    assert_eq!(unfit["isError"], true);

    stage.killed_in_mid_call("tools/call", json!({ "name": "read_graph", "arguments": {} })).await;
    // The next incarnation has the file.
    let read = call(&stage, "search_nodes", json!({ "query": "one" })).await;
    assert!(read["structuredContent"]["entities"][0]["observations"][0] == observation);
    stage.end().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
