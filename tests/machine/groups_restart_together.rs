//! Under one-for-all and rest-for-one, siblings are stopped and started together, in order (S-11 to
//! S-16).

use procession::internals::machine::Request;
use procession::{
    exit::Exit,
    restart::RestartType::{Permanent, Temporary, Transient, UnlessStopped},
    state::{
        ChildState, DownReason, GiveUpReason,
        Strategy::{OneForAll, RestForOne},
    },
    supervision::ChildPolicy,
};

use crate::rig::{Rig, at, background, clean, crash, flags, patient, policy};

fn three(p: &ChildPolicy) -> [(&'static str, ChildPolicy); 3] {
    [("a", p.clone()), ("b", p.clone()), ("c", p.clone())]
}

fn all() -> Rig {
    Rig::running(flags(OneForAll, 3), &three(&policy(Permanent)))
}

fn rest() -> Rig {
    Rig::running(flags(RestForOne, 3), &three(&policy(Permanent)))
}

#[test]
fn one_for_all_stops_newest_first_and_starts_oldest_first() {
    // S-11, S-1
    let mut rig = all();
    assert_eq!(rig.crash("b").did(), "-c");
    assert_eq!(rig.gone("c").did(), "-a");
    assert_eq!(rig.gone("a").did(), "+a");
    assert_eq!(rig.ready("a").did(), "+b");
    assert_eq!(rig.ready("b").did(), "+c");
    rig.ready("c");
    assert_eq!((rig.states(), rig.used()), ("rrr".into(), 1));
}

#[test]
fn rest_for_one_leaves_earlier_children_alone() {
    // S-11, S-1
    let mut rig = rest();
    assert_eq!(rig.crash("b").did(), "-c");
    assert_eq!(rig.gone("c").did(), "+b");
    assert_eq!(rig.ready("b").did(), "+c");
    assert_eq!((rig.incarnation("a"), rig.incarnation("c")), (1, 2));
}

#[test]
fn siblings_stop_at_once_and_start_after_the_delay() {
    // S-12, S-16
    let mut rig = Rig::running(flags(OneForAll, 3), &three(&patient(Permanent, 50)));
    assert_eq!(rig.crash("a").did(), "-c");
    rig.gone("c").gone("b");
    assert_eq!((rig.did(), rig.states()), (String::new(), "b--".into()));
    assert_eq!(rig.fire().did(), "+a");
    assert_eq!(rig.now, at(50));
}

#[test]
fn a_stop_that_takes_longer_than_the_delay_is_awaited() {
    // S-11
    let mut rig = Rig::running(flags(OneForAll, 3), &three(&patient(Permanent, 50)));
    rig.crash("a").wait(60);
    rig.gone("c");
    assert_eq!(rig.gone("b").did(), "+a");
}

#[test]
fn the_longest_delay_counts() {
    // S-16
    let children = [("a", patient(Permanent, 100)), ("b", patient(Permanent, 10))];
    let mut rig = Rig::running(flags(RestForOne, 5), &children);
    rig.crash("b");
    rig.crash("a");
    assert_eq!(rig.state("b"), ChildState::BackingOff { until: at(100), attempt: 1 });
    assert_eq!(rig.timers.len(), 1, "never two retries");
    assert_eq!(rig.fire().did(), "+a");
}

#[test]
fn what_a_waiting_member_has_left_counts() {
    // S-16
    let children = [("a", patient(Permanent, 10)), ("b", patient(Permanent, 100))];
    let mut rig = Rig::running(flags(RestForOne, 5), &children);
    rig.crash("b").wait(30).crash("a");
    assert_eq!(rig.state("a"), ChildState::BackingOff { until: at(100), attempt: 1 });
}

#[test]
fn everybody_in_range_comes_to_life_but_for_four() {
    // S-12, S-5
    let p = policy(Permanent);
    let children = [
        ("a", p.clone()),
        ("ended", policy(Transient)),
        ("ignored", p.clone()),
        ("stopped", p.clone()),
        ("held", policy(UnlessStopped)),
        ("gone", policy(Temporary)),
        ("gave-up", policy(Transient)),
    ];
    let mut rig = Rig::new(flags(OneForAll, 3), &children);
    rig.boot().ready("a").ready("ended").end("ignored", Exit::Ignored);
    rig.ready("stopped").ready("held").ready("gone").ready("gave-up");
    rig.end("ended", clean());
    let limit = GiveUpReason::TotalRestarts { max: 1 };
    rig.end("gave-up", Exit::IntensityExceeded { child: "x".into(), cause: crash().into(), limit });
    for id in ["stopped", "held"] {
        rig.ask(Request::TerminateChild(id.into()));
        rig.gone(id);
    }
    rig.crash("a").gone("gone");
    assert!(!rig.has("gone"), "for good");
    for id in ["a", "ended", "ignored", "stopped"] {
        assert_eq!(rig.did(), format!("+{id}"));
        rig.ready(id);
    }
    assert_eq!((rig.did(), rig.states()), (String::new(), "rrrr--".into()));
}

#[test]
fn exits_of_members_that_are_being_stopped_are_consumed() {
    // S-13, S-15: three at once count as one.
    let mut rig = all();
    rig.crash("a").crash("b").crash("c");
    assert_eq!((rig.used(), rig.did()), (1, "+a".into()));
    let mut rig = rest();
    rig.crash("a").crash("b").crash("c");
    assert_eq!(rig.used(), 1);
}

#[test]
fn from_the_last_to_the_first_they_count_one_by_one() {
    // S-15: rest-for-one, c then b then a.
    let mut rig = rest();
    rig.crash("c").crash("b");
    assert_eq!(rig.did(), "-c", "its start in flight is cancelled");
    rig.crash("a").gone("c");
    assert_eq!((rig.used(), rig.did()), (3, "+a".into()));
}

#[test]
fn exits_that_the_group_consumes_leave_the_trackers_alone() {
    // S-12
    let mut rig = all();
    rig.crash("a").crash("b").gone("c");
    let failures = |rig: &Rig, id: &str| rig.machine.child(&id.into()).unwrap().tracker.total_failures();
    assert_eq!((failures(&rig, "a"), failures(&rig, "b"), failures(&rig, "c")), (1, 0, 0));
}

#[test]
fn a_consumed_exit_does_not_take_away_what_the_time_before_it_has_proved() {
    // S-12, R-3: `b` was well for long enough before the group took it down.
    let mut rig = Rig::running(flags(OneForAll, 9), &three(&policy(Permanent)));
    rig.crash("b").gone("c").gone("a").ready("a").ready("b").ready("c");
    rig.wait(10_000).crash("a").crash("b").gone("c");
    rig.ready("a").ready("b").ready("c").crash("b");
    assert_eq!(rig.machine.child(&"b".into()).unwrap().tracker.failures(), 1);
}

#[test]
fn a_temporary_member_that_ends_by_itself_before_it_is_stopped_is_gone_for_good() {
    // S-12
    let children = [("a", policy(Permanent)), ("t", policy(Temporary)), ("c", policy(Permanent))];
    let mut rig = Rig::running(flags(OneForAll, 3), &children);
    rig.crash("a").crash("t").gone("c");
    assert!(!rig.has("t"));
    assert_eq!(rig.did(), "+a");
}

#[test]
fn a_failed_start_in_a_pass_keeps_what_has_started_and_is_retried() {
    // S-14
    let mut rig = Rig::running(flags(OneForAll, 5), &three(&patient(Permanent, 50)));
    rig.crash("a").gone("c").gone("b");
    rig.fire().ready("a").crash("b");
    assert_eq!((rig.did(), rig.states()), (String::new(), "rb-".into()));
    assert_eq!(rig.used(), 2);
    assert_eq!(rig.fire().did(), "-a", "one-for-all tears down and starts all again");
    assert_eq!(rig.gone("a").did(), "+a");
}

#[test]
fn a_failed_start_under_rest_for_one_retries_only_it_and_later_ones() {
    // S-14
    let mut rig = Rig::running(flags(RestForOne, 5), &three(&patient(Permanent, 50)));
    rig.crash("a").gone("c").gone("b");
    rig.fire().ready("a").crash("b");
    assert_eq!(rig.fire().did(), "+b");
    assert_eq!(rig.ready("b").did(), "+c");
    assert_eq!(rig.incarnation("a"), 2);
}

#[test]
fn a_crash_of_an_earlier_child_supersedes_the_retry() {
    // S-14
    let mut rig = Rig::running(flags(RestForOne, 5), &three(&patient(Permanent, 50)));
    rig.crash("b").gone("c");
    rig.fire().crash("b");
    rig.wait(20).crash("a");
    assert_eq!((rig.states(), rig.timers.len()), ("bb-".into(), 1));
    assert_eq!(rig.used(), 3);
    assert_eq!(rig.fire().did(), "+a");
    assert_eq!(rig.now, at(120));
}

#[test]
fn a_sibling_that_crashes_while_a_retry_is_pending_counts_once() {
    // S-14, S-15
    let mut rig = Rig::running(flags(OneForAll, 5), &three(&patient(Permanent, 50)));
    rig.crash("a").gone("c").gone("b");
    rig.fire().ready("a").crash("b").crash("a");
    assert_eq!((rig.used(), rig.states()), (3, "bb-".into()));
    assert_eq!(rig.fire().did(), "+a");
}

#[test]
fn a_later_crash_is_merged_with_a_pending_retry() {
    // S-14: there is one retry, and it is that of the earlier child.
    let mut rig = Rig::running(flags(RestForOne, 9), &three(&patient(Permanent, 50)));
    rig.ask(Request::Restart("a".into()));
    rig.gone("a").crash("a");
    assert_eq!((rig.states(), rig.timers.len()), ("brr".into(), 1));
    rig.wait(20);
    assert_eq!(rig.crash("c").did(), "-b");
    rig.gone("b");
    assert_eq!(rig.state("a"), ChildState::BackingOff { until: at(70), attempt: 1 });
    assert_eq!((rig.states(), rig.timers.len()), ("b-b".into(), 1));
    assert_eq!(rig.fire().did(), "+a");
}

#[test]
fn giving_up_on_a_member_is_an_escalation() {
    // R-0
    let mut p = policy(Permanent);
    p.restart = p.restart.with_max_total_restarts(0);
    let mut rig = Rig::running(flags(OneForAll, 3), &three(&p));
    assert_eq!(rig.crash("c").did(), "-b");
    assert!(rig.machine.is_stopping());
}

#[test]
fn a_crash_of_a_late_child_does_not_make_a_pass_forget_those_before_it() {
    // S-13: the pass waits for `a` and then has to start `b`, while `c` runs and crashes.
    let p = policy(Permanent);
    let mut rig = Rig::running(flags(RestForOne, 9), &three(&p));
    rig.ask(Request::TerminateChild("b".into()));
    rig.gone("b");
    rig.machine.set_policy(&"a".into(), patient(Permanent, 50).into()).unwrap();
    rig.ask(Request::Restart("a".into()));
    rig.gone("a").crash("a");
    assert_eq!(rig.states(), "b-r");
    rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.did(), "+a", "the operator ends the delay; siblings that run are left alone");
    assert_eq!(rig.crash("c").did(), "", "`a` is still awaited");
    assert_eq!(rig.ready("a").did(), "+b");
    assert_eq!(rig.ready("b").did(), "+c");
    assert_eq!((rig.ready("c").states(), rig.incarnation("a")), ("rrr".into(), 3));
}

