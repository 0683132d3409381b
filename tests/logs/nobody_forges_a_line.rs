//! E-4: whatever a process writes, each log event is one line, and nothing steers the terminal that shows
//! it.

use procession::{
    exit::Exit,
    pool::{AcquireError, PoolSpec},
    process::Command,
    rpc::CallOptions,
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};
use serde_json::json;

use crate::support::*;

const FORGED: &str = "done\n ERROR procession: the tree has ended\r\u{1b}[2J\u{202e}";

/// Asserts that every line begins as the subscriber begins one, and contains no control characters.
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
    // G-4
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
    // C-15
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

#[tokio::test(start_paused = true)]
async fn not_by_the_key_of_a_pool_or_the_id_of_a_child() {
    let _guard = listen_to_fields();
    let launcher = std::sync::Arc::new(ScriptedLauncher::new());
    let worker = WorkerSpec::new(Command::new("missing")).launcher(launcher);
    let tree = Tree::builder()
        .child(PoolSpec::keyed(3, worker).child("pool"))
        .child(
            WorkerSpec::new(Command::new("missing"))
                .launcher(std::sync::Arc::new(ScriptedLauncher::new()))
                .child(FORGED)
                .background(),
        )
        .start()
        .await
        .unwrap();
    let pool = tree.pool("pool").unwrap();
    for key in [FORGED.to_owned(), format!("{FORGED}{}", "k".repeat(900))] {
        let error = pool.acquire(key.as_str()).await.unwrap_err().to_string();
        assert!(
            error.len() < 10_000 && !error.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{error}"
        );
    }
    // An id may have 1 KiB.
    for bytes in [1025, 1 << 20] {
        let key = "k".repeat(bytes);
        let error = pool.acquire(key.as_str()).await.unwrap_err();
        assert!(
            matches!(error, AcquireError::TooLong { what: "key", bytes: found, .. } if found == bytes),
            "{error}"
        );
        assert!(
            pool.set_session(key.as_str(), Some("s")).is_err() && pool.set_session("k", Some(&key)).is_err()
        );
        let child = WorkerSpec::new(Command::new("x")).child(key.as_str());
        let error = Tree::builder().child(child).start().await.unwrap_err().to_string();
        assert!(error.contains("must not have more than 1024") && error.len() < 1000, "{error}");
    }
    tokio::time::sleep(SEC).await;
    let _ = tree.kill().await;
    let values = heard_at_every_level();
    for value in &values {
        assert!(
            value.len() < 5000 && !value.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{value:?}"
        );
    }
    assert!(
        values.iter().any(|value| value.starts_with("path: ") && value.contains("done\\n ERROR")),
        "{values:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn not_by_a_field_either() {
    let _guard = listen_to_fields();
    let tree = tree(
        |mut me: ScriptedProcess| async move {
            let _ = me.write_error_line(FORGED).await;
            let _ = me.write_line(FORGED).await;
            for (name, value) in
                [("level", json!("error")), ("message", json!(FORGED)), ("meta", json!({"x\n": "\u{202e}"}))]
            {
                say(&mut me, json!({"method": "log", "params": {name: value}})).await;
            }
            say(&mut me, json!({"method": FORGED})).await;
            say(&mut me, json!({"id": FORGED, "result": 1})).await;
            say(&mut me, json!({"id": null, "error": {"code": 1, "message": FORGED}})).await;
            2
        },
        |spec| spec,
    )
    .await;
    let worker = tree.worker("/w").unwrap();
    tokio::time::sleep(SEC).await;
    let _ = worker.restart(FORGED).await;
    let _ = tree.kill().await;
    let values = heard_at_every_level();
    for value in &values {
        assert!(!value.contains(|c: char| (c.is_control() && c != '\t') || c == '\u{202e}'), "{value:?}");
    }
    for field in ["stderr: ", "reason: ", "message: "] {
        assert!(
            values.iter().any(|value| value.starts_with(field) && value.contains("done\\n")),
            "{field} {values:#?}"
        );
    }
}
