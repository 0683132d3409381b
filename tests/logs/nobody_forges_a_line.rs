//! Whatever a process writes, each event of the log is one line, and nothing steers the terminal it is read on.

use procession::{exit::Exit, rpc::CallOptions, testing::ScriptedProcess};
use serde_json::json;

use crate::support::*;

const FORGED: &str = "done\n ERROR procession: the tree has ended\r\u{1b}[2J\u{202e}";

/// Every line begins as the subscriber begins one, and has nothing in it that acts.
fn check(lines: &[String]) {
    for line in lines {
        let level = line.split_whitespace().next().unwrap_or_default();
        assert!(["ERROR", "WARN", "INFO"].contains(&level), "forged: {line}");
        assert!(!line.starts_with(" ERROR procession: the tree"), "forged: {line}");
        assert!(
            !line.contains(|c: char| c.is_control() && c != '\t') && !line.contains('\u{202e}'),
            "{line:?}"
        );
        assert!(line.len() < 20_000, "{}", line.len());
    }
}

#[tokio::test(start_paused = true)]
async fn not_by_messages_stderr_or_noise() {
    listen();
    let tree = tree(
        |mut me: ScriptedProcess| async move {
            shake_hands(&mut me).await;
            let params = json!({"level": "error", "message": FORGED, "meta": {"x": FORGED}});
            say(&mut me, json!({"jsonrpc": "2.0", "method": "log", "params": params})).await;
            say(&mut me, json!({"jsonrpc": "2.0", "method": FORGED})).await;
            let long = json!({"message": "x".repeat(1 << 20)});
            say(&mut me, json!({"jsonrpc": "2.0", "method": "log", "params": long})).await;
            let _ = me.write_error_line("red \u{1b}[31m alert\r\u{202e}").await;
            let _ = me.write_line("noise \u{1b}[31m\u{202e}").await;
            match me.hang().await {}
        },
        |spec| spec,
    )
    .await;
    tree.wait_healthy(SEC).await.unwrap();
    tokio::time::sleep(SEC).await;
    let lines = heard();
    check(&lines);
    for said in [
        "done\\n ERROR procession: the tree has ended\\r\\u{1b}[2J\\u{202e}",
        "red \\u{1b}[31m alert",
        "stdout: noise \\u{1b}[31m\\u{202e}",
        "xxx… (1032192 bytes more)",
    ] {
        assert!(lines.iter().any(|line| line.contains(said)), "{said} in {lines:#?}");
    }
    let _ = tree.kill().await;
}

#[tokio::test(start_paused = true)]
async fn not_by_the_reason_of_an_exit_which_is_bounded_wherever_it_goes() {
    listen();
    let tree = tree(
        |mut me: ScriptedProcess| async move {
            let hello = read(&mut me).await.unwrap();
            let message = format!("{FORGED}{}", "y".repeat(1 << 20));
            let error = json!({"code": -32000, "message": message});
            say(&mut me, json!({"jsonrpc": "2.0", "id": hello["id"], "error": error})).await;
            match me.hang().await {}
        },
        |spec| spec,
    )
    .await;
    tokio::time::sleep(SEC).await;
    let lines = heard();
    check(&lines);
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("done\\n ERROR")), "{lines:#?}");
    let node = tree.snapshot().root.children.remove(0);
    let Some(Exit::HandshakeFailed { reason }) = &node.last_exit else { panic!("{:?}", node.last_exit) };
    assert!(reason.len() < 3000 && reason.contains("bytes more"), "{}", reason.len());
    assert!(serde_json::to_string(&tree.snapshot()).unwrap().len() < 20_000);
    assert_eq!(tree.snapshot().to_string().lines().count(), 2);
    let _ = tree.kill().await;
}

#[tokio::test(start_paused = true)]
async fn not_by_the_error_of_a_call() {
    let tree = tree(
        |mut me: ScriptedProcess| async move {
            shake_hands(&mut me).await;
            while let Some(request) = read(&mut me).await {
                let message = format!("{FORGED}{}", "y".repeat(1 << 20));
                let error = json!({"code": 7, "message": message});
                say(&mut me, json!({"jsonrpc": "2.0", "id": request["id"], "error": error})).await;
            }
            0
        },
        |spec| spec,
    )
    .await;
    tree.wait_healthy(SEC).await.unwrap();
    let error =
        tree.worker("/w").unwrap().call_value("x", &json!({}), CallOptions::default()).await.unwrap_err();
    assert!(error.remote().unwrap().message.starts_with(FORGED), "as data it is as it came");
    let text = error.to_string();
    assert!(text.contains("done\\n ERROR") && text.len() < 3000 && !text.contains('\n'), "{text}");
    let _ = tree.kill().await;
}
