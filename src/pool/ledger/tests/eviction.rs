//! At the cap: which worker is stopped, which caller waits, and in which order.

use super::*;

#[test]
fn the_least_recently_used_idle_worker_goes_first() {
    // L-4
    let mut b = Bench::keyed(3);
    b.warm("a");
    b.warm("b");
    b.warm("c");
    b.lend("a"); // used last, and busy
    assert_eq!(b.ask("d"), ["stop b Evicted"]);
    // The slot is free when the worker is gone, not when it has been asked to stop.
    assert_eq!(b.ledger.status().used, 3);
    assert_eq!(b.gone("b", 1), ["start d"]);
}

#[test]
fn two_creations_at_the_cap_never_count_on_the_same_victim() {
    // L-3
    let mut b = Bench::keyed(2);
    b.warm("a");
    b.warm("b");
    assert_eq!(b.ask("c"), ["stop a Evicted"]);
    assert_eq!(b.ask("d"), ["stop b Evicted"]);
    assert!(b.ask("e").is_empty());
    assert_eq!(b.gone("b", 1), ["start c"]);
    assert_eq!(b.gone("a", 1), ["start d"]);
    assert_eq!(b.ledger.status().used, 2);
}

#[test]
fn workers_that_wait_for_a_restart_go_before_idle_ones_unless_somebody_wants_them() {
    // L-7
    let mut b = Bench::keyed(3);
    b.warm("a");
    b.warm("b");
    b.warm("c");
    b.backs_off("c", 1);
    b.backs_off("b", 1);
    b.ask("b");
    assert_eq!(b.ask("d"), ["stop c Evicted"]);
    assert_eq!(b.ask("e"), ["stop a Evicted"]);
    assert!(b.ask("f").is_empty());
    // The only caller of b gives up: now b may be stopped.
    let wants_b = b.ledger.tickets.iter().find(|(_, at)| at.1 == Some(b.ledger.by_key["b"])).unwrap().0.0;
    assert_eq!(b.cancel(wants_b), ["stop b Evicted"]);
}

#[test]
fn a_worker_that_falls_idle_makes_room_for_the_first_in_the_queue() {
    // L-4
    let mut b = Bench::keyed(1);
    b.lend("a");
    assert!(b.ask("b").is_empty());
    assert!(b.ask("c").is_empty());
    assert_eq!(b.release("a"), ["stop a Evicted"]);
    assert!(b.ask("a").is_empty());
    assert_eq!(b.gone("a", 1), ["start b"]);
    assert_eq!(b.ready("b", 1), ["grant 2 b#1"]);
    assert_eq!(b.release("b"), ["stop b Evicted"]);
    assert_eq!(b.gone("b", 1), ["start c"]);
}

#[test]
fn a_key_in_constant_use_cannot_starve_the_others() {
    let mut b = Bench::with(LedgerConfig { max_overtakes: Some(2), ..LedgerConfig::keyed(1) });
    b.lend("a");
    assert!(b.ask("b").is_empty());
    assert_eq!(b.ask("a"), ["grant 3 a#1"]);
    assert_eq!(b.ask("a"), ["grant 4 a#1"]);
    assert!(b.ask("a").is_empty()); // enough
    assert!(b.release("a").is_empty());
    assert!(b.release("a").is_empty());
    assert_eq!(b.release("a"), ["stop a Evicted"]);
    assert_eq!(b.gone("a", 1), ["start b"]);
    assert_eq!(b.ready("b", 1), ["grant 2 b#1"]);
}

#[test]
fn those_held_back_are_served_when_the_first_in_the_queue_gives_up() {
    // L-6
    let mut b = Bench::with(LedgerConfig { max_overtakes: Some(0), ..LedgerConfig::keyed(1) });
    b.lend("a");
    b.ask("b");
    b.ask("a");
    assert_eq!(b.cancel(2), ["grant 3 a#1"]);
}

#[test]
fn an_old_line_at_a_full_worker_is_served_before_a_younger_demand() {
    let mut b =
        Bench::with(LedgerConfig { per_worker: Some(1), max_overtakes: Some(0), ..LedgerConfig::keyed(1) });
    b.lend("a");
    b.ask("a");
    b.ask("b");
    b.ask("a");
    assert_eq!(b.release("a"), ["grant 2 a#1"]);
    // Its next caller is younger than b's.
    assert_eq!(b.release("a"), ["stop a Evicted"]);
    assert_eq!(b.gone("a", 1), ["start b"]);
}

#[test]
fn the_queue_is_bounded_and_counts_only_those_who_wait_for_a_slot() {
    // L-4
    let mut b = Bench::with(LedgerConfig { max_waiting: 1, ..LedgerConfig::keyed(1) });
    b.ask("a");
    b.ask("a"); // joins the start
    b.ask("a");
    assert!(b.ask("b").is_empty());
    assert_eq!(b.ask("c"), ["refuse 5 Exhausted"]);
    assert_eq!(b.ask("b"), ["refuse 6 Exhausted"]);
    assert!(b.ask("a").is_empty());
    b.cancel(4);
    assert!(b.ask("c").is_empty());
}

#[test]
fn a_pool_without_a_queue_still_starts_and_evicts() {
    // L-4
    let mut b = Bench::with(LedgerConfig { max_waiting: 0, ..LedgerConfig::keyed(1) });
    b.warm("a");
    assert_eq!(b.ask("b"), ["stop a Evicted"]);
    assert_eq!(b.ask("c"), ["refuse 3 Exhausted"]);
    assert_eq!(b.gone("a", 1), ["start b"]);
}

