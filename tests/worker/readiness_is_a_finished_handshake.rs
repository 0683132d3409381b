//! A worker is ready, and can be called, once its handshake and `on_ready` are done; every other
//! outcome is a typed exit (W-1, W-8, W-9, G-2, R-1, C-3).

use std::sync::Mutex;

use procession::{
    exit::{Exit, LaunchStage},
    process::{Command, Signal},
    rpc::{CallError, Peer},
    state::{ChildState, DownReason, GiveUpReason},
    supervision::TreeStartError,
    testing::ScriptedLauncher,
    worker::{OnReady, WorkerSpec},
};

use crate::support::*;

fn cause(
    start: Result<(procession::internals::Root, procession::worker::WorkerRef), TreeStartError>,
) -> Exit {
    match start {
        Err(TreeStartError::Failed { exit, .. }) => exit.cause().unwrap().clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_called_once_its_handshake_is_done() {
    // W-1, G-2
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    assert_eq!(worker.call::<Echo>(&"hello".to_owned()).await.unwrap(), "hello");
    let unknown = worker.call_value("unheard-of", &(), procession::rpc::Timeout::Default).await;
    assert!(matches!(unknown, Err(CallError::MethodNotSupported { .. })));
    let node = worker.diagnostics();
    let figures = node.worker.unwrap();
    assert_eq!((figures.pid, figures.protocol.as_str()), (Some(1000), "plugin"));
    let _ = root.shutdown(60 * SEC).await;
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_way_of_not_becoming_ready_has_its_name() {
    // R-1, W-1
    let launcher = ScriptedLauncher::new();
    let begin = tokio::time::Instant::now();
    assert!(matches!(
        cause(tree(plugin(&launcher)).await),
        Exit::NeverStarted { stage: LaunchStage::Program, .. }
    ));
    launcher.program("worker", |_| async { 3 });
    assert_eq!(cause(tree(plugin(&launcher)).await), Exit::Failed { code: 3 });
    launcher.program("worker", |me| async move { me.crash(Signal::SEGV).await });
    assert_eq!(cause(tree(plugin(&launcher)).await), Exit::Signalled { signal: 11, core: false });
    assert!(begin.elapsed() < SEC, "a child that dies at once fails at once");
    launcher.program("worker", |me| async move { me.hang().await });
    assert_eq!(
        cause(tree(plugin(&launcher)).await),
        Exit::HandshakeTimeout { after: 15 * SEC, awaited: None }
    );
    let patient = plugin(&launcher).handshake_timeout(20 * SEC);
    assert_eq!(cause(tree(patient).await), Exit::HandshakeTimeout { after: 20 * SEC, awaited: None });
    launcher.program("worker", |mut me| async move {
        let hello = read(&mut me).await.unwrap();
        answer(&mut me, &hello["id"], serde_json::json!({"ok": false, "reason": "bad config"})).await;
        me.hang().await
    });
    assert_eq!(cause(tree(plugin(&launcher)).await), Exit::HandshakeFailed { reason: "bad config".into() });
    launcher.program("worker", |mut me| async move {
        me.close_stdout();
        me.hang().await
    });
    assert!(matches!(cause(tree(plugin(&launcher)).await), Exit::ChannelLost { .. }));
    assert!(launcher.alive().is_empty(), "half-born processes are torn down");
}

#[tokio::test(start_paused = true)]
async fn a_missing_program_is_not_retried_unless_it_was_there_before() {
    //
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let never = || Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Program, reason: "gone".into() };
    launcher.fail_next("worker", never());
    worker.call::<Die>(&1).await.unwrap_err();
    assert_eq!(worker.wait_ready(10 * SEC).await.unwrap().0, 3, "replaced for a moment: retried");
    let _ = root.shutdown(60 * SEC).await;

    let launcher = ScriptedLauncher::new();
    let spec = procession::supervision::SupervisorSpec::one_for_one()
        .child(plugin(&launcher).child("w").background());
    let root = procession::internals::Root::start(spec, Default::default()).await.unwrap();
    tokio::time::sleep(SEC).await;
    let state = root.find("/w").unwrap().state();
    assert_eq!(state, ChildState::down(DownReason::GaveUp { why: GiveUpReason::NeverStarts }));
    assert_eq!(root.find("/w").unwrap().incarnation().0, 1);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn on_ready_comes_after_the_handshake_and_before_the_first_call() {
    // W-8
    struct Replay(Mutex<u32>);
    #[async_trait::async_trait]
    impl OnReady for Replay {
        async fn on_ready(&self, peer: &Peer, _: procession::id::Incarnation) -> Result<(), String> {
            *self.0.lock().unwrap() += 1;
            let echoed = peer.call::<Echo>(&"replay".to_owned()).await.map_err(|e| e.to_string())?;
            if echoed == "replay" && *self.0.lock().unwrap() == 1 {
                Ok(())
            } else {
                Err("second time".into())
            }
        }
    }
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher).on_ready(Replay(Mutex::new(0)))).await.unwrap();
    worker.call::<Die>(&0).await.unwrap_err();
    tokio::time::sleep(150 * MS).await;
    assert_eq!(worker.node().last_exit(), Some(Exit::HandshakeFailed { reason: "second time".into() }));
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_may_be_made_for_each_incarnation() {
    // W-9
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        let token = me.args()[0].to_string_lossy().into_owned();
        let call = read(&mut me).await.unwrap();
        answer(&mut me, &call["id"], token.into()).await;
        1
    });
    let spec = WorkerSpec::with_commands(|n| Command::new("worker").arg(format!("token-{n}")))
        .protocol(procession::protocol::Plugin::default())
        .launcher(std::sync::Arc::new(launcher.clone()));
    let (root, worker) = tree(spec).await.unwrap();
    for n in 1..=3 {
        assert_eq!(worker.wait_ready(SEC).await.unwrap().0, n);
        assert_eq!(worker.call::<Echo>(&String::new()).await.unwrap(), format!("token-#{n}"));
        tokio::time::sleep(MS).await;
    }
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_ready_in_an_earlier_life_of_its_supervisor_is_remembered() {
    // R-6, W-4
    use procession::{
        internals::Root,
        supervision::{ChildSpec, SupervisorSpec},
    };
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let inner = SupervisorSpec::one_for_one().child(plugin(&launcher).child("w").background());
    let outer = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(outer, Default::default()).await.unwrap();
    let worker = procession::worker::WorkerRef::new(root.find("/inner/w").unwrap());
    worker.wait_ready(SEC).await.unwrap();
    worker.call::<Die>(&1).await.unwrap_err();
    worker.wait_ready(SEC).await.unwrap();
    let never = Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Program, reason: "gone".into() };
    launcher.fail_next("worker", never);
    root.find("/inner").unwrap().live().as_ref().unwrap().cell.kill();
    tokio::time::sleep(SEC).await;
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 4, "replaced for a moment: waited for");
    worker.call::<Die>(&1).await.unwrap_err();
    worker.wait_ready(SEC).await.unwrap();
    assert_eq!(worker.diagnostics().total_failures, 2, "counted across its supervisor's lives");
    let _ = root.shutdown(60 * SEC).await;
}
