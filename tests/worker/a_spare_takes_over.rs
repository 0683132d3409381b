//! W-6: with a spare, a crash is answered at once, and the spare never works before that.

use procession::internals::{Root, RootOptions};
use procession::{
    restart::{Backoff, RestartPolicy},
    state::SecondIncarnationRole,
    supervision::SupervisorSpec,
    testing::ScriptedLauncher,
    worker::WorkerRef,
};
use tokio::time::{Instant, sleep};

use crate::support::*;

async fn with_spare(launcher: &ScriptedLauncher) -> (Root, WorkerRef) {
    let restart = RestartPolicy::permanent().with_backoff(Backoff::fixed(20 * SEC)).with_jitter(0.0);
    let child = plugin(launcher).restart(restart).child("w").standby();
    let spec = SupervisorSpec::one_for_one().intensity(100, SEC).child(child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    sleep(MS).await;
    (root, worker)
}

#[tokio::test(start_paused = true)]
async fn a_crash_costs_no_time() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = with_spare(&launcher).await;
    assert_eq!(launcher.launched().len(), 2);
    for n in 1..6 {
        let spare = worker.diagnostics().second.unwrap();
        assert_eq!((spare.role, spare.incarnation.0), (SecondIncarnationRole::Spare, n + 1));
        let began = Instant::now();
        assert!(worker.call::<Die>(&3).await.is_err());
        assert_eq!(worker.call::<Echo>(&"x".to_owned()).await.unwrap(), "x");
        assert!(began.elapsed() < 100 * MS, "{:?}", began.elapsed());
        // The exit is judged when it has come; the signal of a stop might have caused it.
        sleep(SEC).await;
        let snapshot = worker.diagnostics();
        assert_eq!((snapshot.incarnation.0, snapshot.total_restarts), (n + 1, n as u32));
        // The next spare comes after the back-off.
        sleep(21 * SEC).await;
    }
    root.shutdown(60 * SEC).await.into_result().unwrap();
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_the_live_process() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = with_spare(&launcher).await;
    let pids: Vec<u32> = launcher.alive();
    assert_eq!((worker.pid(), pids.len()), (Some(pids[0]), 2));
    assert!(worker.call::<Die>(&3).await.is_err());
    worker.call::<Echo>(&"x".to_owned()).await.unwrap();
    assert_eq!(worker.pid(), Some(pids[1]));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_cannot_start_is_an_issue_and_counts_nothing() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me: procession::testing::ScriptedProcess| async move {
        if me.launch() > 1 { 7 } else { serve(me).await }
    });
    let child = plugin(&launcher).child("w").standby();
    let tree = procession::tree::Tree::builder().child(child).start().await.unwrap();
    sleep(SEC).await;
    let health = tree.health();
    assert!(!health.healthy && health.issues.len() == 1, "{health:?}");
    assert!(format!("{health:?}").contains("no spare"), "{health:?}");
    let worker = tree.worker("w").unwrap();
    assert_eq!((worker.diagnostics().total_restarts, worker.diagnostics().last_exit), (0, None));
    assert_eq!(worker.call::<Echo>(&"x".to_owned()).await.unwrap(), "x");
    let launches = launcher.launched().len();
    sleep(60 * SEC).await;
    assert!(launcher.launched().len() - launches < 10, "it waits longer each time");
    tree.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_takes_the_second_incarnations_along() {
    // S-21, S-27: a snapshot shows none that is not there.
    for spare_starts in [true, false] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |me: procession::testing::ScriptedProcess| async move {
            if me.launch() > 1 && !spare_starts { 7 } else { serve(me).await }
        });
        let (root, worker) = with_spare(&launcher).await;
        sleep(SEC).await;
        let before = worker.diagnostics().second.unwrap();
        assert_eq!((before.role, before.state.is_alive()), (SecondIncarnationRole::Spare, spare_starts));
        root.cell().kill();
        let _ = root.wait().await;
        sleep(SEC).await;
        let after = worker.diagnostics();
        assert!(after.second.is_none() && after.state.is_down(), "{after:?}");
        assert!(launcher.alive().is_empty());
    }
}
