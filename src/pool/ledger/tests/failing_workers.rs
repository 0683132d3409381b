//! A worker whose end is known but has not been reported yet.

use super::*;

impl Bench {
    fn fails(&mut self, key: &str, incarnation: u64) -> Vec<String> {
        self.feed(LedgerInput::Failing { key: key.into(), incarnation: Incarnation(incarnation) })
    }
}

#[test]
fn nobody_gets_a_worker_that_fails_and_its_leases_are_over() {
    // L-7
    let mut b = Bench::with(LedgerConfig { per_worker: Some(2), ..LedgerConfig::keyed(2) });
    b.lend("a");
    assert_eq!(b.fails("a", 1), ["revoke Lost"]);
    assert_eq!(b.worker("a").state, ChildState::Stopping);
    assert!(b.ask("a").is_empty(), "it waits for what follows");
    assert!(b.fails("a", 1).is_empty(), "once is enough");
    assert_eq!(b.report("a", 2, ChildState::Starting), [""; 0]);
    assert_eq!(b.ready("a", 2), ["grant 2 a#2"]);
    assert!(b.fails("a", 1).is_empty(), "an old incarnation");
    assert_eq!(b.worker("a").leases, 1);
}

#[test]
fn those_in_line_get_another_worker_and_no_release_gives_them_the_failing_one() {
    // L-2, L-7
    let mut b = Bench::with(LedgerConfig { per_worker: Some(1), ..LedgerConfig::anonymous(2) });
    for (key, ticket) in [("w1", 1), ("w2", 2)] {
        assert_eq!(b.ask("*"), [format!("start {key}")]);
        assert_eq!(b.ready(key, 1).len(), 1, "{ticket} is served");
    }
    assert!(b.ask("*").is_empty());
    let lease = b.lease_on("w1");
    assert_eq!(b.fails("w1", 1).len(), 1);
    assert!(b.feed(LedgerInput::Release { lease }).is_empty(), "it was revoked");
    assert_eq!(b.release("w2"), ["grant 3 w2#1"]);
}

#[test]
fn a_failing_worker_counts_as_one_that_comes_back_until_it_is_known_better() {
    // L-2
    let mut b = Bench::with(LedgerConfig { per_worker: Some(1), ..LedgerConfig::anonymous(2) });
    b.ask("*");
    b.ready("w1", 1);
    assert_eq!(b.fails("w1", 1).len(), 1);
    assert!(b.ask("*").is_empty(), "no other one is started for the caller");
    assert_eq!(b.backs_off("w1", 1), ["start w2"], "it has worked, and takes its time");
}

#[test]
fn a_draining_pool_does_not_wait_for_a_failing_worker_to_come_back() {
    // L-5
    let mut b = Bench::keyed(2);
    b.lend("a");
    b.lend("b");
    b.fails("a", 1);
    assert_eq!(b.feed(LedgerInput::Drain), ["stop a Drain"]);
    let revoked = b.fails("b", 1);
    assert_eq!(revoked.last().unwrap(), "stop b Drain");
    b.gone("a", 1);
    assert_eq!(b.gone("b", 1), ["drained"]);
}
