//! E-1: the event of a start says why the supervisor makes it.

use procession::internals::machine::{DefinitionChange, ReloadWhen, Request};
use procession::{
    event::{RecycleReason, StartReason},
    id::Incarnation,
    restart::{
        CrashLoop, CrashLoopAction,
        RestartType::{Permanent, Transient},
    },
    state::Strategy::{OneForAll, OneForOne},
    supervision::{ChildPolicy, StartMode},
};

use crate::rig::{Rig, background, clean, crash, flags, ms, one, patient, policy};

fn overlapping() -> ChildPolicy {
    ChildPolicy { overlap: true, ..policy(Permanent) }
}

fn recycle(rig: &mut Rig, why: RecycleReason) {
    let change = DefinitionChange::None(StartReason::Recycle(why));
    rig.ask(Request::Reload("a".into(), change, ReloadWhen::Now));
}

#[test]
fn the_first_one_and_one_by_policy() {
    let mut rig = one();
    assert_eq!(rig.reasons(), "a#1 first start");
    rig.crash("a").fire();
    assert_eq!(rig.reasons(), "a#2 by its restart policy");
    rig.crash("a").fire();
    assert_eq!(rig.reasons(), "a#3 by its restart policy", "also after a start that failed");
    rig.ready("a");
    rig.start_child("b", &background(policy(Permanent)));
    rig.ready("b").end("b", clean());
    assert_eq!(rig.reasons(), "b#1 first start, b#2 by its restart policy");
}

#[test]
fn after_a_pause() {
    let mut cools = policy(Permanent);
    cools.restart = cools.restart.with_crash_loop(CrashLoop::new(
        1,
        ms(100),
        CrashLoopAction::CoolOff { delay: ms(500) },
    ));
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", cools)]);
    rig.crash("a").reasons();
    rig.fire();
    assert_eq!(rig.reasons(), "a#2 by its restart policy");
}

#[test]
fn what_an_operator_wants() {
    let mut rig = one();
    rig.reasons();
    rig.ask(Request::Restart("a".into()));
    rig.gone("a").ready("a");
    assert_eq!(rig.reasons(), "a#2 by an operator");
    rig.crash("a").ask(Request::Restart("a".into()));
    assert_eq!(rig.reasons(), "a#3 by an operator", "it ends the back-off");
    rig.ready("a").ask(Request::TerminateChild("a".into()));
    rig.gone("a").ask(Request::RestartChild("a".into()));
    assert_eq!(rig.reasons(), "a#4 by an operator");
    rig.ready("a").crash("a").fire();
    assert_eq!(rig.reasons(), "a#5 by its restart policy", "the reason before is not kept");
}

#[test]
fn what_is_needed() {
    let on_demand = ChildPolicy { start: StartMode::OnDemand, ..policy(Permanent) };
    let mut rig = Rig::new(flags(OneForOne, 9), &[("a", on_demand)]);
    rig.boot().ask(Request::Demand("a".into()));
    assert_eq!(rig.reasons(), "a#1 on demand");
    rig.crash("a");
    assert_eq!((rig.did().as_str(), rig.reasons().as_str()), ("+a", ""), "its state does not change");
    rig.ready("a").crash("a");
    assert_eq!(rig.reasons(), "a#3 by its restart policy");
    for needed_while_it_stops in [false, true] {
        rig.ready("a").crash("a").ready("a").reasons();
        let incarnation = Incarnation(rig.incarnation("a"));
        rig.ask(Request::StopIdle("a".into(), incarnation));
        if needed_while_it_stops {
            rig.ask(Request::Demand("a".into()));
            rig.gone("a");
        } else {
            rig.gone("a").ask(Request::Demand("a".into()));
        }
        assert_eq!(rig.reasons(), format!("a{} on demand", incarnation.next()));
    }
}

#[test]
fn what_is_changed_or_returns() {
    let mut rig = one();
    rig.reasons();
    rig.reload("a", &policy(Transient));
    rig.gone("a");
    assert_eq!(rig.reasons(), "a#2 with a changed definition");
    rig.crash("a");
    assert_eq!(rig.reasons(), "a#3 with the definition before");
    rig.ready("a").crash("a");
    rig.reload("a", &policy(Permanent));
    assert_eq!(rig.reasons(), "a#4 with a changed definition", "it ends the back-off");
}

#[test]
fn what_is_recycled() {
    let mut rig = one();
    rig.reasons();
    for (n, why, text) in [
        (2, RecycleReason::Calls, "it has had enough calls"),
        (3, RecycleReason::Age, "it is old enough"),
        (4, RecycleReason::Memory, "it uses too much memory"),
        (5, RecycleReason::Files, "its files have changed"),
        (6, RecycleReason::Requested, "on request"),
    ] {
        recycle(&mut rig, why);
        rig.gone("a").ready("a");
        assert_eq!(rig.reasons(), format!("a#{n} recycled: {text}"));
    }
    // A change that waits is the reason.
    let change = DefinitionChange::KeepPolicy;
    rig.ask(Request::Reload("a".into(), change, ReloadWhen::NextStart));
    recycle(&mut rig, RecycleReason::Age);
    rig.gone("a");
    assert_eq!(rig.reasons(), "a#7 with a changed definition");
}

#[test]
fn what_takes_the_place_of_another() {
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", overlapping())]);
    rig.reasons();
    recycle(&mut rig, RecycleReason::Age);
    rig.ready_second("a").gone_second("a");
    assert_eq!(rig.reasons(), "a#2 recycled: it is old enough");
    rig.reload("a", &ChildPolicy { standby: true, ..overlapping() });
    rig.ready_second("a").gone_second("a").ready_second("a");
    assert_eq!(rig.reasons(), "a#3 with a changed definition");
    rig.failing("a").end_second("a", crash());
    assert_eq!(rig.reasons(), "a#4 as a spare");
    // One that is still starting is the restart.
    rig.crash("a");
    assert_eq!(rig.reasons(), "a#5 by its restart policy");
}

#[test]
fn who_restarts_with_a_sibling() {
    let both = [("a", patient(Permanent, 50)), ("b", patient(Permanent, 50))];
    let mut rig = Rig::running(flags(OneForAll, 9), &both);
    rig.reasons();
    rig.crash("a").gone("b").fire().ready("a").ready("b");
    assert_eq!(rig.reasons(), "a#2 by its restart policy, b#2 with its group");
    rig.crash("b").gone("a").ask(Request::Restart("a".into()));
    rig.ready("a").ready("b");
    assert_eq!(rig.reasons(), "a#3 by an operator, b#3 by its restart policy");
}
