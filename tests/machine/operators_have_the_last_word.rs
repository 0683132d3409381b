//! Requests of operators (S-22, S-23) work in every state, are answered exactly once (the rig
//! checks that), and never touch siblings or the budget.

use procession::internals::machine::{Input, Reply, Request};
use procession::{
    exit::Exit,
    restart::RestartType::{Permanent, Temporary, Transient, UnlessStopped},
    state::{
        ChildKind, ChildState, DownReason,
        Strategy::{OneForAll, OneForOne},
    },
    supervision::{
        RequestError::{
            AlreadyPresent, AlreadyStarted, MaxChildren, NotFound, Restarting, Running, StartFailed, Stopped,
        },
        SupervisorFlags,
    },
};

use crate::rig::{Rig, background, clean, crash, flags, one, patient, policy, ready};

#[test]
fn a_child_that_is_started_is_answered_when_it_is_ready() {
    let mut rig = one();
    let asked = rig.start_child("x", &policy(Permanent));
    assert_eq!((rig.did(), rig.reply(asked)), ("+x".into(), None));
    rig.ready("x");
    assert_eq!(rig.reply(asked), Some(&ready(1)));
}

#[test]
fn a_failed_start_leaves_nothing_behind() {
    // G-1
    let mut rig = one();
    let asked = rig.start_child("x", &policy(Permanent));
    rig.crash("x");
    assert_eq!(
        rig.reply(asked),
        Some(&Err(StartFailed { child: "x".into(), exit: crash(), stderr_tail: String::new() }))
    );
    assert!(!rig.has("x") && rig.used() == 0 && rig.timers.is_empty());
    rig.start_child("x", &policy(Permanent));
    assert_eq!(rig.incarnation("x"), 2, "a new start works, under a new number");
}

#[test]
fn an_ignored_first_start_keeps_the_spec() {
    // S-8
    let mut rig = one();
    let asked = rig.start_child("x", &policy(Permanent));
    rig.end("x", Exit::Ignored);
    assert_eq!(rig.reply(asked), Some(&Ok(Reply::Ignored)));
    assert_eq!(rig.state("x"), ChildState::down(DownReason::Ignored));
}

#[test]
fn there_is_one_child_of_a_name() {
    let mut rig = one();
    let asked = rig.start_child("a", &policy(Permanent));
    assert_eq!(rig.reply(asked), Some(&Err(AlreadyStarted("a".into()))));
    rig.ask(Request::TerminateChild("a".into()));
    rig.gone("a");
    let asked = rig.start_child("a", &policy(Permanent));
    assert_eq!(rig.reply(asked), Some(&Err(AlreadyPresent("a".into()))));
}

#[test]
fn there_are_no_more_children_than_allowed() {
    // S-23: those that wait count.
    let flags = SupervisorFlags { max_children: Some(1), ..flags(OneForOne, 3) };
    let mut rig = Rig::running(flags, &[("a", patient(Permanent, 50))]);
    rig.crash("a");
    let asked = rig.start_child("x", &policy(Permanent));
    assert_eq!(rig.reply(asked), Some(&Err(MaxChildren(1))));
}

#[test]
fn a_stop_is_answered_when_the_child_is_down() {
    // S-19
    let mut rig = one();
    let first = rig.ask(Request::TerminateChild("a".into()));
    let second = rig.ask(Request::TerminateChild("a".into()));
    assert_eq!((rig.did(), rig.reply(first)), (String::new(), None));
    rig.end("a", crash());
    assert_eq!((rig.reply(first), rig.reply(second)), (Some(&Ok(Reply::Done)), Some(&Ok(Reply::Done))));
    assert_eq!((rig.state("a"), rig.used()), (ChildState::down(DownReason::Stopped), 0));
}

#[test]
fn a_stop_cancels_the_timer() {
    // S-16, R-9
    let mut rig = one();
    rig.crash("a");
    let (_, timer) = rig.timers[0].clone();
    let asked = rig.ask(Request::TerminateChild("a".into()));
    assert_eq!(rig.reply(asked), Some(&Ok(Reply::Done)));
    assert!(rig.timers.is_empty());
    rig.input(Input::Fired(timer));
    assert_eq!(rig.state("a"), ChildState::down(DownReason::Stopped));
}

#[test]
fn a_stop_of_a_starting_child_tells_who_waits_for_it() {
    let mut rig = one();
    let started = rig.start_child("x", &policy(Permanent));
    rig.ask(Request::TerminateChild("x".into()));
    assert_eq!(rig.reply(started), Some(&Err(Stopped("x".into()))));
    rig.ready("x");
    assert_eq!(rig.states(), "rt", "too late");
    rig.gone("x");
    assert!(rig.has("x"));
}

#[test]
fn a_temporary_child_that_is_stopped_is_gone() {
    let mut rig = Rig::running(flags(OneForOne, 3), &[("a", policy(Temporary))]);
    rig.ask(Request::TerminateChild("a".into()));
    rig.gone("a");
    assert!(!rig.has("a"));
}

