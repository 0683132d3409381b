//! The supervisor's own start: children start in order, and a required one is awaited (S-7, S-8,
//! S-9).

use procession::internals::machine::{Reply, Request};
use procession::{
    exit::Exit,
    restart::RestartType::{Permanent, Temporary, Transient, UnlessStopped},
    state::{
        ChildState, DownReason,
        Strategy::{OneForAll, OneForOne, RestForOne},
    },
    supervision::RequestError,
};

use crate::rig::{Rig, background, clean, crash, flags, patient, policy};

#[test]
fn each_start_is_awaited() {
    // S-7
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", p.clone()), ("b", p)]);
    assert_eq!(rig.boot().did(), "+a");
    assert_eq!(rig.ready("a").did(), "+b");
    assert_eq!(rig.ready("b").did(), "up");
}

#[test]
fn nobody_waits_for_background_children() {
    // S-7
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", background(p.clone())), ("b", p)]);
    assert_eq!(rig.boot().did(), "+a +b");
    assert_eq!(rig.ready("b").did(), "up");
    assert_eq!(rig.states(), "sr");
}

#[test]
fn a_required_child_that_does_not_start_fails_the_supervisor() {
    // S-7: no retry; what has started is stopped in reverse order.
    let p = policy(Permanent);
    let children = [("a", p.clone()), ("b", p.clone()), ("c", p.clone()), ("d", p)];
    let mut rig = Rig::new(flags(OneForOne, 3), &children);
    rig.boot().ready("a").ready("b");
    assert_eq!(rig.crash("c").did(), "-b");
    assert_eq!(rig.gone("b").did(), "-a");
    assert_eq!(rig.gone("a").did(), "exit");
    assert_eq!(rig.exit, Some(Exit::StartFailed { child: "c".into(), cause: crash().into() }));
    assert_eq!(rig.used(), 0);
    assert_eq!(rig.state("d"), ChildState::down(DownReason::NeverStarted));
}

#[test]
fn a_background_child_that_does_not_start_is_retried() {
    // S-7: one broken plugin never keeps a service from starting.
    let children = [("a", background(patient(Permanent, 10))), ("b", policy(Permanent))];
    let mut rig = Rig::new(flags(OneForOne, 3), &children);
    rig.boot().crash("a");
    assert_eq!(rig.states(), "bs");
    assert_eq!(rig.ready("b").did(), "up");
    assert_eq!(rig.fire().did(), "+a");
}

#[test]
fn a_child_that_was_ready_and_crashes_while_others_start_is_restarted() {
    // S-7 is about first starts.
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", p.clone()), ("b", p)]);
    rig.boot().ready("a");
    assert_eq!(rig.crash("a").did(), "+a");
    assert_eq!(rig.crash("a").did(), "+a", "it has been ready: a failed restart is a crash");
    assert_eq!(rig.ready("b").did(), "up");
}

#[test]
fn an_ignored_start_leaves_the_spec() {
    // S-8: a temporary one goes.
    let children = [("a", policy(Permanent)), ("b", policy(Temporary)), ("c", policy(Permanent))];
    let mut rig = Rig::new(flags(OneForOne, 3), &children);
    assert_eq!(rig.boot().end("a", Exit::Ignored).did(), "+b");
    assert_eq!(rig.end("b", Exit::Ignored).did(), "+c");
    assert_eq!(rig.state("a"), ChildState::down(DownReason::Ignored));
    assert!(!rig.has("b"));
}

#[test]
fn a_failed_start_does_not_count_as_an_exit_too() {
    // S-9
    let mut rig = Rig::running(flags(OneForOne, 3), &[("a", policy(Permanent))]);
    rig.crash("a");
    let key = rig.key("a");
    rig.crash("a");
    rig.input(procession::internals::machine::Input::Ended(key, crash()));
    assert_eq!((rig.used(), rig.did()), (2, String::new()));
}

#[test]
fn a_crash_of_an_earlier_child_starts_the_rest_again_and_then_goes_on() {
    // S-13, also while the supervisor itself starts: no child is forgotten.
    let p = policy(Permanent);
    let children = [("a", p.clone()), ("b", p.clone()), ("c", p)];
    let mut rig = Rig::new(flags(RestForOne, 3), &children);
    rig.boot().ready("a");
    assert_eq!(rig.crash("a").did(), "-b");
    assert_eq!(rig.gone("b").did(), "+a");
    assert_eq!(rig.ready("a").did(), "+b");
    assert_eq!(rig.ready("b").did(), "+c");
    assert_eq!(rig.ready("c").did(), "up");
}

