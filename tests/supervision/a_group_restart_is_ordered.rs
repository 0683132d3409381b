//! A group restart stops the members newest first, waits once, and starts them oldest first (S-11
//! to S-16).

use procession::internals::{Root, RootOptions};
use procession::{
    state::Strategy,
    supervision::{ActorChildRef, SupervisorSpec},
};

use crate::support::*;

async fn abc(strategy: Strategy, record: &Record) -> (Root, [ActorChildRef<Pull>; 3]) {
    let mut spec = SupervisorSpec::new(strategy).intensity(10, 10 * SEC);
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(5), record));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let refs = ["/a", "/b", "/c"].map(|path| root.child(path).unwrap());
    record.take();
    (root, refs)
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_newest_first_and_starts_oldest_first() {
    // S-11
    let record = Record::default();
    let (root, [_, b, _]) = abc(Strategy::OneForAll, &record).await;
    b.cast(Pull::Fail("x")).unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(record.take(), ["-b", "-c", "-a", "?a", "+a", "?b", "+b", "?c", "+c"]);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_leaves_the_earlier_ones_alone() {
    // S-11
    let record = Record::default();
    let (root, [a, b, _]) = abc(Strategy::RestForOne, &record).await;
    b.cast(Pull::Fail("x")).unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(record.take(), ["-b", "-c", "?b", "+b", "?c", "+c"]);
    assert_eq!(a.cast(Pull::Sleep(MS)).unwrap().0, 1);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn simultaneous_crashes_are_counted_as_the_rule_says() {
    // S-10, S-13, S-15
    for (strategy, order, restarts) in [
        (Strategy::OneForAll, ["/a", "/b", "/c"], 1),
        (Strategy::OneForAll, ["/c", "/b", "/a"], 1),
        (Strategy::RestForOne, ["/a", "/b", "/c"], 1),
        (Strategy::RestForOne, ["/c", "/b", "/a"], 3),
    ] {
        let record = Record::default();
        let (root, _) = abc(strategy, &record).await;
        for path in order {
            root.child::<Pull>(path).unwrap().cast(Pull::Fail("x")).unwrap();
        }
        tokio::time::sleep(SEC).await;
        let node = root.snapshot().root;
        assert_eq!(node.supervisor.unwrap().restarts_used, restarts, "{strategy} {order:?}");
        assert!(node.children.iter().all(|c| c.state.to_string() == "ready"));
        let _ = root.shutdown(SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_in_a_group_is_retried_without_a_second_retry_alive() {
    // S-14
    let record = Record::default();
    let script = Script::default();
    let spec = SupervisorSpec::rest_for_one()
        .intensity(10, 10 * SEC)
        .child(plain("a", &record))
        .child(puppet("b", script.clone(), &record))
        .child(plain("c", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    *script.fail_starts.lock().unwrap() = 2;
    root.child::<Pull>("/b").unwrap().cast(Pull::Fail("x")).unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!(record.take(), ["-b", "-c", "?b", "?b", "?b", "+b", "?c", "+c"]);
    assert_eq!(root.snapshot().root.supervisor.unwrap().restarts_used, 3);
    let _ = root.shutdown(SEC).await;
}
