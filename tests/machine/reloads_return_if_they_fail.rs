//! G-13: changes wait for the next start, which takes all of them. If it fails, the last confirmed
//! definition returns, and each caller whose change was taken is told.

use std::sync::Arc;

use procession::internals::machine::{DefinitionChange, OperatorRequestId, ReloadWhen, Reply, Request};
use procession::{
    restart::RestartType::{Permanent, Transient},
    state::Strategy::{OneForAll, OneForOne, RestForOne},
    supervision::{ChildPolicy, RequestError},
};

use crate::rig::{Rig, flags, one, patient, policy, ready};

/// A change at the next start.
fn change_later(rig: &mut Rig, id: &str, policy: &ChildPolicy) -> OperatorRequestId {
    let change = DefinitionChange::ReplacePolicy(Arc::new(policy.clone()));
    rig.ask(Request::Reload(id.into(), change, ReloadWhen::NextStart))
}

fn has_failed(rig: &Rig, asked: OperatorRequestId) -> bool {
    matches!(rig.reply(asked), Some(Err(RequestError::StartFailed { .. })))
}

fn is_transient(rig: &Rig) -> bool {
    rig.machine.child(&"a".into()).unwrap().policy.restart.restart == Transient
}

#[test]
fn the_child_runs_again_from_the_definition_before() {
    let mut rig = one();
    let asked = rig.reload("a", &policy(Transient));
    assert_eq!(rig.did_all(), "~a");
    rig.gone("a");
    assert_eq!(rig.did_all(), "=a +a");
    assert!(is_transient(&rig));
    rig.crash("a");
    assert_eq!(rig.did_all(), "undo:a +a");
    assert!(has_failed(&rig, asked) && !is_transient(&rig));
    rig.ready("a");
    assert_eq!((rig.did_all(), rig.used()), ("*a".into(), 0), "not a restart, and nothing to confirm");
}

#[test]
fn a_definition_is_confirmed_by_the_first_incarnation_that_is_ready() {
    let mut rig = one();
    let asked = rig.reload("a", &policy(Transient));
    rig.gone("a").ready("a");
    assert_eq!(rig.did_all(), "ok:a *a");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
    rig.crash("a").crash("a");
    assert_eq!(rig.did_all(), "+a", "a later failure takes nothing back");
}

#[test]
fn what_is_requested_during_a_reload_is_the_next_one_and_one_only() {
    let mut rig = one();
    let first = rig.reload("a", &policy(Transient));
    rig.gone("a");
    let later: Vec<_> = (0..10).map(|_| rig.reload("a", &policy(Permanent))).collect();
    assert_eq!(rig.did(), "", "the start under way is not disturbed");
    rig.ready("a");
    assert_eq!(rig.reply(first), Some(&ready(2)));
    assert_eq!(rig.did(), "~a");
    rig.gone("a").ready("a");
    assert!(later.iter().all(|asked| rig.reply(*asked) == Some(&ready(3))));
    assert!(rig.is_idle() && !is_transient(&rig));
}

#[test]
fn what_waits_behind_a_failed_reload_is_tried_on_the_definition_before() {
    let mut rig = one();
    let first = rig.reload("a", &policy(Transient));
    rig.gone("a");
    let second = rig.ask(Request::Reload("a".into(), DefinitionChange::KeepPolicy, ReloadWhen::Now));
    rig.crash("a");
    assert_eq!(rig.did_all(), "undo:a =a +a");
    assert!(has_failed(&rig, first) && !is_transient(&rig));
    rig.ready("a");
    assert_eq!(rig.reply(second), Some(&ready(3)));
}

#[test]
fn changes_that_wait_together_are_one_reload() {
    let mut rig = one();
    rig.ask(Request::Restart("a".into()));
    let asked = [rig.reload("a", &policy(Permanent)), rig.reload("a", &policy(Transient))];
    rig.gone("a");
    assert_eq!(rig.did_all(), "=a +a");
    assert!(is_transient(&rig), "the last policy decides");
    rig.ready("a");
    assert!(asked.iter().all(|asked| rig.reply(*asked) == Some(&ready(2))));
}

#[test]
fn a_deferred_change_waits_for_any_start() {
    let mut rig = one();
    let asked = change_later(&mut rig, "a", &policy(Transient));
    assert_eq!((rig.reply(asked), rig.did()), (Some(&Ok(Reply::Done)), String::new()));
    rig.crash("a").fire();
    assert_eq!(rig.did_all(), "=a +a");
    rig.crash("a");
    assert_eq!((rig.did_all().as_str(), rig.states().as_str()), ("undo:a", "b"));
    assert_eq!(rig.used(), 2, "the restart was a restart, and its failure one more");
}

#[test]
fn a_start_that_was_asked_to_stop_decides_nothing() {
    let mut rig = one();
    let asked = rig.reload("a", &policy(Transient));
    rig.gone("a");
    rig.ask(Request::TerminateChild("a".into()));
    rig.gone("a");
    assert!(matches!(rig.reply(asked), Some(Err(RequestError::Stopped(_)))));
    rig.ask(Request::RestartChild("a".into()));
    assert!(is_transient(&rig));
    rig.crash("a");
    assert_eq!(rig.did_all(), "undo:a");
    assert!(!is_transient(&rig), "it is the definition that failed now");
}

#[test]
fn in_a_group_the_siblings_are_left_alone() {
    // S-22
    let p = patient(Permanent, 10);
    let mut rig = Rig::running(flags(OneForAll, 9), &[("a", p.clone()), ("b", p.clone())]);
    let asked = rig.reload("b", &patient(Transient, 10));
    rig.gone("b").crash("b");
    assert_eq!((rig.did_all().as_str(), rig.states().as_str()), ("undo:b +b", "rs"));
    assert!(has_failed(&rig, asked));
    rig.ready("b");
    assert_eq!((rig.states(), rig.used()), ("rr".into(), 0));
}

#[test]
fn recycling_changes_no_definition() {
    // W-5
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", policy(Permanent))]);
    let asked = rig.recycle("a");
    rig.gone("a").ready("a");
    assert_eq!((rig.did_all().as_str(), rig.reply(asked)), ("*a", Some(&ready(2))));
}

#[test]
fn one_that_waited_for_a_group_restart_goes_on_when_a_failed_start_delays_that() {
    // G-13, S-14: `b` has crashed, and `d` is being stopped, when the start of `a` fails. Until the
    // retry, `c` goes on running, so its reload need not wait.
    let p = patient(Permanent, 10);
    let children = [("a", p.clone()), ("b", p.clone()), ("c", p.clone()), ("d", p.clone())];
    let mut rig = Rig::running(flags(RestForOne, 9), &children);
    rig.ask(Request::Restart("a".into()));
    rig.gone("a").crash("b");
    assert_eq!(rig.states(), "sbrt");
    let asked = rig.reload("c", &patient(Transient, 10));
    assert_eq!(rig.states(), "sbrt", "its group is about to be restarted");
    rig.crash("a");
    assert_eq!(rig.states(), "bbtt");
    rig.gone("c").ready("c");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
}
