//! Callers, keys and the starts that they share.

use super::*;

#[test]
fn callers_for_a_starting_key_join_that_start_in_order() {
    // L-1
    let mut b = Bench::keyed(2);
    assert_eq!(b.ask("a"), ["start a"]);
    assert!(b.ask("a").is_empty());
    assert!(b.report("a", 1, ChildState::Starting).is_empty());
    assert!(b.ask("a").is_empty());
    assert_eq!(b.ready("a", 1), ["grant 1 a#1", "grant 2 a#1", "grant 3 a#1"]);
    assert_eq!(b.ask("a"), ["grant 4 a#1"]);
}

#[test]
fn callers_sit_out_the_back_off_of_a_first_start() {
    // L-1
    let mut b = Bench::keyed(1);
    b.ask("a");
    assert!(b.backs_off("a", 1).is_empty());
    assert!(b.report("a", 2, ChildState::Starting).is_empty());
    assert!(b.report("a", 2, ChildState::CoolingOff { until: TreeInstant::NEVER }).is_empty());
    assert_eq!(b.ready("a", 3), ["grant 1 a#3"]);
}

#[test]
fn callers_hear_of_a_start_that_failed_for_good_and_a_new_call_starts_anew() {
    // L-1
    let mut b = Bench::keyed(1);
    b.ask("a");
    b.ask("b");
    assert_eq!(b.gone("a", 1), ["refuse 1 Failed", "start b"]);
    // Refused before a process existed.
    assert_eq!(b.gone("b", 0), ["refuse 2 Failed"]);
    assert_eq!(b.ask("a"), ["start a"]);
}

#[test]
fn callers_of_a_key_that_gave_up_are_refused_even_if_it_had_been_ready() {
    // L-1, R-5
    let mut b = Bench::with(LedgerConfig { per_worker: Some(1), ..LedgerConfig::keyed(1) });
    b.lend("a");
    b.ask("a");
    let why = DownReason::GaveUp { why: crate::state::GiveUpReason::TotalRestarts { max: 1 } };
    assert_eq!(b.report("a", 1, ChildState::down(why)), ["revoke Lost", "refuse 2 Failed"]);
}

#[test]
fn a_temporary_worker_that_ends_frees_its_slot_and_returns_for_those_who_wait() {
    // L-7, G-16
    let mut b = Bench::with(LedgerConfig { per_worker: Some(1), ..LedgerConfig::keyed(1) });
    b.lend("a");
    b.ask("a");
    assert_eq!(b.gone("a", 1), ["revoke Lost", "start a"]);
    assert_eq!(b.ready("a", 2), ["grant 2 a#2"]);
}

#[test]
fn a_death_ends_the_leases_at_once_and_the_key_stays_assigned() {
    // L-7
    let mut b = Bench::keyed(1);
    b.lend("a");
    b.ask("a");
    let old = b.lease_on("a");
    assert_eq!(b.backs_off("a", 1), ["revoke Lost", "revoke Lost"]);
    assert!(b.ask("a").is_empty());
    assert!(b.report("a", 2, ChildState::Starting).is_empty());
    assert_eq!(b.ready("a", 2), ["grant 3 a#2"]);
    // The lease on the dead incarnation is over: it does not affect the new one.
    assert!(b.feed(LedgerInput::Release { lease: old }).is_empty());
    assert_eq!(b.worker("a").leases, 1);
}

#[test]
fn a_successor_that_is_ready_at_once_ends_the_leases_on_its_predecessor() {
    // L-7 (W-6: a standby is promoted)
    let mut b = Bench::keyed(1);
    b.lend("a");
    assert_eq!(b.ready("a", 2), ["revoke Lost"]);
    assert_eq!(b.ask("a"), ["grant 2 a#2"]);
}