#[test]
fn a_temporary_child_is_not_dropped_before_its_first_start() {
    // S-12 drops what ran; a start that is still due is made.
    let children = [("a", policy(Permanent)), ("b", policy(Permanent)), ("t", policy(Temporary))];
    let mut rig = Rig::new(flags(OneForAll, 3), &children);
    rig.boot().ready("a").crash("a");
    assert_eq!(rig.gone("b").did(), "+a");
    rig.ready("a");
    assert_eq!(rig.ready("b").did(), "+t");
}

#[test]
fn what_an_operator_has_stopped_before_its_turn_is_not_started() {
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", p.clone()), ("b", p)]);
    rig.boot();
    rig.ask(Request::TerminateChild("b".into()));
    assert_eq!(rig.ready("a").did(), "up");
    assert!(rig.state("b").is_down());
}

#[test]
fn a_hold_of_an_earlier_life_stands() {
    // S-5: `UnlessStopped` children that an operator stopped stay stopped when their supervisor is restarted.
    let children = [("a", policy(UnlessStopped)), ("b", policy(Permanent))];
    let mut first = Rig::running(flags(OneForOne, 3), &children);
    for id in ["a", "b"] {
        first.ask(Request::TerminateChild(id.into()));
        first.gone(id);
    }
    let stopped_by_operator = [first.new_child("a", &children[0].1), first.new_child("b", &children[1].1)];
    let mut machine = procession::internals::machine::Machine::new(flags(OneForOne, 3), stopped_by_operator);
    let mut actions = Vec::new();
    machine.handle(first.now, procession::internals::machine::Input::Boot, &mut actions);
    let started: Vec<_> = actions
        .iter()
        .filter_map(|a| match a {
            procession::internals::machine::Action::Start(key) => Some(key.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(started, ["b#2"]);
}

#[test]
fn a_child_that_is_added_while_others_start_does_not_wait_and_is_not_started_twice() {
    // No child waits unless the strategy requires it.
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", p.clone()), ("b", p)]);
    rig.boot();
    let asked = rig.start_child("x", &policy(Transient));
    assert_eq!(rig.did(), "+x");
    rig.ready("x");
    assert!(matches!(rig.reply(asked), Some(Ok(Reply::Ready(_)))));
    rig.end("x", clean());
    rig.ready("a");
    assert_eq!(rig.ready("b").did(), "up");
    assert_eq!(
        rig.state("x"),
        ChildState::down(DownReason::Ended),
        "it has ended by itself: that is no debt of the boot"
    );
}

#[test]
fn a_child_that_is_added_while_others_start_keeps_its_back_off() {
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", p.clone()), ("b", p)]);
    rig.boot();
    rig.start_child("x", &patient(Permanent, 100));
    rig.ready("x").crash("x").ready("a").ready("b");
    assert_eq!((rig.did(), rig.states()), ("up".into(), "rrb".into()));
}

#[test]
fn a_new_member_of_a_group_waits_for_its_turn() {
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(RestForOne, 3), &[("a", p.clone()), ("b", p.clone())]);
    rig.boot();
    let asked = rig.start_child("x", &p);
    assert_eq!(rig.did(), "", "those before it have not been started");
    rig.ready("a");
    assert_eq!(rig.ready("b").did(), "+x");
    rig.crash("x");
    assert!(matches!(rig.reply(asked), Some(Err(RequestError::StartFailed { .. }))));
    assert_eq!(rig.did(), "up");
    assert!(!rig.has("x"), "a failed start leaves nothing behind");
}

#[test]
fn a_restart_of_the_child_that_the_boot_waits_for_does_not_soften_its_failure() {
    // S-7 before R-8
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", policy(Permanent))]);
    rig.boot();
    let asked = rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.gone("a").did(), "+a");
    assert_eq!(rig.crash("a").did(), "exit");
    assert!(matches!(rig.reply(asked), Some(Err(RequestError::StartFailed { .. }))));
}
