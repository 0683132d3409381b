//! A supervisor that is killed leaves nothing: its successor starts only when none of its children
//! is left (S-21).

use procession::internals::{Root, RootOptions};
use procession::supervision::{ChildSpec, SupervisorSpec};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn children_of_a_killed_supervisor_end_before_its_successor_starts() {
    // S-21
    let record = Record::default();
    let inner = SupervisorSpec::one_for_one()
        .child(plain("a", &record))
        .child(plain("b", &record))
        .child(puppet("slow", Script::slow_start(10_000), &record).background());
    let outer = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let root = Root::start(outer, RootOptions::default()).await.unwrap();
    record.take();
    // Not typed: the supervisor's actor.
    let inner = root.find("/inner").unwrap();
    inner.live().as_ref().unwrap().cell.kill();
    settle().await;
    let happened = record.take();
    assert_eq!(happened.len(), 7, "{happened:?}");
    let mut ends = happened[..2].to_vec();
    ends.sort();
    assert_eq!(ends, ["-a", "-b"]);
    assert_eq!(happened[2..], ["?a", "+a", "?b", "+b", "?slow"]);
    assert_eq!(root.find("/inner/a").unwrap().incarnation().0, 2);
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(record.take(), ["+slow"], "the half-born child of the killed supervisor never came up");
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_root_ends_with_everything() {
    // S-21
    let record = Record::default();
    let spec = SupervisorSpec::one_for_one().child(plain("a", &record)).child(plain("b", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    root.cell().kill();
    assert_eq!(root.wait().await, procession::exit::Exit::ActorKilled);
    let mut happened = record.take().split_off(4);
    happened.sort();
    assert_eq!(happened, ["-a", "-b"]);
}
