//! Swaps (W-5): a worker that is due goes when its successor is ready.

use super::*;

fn overlapping(max: usize) -> Bench {
    Bench::with(LedgerConfig { overlap: true, max_waiting: 0, ..LedgerConfig::keyed(max) })
}

fn used(b: &Bench) -> usize {
    b.ledger.status().used
}

#[test]
fn leases_end_first_and_callers_wait_for_the_successor() {
    let mut b = overlapping(2);
    b.lend("a");
    assert!(b.recycle("a", 1).is_empty());
    assert_eq!(b.release("a"), ["swap a#1 Age"]);
    assert_eq!(used(&b), 2);
    // They join, however short the queue is.
    assert!(b.ask("a").is_empty() && b.ask("a").is_empty());
    assert!(b.ledger.lease_now(b.now, Some(&"a".into())).is_none());
    assert!(b.recycle("a", 1).is_empty());
    assert_eq!(b.ready("a", 2), ["grant 2 a#2", "grant 3 a#2"]);
    assert_eq!(used(&b), 2, "the one before it has not ended");
    assert!(b.swap_over("a").is_empty());
    assert_eq!((used(&b), b.worker("a").served), (1, 3));
    assert_eq!(b.ledger.status().totals.started, 1);
}

#[test]
fn a_successor_that_fails_leaves_the_worker_and_the_next_try_waits() {
    let mut b = overlapping(2);
    b.warm("a");
    assert_eq!(b.recycle("a", 1), ["swap a#1 Age"]);
    b.ask("a");
    assert_eq!(b.swap_over("a"), ["grant 2 a#1"]);
    b.release("a");
    b.wait(SWAP_PAUSE - Duration::from_millis(10));
    assert!(b.recycle("a", 1).is_empty());
    assert_eq!(b.worker("a").state, ChildState::Ready);
    b.lend("a");
    b.release("a");
    b.wait(Duration::from_millis(10));
    assert_eq!(b.recycle("a", 1), ["swap a#1 Age"]);
    b.swap_over("a");
    // A request is not delayed.
    let (incarnation, why) = (Incarnation(1), RecycleReason::Requested);
    let asked = LedgerInput::Recycle { key: "a".into(), incarnation, why };
    assert_eq!(b.feed(asked), ["swap a#1 Requested"]);
}

#[test]
fn at_the_cap_it_is_stopped_and_starts_again_on_demand() {
    let mut b = overlapping(2);
    b.warm("b");
    b.warm("a");
    assert_eq!(b.recycle("a", 1), ["stop a Recycle"]);
    // One slot is left, and `b` needs no other one.
    b.gone("a", 1);
    assert_eq!(b.recycle("b", 1), ["swap b#1 Age"]);
}

#[test]
fn no_slot_is_taken_that_a_caller_waits_for() {
    let mut b = Bench::with(LedgerConfig { overlap: true, ..LedgerConfig::keyed(3) });
    b.lend("a");
    b.warm("b");
    b.feed(LedgerInput::Resize { max: 1 }); // b goes
    assert!(b.ask("c").is_empty());
    b.recycle("a", 1);
    assert_eq!(b.release("a"), ["stop a Recycle"]);
    b.gone("b", 1);
    assert_eq!(b.gone("a", 1), ["start c"]);
}

#[test]
fn a_key_that_waits_takes_the_place_of_a_swap_that_nobody_waits_for() {
    let mut b = Bench::with(LedgerConfig { overlap: true, ..LedgerConfig::keyed(2) });
    b.warm("a");
    b.recycle("a", 1);
    assert_eq!(b.ask("b"), ["stop a Evicted"]);
    assert_eq!(used(&b), 2);
    assert_eq!(b.gone("a", 1), ["start b"]);
    // The ledger is told late that the swap is over.
    assert!(b.swap_over("a").is_empty());
    assert_eq!(used(&b), 1);
}

#[test]
fn a_key_that_waits_gets_the_slot_of_the_swap_when_the_old_one_has_gone() {
    let mut b = Bench::with(LedgerConfig { overlap: true, ..LedgerConfig::keyed(2) });
    b.warm("a");
    b.recycle("a", 1);
    b.ask("a");
    assert!(b.ask("b").is_empty(), "a is wanted");
    assert_eq!(b.ready("a", 2), ["grant 2 a#2"]);
    assert_eq!(b.swap_over("a"), ["start b"]);
}

#[test]
fn a_crash_during_the_swap_makes_the_successor_the_restart() {
    let mut b = overlapping(2);
    b.warm("a");
    b.recycle("a", 1);
    b.ask("a");
    b.feed(LedgerInput::Failing { key: "a".into(), incarnation: Incarnation(1) });
    assert_eq!(used(&b), 2);
    assert!(b.report("a", 2, ChildState::Starting).is_empty());
    assert!(b.swap_over("a").is_empty());
    assert_eq!(used(&b), 1);
    assert_eq!(b.ready("a", 2), ["grant 2 a#2"]);
    // Nothing of this is a swap that has failed.
    b.release("a");
    assert_eq!(b.recycle("a", 2), ["swap a#2 Age"]);
}

#[test]
fn a_successor_that_is_due_before_its_predecessor_has_gone_waits_for_that() {
    let mut b = overlapping(3);
    b.warm("a");
    b.recycle("a", 1);
    b.ready("a", 2);
    assert!(b.recycle("a", 2).is_empty());
    assert!(b.ledger.lease_now(b.now, Some(&"a".into())).is_none());
    assert_eq!(b.swap_over("a"), ["swap a#2 Age"]);
}

#[test]
fn a_drain_stops_both_and_a_lowered_cap_too() {
    let mut b = overlapping(3);
    b.warm("a");
    b.recycle("a", 1);
    assert_eq!(b.feed(LedgerInput::Resize { max: 1 }), ["stop a Resize"]);
    b.gone("a", 1);
    b.feed(LedgerInput::Resize { max: 3 });
    b.warm("b");
    b.recycle("b", 1);
    b.ask("b");
    assert_eq!(b.feed(LedgerInput::Drain), ["refuse 3 Draining", "stop b Drain"]);
    assert!(b.swap_over("b").is_empty(), "one of the two is still there");
    assert_eq!(b.gone("b", 1), ["drained"]);
}

#[test]
fn it_counts_as_a_start_under_way() {
    // L-5
    let mut b = Bench::with(LedgerConfig { overlap: true, start_concurrency: 1, ..LedgerConfig::keyed(4) });
    b.warm("a");
    b.recycle("a", 1);
    assert!(b.ask("b").is_empty());
    assert_eq!(b.ready("a", 2), ["start b"]);
}

#[test]
fn the_slot_of_the_one_before_goes_to_the_key_that_waits_and_not_to_the_next_swap() {
    // L-4
    let mut b = Bench::with(LedgerConfig { overlap: true, ..LedgerConfig::keyed(2) });
    b.warm("a");
    b.recycle("a", 1);
    b.ready("a", 2);
    assert!(b.recycle("a", 2).is_empty());
    assert!(b.ask("b").is_empty());
    assert_eq!(b.swap_over("a"), ["stop a Recycle", "start b"]);
}

#[test]
fn those_who_wait_for_a_successor_take_no_room_in_the_queue() {
    let mut b = Bench::with(LedgerConfig { overlap: true, max_waiting: 1, ..LedgerConfig::keyed(2) });
    b.warm("a");
    b.recycle("a", 1);
    for _ in 0..3 {
        assert!(b.ask("a").is_empty());
    }
    assert!(b.ask("b").is_empty());
    assert_eq!(b.ask("c"), ["refuse 6 Exhausted"]);
}
