//! A failure that a supervisor cannot handle goes up the tree, and the whole chain of causes comes
//! out at the root (S-2, S-17, T-3).

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    state::GiveUpReason,
    supervision::{ChildSpec, SupervisorSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn the_causal_chain_of_three_levels_comes_out_at_the_top() {
    // S-17
    let record = Record::default();
    let leaf = SupervisorSpec::one_for_one().intensity(1, SEC).child(plain("leaf", &record));
    let middle = SupervisorSpec::one_for_one().intensity(1, SEC).child(ChildSpec::supervisor("low", leaf));
    let top = SupervisorSpec::one_for_one().intensity(0, SEC).child(ChildSpec::supervisor("middle", middle));
    let root = Root::start(top, RootOptions::default()).await.unwrap();
    let leaf = root.child::<Pull>("/middle/low/leaf").unwrap();
    // Two crashes spend `low`; that twice spends `middle`; that once spends the root.
    for crash in 1..=4 {
        assert_eq!(leaf.wait_ready(SEC).await.unwrap().0, crash, "incarnations count on across supervisors");
        leaf.cast(Pull::Fail("boom")).unwrap();
        settle().await;
    }
    let exit = root.wait().await;
    let culprits: Vec<_> = exit.culprits().map(|c| c.as_str().to_owned()).collect();
    assert_eq!(culprits, ["middle", "low", "leaf"]);
    assert_eq!(exit.chain().last(), Some(&Exit::ActorFailed { chain: vec!["boom".into()] }));
    let Exit::IntensityExceeded { limit, .. } = exit else { panic!() };
    assert_eq!(limit, GiveUpReason::Intensity { max_restarts: 0, period: SEC });
}

#[tokio::test(start_paused = true)]
async fn the_restart_that_is_one_too_many_is_not_made_and_old_ones_are_forgotten() {
    // S-2
    let record = Record::default();
    let spec =
        SupervisorSpec::one_for_one().intensity(2, SEC).child(plain("b", &record)).child(plain("a", &record));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let a = root.child::<Pull>("/a").unwrap();
    for _ in 0..5 {
        // Never more than two in a second.
        a.cast(Pull::Fail("x")).unwrap();
        tokio::time::sleep(501 * MS).await;
    }
    record.take();
    for _ in 0..2 {
        a.cast(Pull::Fail("x")).unwrap();
        settle().await;
    }
    assert_eq!(record.take(), ["-a", "?a", "+a", "-a", "-b"]);
    assert!(matches!(root.wait().await, Exit::IntensityExceeded { .. }));
}
