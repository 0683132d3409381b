//! Libraries that others wrote, on the other side of a channel in both roles: Node's vscode-jsonrpc (whose
//! ids are numbers) and Python's pygls (whose ids are strings).

use procession::{
    process::Command,
    protocol::Lsp,
    rpc::{CallError, MethodRouter, RpcError, Timeout},
};
use serde_json::{Value, json, value::to_raw_value};
use std::time::Duration;

use crate::{
    installed::{node_script, python_script},
    stage::{Notes, PATIENCE, Stage, stage},
};

const NOTIFICATIONS: [&str; 4] = ["demo/waiting", "demo/cancelled", "demo/noted", "asked"];

/// What the other side may ask: `host/sum` of numbers, `host/fail`, and `host/wait`, which is answered when
/// cancelled.
fn host(router: MethodRouter) -> MethodRouter {
    router
        .method_value("host/sum", |cx, params| async move {
            assert_eq!(cx.path.as_str().chars().next(), Some('/'));
            let numbers: Vec<i64> =
                serde_json::from_str(params.unwrap().get()).map_err(RpcError::invalid_params)?;
            to_raw_value(&numbers.iter().sum::<i64>()).map_err(RpcError::internal)
        })
        .method_value("host/fail", |_, params| async move {
            Err(RpcError::new(-32077, "refused").with_data(&params))
        })
        .method_value("host/wait", |cx, _| async move {
            cx.cancelled().await;
            Err(RpcError::new(-32800, "cancelled"))
        })
}

