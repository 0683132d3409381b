//! How workers, leases and the pool itself come to an end.

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn with_ttl(max: usize) -> Bench {
    Bench::with(LedgerConfig { idle_ttl: Some(TTL), ..LedgerConfig::keyed(max) })
}

#[test]
fn an_unused_worker_is_stopped_after_the_idle_ttl() {
    // L-5
    let mut b = with_ttl(2);
    b.lend("a");
    assert_eq!(b.release("a"), ["timer 10.003s"]);
    b.warm("b"); // the timer stands
    assert!(b.wait(Duration::from_millis(9_900)).is_empty());
    b.lend("b");
    assert_eq!(b.wait(Duration::from_millis(200)), ["stop a Idle"]);
    assert!(b.wait(TTL).is_empty()); // b is in use
    assert_eq!(b.release("b").len(), 1);
}

#[test]
fn only_callers_use_a_worker() {
    // L-9: neither snapshots, nor restarts, nor reports
    let mut b = with_ttl(1);
    b.warm("a");
    let used = b.worker("a").last_used;
    b.wait(Duration::from_secs(6));
    b.ledger.status();
    b.backs_off("a", 1);
    b.report("a", 2, ChildState::Starting);
    b.ready("a", 2);
    assert_eq!(b.worker("a").last_used, used);
    assert_eq!(b.wait(Duration::from_secs(5)), ["stop a Idle"]);
}

#[test]
fn a_worker_that_waits_for_a_restart_nobody_wants_expires_too() {
    // L-5
    let mut b = with_ttl(1);
    b.warm("a");
    b.backs_off("a", 1);
    assert_eq!(b.wait(TTL * 2), ["stop a Idle"]);
}

#[test]
fn a_recycled_worker_goes_when_idle_and_returns_for_those_who_wait() {
    // L-5, W-5
    let mut b = Bench::keyed(1);
    b.lend("a");
    assert!(b.recycle("a", 1).is_empty());
    assert!(b.ask("a").is_empty());
    assert_eq!(b.release("a"), ["stop a Recycle"]);
    assert_eq!(b.gone("a", 1), ["start a"]);
    b.ready("a", 2);
    b.release("a");
    assert!(b.recycle("a", 1).is_empty());
    assert_eq!(b.recycle("a", 2), ["stop a Recycle"]);
}

#[test]
fn a_worker_stopped_by_somebody_else_holds_its_slot_until_it_is_gone() {
    // L-3, R-8
    let mut b = Bench::keyed(1);
    b.lend("a");
    assert_eq!(b.report("a", 1, ChildState::Stopping), ["revoke Stopping"]);
    assert!(b.ask("b").is_empty()); // its slot will be free: no worker is evicted
    assert!(b.report("a", 2, ChildState::Starting).is_empty()); // an operator's restart
    assert_eq!(b.ready("a", 2), ["stop a Evicted"]);
    assert_eq!(b.gone("a", 2), ["start b"]);
}

#[test]
fn a_stop_of_ours_is_not_undone_by_what_was_under_way() {
    //
    let mut b = Bench::keyed(1);
    b.warm("a");
    assert_eq!(b.ask("b"), ["stop a Evicted"]);
    assert!(b.backs_off("a", 1).is_empty());
    assert!(b.report("a", 2, ChildState::Starting).is_empty());
    assert!(b.ready("a", 2).is_empty());
    assert_eq!(b.gone("a", 2), ["start b"]);
}

#[test]
fn a_drain_refuses_callers_waits_for_leases_and_says_when_it_is_over() {
    // L-5
    let mut b = with_ttl(4);
    b.warm("idle");
    b.lend("busy");
    b.ask("starting");
    b.ask("reserved");
    b.ask("beyond");
    let said = b.feed(LedgerInput::Drain);
    assert_eq!(
        said,
        [
            "refuse 3 Draining",
            "refuse 4 Draining",
            "refuse 5 Draining",
            "stop starting Drain",
            "stop reserved Drain",
            "timer off"
        ]
    );
    assert_eq!(b.ask("busy"), ["refuse 6 Draining"]);
    b.gone("idle", 1);
    b.gone("starting", 0);
    assert_eq!(b.release("busy"), ["stop busy Drain"]);
    assert!(b.feed(LedgerInput::Drain).is_empty());
    assert!(b.gone("busy", 1).is_empty());
    assert_eq!(b.gone("reserved", 1), ["drained"]);
    assert!(b.feed(LedgerInput::Tick).is_empty());
    assert_eq!(b.ledger.status().used, 0);
}

#[test]
fn a_worker_that_restarts_during_a_drain_is_stopped() {
    // L-5
    let mut b = Bench::keyed(1);
    b.lend("a");
    b.feed(LedgerInput::Drain);
    assert_eq!(b.report("a", 2, ChildState::Starting), ["revoke Lost", "stop a Drain"]);
    assert_eq!(b.gone("a", 2), ["drained"]);
}

#[test]
fn an_empty_pool_is_drained_at_once() {
    let mut b = Bench::keyed(1);
    assert_eq!(b.feed(LedgerInput::Drain), ["drained"]);
}

#[test]
fn the_warm_path_asks_for_nothing() {
    let mut b = with_ttl(1);
    b.warm("a");
    for _ in 0..100 {
        let granted = b.ledger.lease_now(b.now, Some(&"a".into())).unwrap();
        assert_eq!(granted.incarnation, Incarnation(1));
        assert!(b.feed(LedgerInput::Release { lease: granted.lease }).is_empty());
    }
    assert!(b.ledger.lease_now(b.now, Some(&"b".into())).is_none());
    assert!(b.ledger.lease_now(b.now, None).is_none());
}

#[test]
fn a_recycled_worker_goes_when_released_though_nobody_waits() {
    // W-5
    let mut b = Bench::keyed(1);
    b.lend("a");
    b.recycle("a", 1);
    assert_eq!(b.release("a"), ["stop a Recycle"]);
}

#[test]
fn the_timer_comes_forward_for_a_worker_that_returns_with_an_old_use() {
    // L-5, L-9
    let mut b = with_ttl(3);
    b.warm("first");
    b.wait(Duration::from_secs(4));
    b.warm("a");
    b.wait(Duration::from_secs(2));
    b.warm("b");
    b.report("a", 2, ChildState::Starting);
    // The next expiry known now is b's.
    assert_eq!(b.wait(Duration::from_secs(5)), ["stop first Idle", "timer 16.009s"]);
    assert_eq!(b.ready("a", 2), ["timer 14.006s"]);
}

#[test]
fn time_never_goes_back() {
    let mut b = with_ttl(1);
    b.warm("a");
    b.wait(TTL / 2);
    b.now = TreeInstant::EPOCH;
    b.lend("a");
    assert!(b.worker("a").last_used.unwrap() >= TreeInstant::new(TTL / 2));
}