#[test]
fn a_stop_is_remembered_at_the_place_until_the_next_start() {
    // S-5
    let mut rig = Rig::running(flags(OneForOne, 3), &[("a", policy(UnlessStopped))]);
    rig.ask(Request::TerminateChild("a".into()));
    assert!(rig.stopped_by_operator.contains("a"));
    rig.gone("a");
    rig.ask(Request::RestartChild("a".into()));
    assert!(rig.stopped_by_operator.is_empty());
}

#[test]
fn restart_child_starts_what_is_down_and_does_not_retry() {
    // S-22
    let mut rig = one();
    rig.ask(Request::TerminateChild("a".into()));
    rig.gone("a");
    let asked = rig.ask(Request::RestartChild("a".into()));
    assert_eq!(rig.did(), "+a");
    rig.crash("a");
    assert!(matches!(rig.reply(asked), Some(Err(StartFailed { .. }))));
    assert_eq!((rig.state("a"), rig.used()), (ChildState::down(DownReason::Ended), 0));
    rig.ask(Request::RestartChild("a".into()));
    rig.ready("a").crash("a");
    assert_eq!(rig.states(), "b", "once it has been ready its policy rules");
}

#[test]
fn restart_child_and_delete_child_need_a_child_that_is_down() {
    // S-22
    let mut rig = one();
    let asks = |rig: &mut Rig, id: &str| {
        let asked = [rig.ask(Request::RestartChild(id.into())), rig.ask(Request::DeleteChild(id.into()))];
        asked.map(|asked| rig.reply(asked).cloned())
    };
    assert_eq!(asks(&mut rig, "x"), [(); 2].map(|()| Some(Err(NotFound("x".into())))));
    assert_eq!(asks(&mut rig, "a"), [(); 2].map(|()| Some(Err(Running("a".into())))));
    rig.crash("a");
    assert_eq!(asks(&mut rig, "a"), [(); 2].map(|()| Some(Err(Restarting("a".into())))));
    rig.fire().ready("a");
    rig.ask(Request::TerminateChild("a".into()));
    assert_eq!(asks(&mut rig, "a"), [(); 2].map(|()| Some(Err(Running("a".into())))), "not gone yet");
    rig.gone("a");
    rig.ask(Request::DeleteChild("a".into()));
    assert!(!rig.has("a"));
}

#[test]
fn a_member_that_its_group_is_about_to_start_is_restarting() {
    // S-22
    let p = patient(Permanent, 50);
    let mut rig = Rig::running(flags(OneForAll, 3), &[("a", p.clone()), ("b", p)]);
    rig.crash("a").gone("b");
    let asked = rig.ask(Request::DeleteChild("b".into()));
    assert_eq!(rig.reply(asked), Some(&Err(Restarting("b".into()))));
}

#[test]
fn remove_works_in_every_state() {
    for prepare in [
        (|rig| rig) as fn(&mut Rig) -> &mut Rig,
        |rig| rig.crash("a"),
        |rig| rig.crash("a").fire(),
        |rig| {
            rig.ask(Request::TerminateChild("a".into()));
            rig
        },
    ] {
        let mut rig = one();
        prepare(&mut rig);
        let asked = rig.ask(Request::RemoveChild("a".into()));
        if !rig.alive.is_empty() {
            rig.gone("a");
        }
        assert_eq!(rig.reply(asked), Some(&Ok(Reply::Done)));
        assert!(!rig.has("a") && rig.timers.is_empty());
    }
}

#[test]
fn a_reload_stops_and_starts_under_the_new_policy() {
    // S-22
    let mut rig = one();
    let asked = rig.reload("a", &policy(Transient));
    assert_eq!(rig.did(), "~a");
    assert_eq!(rig.gone("a").did(), "+a");
    rig.ready("a");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
    rig.end("a", clean());
    assert_eq!(rig.states(), "-");
}

#[test]
fn a_reload_of_what_is_down_takes_effect_at_its_next_start() {
    // G-13
    let mut rig = one();
    rig.ask(Request::TerminateChild("a".into()));
    let early = rig.reload("a", &policy(Permanent));
    rig.gone("a");
    let late = rig.reload("a", &policy(Transient));
    assert_eq!((rig.reply(early), rig.reply(late)), (Some(&Ok(Reply::Done)), Some(&Ok(Reply::Done))));
    assert_eq!(rig.states(), "-");
    rig.ask(Request::RestartChild("a".into()));
    assert_eq!(rig.machine.child(&"a".into()).unwrap().policy.restart.restart, Transient);
}

#[test]
fn children_are_counted_as_in_otp() {
    // S-22
    let mut supervisor = policy(Permanent);
    supervisor.kind = ChildKind::Supervisor;
    let children = [("a", patient(Permanent, 50)), ("s", supervisor), ("b", background(policy(Permanent)))];
    let mut rig = Rig::running(flags(OneForOne, 3), &children);
    rig.crash("a");
    let count = rig.machine.count();
    assert_eq!((count.specs, count.active, count.supervisors, count.workers), (3, 2, 1, 2));
}