/// Everything that both libraries can do as servers.
async fn converse(stage: &mut Stage) {
    // C-1, C-13
    for text in ["plain", "", "a\u{2028}b\u{2029}c\r\n\t\0\"\\", "😀 é 漢字", &"x".repeat(1 << 20)] {
        let params = json!([text, { "nested": [1.5, true, null] }]);
        assert!(stage.call("demo/echo", params.clone()).await == params);
    }
    assert_eq!(stage.call("demo/nothing", json!([])).await, Value::Null);

    // C-4: code, message and data are preserved.
    let failed = stage.try_call("demo/fail", json!([1, "two"])).await.unwrap_err();
    let error = failed.remote().unwrap();
    assert_eq!((error.code, error.message.as_str()), (-32050, "as you wish"));
    assert_eq!(error.data.as_ref().unwrap().get().replace(' ', ""), r#"[1,"two"]"#);
    assert!(stage.try_call("demo/throw", json!([])).await.unwrap_err().remote().is_some());
    let unknown = stage.try_call("demo/unheardOf", json!([])).await.unwrap_err();
    assert_eq!(unknown.remote().unwrap().code, -32601);

    // Many at once, answered in the opposite order.
    let calls = (0..200).map(|number| {
        let worker = stage.worker.clone();
        tokio::spawn(async move {
            let answer = worker.call_value("demo/gather", &(number, 200), Timeout::After(PATIENCE)).await;
            assert_eq!(answer.unwrap().get(), number.to_string());
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    // And 1 MiB in several at once.
    let big = json!(["b".repeat(1 << 20)]);
    let (a, b, c) = tokio::join!(
        stage.call("demo/echo", big.clone()),
        stage.call("demo/echo", big.clone()),
        stage.call("demo/echo", big.clone()),
    );
    assert!([a, b, c].iter().all(|answer| *answer == big));

    stage.notify("demo/note", json!(["é\u{2028}"])).await;
    assert_eq!(stage.note("demo/noted", |_| true).await, json!(["é\u{2028}"]));

    // Their requests, with ids of theirs.
    let sum = stage.call("demo/ask", json!(["host/sum", 1, 2, 3])).await;
    assert_eq!(sum["result"], 6);
    let refused = stage.call("demo/ask", json!(["host/fail", "why"])).await;
    assert_eq!((&refused["code"], &refused["message"]), (&json!(-32077), &json!("refused")));
    assert_eq!(refused["data"], json!(["why"]));
    let unknown = stage.call("demo/ask", json!(["host/unheardOf"])).await;
    assert_eq!(unknown["code"], -32601);
    // C-3: a call that is given up is cancelled there.
    let worker = stage.worker.clone();
    let waiting =
        tokio::spawn(async move { worker.call_value("demo/wait", &[0_u8; 0], Timeout::Never).await });
    stage.note("demo/waiting", |_| true).await;
    waiting.abort();
    stage.note("demo/cancelled", |_| true).await;
    let short = Timeout::After(Duration::from_millis(300));
    let late = stage.worker.call_value("demo/wait", &[0_u8; 0], short).await.unwrap_err();
    assert!(matches!(late, CallError::Timeout { .. }), "{late}");
    stage.note("demo/cancelled", |_| true).await;
    // Their late answers to these disturb nobody.
    assert_eq!(stage.call("demo/echo", json!(["on"])).await, json!(["on"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_made_with_vscode_jsonrpc() {
    let Some(command) = node_script("vscode-jsonrpc", "jsonrpc_server.cjs") else { return };
    let notes = Notes::of(&NOTIFICATIONS).and(host);
    let mut stage = stage("vscode-jsonrpc", command, Lsp::default(), notes).await;
    converse(&mut stage).await;
    // What the protocol answers by itself.
    let accepted = stage.call("demo/ask", json!(["window/workDoneProgress/create"])).await;
    assert_eq!(accepted["result"], Value::Null);
    // A cancellation of theirs reaches the handler.
    let given_up = stage.call("demo/askAndCancel", json!(["host/wait"])).await;
    assert_eq!(given_up["code"], -32800);
    stage.killed_in_mid_call("demo/echo", json!([1])).await;
    assert_eq!(stage.call("demo/echo", json!([2])).await, json!([2]));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_made_with_pygls() {
    let Some(command) = python_script("pygls", "pygls_server.py") else { return };
    let notes = Notes::of(&NOTIFICATIONS).and(host);
    let mut stage = stage("pygls", command, Lsp::default(), notes).await;
    converse(&mut stage).await;
    stage.call("demo/log", json!(["take care"])).await;
    stage.until_logged(&["WARN", "take care"]).await;
    // What it writes to stderr goes to the log (P-3).
    stage.until_logged(&["procession::stderr", "ValueError: by accident"]).await;
    stage.killed_in_mid_call("demo/echo", json!([1])).await;
    assert_eq!(stage.call("demo/echo", json!([2])).await, json!([2]));
    stage.end().await;
}

/// The language server of our examples. `cargo test` builds it beside the tests; a single test that is asked
/// for does not.
fn language_server() -> std::path::PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples/language_server");
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built =
            std::process::Command::new(cargo).args(["build", "--quiet", "--examples"]).status().unwrap();
        assert!(built.success() && path.exists(), "the examples cannot be built");
    }
    path
}

/// Runs a client that somebody else wrote, and that starts our server itself.
async fn drive(client: Command) {
    let environment = client.get_environment().clone();
    let mut process = std::process::Command::new(client.get_program());
    process.args(client.get_args()).arg(language_server());
    let resolved = environment.resolve(std::env::vars_os());
    process.env_clear().envs(resolved);
    let output = tokio::task::spawn_blocking(move || process.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("all is well"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_client_made_with_vscode_jsonrpc() {
    let Some(client) = node_script("vscode-jsonrpc", "jsonrpc_client.cjs") else { return };
    drive(client).await;
}

#[tokio::test]
async fn a_client_made_with_pygls() {
    let Some(client) = python_script("pygls", "pygls_client.py") else { return };
    drive(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_server_and_host_meet() {
    let command = Command::new(language_server());
    let lsp = Lsp::default().with_settings(json!({ "demo": { "a": 1 } }));
    let notes = Notes::of(&["textDocument/publishDiagnostics"]);
    let mut stage = stage("our-own", command, lsp, notes).await;
    let run = |command, arguments| json!({ "command": command, "arguments": arguments });
    let text = "a\u{2028}b".repeat(1 << 18);
    assert!(stage.call("workspace/executeCommand", run("echo", json!([text]))).await == json!([text]));
    assert_eq!(stage.call("workspace/executeCommand", run("ask", json!([]))).await, json!([{ "a": 1 }]));
    stage.notify("textDocument/didOpen", crate::stage::opened("file:///x", "text", "\n\nTODO\n")).await;
    let marked = stage.note("textDocument/publishDiagnostics", |_| true).await;
    assert_eq!(marked["diagnostics"][0]["range"]["start"]["line"], 2);
    stage.killed_in_mid_call("workspace/executeCommand", run("echo", json!([1]))).await;
    stage.end().await;
}
