//! S-28: a worker on demand is started by its first call, which all others join, and is stopped when
//! nothing has used it for its idle time. A call never starts what was stopped.

use procession::{
    rpc::{CallEffect, CallError, CallOptions, Timeout},
    state::{ChildState, DownReason},
    testing::ScriptedLauncher,
    tree::Tree,
    worker::{Liveness, WorkerRef},
};
use tokio::{task::JoinSet, time::sleep};

use crate::support::*;

async fn idle_worker(launcher: &ScriptedLauncher) -> (Tree, WorkerRef) {
    launcher.program("worker", serve);
    let child = plugin(launcher).idle_timeout(40 * SEC).liveness(Liveness::default()).child("w");
    let tree = Tree::builder().child(child).start().await.unwrap();
    let worker = tree.worker("w").unwrap();
    (tree, worker)
}

async fn echo(worker: &WorkerRef) -> Result<String, CallError> {
    worker.call::<Echo>(&"x".to_owned()).await
}

#[tokio::test(start_paused = true)]
async fn the_first_call_starts_it_and_all_others_join() {
    let launcher = ScriptedLauncher::new();
    let (tree, worker) = idle_worker(&launcher).await;
    assert!(tree.ready() && tree.health().healthy && launcher.launched().is_empty());
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let worker = worker.clone();
        callers.spawn(async move { echo(&worker).await.unwrap() });
    }
    callers.join_all().await;
    assert_eq!(launcher.launched().len(), 1);
    tree.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_nothing_uses_it_and_starts_again_at_the_next_call() {
    let launcher = ScriptedLauncher::new();
    let (tree, worker) = idle_worker(&launcher).await;
    for _ in 0..8 {
        echo(&worker).await.unwrap();
        sleep(20 * SEC).await;
    }
    assert_eq!(launcher.launched().len(), 1, "it was used");
    sleep(50 * SEC).await;
    assert_eq!(worker.state(), ChildState::down(DownReason::Idle), "pings are no use");
    assert!(tree.health().healthy && launcher.alive().is_empty());
    echo(&worker).await.unwrap();
    assert_eq!((launcher.launched().len(), worker.diagnostics().total_restarts), (2, 0));
    sleep(60 * SEC).await;
    assert!(worker.wait_ready(SEC).await.is_ok(), "a demand, too");
    tree.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_open_keeps_it() {
    let launcher = ScriptedLauncher::new();
    let (tree, worker) = idle_worker(&launcher).await;
    let open = worker.call_with::<Hang>(&(), CallOptions::timeout(Timeout::After(500 * SEC)));
    assert!(matches!(open.await, Err(CallError::Timeout { .. })));
    assert_eq!(launcher.launched().len(), 1);
    tree.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_at_the_moment_of_the_stop_are_not_lost() {
    let launcher = ScriptedLauncher::new();
    let (tree, worker) = idle_worker(&launcher).await;
    echo(&worker).await.unwrap();
    // A caller for each moment around the stop, in steps of a twentieth of a second.
    let mut callers = JoinSet::new();
    for n in 0..400_u32 {
        let worker = worker.clone();
        callers.spawn(async move {
            sleep(35 * SEC + n * (50 * MS)).await;
            if worker.state() != ChildState::Ready {
                echo(&worker).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    assert!(launcher.launched().len() >= 2);
    tree.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_has_stopped_stays_down() {
    let launcher = ScriptedLauncher::new();
    let (tree, worker) = idle_worker(&launcher).await;
    echo(&worker).await.unwrap();
    worker.stop().await.unwrap();
    let refused = echo(&worker).await.unwrap_err();
    assert!(matches!(refused, CallError::Unavailable { .. }), "{refused}");
    assert_eq!((refused.effect(), launcher.launched().len()), (CallEffect::NotSent, 1));
    worker.restart("it is wanted again").await.unwrap();
    echo(&worker).await.unwrap();
    tree.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_told_and_not_repeated_for_ever() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |_| async { 3 });
    // Nothing starts it again after a failure.
    let policy = procession::restart::RestartPolicy::permanent()
        .with_restart(procession::restart::RestartType::OnSuccess);
    let child = plugin(&launcher).restart(policy).idle_timeout(40 * SEC).child("w");
    let tree = Tree::builder().child(child).start().await.unwrap();
    let worker = tree.worker("w").unwrap();
    assert!(worker.wait_ready(60 * SEC).await.is_err());
    assert!(matches!(echo(&worker).await, Err(CallError::Unavailable { .. })));
    assert!(launcher.launched().len() <= 3, "{}", launcher.launched().len());
    tree.shutdown(SEC).await.into_result().unwrap();
}
