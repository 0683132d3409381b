//! Every request of an operator is answered, also by a supervisor that is stopping (S-22, R-8).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    restart::{Backoff, RestartPolicy},
    state::{ChildKind, ChildState, DownReason},
    supervision::{ChildPolicy, ChildSpec, RequestError, Start, StartContext, Started, SupervisorSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn the_calls_of_otp_answer_as_in_otp() {
    // S-22
    let record = Record::default();
    let root = Root::start(SupervisorSpec::one_for_one(), RootOptions::default()).await.unwrap();
    let supervisor = root.supervisor();
    assert_eq!(supervisor.start_child(plain("a", &record)).await.unwrap().0, 1);
    let again = supervisor.start_child(plain("a", &record)).await;
    assert_eq!(again, Err(RequestError::AlreadyStarted("a".into())));
    assert_eq!(supervisor.restart_child("a").await, Err(RequestError::Running("a".into())));
    assert_eq!(supervisor.delete_child("a").await, Err(RequestError::Running("a".into())));
    supervisor.terminate_child("a").await.unwrap();
    assert_eq!(record.take(), ["?a", "+a", "-a"]);
    let again = supervisor.start_child(plain("a", &record)).await;
    assert_eq!(again, Err(RequestError::AlreadyPresent("a".into())));
    assert_eq!(supervisor.restart_child("a").await.unwrap().0, 2);
    supervisor.terminate_child("a").await.unwrap();
    supervisor.delete_child("a").await.unwrap();
    assert_eq!(supervisor.restart("a").await, Err(RequestError::NotFound("a".into())));
    assert_eq!(supervisor.count_children().await.unwrap().specs, 0);
    // G-1: after a failed start nothing is left behind and a new start works.
    let bad = puppet("b", Script::failing(1), &record);
    assert!(matches!(supervisor.start_child(bad.clone()).await, Err(RequestError::StartFailed { .. })));
    assert_eq!(supervisor.which_children().await.unwrap(), []);
    assert!(supervisor.start_child(bad).await.is_ok());
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_works_in_every_state_and_is_no_crash() {
    // R-8, E-3
    let record = Record::default();
    let policy = RestartPolicy::permanent().with_backoff(Backoff::Fixed { delay: 60 * SEC }).with_jitter(0.0);
    let spec = SupervisorSpec::one_for_one().child(plain("a", &record).restart(policy));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    assert_eq!(a.restart().await.unwrap().0, 2, "ready");
    a.cast(Pull::Fail("x")).unwrap();
    settle().await;
    assert!(matches!(a.state(), ChildState::BackingOff { .. }));
    assert_eq!(a.restart().await.unwrap().0, 3, "backing off");
    a.stop().await.unwrap();
    assert_eq!(a.restart().await.unwrap().0, 4, "stopped");
    let (one, two) = tokio::join!(a.restart(), a.restart());
    assert_eq!((one.unwrap().0, two.unwrap().0), (5, 5), "concurrent requests coalesce");
    let node = root.snapshot().root;
    assert_eq!(node.supervisor.unwrap().restarts_used, 1, "only the crash was counted");
    assert_eq!(
        node.children[0].total_failures, 0,
        "an operator's start of a stopped child resets its counters"
    );
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_delays_nobody_else() {
    // S-18
    let record = Record::default();
    let root = Root::start(SupervisorSpec::one_for_one(), RootOptions::default()).await.unwrap();
    let supervisor = root.supervisor();
    let slow = tokio::spawn({
        let (supervisor, slow) = (supervisor.clone(), puppet("slow", Script::slow_start(20_000), &record));
        async move { supervisor.start_child(slow).await }
    });
    settle().await;
    let begin = tokio::time::Instant::now();
    supervisor.start_child(plain("quick", &record)).await.unwrap();
    assert_eq!(supervisor.count_children().await.unwrap().active, 2);
    supervisor.remove_child("slow").await.unwrap();
    assert!(begin.elapsed() < SEC);
    assert_eq!(slow.await.unwrap(), Err(RequestError::Stopped("slow".into())));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_may_make_something_else_of_a_child() {
    // S-22
    let record = Record::default();
    let root = Root::start(SupervisorSpec::one_for_one().child(plain("a", &record)), RootOptions::default())
        .await
        .unwrap();
    let nested = SupervisorSpec::one_for_one().child(plain("b", &record));
    root.supervisor().reload_child(ChildSpec::supervisor("a", nested)).await.unwrap();
    assert_eq!(root.supervisor().count_children().await.unwrap().supervisors, 1);
    let snapshot = root.snapshot();
    assert_eq!(snapshot.root.children[0].kind, ChildKind::Supervisor);
    assert_eq!(snapshot.root.children[0].children.len(), 1);
    root.supervisor().reload_child(plain("a", &record)).await.unwrap();
    let snapshot = root.snapshot();
    let a = &snapshot.root.children[0];
    assert_eq!((a.kind, a.children.len(), a.supervisor.is_some()), (ChildKind::Worker, 0, false));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_is_refused_changes_nothing() {
    // S-22: while the child is being removed, while its supervisor stops, and for a child that is not there
    let record = Record::default();
    let sibling = puppet("sibling", Script::slow_stop(500), &record);
    let tree =
        SupervisorSpec::one_for_one().child(puppet("a", Script::slow_stop(500), &record)).child(sibling);
    let root = Root::start(tree, RootOptions::default()).await.unwrap();
    let supervisor = root.supervisor();
    let refused = async |id: &str, expected: RequestError| {
        let before = supervisor.child_spec(id).await;
        let answer = supervisor.reload_child(plain(id, &record).background()).await;
        assert_eq!(answer, Err(expected));
        let after = supervisor.child_spec(id).await;
        match (before, after) {
            (Ok(before), Ok(after)) => {
                assert!(Arc::ptr_eq(&before.start, &after.start), "`{id}` has another start");
                assert_eq!(before.policy, after.policy);
            }
            (before, after) => assert!(before.is_err() && after.is_err()),
        }
    };
    refused("b", RequestError::NotFound("b".into())).await;
    let removal = tokio::spawn({
        let supervisor = supervisor.clone();
        async move { supervisor.remove_child("a").await }
    });
    tokio::time::sleep(100 * MS).await;
    refused("a", RequestError::Stopped("a".into())).await;
    removal.await.unwrap().unwrap();
    let stop = tokio::spawn(async move { root.shutdown(60 * SEC).await });
    tokio::time::sleep(100 * MS).await;
    refused("sibling", RequestError::ShuttingDown).await;
    stop.await.unwrap().into_result().unwrap();
}

/// Finds nothing to run, at each start.
#[derive(Debug, Default)]
struct Ignoring(Arc<AtomicU32>);

#[async_trait::async_trait]
impl Start for Ignoring {
    async fn start(&self, _: StartContext) -> Result<Started, Exit> {
        if self.0.fetch_add(1, Ordering::Relaxed) > 10 {
            std::future::pending::<()>().await;
        }
        Err(Exit::Ignored)
    }
}

#[tokio::test(start_paused = true)]
async fn a_demand_for_a_child_that_is_ignored_ends() {
    // S-28
    let starts = Arc::new(AtomicU32::new(0));
    let child = ChildSpec::new("a", ChildPolicy::actor(), Ignoring(starts.clone())).on_demand();
    let spec = SupervisorSpec::one_for_one().child(child);
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let unavailable = root.child::<Pull>("/a").unwrap().wait_ready(60 * SEC).await.unwrap_err();
    assert_eq!(unavailable.state, ChildState::down(DownReason::Ignored));
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    assert_eq!(root.shutdown(SEC).await, Exit::Requested);
}
