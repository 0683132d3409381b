//! A worker's actor takes typed messages, for code that holds only its `ActorRef`; calls work in both
//! directions (G-3, W-2, C-12).

use procession::{
    process::Command,
    rpc::{CallError, Timeout},
    supervision::ActorChildRef,
    testing::ScriptedLauncher,
    worker::{WorkerActorMessage, WorkerSpec},
};
use serde_json::value::to_raw_value;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn the_actor_calls_and_tells() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, _) = tree(plugin(&launcher)).await.unwrap();
    let actor: ActorChildRef<WorkerActorMessage> = root.child("/w").unwrap();
    let params = to_raw_value("hi").unwrap();
    let call =
        |reply| WorkerActorMessage::Call { method: "echo".into(), params, timeout: Timeout::Default, reply };
    let answer = actor.call(call, SEC).await.unwrap().unwrap();
    assert_eq!(answer.get(), "\"hi\"");
    let figures = actor.call(WorkerActorMessage::Diagnostics, SEC).await.unwrap();
    assert_eq!((figures.pid, figures.calls_in_flight), (Some(1000), 0));
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_calls_its_host_and_the_context_says_who_it_is() {
    // G-3, W-2
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        let echo = read(&mut me).await.unwrap();
        let _ = me.write_line(r#"{"jsonrpc":"2.0","id":1,"method":"where"}"#).await;
        let place = read(&mut me).await.unwrap();
        answer(&mut me, &echo["id"], place["result"].clone()).await;
        1
    });
    let (root, worker) = tree(plugin(&launcher).handler(host())).await.unwrap();
    assert_eq!(worker.call::<Echo>(&String::new()).await.unwrap(), "/w#1");
    worker.wait_ready(SEC).await.unwrap();
    tokio::time::sleep(200 * MS).await;
    assert_eq!(worker.call::<Echo>(&String::new()).await.unwrap(), "/w#2");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_channel_says_that_and_not_that_it_is_starting() {
    // C-12
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move { me.hang().await });
    let spec = WorkerSpec::new(Command::new("worker")).launcher(std::sync::Arc::new(launcher.clone()));
    let (root, _) = tree(spec).await.unwrap();
    let actor: ActorChildRef<WorkerActorMessage> = root.child("/w").unwrap();
    let params = to_raw_value("hi").unwrap();
    let call =
        |reply| WorkerActorMessage::Call { method: "echo".into(), params, timeout: Timeout::Default, reply };
    let error = actor.call(call, SEC).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::NoChannel { .. }), "{error}");
    let _ = root.shutdown(60 * SEC).await;
}
