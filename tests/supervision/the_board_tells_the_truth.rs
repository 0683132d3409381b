//! States and snapshots, which are read without asking a supervisor, are true at every moment, also
//! when no supervisor is left to write them (S-18, E-2, E-3).

use procession::internals::{Root, RootOptions};
use procession::{
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy, RestartType},
    supervision::{ChildPolicy, ChildSpec, SupervisorSpec},
};

use crate::support::*;

fn states(root: &Root) -> String {
    let snapshot = root.snapshot();
    let word = |n: &procession::snapshot::NodeSnapshot| format!("{}:{}", n.id(), n.state);
    snapshot.root.walk().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_killed_tree_is_down_on_the_board() {
    // S-21, E-3
    let record = Record::default();
    let waits = RestartPolicy::permanent().with_backoff(Backoff::fixed(60 * SEC));
    let inner = SupervisorSpec::one_for_one()
        .child(plain("ready", &record))
        .child(plain("waits", &record).restart(waits))
        .child(puppet("starts", Script::slow_start(20_000), &record).background())
        .child(puppet("stops", Script::slow_stop(20_000), &record));
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    root.child::<Pull>("/inner/waits").unwrap().cast(Pull::Fail("x")).unwrap();
    let stops = root.child::<Pull>("/inner/stops").unwrap();
    tokio::spawn(async move { stops.stop().await });
    settle().await;
    let ready = root.child::<Pull>("/inner/ready").unwrap();
    assert!(states(&root).starts_with("/:ready inner:ready ready:ready waits:backing off"));
    root.cell().kill();
    let _ = root.wait().await;
    assert_eq!(states(&root), "/:ended inner:ended ready:ended waits:ended starts:ended stops:ended");
    assert!(ready.actor().is_err());
    assert!(root.supervisor().count_children().await.is_err());
    assert!(ready.restart().await.is_err(), "there is nobody to ask");
}

#[tokio::test(start_paused = true)]
async fn ends_that_nobody_has_heard_of_are_on_the_board() {
    // E-3: whenever the supervisor is killed, also between the end of a child and the moment it would have
    // heard of it.
    for moment in 0..40 {
        let record = Record::default();
        let spec = SupervisorSpec::one_for_one()
            .child(plain("a", &record).restart(RestartPolicy::temporary()))
            .child(plain("b", &record))
            .child(plain("c", &record));
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        for path in ["/a", "/b"] {
            root.child::<Pull>(path).unwrap().cast(Pull::Fail("x")).unwrap();
        }
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
        root.cell().kill();
        let c = root.child::<Pull>("/c").unwrap();
        let state = c.node().wait_state(|s| *s != procession::state::ChildState::Ready).await;
        assert!(c.actor().is_err(), "{state}, and reached");
        let _ = root.wait().await;
        assert!(
            states(&root).split_whitespace().all(|s| s.ends_with(":ended")),
            "{moment}: {}",
            states(&root)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ends_that_nobody_has_heard_of_are_on_the_board_on_many_threads() {
    // E-3: the same where an end may be on the supervisor's channel when it is killed.
    for round in 0..500 {
        let record = Record::default();
        let mut spec = SupervisorSpec::one_for_one();
        let ids: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
        for id in &ids {
            spec = spec.child(plain(id, &record).restart(RestartPolicy::temporary()));
        }
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let children: Vec<_> = ids.iter().map(|id| root.child::<Pull>(&format!("/{id}")).unwrap()).collect();
        for child in &children {
            child.cast(Pull::Fail("x")).unwrap();
        }
        for _ in 0..round % 50 {
            tokio::task::yield_now().await;
        }
        root.cell().kill();
        let _ = root.wait().await;
        for child in &children {
            assert!(child.state().is_down(), "{round}: {} is {}", child.path(), child.state());
            assert!(child.actor().is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_root_that_has_ended_is_down_and_a_nested_supervisor_is_what_its_parent_says() {
    // E-1: every state is published once.
    let record = Record::default();
    let inner = SupervisorSpec::one_for_one().child(plain("a", &record));
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let mut events = root.events();
    let _ = root.shutdown(SEC).await;
    let published: Vec<_> = drain(&mut events)
        .iter()
        .filter_map(|e| match &e.kind {
            procession::event::EventKind::State { from, to, .. } => {
                Some(format!("{} {from} -> {to}", e.path))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        published,
        [
            "/ ready -> stopping",
            "/inner ready -> stopping",
            "/inner/a ready -> stopping",
            "/inner/a stopping -> ended",
            "/inner stopping -> ended",
            "/ stopping -> ended"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_budget_that_is_shown_is_that_of_the_present_window() {
    // E-2
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().intensity(3, SEC).child(plain("a", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    root.child::<Pull>("/a").unwrap().cast(Pull::Fail("x")).unwrap();
    settle().await;
    let budget = || root.snapshot().root.supervisor.unwrap();
    assert_eq!((budget().restarts_used, budget().restarts_left), (1, 2));
    tokio::time::sleep(2 * SEC).await;
    assert_eq!((budget().restarts_used, budget().restarts_left), (0, 3));
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_nobody_will_start() {
    // Waiting ends when it is pointless, also for those that were waiting before.
    let record = Record::default();
    let gives_up =
        RestartPolicy::actor().with_budget(BudgetScope::Own(CrashLoop::new(1, SEC, CrashLoopAction::GiveUp)));
    let waits = |policy: RestartPolicy| policy.with_backoff(Backoff::fixed(60 * SEC));
    let spec = SupervisorSpec::one_for_one()
        .child(plain("stopped", &record).restart(waits(RestartPolicy::permanent())))
        .child(plain("gives-up", &record).restart(gives_up))
        .child(plain("removed", &record).restart(waits(RestartPolicy::permanent())));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let begin = tokio::time::Instant::now();
    let mut waiting = Vec::new();
    for id in ["stopped", "removed", "gives-up"] {
        let child = root.child::<Pull>(&format!("/{id}")).unwrap();
        child.cast(Pull::Fail("x")).unwrap();
        settle().await;
        waiting.push(tokio::spawn(async move {
            let one = child.wait_ready(600 * SEC).await.unwrap_err();
            // Also for those that begin to wait later.
            assert_eq!(child.wait_ready(600 * SEC).await.unwrap_err().state, one.state);
        }));
        settle().await;
    }
    root.supervisor().terminate_child("stopped").await.unwrap();
    root.supervisor().remove_child("removed").await.unwrap();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert!(begin.elapsed() < SEC, "{:?}", begin.elapsed());
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_by_an_operator_outlives_the_supervisor() {
    // S-5, S-12: that an operator has stopped it is remembered by the node.
    let record = Record::default();
    let stays = RestartPolicy::actor().with_restart(RestartType::UnlessStopped);
    let inner = SupervisorSpec::one_for_one()
        .child(plain("a", &record).restart(stays.clone()))
        .child(plain("b", &record))
        .child(plain("c", &record).restart(stays));
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let inner = root.supervisor_at("/inner").unwrap();
    for id in ["a", "b", "c"] {
        inner.terminate_child(id).await.unwrap();
    }
    // It is wanted again.
    inner.restart_child("c").await.unwrap();
    root.supervisor().restart("inner").await.unwrap();
    let states: Vec<_> =
        inner.which_children().await.unwrap().iter().map(|w| format!("{}:{}", w.id, w.state)).collect();
    assert_eq!(states, ["a:stopped", "b:ready", "c:ready"]);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_deadlines_holds() {
    // S-20, T-3
    let record = Record::default();
    let slow = puppet("a", Script::slow_stop(60_000), &record);
    let slow = slow.shutdown(procession::supervision::Shutdown::Infinity);
    let root = Root::start(SupervisorSpec::one_for_one().child(slow), RootOptions::default()).await.unwrap();
    let begin = tokio::time::Instant::now();
    root.stop(Some(3 * SEC));
    root.stop(Some(30 * SEC));
    root.stop(None);
    let _ = root.wait().await;
    assert_eq!(begin.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_those_that_an_exit_would_find() {
    // R-3, E-2: at every moment, also when nothing is written.
    let record = Record::default();
    let policy = RestartPolicy::permanent()
        .with_backoff(Backoff::None)
        .with_budget(BudgetScope::Own(CrashLoop::new(100, SEC, CrashLoopAction::GiveUp)))
        .with_healthy_after(10 * SEC);
    let child = plain("a", &record).restart(policy.clone());
    let root = Root::start(SupervisorSpec::one_for_one().child(child), RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    let figures = || {
        let node = a.node().snapshot();
        (node.consecutive_failures, node.total_failures, node.total_restarts)
    };
    let fail_twice = async || {
        for _ in 0..2 {
            a.cast(Pull::Fail("x")).unwrap();
            settle().await;
        }
    };
    fail_twice().await;
    assert_eq!(figures(), (2, 2, 2));
    tokio::time::sleep(9 * SEC).await;
    assert_eq!(figures().0, 2, "not yet");
    tokio::time::sleep(SEC).await;
    assert_eq!(figures(), (0, 2, 2), "it has been healthy");
    // another policy, another moment.
    let patient = ChildPolicy { restart: policy.with_healthy_after(60 * SEC), ..ChildPolicy::actor() };
    root.supervisor().set_policy("a", patient).await.unwrap();
    assert_eq!(figures().0, 2);
    tokio::time::sleep(50 * SEC).await;
    assert_eq!(figures().0, 0);
    // revived by an operator, it begins at zero, before anything else has happened to it.
    fail_twice().await;
    assert_eq!(figures(), (2, 4, 4));
    a.stop().await.unwrap();
    assert_eq!(figures(), (2, 4, 4), "a stop forgets nothing");
    a.restart().await.unwrap();
    assert_eq!(figures(), (0, 0, 0));
    fail_twice().await;
    assert_eq!(figures(), (2, 2, 2));
    let _ = root.shutdown(SEC).await;
}
