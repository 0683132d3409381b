//! Restarts by hand work in every state, are never a crash and not counted (S-10), and are never
//! refused by the budget.

use procession::internals::machine::{Reply, Request};
use procession::{
    exit::Exit,
    restart::{
        CrashLoop, CrashLoopAction,
        RestartType::{Permanent, Transient},
    },
    state::{
        GiveUpReason,
        Strategy::{OneForAll, OneForOne},
    },
    supervision::RequestError::{GaveUp, StartFailed, Stopped, StoppedByOperator, TooSoon},
};

use crate::rig::{Rig, clean, crash, flags, ms, one, patient, policy, ready};

#[test]
fn restart_works_in_every_state() {
    // R-8, S-10
    let mut rig = one();
    let asked = rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.did(), "-a");
    assert_eq!(rig.gone("a").did(), "+a");
    rig.ready("a");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
    assert_eq!(rig.used(), 0);
    rig.crash("a");
    rig.ask(Request::Restart("a".into()));
    assert_eq!((rig.did(), rig.timers.len()), ("+a".into(), 0), "backing off: now");
    rig.ready("a");
    rig.ask(Request::TerminateChild("a".into()));
    rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.gone("a").did(), "+a", "being stopped: the last word counts");
    assert!(rig.stopped_by_operator.is_empty());
}

#[test]
fn restart_revives_what_gave_up_with_new_counters() {
    //
    let mut p = policy(Permanent);
    p.restart = p.restart.with_max_total_restarts(1);
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", p)]);
    rig.crash("a").crash("a");
    assert!(rig.state("a").is_down());
    rig.ask(Request::Restart("a".into()));
    rig.ready("a");
    assert_eq!(rig.crash("a").did(), "+a");
}

#[test]
fn a_restart_that_fails_follows_the_policy() {
    //
    let mut rig = one();
    let asked = rig.ask(Request::Restart("a".into()));
    rig.gone("a").crash("a");
    assert!(matches!(rig.reply(asked), Some(Err(StartFailed { .. }))));
    assert_eq!((rig.states(), rig.used()), ("b".into(), 1));
}

#[test]
fn concurrent_restarts_are_one() {
    //
    let mut rig = one();
    let first = rig.ask(Request::Restart("a".into()));
    let second = rig.ask(Request::Restart("a".into()));
    rig.gone("a");
    let third = rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.did(), "");
    rig.ready("a");
    for asked in [first, second, third] {
        assert_eq!(rig.reply(asked), Some(&ready(2)));
    }
}

#[test]
fn a_restart_of_a_member_that_waits_ends_the_delay_of_its_group() {
    //
    let p = patient(Permanent, 50);
    let mut rig = Rig::running(flags(OneForAll, 3), &[("a", p.clone()), ("b", p)]);
    rig.crash("a");
    let asked = rig.ask(Request::Restart("b".into()));
    assert_eq!(rig.gone("b").did(), "+a", "in order, and at once");
    rig.ready("a").ready("b");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
}

#[test]
fn a_member_that_is_being_restarted_when_its_group_is_stopped_starts_once() {
    // S-11
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(OneForAll, 3), &[("a", p.clone()), ("b", p.clone()), ("c", p)]);
    let asked = rig.ask(Request::Restart("b".into()));
    rig.crash("a");
    assert_eq!(rig.gone("b").did(), "", "its group starts it");
    rig.gone("c").ready("a").ready("b");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
}

#[test]
fn who_waits_for_a_member_is_told_when_it_is_stopped_instead() {
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(OneForAll, 3), &[("a", p.clone()), ("b", p)]);
    rig.crash("a");
    let restart = rig.ask(Request::Restart("b".into()));
    rig.gone("b");
    rig.ask(Request::TerminateChild("b".into()));
    assert_eq!(rig.reply(restart), Some(&Err(Stopped("b".into()))));
    rig.ready("a");
    assert_eq!(rig.states(), "r-");
}

#[test]
fn what_an_operator_starts_again_in_a_group_under_way_is_started_in_its_turn() {
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(OneForAll, 3), &[("a", p.clone()), ("b", p.clone()), ("c", p)]);
    rig.crash("a").gone("c");
    rig.ask(Request::TerminateChild("c".into()));
    let asked = rig.ask(Request::RestartChild("c".into()));
    assert_eq!(rig.did(), "");
    rig.gone("b").ready("a");
    assert_eq!(rig.ready("b").did(), "+c");
    rig.ready("c");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
}

#[test]
fn the_last_word_counts_also_while_the_group_is_being_stopped() {
    //
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(OneForAll, 3), &[("a", p.clone()), ("b", p)]);
    rig.crash("a");
    let stop = rig.ask(Request::TerminateChild("b".into()));
    let restart = rig.ask(Request::Restart("b".into()));
    rig.gone("b").ready("a").ready("b");
    assert_eq!((rig.reply(stop), rig.reply(restart)), (Some(&Ok(Reply::Done)), Some(&ready(2))));
}

#[test]
fn a_child_that_has_been_ready_is_no_longer_provisional() {
    // S-22: what `start_child` promised its caller is over.
    let p = patient(Permanent, 10);
    let mut rig = Rig::running(flags(OneForAll, 9), &[("a", p.clone())]);
    rig.start_child("x", &p);
    rig.ready("x").crash("a");
    rig.ask(Request::Restart("x".into()));
    rig.gone("x").ready("a").crash("x");
    assert_eq!(rig.states(), "rb");
}

