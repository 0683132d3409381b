//! W-5: a worker is replaced after so many calls or so long, when nothing is open, and that is no crash.

use procession::{
    internals::{Root, RootOptions},
    supervision::SupervisorSpec,
    testing::ScriptedLauncher,
    worker::{WorkerRef, WorkerSpec},
};
use tokio::time::sleep;

use crate::support::*;

async fn start(launcher: &ScriptedLauncher, spec: WorkerSpec, overlap: bool) -> (Root, WorkerRef) {
    launcher.program("worker", serve);
    let child = if overlap { spec.child("w").overlap() } else { spec.child("w") };
    // No restart is allowed.
    let spec = SupervisorSpec::one_for_one().intensity(0, SEC).child(child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

async fn echo(worker: &WorkerRef) -> String {
    worker.call::<Echo>(&"x".to_owned()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn after_so_many_calls() {
    for overlap in [false, true] {
        let launcher = ScriptedLauncher::new();
        let (root, worker) = start(&launcher, plugin(&launcher).recycle_after_calls(20), overlap).await;
        for _ in 0..17 {
            echo(&worker).await;
        }
        sleep(6 * SEC).await;
        assert_eq!(launcher.launched().len(), 1, "at most a tenth earlier");
        for _ in 0..3 {
            echo(&worker).await;
        }
        sleep(6 * SEC).await;
        assert_eq!((launcher.launched().len(), launcher.alive().len()), (2, 1));
        assert_eq!(echo(&worker).await, "x");
        let snapshot = worker.diagnostics();
        assert_eq!((snapshot.total_restarts, snapshot.total_failures), (0, 0));
        root.shutdown(60 * SEC).await.into_result().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn after_some_time_but_not_all_at_once() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let children = (0..20).map(|n| plugin(&launcher).recycle_after(1000 * SEC).child(format!("w{n}")));
    let spec = children.fold(SupervisorSpec::one_for_one().intensity(0, SEC), SupervisorSpec::child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    sleep(899 * SEC).await;
    let mut launches = vec![launcher.launched().len()];
    for _ in 0..11 {
        sleep(10 * SEC).await;
        launches.push(launcher.launched().len());
    }
    assert_eq!((launches[0], launches[11]), (20, 40));
    let most = launches.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(most <= 7, "{launches:?}");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_open_is_waited_for() {
    let launcher = ScriptedLauncher::new();
    let (root, worker) = start(&launcher, plugin(&launcher).recycle_after(20 * SEC), false).await;
    sleep(15 * SEC).await;
    let open = tokio::spawn({
        let worker = worker.clone();
        async move { worker.call_value("hang", &(), 10 * SEC).await }
    });
    sleep(9 * SEC).await;
    assert_eq!(launcher.launched().len(), 1);
    assert!(open.await.unwrap().is_err(), "its own time was over");
    sleep(SEC).await;
    assert_eq!(launcher.launched().len(), 2);
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_replaced_goes_on() {
    let launcher = ScriptedLauncher::new();
    let (root, worker) = start(&launcher, plugin(&launcher).recycle_after(20 * SEC), true).await;
    launcher.fail_next("worker", procession::exit::Exit::Failed { code: 1 });
    sleep(30 * SEC).await;
    assert_eq!((echo(&worker).await, worker.diagnostics().incarnation.0), ("x".to_owned(), 1));
    sleep(55 * SEC).await;
    assert_eq!(worker.diagnostics().incarnation.0, 3, "tried again");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_nothing_is_a_mistake() {
    let launcher = ScriptedLauncher::new();
    for spec in [
        plugin(&launcher).recycle_after_calls(0),
        plugin(&launcher).recycle_after(std::time::Duration::ZERO),
        plugin(&launcher).recycle_above_rss(0),
    ] {
        let mistakes = spec.validate().unwrap_err().to_string();
        assert!(mistakes.contains("recycle_") && mistakes.contains("zero"), "{mistakes}");
    }
}
