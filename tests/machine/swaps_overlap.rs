//! S-27, G-14: where an overlap is allowed, a reload starts the successor beside the live incarnation,
//! which is reached until the successor is ready and then finishes its calls. There are never more than
//! two.

use procession::internals::machine::{Input, Request};
use procession::{
    restart::RestartType::{Permanent, Transient},
    state::Strategy::{OneForAll, OneForOne},
    supervision::{ChildPolicy, RequestError},
};

use crate::rig::{Rig, clean, flags, ms, one, patient, policy, ready};

fn overlapping() -> ChildPolicy {
    ChildPolicy { overlap: true, ..policy(Permanent) }
}

fn running() -> Rig {
    Rig::running(flags(OneForOne, 9), &[("a", overlapping())])
}

#[test]
fn the_successor_takes_over_when_it_is_ready() {
    let mut rig = running();
    let asked = rig.reload("a", &overlapping());
    assert_eq!((rig.did_all().as_str(), rig.states().as_str()), ("=a +a'", "r"));
    assert_eq!(rig.second("a").as_deref(), Some("successor starting"));
    rig.ready_second("a");
    assert_eq!(rig.did_all(), "ok:a *a ~a'");
    assert_eq!(rig.second("a").as_deref(), Some("leaving stopping"));
    assert_eq!((rig.reply(asked), rig.incarnation("a")), (Some(&ready(2)), 2));
    rig.gone_second("a");
    assert!(rig.second("a").is_none() && rig.is_idle());
}

#[test]
fn a_successor_that_fails_changes_nothing() {
    let mut rig = running();
    let asked = rig.reload("a", &ChildPolicy { overlap: true, ..policy(Transient) });
    rig.end_second("a", clean());
    assert_eq!((rig.did_all().as_str(), rig.states().as_str()), ("undo:a", "r"));
    assert!(matches!(rig.reply(asked), Some(Err(RequestError::StartFailed { .. }))));
    assert_eq!((rig.incarnation("a"), rig.used()), (1, 0));
    assert_eq!(rig.crash("a").did_all(), "+a");
}

#[test]
fn both_definitions_must_allow_it() {
    for (before, after) in [(policy(Permanent), overlapping()), (overlapping(), policy(Permanent))] {
        let mut rig = Rig::running(flags(OneForOne, 9), &[("a", before)]);
        rig.reload("a", &after);
        assert_eq!(rig.did(), "~a");
        assert_eq!(rig.gone("a").did_all(), "=a +a");
    }
}

#[test]
fn the_next_swap_waits_until_the_old_one_is_gone() {
    let mut rig = running();
    rig.reload("a", &overlapping());
    rig.ready_second("a");
    let asked = [rig.reload("a", &overlapping()), rig.reload("a", &overlapping())];
    assert_eq!(rig.did(), "");
    assert_eq!(rig.gone_second("a").did_all(), "=a +a'");
    rig.ready_second("a");
    assert!(asked.iter().all(|asked| rig.reply(*asked) == Some(&ready(3))), "one swap for both");
}

#[test]
fn a_successor_is_the_restart_of_an_incarnation_that_crashes() {
    let p = ChildPolicy { overlap: true, ..patient(Permanent, 50) };
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", p.clone())]);
    let asked = rig.reload("a", &p);
    rig.crash("a");
    assert_eq!((rig.did(), rig.states(), rig.used()), (String::new(), "s".into(), 1));
    rig.ready("a");
    assert_eq!((rig.reply(asked), rig.did_all().as_str()), (Some(&ready(2)), "ok:a *a"));
}

#[test]
fn a_stop_is_one_of_both() {
    let mut rig = running();
    rig.reload("a", &overlapping());
    let asked = rig.ask(Request::TerminateChild("a".into()));
    assert_eq!(rig.did(), "-a' -a", "the second one first");
    rig.gone("a");
    assert_eq!((rig.states().as_str(), rig.reply(asked)), ("t", None));
    rig.gone_second("a");
    assert_eq!(rig.states(), "-");
    assert!(rig.reply(asked).is_some());
}

#[test]
fn a_group_restart_starts_nothing_beside_what_is_left() {
    let children = [("a", overlapping()), ("b", overlapping())];
    let mut rig = Rig::running(flags(OneForAll, 9), &children);
    rig.reload("b", &overlapping());
    rig.ready_second("b");
    rig.crash("a");
    rig.gone("b");
    assert_eq!((rig.did(), rig.states()), (String::new(), "bt".into()), "one of it is leaving");
    assert_eq!(rig.gone_second("b").did(), "+a");
    assert_eq!(rig.ready("a").did(), "+b");
}

#[test]
fn a_kill_is_one_of_those_that_are_leaving_too() {
    let mut rig = running();
    rig.reload("a", &overlapping());
    rig.ready_second("a");
    rig.input(Input::Kill);
    assert_eq!(rig.did(), "!a' !a");
    rig.gone("a");
    assert!(rig.exit.is_none());
    rig.gone_second("a");
    assert!(rig.exit.is_some());
}

#[test]
fn no_overlap_is_the_default() {
    let mut rig = one();
    rig.reload("a", &policy(Permanent));
    rig.wait(5);
    assert_eq!((rig.alive.len(), rig.states().as_str()), (1, "t"));
    assert!(!ChildPolicy::actor().overlap && ms(0).is_zero());
}