#[test]
fn a_member_that_gave_up_is_revived_in_its_turn() {
    //
    let limit = GiveUpReason::TotalRestarts { max: 1 };
    let gave_up = Exit::IntensityExceeded { child: "x".into(), cause: crash().into(), limit };
    let children = [("a", policy(Permanent)), ("s", policy(Transient))];
    let mut rig = Rig::running(flags(OneForAll, 3), &children);
    rig.end("s", gave_up).crash("a");
    let asked = rig.ask(Request::RestartChild("s".into()));
    assert_eq!(rig.did(), "");
    assert_eq!(rig.ready("a").did(), "+s");
    rig.ready("s");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
}

#[test]
fn a_failed_restart_of_a_member_whose_start_by_hand_failed_before_follows_the_policy() {
    // an older request's terms do not outlive it.
    let p = patient(Permanent, 10);
    let mut rig = Rig::running(flags(OneForAll, 9), &[("a", p.clone()), ("b", p.clone())]);
    rig.ask(Request::TerminateChild("b".into()));
    rig.gone("b");
    rig.ask(Request::RestartChild("b".into()));
    rig.crash("b").crash("a");
    rig.ask(Request::Restart("b".into()));
    rig.ready("a").crash("b");
    assert_eq!(rig.states(), "rb");
}

#[test]
fn a_restart_of_a_first_start_still_leaves_nothing_behind() {
    // What was reported as failed does not go on in the background.
    let mut rig = one();
    let started = rig.start_child("x", &patient(Permanent, 10));
    let restarted = rig.ask(Request::Restart("x".into()));
    rig.gone("x").crash("x");
    for asked in [started, restarted] {
        assert!(matches!(rig.reply(asked), Some(Err(StartFailed { .. }))));
    }
    assert!(!rig.has("x"));
}

#[test]
fn restarts_by_hand_may_be_rate_limited() {
    //
    let mut limited = policy(Permanent);
    limited.restart = limited.restart.with_min_interval(ms(100));
    let mut rig = Rig::running(flags(OneForOne, 3), &[("a", limited)]);
    let first = rig.ask(Request::Restart("a".into()));
    let joined = rig.ask(Request::Restart("a".into()));
    rig.gone("a").ready("a");
    assert_eq!((rig.reply(first), rig.reply(joined)), (Some(&ready(2)), Some(&ready(2))), "one restart");
    rig.wait(70);
    let early = rig.ask(Request::Restart("a".into()));
    let child = "a".into();
    assert_eq!(rig.reply(early), Some(&Err(TooSoon { child, retry_after: ms(30) })));
    assert_eq!(rig.crash("a").did(), "+a", "its crashes are nobody's will");
    rig.ready("a").wait(30);
    let late = rig.ask(Request::Restart("a".into()));
    rig.gone("a").ready("a");
    assert_eq!(rig.reply(late), Some(&ready(4)));
}

#[test]
fn a_restart_out_of_a_cool_off_begins_at_zero() {
    // it is no trial, and takes a whole crash loop to cool off again.
    let mut p = patient(Permanent, 10);
    p.restart = p.restart.with_crash_loop(CrashLoop::new(2, ms(900), CrashLoopAction::cool_off(ms(500))));
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", p)]);
    rig.crash("a").fire().crash("a");
    assert_eq!(rig.states(), "c");
    let by_hand = rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.machine.child(&"a".into()).unwrap().tracker.failures(), 0);
    rig.ready("a");
    assert_eq!(rig.reply(by_hand), Some(&ready(3)));
    assert_eq!((rig.crash("a").states(), rig.used() > 0), ("b".into(), true), "the first failure of many");
    assert_eq!(rig.fire().crash("a").states(), "c");
    // A trial by the clock is one.
    assert_eq!(rig.fire().ready("a").crash("a").states(), "c");
}

#[test]
fn whoever_needs_a_child_starts_what_nobody_has_stopped() {
    // G-10
    let mut p = patient(Transient, 10);
    p.restart = p.restart.with_max_total_restarts(1);
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", p)]);
    let demand = |rig: &mut Rig| rig.ask(Request::Demand("a".into()));
    let asked = demand(&mut rig);
    assert_eq!(rig.reply(asked), Some(&ready(1)), "ready");
    let failures = |rig: &Rig| rig.machine.child(&"a".into()).unwrap().tracker.total_failures();
    rig.crash("a");
    let joins = demand(&mut rig);
    assert_eq!(rig.did(), "", "it waits for the back-off");
    rig.fire().ready("a");
    assert_eq!(rig.reply(joins), Some(&ready(2)));
    rig.end("a", clean());
    let again = demand(&mut rig);
    assert_eq!((rig.did(), failures(&rig)), ("+a".into(), 1), "ended by itself; its counters stay");
    rig.ready("a");
    assert_eq!(rig.reply(again), Some(&ready(3)));
    rig.crash("a");
    let refused = demand(&mut rig);
    assert!(matches!(rig.reply(refused), Some(Err(GaveUp { .. }))));
    rig.ask(Request::Restart("a".into()));
    rig.ready("a");
    assert_eq!(failures(&rig), 0, "an operator revives it");
    rig.ask(Request::TerminateChild("a".into()));
    let stopping = demand(&mut rig);
    rig.gone("a");
    let stopped = demand(&mut rig);
    for refused in [stopping, stopped] {
        assert_eq!(rig.reply(refused), Some(&Err(StoppedByOperator("a".into()))));
    }
    assert_eq!(rig.states(), "-");
}
