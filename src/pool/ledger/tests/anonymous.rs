//! Pools in which any worker will do.

use super::*;

fn config(max: usize) -> LedgerConfig {
    LedgerConfig::anonymous(max)
}

#[test]
fn the_least_loaded_worker_is_lent_and_new_ones_start_up_to_the_cap() {
    // L-2
    let mut b = Bench::with(LedgerConfig { per_worker: Some(2), ..config(2) });
    assert_eq!(b.ask("*"), ["start w1"]);
    assert!(b.ask("*").is_empty()); // w1 will have room for two
    assert_eq!(b.ask("*"), ["start w2"]);
    assert_eq!(b.ready("w1", 1), ["grant 1 w1#1", "grant 2 w1#1"]);
    assert_eq!(b.ready("w2", 1), ["grant 3 w2#1"]);
    assert_eq!(b.ask("*"), ["grant 4 w2#1"]);
    assert!(b.ask("*").is_empty());
    assert_eq!(b.release("w1"), ["grant 5 w1#1"]);
    b.release("w2");
    b.release("w2");
    b.release("w1");
    assert_eq!(b.ask("*"), ["grant 6 w2#1"]);
}

#[test]
fn names_are_never_used_twice() {
    // L-2
    let mut b = Bench::with(config(1));
    assert_eq!(b.ask("*"), ["start w1"]);
    b.ready("w1", 1);
    b.ask("*");
    assert_eq!(b.gone("w1", 1), ["revoke Lost", "start w2"]);
}

#[test]
fn the_minimum_and_the_spares_are_kept_warm() {
    // L-2, L-5
    let mut b = Bench::with(LedgerConfig { min: 1, min_idle: 2, ..config(4) });
    assert_eq!(b.feed(LedgerInput::Tick), ["start w1", "start w2"]);
    b.ready("w1", 1);
    b.ready("w2", 1);
    assert_eq!(b.ask("*"), ["grant 1 w2#1", "start w3"]);
    assert_eq!(b.ask("*"), ["grant 2 w1#1", "start w4"]);
    b.ready("w3", 1);
    assert_eq!(b.ask("*"), ["grant 3 w3#1"]); // at the cap
}

#[test]
fn the_idle_ttl_leaves_the_minimum_alone() {
    // L-5
    let mut b = Bench::with(LedgerConfig { min: 1, idle_ttl: Some(Duration::from_secs(10)), ..config(3) });
    b.feed(LedgerInput::Tick);
    b.ready("w1", 1);
    b.ask("*");
    b.ask("*");
    b.ready("w2", 1);
    b.release("w1");
    b.release("w2");
    assert_eq!(b.wait(Duration::from_secs(11)), ["stop w1 Idle"]);
    assert!(b.wait(Duration::from_secs(60)).is_empty()); // nor does the timer spin
}

#[test]
fn a_failing_start_answers_those_it_was_made_for_and_never_spins() {
    // L-1
    let mut b = Bench::with(LedgerConfig { min: 1, ..config(2) });
    assert_eq!(b.feed(LedgerInput::Tick), ["start w1"]);
    assert_eq!(b.gone("w1", 1), ["timer 1.002s"]);
    assert_eq!(b.ask("*"), ["start w2"]);
    assert_eq!(b.gone("w2", 1), ["refuse 1 Failed"]);
    assert!(b.wait(Duration::from_millis(900)).is_empty());
    assert_eq!(b.wait(Duration::from_millis(200)), ["start w3"]);
}

#[test]
fn callers_sit_out_the_back_off_of_a_worker_that_never_worked() {
    // L-2: one broken program must not be started once per slot
    let mut b = Bench::with(config(3));
    b.ask("*");
    assert!(b.backs_off("w1", 1).is_empty());
    // After a whole crash loop, another worker is worth a try.
    assert_eq!(b.report("w1", 1, ChildState::CoolingOff { until: TreeInstant::NEVER }), ["start w2"]);
}

#[test]
fn callers_do_not_wait_for_the_restart_of_a_worker_that_did_work() {
    // L-2
    let mut b = Bench::with(config(2));
    b.ask("*");
    b.ready("w1", 1);
    assert_eq!(b.backs_off("w1", 1), ["revoke Lost"]);
    assert_eq!(b.ask("*"), ["start w2"]);
}

#[test]
fn a_reservation_that_nobody_needs_is_given_back() {
    // L-6
    let mut b = Bench::with(LedgerConfig { start_concurrency: 1, ..config(3) });
    b.ask("*");
    b.ask("*");
    assert_eq!(b.ledger.status().used, 2);
    b.cancel(1);
    assert_eq!(b.ledger.status().used, 1);
    assert_eq!(b.ready("w1", 1), ["grant 2 w1#1"]);
}

#[test]
fn the_queue_is_bounded_beyond_what_the_slots_will_serve() {
    // L-4
    let mut b = Bench::with(LedgerConfig { max_waiting: 1, ..config(1) });
    assert_eq!(b.ask("*"), ["start w1"]);
    assert!(b.ask("*").is_empty());
    assert_eq!(b.ask("*"), ["refuse 3 Exhausted"]);
}

#[test]
fn a_lower_cap_stops_the_idle_ones() {
    // L-5
    let mut b = Bench::with(config(2));
    b.ask("*");
    b.ask("*");
    b.ready("w1", 1);
    b.ready("w2", 1);
    b.release("w2");
    assert_eq!(b.feed(LedgerInput::Resize { max: 1 }), ["stop w2 Resize"]);
    assert!(b.ask("*").is_empty());
    assert!(b.gone("w2", 1).is_empty());
    assert_eq!(b.release("w1"), ["grant 3 w1#1"]);
}

#[test]
fn a_worker_that_callers_wait_for_does_not_expire() {
    // L-5
    let mut b = Bench::with(LedgerConfig { idle_ttl: Some(Duration::from_secs(1)), ..config(1) });
    b.ask("*");
    b.backs_off("w1", 1);
    assert!(b.wait(Duration::from_secs(5)).is_empty());
    assert_eq!(b.cancel(1), ["stop w1 Idle"]);
}
