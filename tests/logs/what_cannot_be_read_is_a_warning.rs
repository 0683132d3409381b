//! An answer that cannot be read is logged as a warning that says what is wrong with it and where; a
//! line of a JSON logger is noise (C-8, C-13).

use std::future::Future;

use procession::{rpc::Timeout, testing::ScriptedProcess, tree::Tree, worker::WorkerRef};
use serde_json::json;

use crate::support::*;

/// A tree whose worker runs this script after its handshake. Recording begins when the worker is ready.
async fn start<F, Fut>(script: F) -> (Tree, WorkerRef)
where
    F: Fn(ScriptedProcess) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = std::convert::Infallible> + Send + 'static,
{
    listen();
    let tree = tree(
        move |mut me| {
            let script = script.clone();
            async move {
                shake_hands(&mut me).await;
                match script(me).await {}
            }
        },
        |spec| spec,
    )
    .await;
    let worker = tree.worker("/w").unwrap();
    worker.wait_ready(SEC).await.unwrap();
    heard();
    (tree, worker)
}

#[tokio::test(start_paused = true)]
async fn with_its_beginning_and_the_place_of_the_mistake() {
    let answers = ["{\"v\":NaN}", "{\"v\":NaN},\"took\":\"3\u{1b}[31m\"", "1,\"result\":2", "\"caf\", }"];
    let (tree, worker) = start(move |mut me| async move {
        for answer in answers {
            let call = read(&mut me).await.unwrap();
            let _ = me.write_line(r#"{"level":"info","message":"working"}"#).await;
            let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{answer}}}"#, call["id"]);
            let _ = me.write_line(&text).await;
        }
        // At last, an error that names no request.
        read(&mut me).await;
        say(&mut me, json!({"error": {"code": 5, "message": "lost\nits id"}})).await;
        me.hang().await
    })
    .await;
    for _ in 0..=answers.len() {
        worker.call_value("x", &(), Timeout::Default).await.unwrap_err();
    }
    let lines = heard();
    let warnings: Vec<_> = lines.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 5, "{lines:?}");
    for (warning, expected) in
        warnings.iter().zip(["column 6", "column", "duplicate field", "column", "names no request"])
    {
        assert!(warning.contains("path=\"/w\" incarnation=1") && warning.contains(expected), "{warning}");
        assert!(warning.contains("it begins with `") || expected == "names no request", "{warning}");
        assert!(!warning.contains('\u{1b}'));
    }
    assert!(warnings[1].contains(r#""took":"3"#));
    let noise = lines.iter().filter(|line| line.contains("INFO") && line.contains("stdout: ")).count();
    assert_eq!(noise, answers.len(), "{lines:?}");
    let _ = tree.shutdown(SEC * 60).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_no_call_is_a_warning() {
    let (tree, worker) = start(|mut me| async move {
        let call = read(&mut me).await.unwrap();
        for id in [json!("x"), json!(77), call["id"].clone()] {
            say(&mut me, json!({"jsonrpc": "2.0", "id": id, "result": 1})).await;
        }
        me.hang().await
    })
    .await;
    worker.call_value("x", &(), 5 * SEC).await.unwrap();
    let lines = heard();
    let warnings: Vec<_> = lines.iter().filter(|line| line.contains("WARN")).collect();
    let [text, number] = warnings[..] else { panic!("{lines:?}") };
    assert!(text.contains("path=\"/w\"") && text.contains("unknown id \"x\""), "{text}");
    assert!(number.contains("unknown id 77"), "{number}");
    let _ = tree.shutdown(SEC * 60).await;
}
