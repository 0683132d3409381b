//! `@modelcontextprotocol/server-everything`: an MCP server in Node that uses all of the protocol.

use std::{path::Path, time::Duration};

use procession::{
    process::Command,
    protocol::Mcp,
    rpc::{CallError, MethodRouter, RpcError, Timeout},
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    installed::{missing, on_path, program},
    stage::{Notes, PATIENCE, Stage, stage},
};

const PROGRAM: &str = "mcp-server-everything";
const LONG: &str = "trigger-long-running-operation";

fn tool(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

/// A call of the tool that takes a while, and reports each step with this token.
fn long(seconds: u32, token: &str) -> Value {
    let arguments = json!({ "duration": seconds, "steps": seconds * 5 });
    json!({ "name": LONG, "arguments": arguments, "_meta": { "progressToken": token } })
}

async fn progress(stage: &mut Stage, token: &str) -> Value {
    stage.note("notifications/progress", |note| note["progressToken"] == token).await
}

/// Answers `roots/list`, a request without params, after this time.
fn roots(after: Duration) -> impl FnOnce(MethodRouter) -> MethodRouter {
    move |router| {
        router.method_value("roots/list", move |cx, params| async move {
            assert!(params.is_none());
            tracing::info!(path = cx.path.as_str(), incarnation = cx.incarnation.0, "asked for roots");
            tokio::time::sleep(after).await;
            let roots = json!({ "roots": [{ "uri": "file:///srv", "name": "srv" }] });
            to_raw_value(&roots).map_err(RpcError::internal)
        })
    }
}

fn mcp_with_roots() -> Mcp {
    Mcp::default().with_capabilities(json!({ "roots": { "listChanged": true } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_supervised() {
    let Some(command) = program(PROGRAM) else { return };
    let notes =
        Notes::of(&["notifications/progress", "notifications/tools/list_changed"]).and(roots(Duration::ZERO));
    let mut stage = stage("everything", command, mcp_with_roots(), notes).await;
    stage.until_logged(&["asked for roots", "incarnation=1"]).await;
    stage.until_logged(&["procession::stderr", "STDIO"]).await;

    let tools = stage.call("tools/list", json!({})).await;
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == LONG));
    for text in ["hello", "a\u{2028}b\r\n😀", &"x".repeat(1 << 20)] {
        let answer = stage.call("tools/call", tool("echo", json!({ "message": text }))).await;
        assert!(answer["content"][0]["text"] == format!("Echo: {text}"));
    }
    // C-1: a line of 10 MiB would end it. The largest that is sent does not, also with more right behind it.
    let mebibytes = |n: usize| tool("echo", json!({ "message": "x".repeat(n << 20) }));
    let error = stage.try_call("tools/call", mebibytes(12)).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { max_bytes, .. } if max_bytes < 10 << 20), "{error}");
    let CallError::TooLarge { bytes, max_bytes, .. } = error else { unreachable!() };
    let fits = (12 << 20) - (bytes - max_bytes);
    let largest = tool("echo", json!({ "message": "x".repeat(fits) }));
    let (one, two) = (largest.clone(), mebibytes(1));
    let both = [(one, fits), (two, 1 << 20)].map(|(params, length)| {
        let worker = stage.worker.clone();
        tokio::spawn(async move {
            let answer = worker.call_value("tools/call", &params, Timeout::After(PATIENCE)).await.unwrap();
            assert!(answer.get().len() > length);
        })
    });
    for call in both {
        call.await.unwrap();
    }
    // An error of the tool, and one of the protocol.
    let bad = stage.call("tools/call", tool("get-sum", json!({ "a": "x" }))).await;
    assert_eq!(bad["isError"], true);
    let unknown = stage.try_call("no/such", json!({})).await.unwrap_err();
    assert_eq!(unknown.remote().unwrap().code, -32601);
    stage.worker.call_value("ping", &(), Timeout::After(PATIENCE)).await.unwrap();

    // Given up: the server goes on working, but answers no more.
    let short = Timeout::After(Duration::from_millis(700));
    let late = stage.worker.call_value("tools/call", &long(2, "given up"), short).await.unwrap_err();
    assert!(matches!(late, CallError::Timeout { .. }), "{late}");
    assert_eq!(
        stage.call("tools/call", tool("get-sum", json!({ "a": 1, "b": 2 }))).await["isError"],
        Value::Null
    );

    let worker = stage.worker.clone();
    let (notes, mut steps) = (&mut stage, 0);
    let call = tokio::spawn(async move {
        worker.call_value("tools/call", &long(1, "whole"), Timeout::After(PATIENCE)).await
    });
    while steps < 5 {
        progress(notes, "whole").await;
        steps += 1;
    }
    assert!(call.await.unwrap().unwrap().get().contains("completed"));
    stage.killed_in_mid_call("tools/call", long(1, "stopped")).await;
    // It asks a little after it is ready, and waits a minute for an answer to that, with or without a host.
    stage.until_logged(&["asked for roots", "incarnation=2"]).await;
    assert!(
        stage
            .call("tools/call", tool("echo", json!({ "message": "again" })))
            .await
            .to_string()
            .contains("again")
    );
    stage.end().await;
}

// C-14: what it has asked is answered before its stdin is closed; without an answer it would not end for a
// minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_stopped_while_it_waits_for_an_answer() {
    let Some(command) = program(PROGRAM) else { return };
    let notes = Notes::of(&[]).and(roots(Duration::from_millis(500)));
    let stage = stage("everything-asking", command, mcp_with_roots(), notes).await;
    stage.until_logged(&["asked for roots"]).await;
    stage.end().await;
}

