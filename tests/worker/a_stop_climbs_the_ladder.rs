//! A stop climbs the ladder: each rung gets its whole time and no more, and a nearer deadline shortens
//! it (P-9, S-19, S-20, R-8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    process::{Command, Launcher, Signal},
    protocol::{Mcp, McpEra},
    rpc::{MethodRouter, RpcError},
    supervision::SupervisorSpec,
    testing::ScriptedLauncher,
    worker::WorkerSpec,
};
use serde_json::{json, value::to_raw_value};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_when_told_to_is_stopped_at_once() {
    // P-9
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let begin = tokio::time::Instant::now();
    let (one, two) = tokio::join!(worker.stop(), worker.stop());
    one.unwrap();
    two.unwrap();
    assert!(begin.elapsed() < SEC && launcher.alive().is_empty());
    assert_eq!(worker.node().last_exit(), Some(Exit::Requested));
    assert_eq!(worker.restart("again").await.unwrap().0, 2);
    let _ = root.shutdown(60 * SEC).await;
}

/// Stops a worker that behaves like `script` after its handshake, and returns how long that took.
async fn time_to_stop<F, Fut>(script: F) -> Duration
where
    F: Fn(procession::testing::ScriptedProcess) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = i32> + Send + 'static,
{
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", move |mut me| {
        let script = script.clone();
        async move {
            shake_hands(&mut me).await;
            script(me).await
        }
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let begin = tokio::time::Instant::now();
    worker.stop().await.unwrap();
    let took = begin.elapsed();
    assert!(launcher.alive().is_empty());
    let _ = root.shutdown(60 * SEC).await;
    Duration::from_secs_f64(took.as_secs_f64().round())
}

#[tokio::test(start_paused = true)]
async fn each_step_gets_its_whole_time_and_no_more() {
    // P-9
    let deaf = time_to_stop(|me| async move {
        me.hang().await;
        0
    });
    assert_eq!(deaf.await, 10 * SEC, "SIGTERM after the whole drain time");
    let stubborn = time_to_stop(|me| async move {
        me.ignore(Signal::TERM);
        me.hang().await;
        0
    });
    assert_eq!(stubborn.await, 15 * SEC, "SIGKILL after the grace");
    let busy = time_to_stop(|mut me| async move {
        let request = read(&mut me).await.unwrap();
        answer(&mut me, &request["id"], serde_json::json!({})).await;
        me.sleep(8 * SEC).await;
        0
    });
    assert_eq!(busy.await, 8 * SEC, "an acknowledged shutdown still gets its whole drain time");
}

#[tokio::test(start_paused = true)]
async fn a_restart_on_request_makes_one_new_incarnation_and_no_crash() {
    // R-8, W-2
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let mut events = root.events();
    assert_eq!(worker.restart("because").await.unwrap().0, 2);
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(launcher.launched().len(), 2);
    while let Ok(Some(event)) = events.try_next() {
        assert!(!event.is_crash(), "{event}");
    }
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn the_trees_deadline_shortens_the_ladder() {
    // S-20, T-3
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        me.ignore(Signal::TERM);
        me.hang().await
    });
    let (root, _) = tree(plugin(&launcher)).await.unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(root.shutdown(2 * SEC).await, Exit::Requested);
    assert!(begin.elapsed() <= 2 * SEC && launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_later_deadline_gives_no_step_its_time_again() {
    // P-9, S-20: the worker's own ladder would end after 15 s, and the tree's deadline comes after 19.
    for asked in [5 * SEC, 12 * SEC] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", |mut me| async move {
            shake_hands(&mut me).await;
            me.ignore(Signal::TERM);
            me.hang().await
        });
        let (root, worker) = tree(plugin(&launcher)).await.unwrap();
        let begin = tokio::time::Instant::now();
        let stopping = tokio::spawn(async move { worker.stop().await });
        tokio::time::sleep(asked).await;
        assert_eq!(root.shutdown(19 * SEC - asked).await, Exit::Requested);
        assert_eq!(begin.elapsed().as_secs_f64().round(), 15.0, "asked after {asked:?}");
        let _ = stopping.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_ready_yet_gets_sigterm_at_once() {
    // P-9: there is no polite request before the handshake.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move { me.hang().await });
    let supervisor = SupervisorSpec::one_for_one().child(plugin(&launcher).child("w").background());
    let root = Root::start(supervisor, RootOptions::default()).await.unwrap();
    while launcher.alive().is_empty() {
        tokio::time::sleep(MS).await;
    }
    let begin = tokio::time::Instant::now();
    assert_eq!(root.shutdown(60 * SEC).await, Exit::Requested);
    assert!(begin.elapsed() < SEC && launcher.alive().is_empty(), "{:?}", begin.elapsed());
}

/// Stops an MCP server that waits for an answer which takes this long. Returns whether the answer came
/// before the end of its stdin, and how long the stop took.
async fn stopped_while_it_asks(answer_takes: Duration) -> (bool, Duration) {
    let answered = Arc::new(AtomicBool::new(false));
    let (launcher, noted) = (ScriptedLauncher::new(), answered.clone());
    launcher.program("worker", move |mut me| {
        let noted = noted.clone();
        async move {
            let hello = read(&mut me).await.unwrap();
            answer(&mut me, &hello["id"], json!({"protocolVersion": "2025-06-18"})).await;
            assert_eq!(read(&mut me).await.unwrap()["method"], "notifications/initialized");
            let question = json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"});
            me.write_line(&question.to_string()).await.unwrap();
            while let Some(message) = read(&mut me).await {
                noted.fetch_or(message["id"] == "q", Ordering::Relaxed);
            }
            0
        }
    });
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let router = MethodRouter::new().method_value("roots/list", move |_, _| {
        asked.send(()).unwrap();
        async move {
            tokio::time::sleep(answer_takes).await;
            to_raw_value(&json!({"roots": []})).map_err(RpcError::internal)
        }
    });
    let launcher: Arc<dyn Launcher> = Arc::new(launcher);
    let spec = WorkerSpec::new(Command::new("worker"))
        .protocol(Mcp::default().with_era(McpEra::Initialize))
        .launcher(launcher)
        .handler(router);
    let (root, worker) = tree(spec).await.unwrap();
    was_asked.recv().await.unwrap();
    let begin = tokio::time::Instant::now();
    worker.stop().await.unwrap();
    let took = begin.elapsed();
    assert_eq!(worker.node().last_exit(), Some(Exit::Requested));
    let _ = root.shutdown(60 * SEC).await;
    (answered.load(Ordering::Relaxed), Duration::from_secs_f64(took.as_secs_f64().round()))
}

#[tokio::test(start_paused = true)]
async fn what_a_process_has_asked_is_answered_before_its_stdin_is_closed() {
    // C-14
    assert_eq!(stopped_while_it_asks(SEC).await, (true, SEC));
    assert_eq!(stopped_while_it_asks(7 * SEC).await, (true, 7 * SEC));
    assert_eq!(stopped_while_it_asks(60 * SEC).await, (false, 8 * SEC), "but not for ever");
}