#[test]
fn reports_of_an_old_incarnation_are_dropped() {
    // L-7
    let mut b = Bench::keyed(1);
    b.lend("a");
    b.backs_off("a", 1);
    assert!(b.ready("a", 1).is_empty());
    assert_eq!(b.worker("a").state, ChildState::BackingOff { until: TreeInstant::NEVER, attempt: 1 });
    b.ready("a", 2);
    b.ask("a");
    for state in
        [ChildState::Starting, ChildState::Stopping, ChildState::down(DownReason::Ended), ChildState::Ready]
    {
        assert!(b.report("a", 1, state).is_empty());
    }
    assert_eq!(b.worker("a").leases, 1);
    assert!(b.ready("unheard of", 1).is_empty());
    assert_eq!(b.ledger.status().totals.stale, 6);
}

#[test]
fn a_worker_takes_no_more_leases_than_it_may_and_serves_its_line_in_order() {
    let mut b = Bench::with(LedgerConfig { per_worker: Some(2), ..LedgerConfig::keyed(1) });
    for _ in 0..4 {
        b.ask("a");
    }
    assert_eq!(b.ready("a", 1), ["grant 1 a#1", "grant 2 a#1"]);
    assert_eq!(b.release("a"), ["grant 3 a#1"]);
    assert!(b.ask("a").is_empty());
    assert_eq!(b.release("a"), ["grant 4 a#1"]);
}

#[test]
fn no_more_starts_are_under_way_than_allowed() {
    // L-5
    let mut b = Bench::with(LedgerConfig { start_concurrency: 1, ..LedgerConfig::keyed(3) });
    assert_eq!(b.ask("a"), ["start a"]);
    assert!(b.ask("b").is_empty());
    assert!(b.ask("c").is_empty());
    // A reservation that is no longer wanted costs no start.
    assert!(b.cancel(2).is_empty());
    assert_eq!(b.ready("a", 1), ["grant 1 a#1", "start c"]);
    assert_eq!(b.ledger.status().used, 2);
}

#[test]
fn a_session_is_there_before_the_worker_and_after_it() {
    // L-1
    let mut b = Bench::keyed(1);
    b.feed(LedgerInput::SetSession { key: "a".into(), session: Some("s-1".into()) });
    assert_eq!(b.ledger.session(&"a".into()), Some("s-1"));
    b.lend("a");
    assert_eq!(b.worker("a").session.as_deref(), Some("s-1"));
    b.gone("a", 1);
    assert_eq!(b.ledger.session(&"a".into()), Some("s-1"));
    b.feed(LedgerInput::SetSession { key: "a".into(), session: None });
    assert_eq!(b.ledger.session(&"a".into()), None);
}

#[test]
fn the_status_shows_each_worker_and_those_who_wait() {
    // L-8
    let mut b = Bench::keyed(2);
    b.lend("b");
    b.lend("a");
    b.ask("c");
    let status = b.ledger.status();
    assert_eq!(status.workers.iter().map(|w| w.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(status.wanted, [WantedKeyStatus { key: "c".into(), waiting: 1 }]);
    assert_eq!((status.used, status.max, status.idle, status.leases, status.waiting), (2, 2, 0, 2, 1));
    assert_eq!((status.workers[0].served, status.totals.granted), (1, 2));
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<PoolStatus>(&text).unwrap(), status);
}

#[test]
fn misuse_is_refused_and_bad_rules_are_named_together() {
    let mut b = Bench::keyed(1);
    assert_eq!(b.ask("*"), ["refuse 1 WrongKind"]);
    let bad = LedgerConfig { min: 2, start_concurrency: 0, ..LedgerConfig::keyed(1) };
    let text = Ledger::new(bad).unwrap_err().to_string();
    assert_eq!(
        text,
        "invalid pool: `start_concurrency` must be greater than zero; `min` is 2, above `max`, which is 1; \
         `min` has no effect in a keyed pool"
    );
}

#[test]
fn callers_hear_of_a_restart_that_failed_for_good() {
    // L-1
    let mut b = Bench::keyed(1);
    b.warm("a");
    b.report("a", 2, ChildState::Starting);
    assert!(b.ask("a").is_empty());
    assert_eq!(b.gone("a", 2), ["refuse 2 Failed"]);
}