#[test]
fn members_come_up_one_after_the_other_also_behind_one_that_an_operator_restarts() {
    // S-11, R-8: `a` fails to start while the pass waits for `b`.
    let mut rig = Rig::running(flags(OneForAll, 9), &three(&patient(Permanent, 50)));
    rig.crash("c").gone("b").gone("a");
    rig.fire().ready("a");
    rig.ask(Request::Restart("a".into()));
    rig.gone("a").crash("a");
    assert_eq!(rig.states(), "bsb");
    rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.did(), "+a", "it need not wait for a later one");
    assert_eq!(rig.ready("a").did(), "", "`c` waits for `b`");
    assert_eq!(rig.ready("b").did(), "+c");
}

#[test]
fn background_members_are_started_in_order_too() {
    // S-7, S-11
    let mut rig = Rig::running(flags(OneForAll, 3), &three(&background(policy(Permanent))));
    rig.crash("a").gone("c");
    assert_eq!(rig.gone("b").did(), "+a +b +c");
}

#[test]
fn a_member_that_an_operator_has_stopped_meanwhile_stays_stopped() {
    // R-9: a stop wins.
    let mut rig = all();
    rig.crash("a").gone("c");
    let asked = rig.ask(Request::TerminateChild("b".into()));
    assert_eq!(rig.gone("b").did(), "+a");
    assert!(rig.reply(asked).unwrap().is_ok());
    assert_eq!(rig.ready("a").did(), "+c");
    assert_eq!(rig.state("b"), ChildState::down(DownReason::Stopped));
}

#[test]
fn stopping_the_only_child_that_waits_ends_the_delay_and_touches_nobody() {
    // S-16, S-22
    let mut rig = Rig::running(flags(OneForAll, 5), &three(&patient(Permanent, 50)));
    rig.crash("a").gone("c").gone("b");
    rig.fire().ready("a").crash("b");
    rig.ask(Request::TerminateChild("b".into()));
    assert_eq!(rig.did(), "+c", "`a` keeps running");
    assert_eq!((rig.ready("c").states(), rig.timers.len()), ("r-r".into(), 0));
}

#[test]
fn a_member_that_is_still_being_stopped_when_an_operator_ends_the_delay_is_started() {
    // S-11, R-8: `b` stops `c`, then `a` fails, and its retry does not wait for `c`.
    let mut rig = Rig::running(flags(RestForOne, 9), &three(&patient(Permanent, 50)));
    rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.crash("b").did(), "-c");
    assert_eq!(rig.gone("a").crash("a").states(), "bbt");
    rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.did(), "+a");
    assert_eq!(rig.ready("a").did(), "+b");
    assert_eq!(rig.ready("b").states(), "rrt");
    assert_eq!(rig.gone("c").did(), "+c");
}
