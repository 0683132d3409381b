//! L-7: a given-up key is not started again as often as callers ask for it.

use super::*;

const PAUSE: Duration = Duration::from_secs(30);
const MS: Duration = Duration::from_millis(1);

#[test]
fn a_key_that_was_given_up_is_refused_without_a_start_until_its_rest_is_over() {
    let mut b = Bench::keyed(2);
    assert_eq!(b.ask("a"), ["start a"]);
    assert_eq!(b.gives_up("a", 5), ["refuse 1 Failed"]);
    for n in 2..10 {
        assert_eq!(b.ask("a"), [format!("refuse {n} Failed")]);
    }
    let given_up = b.ledger.status().given_up;
    assert_eq!(given_up.len(), 1);
    assert_eq!(
        (given_up[0].key.as_str(), given_up[0].until),
        ("a", TreeInstant::EPOCH.after(PAUSE + 2 * MS))
    );
    assert_eq!(b.ask("b"), ["start b"], "others are not concerned");
    b.wait(PAUSE);
    assert_eq!(b.ask("a"), ["start a"]);
    assert!(b.ledger.status().given_up.is_empty());
}

#[test]
fn a_refusal_says_how_long_the_rest_lasts() {
    let mut b = Bench::keyed(1);
    b.ask("a");
    let down = ChildState::down(DownReason::GaveUp { why: GiveUpReason::NeverStarts });
    let said = b.feed_raw(LedgerInput::Child { key: "a".into(), incarnation: Incarnation(1), state: down });
    let until_of = |said: &[LedgerAction]| match said {
        [LedgerAction::Refuse { refusal: Refusal::Failed { until, .. }, .. }] => *until,
        other => panic!("{other:?}"),
    };
    let until = until_of(&said);
    assert_eq!(until, Some(b.now.after(PAUSE)));
    b.wait(PAUSE / 2);
    assert_eq!(
        until_of(&b.feed_raw(LedgerInput::Acquire { ticket: Ticket(9), key: Some("a".into()) })),
        until
    );
}

#[test]
fn only_what_its_policy_gave_up_rests() {
    let mut b = Bench::keyed(1);
    b.ask("a");
    assert_eq!(b.gone("a", 1), ["refuse 1 Failed"]);
    assert_eq!(b.ask("a"), ["start a"]);
    // The pool's own stop came first: the report is only its answer.
    b.ready("a", 2);
    b.release("a");
    assert_eq!(b.ask("b"), ["stop a Evicted"]);
    assert_eq!(b.gives_up("a", 2), ["start b"]);
    assert!(b.ledger.status().given_up.is_empty());
}

#[test]
fn rests_can_be_ended_and_switched_off() {
    let mut b = Bench::keyed(1);
    b.ask("a");
    b.gives_up("a", 1);
    assert!(b.feed(LedgerInput::ResetFailed).is_empty());
    assert_eq!(b.ask("a"), ["start a"]);

    let mut b = Bench::with(LedgerConfig { failed_pause: Duration::ZERO, ..LedgerConfig::keyed(1) });
    b.ask("a");
    b.gives_up("a", 1);
    assert_eq!(b.ask("a"), ["start a"]);
}

#[test]
fn an_anonymous_pool_rests_as_a_whole_but_for_what_lives() {
    let mut b = Bench::with(LedgerConfig { max_waiting: 10, ..LedgerConfig::anonymous(3) });
    b.ask("*");
    b.ready("w1", 1);
    assert_eq!(b.ask("*"), ["start w2"]);
    assert!(b.ask("*").contains(&"start w3".to_owned()));
    assert_eq!(b.gives_up("w2", 1), ["refuse 2 Failed", "timer 30.005s"]);
    assert_eq!(b.gives_up("w3", 1)[0], "refuse 3 Failed");
    // A worker is alive, so waiting is useful. No other worker is started.
    assert!(b.ask("*").is_empty());
    assert_eq!(b.release("w1"), ["grant 4 w1#1"]);
    assert!(b.ask("*").is_empty());
    // No worker is alive, so waiting is useless.
    assert_eq!(b.gone("w1", 1), ["revoke Lost", "refuse 5 Failed"]);
    assert_eq!(b.ask("*"), ["refuse 6 Failed"]);
    b.wait(PAUSE);
    assert_eq!(b.ask("*"), ["start w4"]);
}

#[test]
fn who_waits_for_a_busy_worker_gets_another_one_when_the_rest_is_over() {
    let mut b = Bench::with(LedgerConfig::anonymous(2));
    b.ask("*");
    b.ready("w1", 1);
    b.ask("*");
    b.gives_up("w2", 1);
    assert_eq!(b.ask("*"), ["timer 30.004s"]);
    assert_eq!(b.wait(PAUSE), ["start w3"]);
}

#[test]
fn spares_are_not_started_while_a_pool_rests() {
    let mut b = Bench::with(LedgerConfig { min: 1, ..LedgerConfig::anonymous(2) });
    assert_eq!(b.wait(MS), ["start w1"]);
    assert_eq!(b.gives_up("w1", 5), ["timer 30.002s"]);
    assert!(b.wait(PAUSE / 2).is_empty());
    assert_eq!(b.wait(PAUSE / 2), ["start w2"]);
}

#[test]
fn callers_cannot_fill_the_memory_with_names() {
    let mut b = Bench::keyed(1);
    for n in 0..2000 {
        let key = format!("k{n}");
        b.ledger.handle(
            b.now,
            LedgerInput::Acquire { ticket: Ticket(n), key: Some(key.as_str().into()) },
            &mut Vec::new(),
        );
        let state = ChildState::down(DownReason::GaveUp { why: GiveUpReason::NeverStarts });
        let gone = LedgerInput::Child { key: key.as_str().into(), incarnation: Incarnation::NONE, state };
        b.ledger.handle(b.now, gone, &mut Vec::new());
    }
    let given_up = b.ledger.status().given_up;
    assert_eq!(given_up.len(), 1024);
    assert!(!given_up.iter().any(|pause| pause.key.as_str() == "k0"), "the oldest ends early");
    b.wait(PAUSE);
    assert_eq!(b.ledger.given_up(&"k1999".into()), (false, 0));
}
