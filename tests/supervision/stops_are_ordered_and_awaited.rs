//! S-18, S-19, S-20, T-3.

use procession::{
    exit::Exit,
    supervision::{RequestError, Root, RootOptions, Shutdown, SupervisorSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_shutdown_goes_newest_first_each_awaited_while_the_supervisor_answers() {
    // S-18, S-20
    let record = Record::default();
    let mut spec = SupervisorSpec::one_for_one();
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(100), &record));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    let supervisor = root.supervisor();
    root.stop(None);
    tokio::time::sleep(50 * MS).await;
    assert_eq!(supervisor.count_children().await.unwrap().active, 3);
    assert_eq!(supervisor.restart("a").await, Err(RequestError::ShuttingDown));
    assert_eq!(root.wait().await, Exit::Requested);
    assert_eq!(record.take(), ["-c", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn ractors_own_stop_does_the_same() {
    // S-20, design 2: the mailbox is closed by then
    let record = Record::default();
    let mut spec = SupervisorSpec::one_for_one();
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(10), &record));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    let begin = tokio::time::Instant::now();
    root.cell().stop(None);
    assert_eq!(root.wait().await, Exit::Requested);
    assert_eq!(record.take(), ["-c", "-b", "-a"]);
    assert_eq!(begin.elapsed().as_millis(), 30, "it does not wait for causes that cannot come any more");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_is_killed_after_its_time() {
    // S-19
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(puppet("a", Script::slow_stop(60_000), &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let begin = tokio::time::Instant::now();
    root.supervisor().terminate_child("a").await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 5);
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_whole_in_order_still() {
    // S-20, T-3
    let record = Record::default();
    let mut spec = SupervisorSpec::one_for_one();
    for id in ["a", "b", "c"] {
        spec = spec.child(puppet(id, Script::slow_stop(60_000), &record).shutdown(Shutdown::Infinity));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    record.take();
    let begin = tokio::time::Instant::now();
    let _ = root.shutdown(3 * SEC).await;
    assert_eq!(begin.elapsed().as_secs(), 3);
    assert_eq!(record.take(), ["-c", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_shuts_the_tree_down() {
    // T-3
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(plain("a", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    drop(root);
    settle().await;
    assert_eq!(record.take(), ["?a", "+a", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_stops_all_at_once() {
    // S-20, S-23
    let record = Record::default();
    let root = Root::start(SupervisorSpec::dynamic().max_children(3), RootOptions::default()).await.unwrap();
    for id in ["a", "b", "c"] {
        root.supervisor().start_child(puppet(id, Script::slow_stop(1000), &record)).await.unwrap();
    }
    let full = root.supervisor().start_child(plain("d", &record)).await;
    assert_eq!(full, Err(RequestError::MaxChildren(3)));
    let begin = tokio::time::Instant::now();
    let _ = root.shutdown(10 * SEC).await;
    assert_eq!(begin.elapsed().as_secs(), 1);
}
