//! `mcp-server-time`: an MCP server in Python.

use procession::protocol::Mcp;
use serde_json::json;

use crate::{
    installed::program,
    stage::{Notes, stage},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_supervised() {
    let Some(command) = program("mcp-server-time") else { return };
    let mut stage = stage("time", command, Mcp::default(), Notes::of(&[])).await;
    let tools = stage.call("tools/list", json!({})).await;
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "get_current_time"));
    let now = |zone: &str| json!({ "name": "get_current_time", "arguments": { "timezone": zone } });
    let answer = stage.call("tools/call", now("Europe/Paris")).await;
    assert_eq!(answer["structuredContent"]["timezone"], "Europe/Paris");
    let wrong = stage.call("tools/call", now("No/Where")).await;
    assert_eq!(wrong["isError"], true);
    stage.until_logged(&["procession::stderr", "No/Where"]).await;
    // Code, message and data of an error.
    let unknown = stage.try_call("no/such", json!({})).await.unwrap_err();
    let error = unknown.remote().unwrap();
    assert_eq!((error.code, error.data.as_ref().unwrap().get()), (-32601, r#""no/such""#));

    stage.killed_in_mid_call("tools/call", now("Asia/Tokyo")).await;
    let answer = stage.call("tools/call", now("Asia/Tokyo")).await;
    assert_eq!(answer["structuredContent"]["timezone"], "Asia/Tokyo");
    stage.end().await;
}