// P-9: it ignores the end of its stdin while it is busy, and so has time to answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_calls_under_way_are_answered_at_a_stop() {
    let Some(command) = program(PROGRAM) else { return };
    let mut stage =
        stage("everything-busy", command, Mcp::default(), Notes::of(&["notifications/progress"])).await;
    let worker = stage.worker.clone();
    let call = tokio::spawn(async move {
        worker.call_value("tools/call", &long(3, "busy"), Timeout::After(PATIENCE)).await
    });
    progress(&mut stage, "busy").await;
    stage.end().await;
    assert!(call.await.unwrap().unwrap().get().contains("completed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_works_it_comes_back() {
    let Some(command) = program(PROGRAM) else { return };
    let notes = Notes::of(&["notifications/progress"]);
    let mut stage = stage("everything-killed", command, Mcp::default(), notes).await;
    stage.killed_while("tools/call", long(60, "killed"), async || ()).await;
    let answer = stage.call("tools/call", tool("echo", json!({ "message": "again" }))).await;
    assert!(answer.to_string().contains("again"));
    stage.end().await;
}

// P-4: the wrapper is the leader; the server behind it goes with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_npx_it_is_supervised_too() {
    let Some(server) = program(PROGRAM) else { return };
    let Some(npx) = npx(&server) else { return };
    let mut stage = stage("everything-npx", npx, Mcp::default(), Notes::of(&[])).await;
    assert!(
        stage
            .call("tools/call", tool("echo", json!({ "message": "x" })))
            .await
            .to_string()
            .contains("Echo: x")
    );
    stage.killed_in_mid_call("tools/call", tool("echo", json!({ "message": "y" }))).await;
    assert!(
        stage
            .call("tools/call", tool("echo", json!({ "message": "z" })))
            .await
            .to_string()
            .contains("Echo: z")
    );
    stage.end().await;
}

/// The server by its name, started by `npx` from where it is installed; it is never fetched.
fn npx(server: &Command) -> Option<Command> {
    let bin = Path::new(server.get_program());
    let folder = bin.ancestors().find(|folder| folder.join("node_modules").is_dir());
    let (Some(folder), Some(npx)) = (folder, on_path("npx")) else { return missing("npx") };
    Some(Command::new(npx).arg("--no-install").arg("--prefix").arg(folder).arg(PROGRAM))
}
