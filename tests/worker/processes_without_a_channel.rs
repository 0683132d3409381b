//! Processes without a channel: a `NoChannel` one is ready when launched, a `ReadyLine` one when it prints
//! its line; neither can be called (W-7, W-4, C-12).

use std::sync::Arc;

use procession::{
    exit::Exit, process::Command, protocol::ReadyLine, rpc::CallError, testing::ScriptedLauncher,
    worker::WorkerSpec,
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_bare_process_is_ready_when_launched_and_stopped_by_signal() {
    // W-7, P-11
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        me.close_stdin();
        me.close_stdout();
        me.hang().await
    });
    let (root, worker) =
        tree(WorkerSpec::new(Command::new("worker")).launcher(Arc::new(launcher.clone()))).await.unwrap();
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(worker.node().incarnation().0, 1, "closed stdio is ignored");
    assert!(worker.call::<Echo>(&String::new()).await.is_err());
    let begin = tokio::time::Instant::now();
    worker.stop().await.unwrap();
    assert!(begin.elapsed() < SEC, "SIGTERM is the polite request");
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_line_makes_ready() {
    // W-7, W-1
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        let _ = me.write_line("starting").await;
        me.sleep(3 * SEC).await;
        if me.args().is_empty() {
            let _ = me.write_line("listening on 127.0.0.1:80").await;
        }
        me.hang().await
    });
    let spec = |command| {
        WorkerSpec::new(command).protocol(ReadyLine::new("listening on")).launcher(Arc::new(launcher.clone()))
    };
    let begin = tokio::time::Instant::now();
    let (root, _) = tree(spec(Command::new("worker"))).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 3);
    let _ = root.shutdown(60 * SEC).await;
    let never = tree(spec(Command::new("worker").arg("mute"))).await.unwrap_err();
    let procession::supervision::TreeStartError::Failed { exit, .. } = never else { panic!() };
    let awaited = "no line of its stdout begins with `listening on`; the last line is `starting`".to_owned();
    assert_eq!(
        exit.cause(),
        Some(&Exit::HandshakeTimeout { after: 15 * SEC, awaited: Some(awaited.clone()) })
    );
    assert!(exit.to_string().contains(&awaited), "{exit}");
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_channel_is_misuse_and_says_so() {
    // C-12
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move { me.hang().await });
    let (root, worker) =
        tree(WorkerSpec::new(Command::new("worker")).launcher(Arc::new(launcher.clone()))).await.unwrap();
    let error = worker.call::<Echo>(&String::new()).await.unwrap_err();
    assert!(matches!(error, CallError::NoChannel { .. }) && error.is_misuse(), "{error}");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_last_incarnation_said_is_shown_until_the_next_one_speaks() {
    // W-4
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        if me.launch() == 1 {
            let _ = me.write_error_line("cannot open the database").await;
            return 7;
        }
        me.hang().await;
        0
    });
    let (root, worker) =
        tree(WorkerSpec::new(Command::new("worker")).launcher(Arc::new(launcher.clone()))).await.unwrap();
    tokio::time::sleep(SEC).await;
    let node = worker.diagnostics();
    assert_eq!((node.incarnation.0, node.last_exit), (2, Some(Exit::Failed { code: 7 })));
    assert_eq!(node.worker.unwrap().stderr_tail, "cannot open the database\n");
    let _ = root.shutdown(60 * SEC).await;
}