#[test]
fn a_waiter_that_gives_up_gives_its_place_to_the_next() {
    // L-6
    let mut b = Bench::keyed(1);
    b.warm("a");
    assert_eq!(b.ask("b"), ["stop a Evicted"]);
    b.ask("c");
    assert!(b.cancel(2).is_empty());
    assert_eq!(b.gone("a", 1), ["start c"]);
    // The start goes on without it, and the worker is simply idle.
    assert!(b.cancel(3).is_empty());
    assert!(b.ready("c", 1).is_empty());
    assert_eq!(b.ledger.status().idle, 1);
    assert!(b.cancel(3).is_empty());
}

#[test]
fn a_key_keeps_only_the_place_of_those_who_still_wait_for_it() {
    // L-6
    let mut b = Bench::keyed(1);
    b.lend("a");
    b.ask("b");
    b.ask("c");
    b.ask("b");
    b.cancel(2);
    b.release("a");
    assert_eq!(b.gone("a", 1), ["start c"]);
}

#[test]
fn a_busy_worker_goes_only_if_allowed_and_its_holders_are_told_first() {
    // L-4
    let mut b = Bench::with(LedgerConfig { evict_busy: true, ..LedgerConfig::keyed(2) });
    b.lend("a");
    b.lend("b");
    b.ask("a"); // granted last
    assert_eq!(b.ask("c"), ["revoke Evicted", "stop b EvictedBusy"]);
    assert_eq!(b.gone("b", 1), ["start c"]);
}

#[test]
fn a_holder_is_not_sacrificed_for_a_caller_that_had_been_waiting_before_it() {
    // L-4: two callers at a cap of one must not endlessly stop each other's worker.
    let mut b = Bench::with(LedgerConfig { evict_busy: true, ..LedgerConfig::keyed(1) });
    b.ask("a");
    b.ask("b");
    assert_eq!(b.ready("a", 1), ["grant 1 a#1"]);
    assert_eq!(b.release("a"), ["stop a Evicted"]);
}

#[test]
fn a_lower_cap_stops_idle_workers_and_waits_for_busy_ones() {
    // L-5
    let mut b = Bench::with(LedgerConfig { evict_busy: true, ..LedgerConfig::keyed(3) });
    b.warm("a");
    b.lend("b");
    b.lend("c");
    assert_eq!(b.feed(LedgerInput::Resize { max: 1 }), ["stop a Resize"]);
    assert!(b.ask("d").is_empty());
    assert!(b.gone("a", 1).is_empty());
    // Once down to the cap, the ordinary rules hold again: d came after the lease on b.
    assert_eq!(b.release("c"), ["stop c Resize", "revoke Evicted", "stop b EvictedBusy"]);
    assert!(b.gone("c", 1).is_empty());
    assert_eq!(b.gone("b", 1), ["start d"]);
}

#[test]
fn a_higher_cap_serves_those_who_wait() {
    // L-5
    let mut b = Bench::keyed(1);
    b.lend("a");
    b.ask("b");
    b.ask("c");
    assert_eq!(b.feed(LedgerInput::Resize { max: 3 }), ["start b", "start c"]);
}

#[test]
fn a_slot_that_is_assigned_but_not_used_yet_is_given_back_to_a_lower_cap() {
    // L-3, L-5
    let mut b = Bench::with(LedgerConfig { start_concurrency: 1, ..LedgerConfig::keyed(2) });
    b.ask("a");
    b.ask("b");
    assert!(b.feed(LedgerInput::Resize { max: 1 }).is_empty());
    assert_eq!(b.ready("a", 1), ["grant 1 a#1"]);
    assert_eq!(b.release("a"), ["stop a Evicted"]);
    assert_eq!(b.gone("a", 1), ["start b"]);
}

#[test]
fn a_worker_beyond_the_cap_goes_when_released_though_nobody_waits() {
    // L-5
    let mut b = Bench::keyed(2);
    b.lend("a");
    b.lend("b");
    assert!(b.feed(LedgerInput::Resize { max: 1 }).is_empty());
    assert_eq!(b.release("a"), ["stop a Resize"]);
}

#[test]
fn beyond_the_cap_the_queue_is_bounded_though_busy_workers_may_be_evicted() {
    // L-4
    let mut b = Bench::with(LedgerConfig { evict_busy: true, max_waiting: 1, ..LedgerConfig::keyed(2) });
    b.lend("a");
    b.lend("b");
    b.feed(LedgerInput::Resize { max: 1 });
    assert!(b.ask("c").is_empty());
    assert_eq!(b.ask("d"), ["refuse 4 Exhausted"]);
}

#[test]
fn a_key_that_is_wanted_again_while_it_is_evicted_returns_and_is_not_taken_for_failed() {
    // L-1: its worker never became ready again, but the pool itself stopped it.
    let mut b = Bench::keyed(1);
    b.warm("a");
    b.backs_off("a", 1);
    assert_eq!(b.ask("b"), ["stop a Evicted"]);
    assert!(b.ask("a").is_empty());
    assert!(b.cancel(2).is_empty());
    assert_eq!(b.gone("a", 1), ["start a"]);
}

#[test]
fn a_slot_that_goes_to_an_older_caller_lifts_no_ban_on_overtaking() {
    let two = Some(2);
    let mut b =
        Bench::with(LedgerConfig { per_worker: two, max_overtakes: Some(0), ..LedgerConfig::keyed(2) });
    b.ask("g");
    b.ask("g");
    b.ask("g"); // 3: waits for a lease
    b.ready("g", 1);
    b.ask("a");
    b.ready("a", 1);
    b.ask("k"); // 5: waits for a slot
    assert!(b.ask("a").is_empty()); // 6: held back
    assert_eq!(b.gone("g", 1), ["revoke Lost", "revoke Lost", "start g"]);
    assert_eq!(b.release("a"), ["stop a Evicted"]);
}
