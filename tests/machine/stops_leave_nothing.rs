//! Shutting down (S-18, S-20) and auto-shutdown (S-24) leave nothing. At every exit the rig checks
//! that nothing runs, no timer is armed, and every request has been answered.

use procession::internals::machine::{Input, Reply, Request};
use procession::{
    exit::Exit,
    restart::RestartType::{Permanent, Temporary, Transient},
    state::{
        ChildState,
        Strategy::{OneForAll, OneForOne, RestForOne},
    },
    supervision::{AutoShutdown, ChildPolicy, RequestError, Shutdown, SupervisorFlags},
};

use crate::rig::{Did, Rig, clean, flags, patient, policy};

fn three(flags: SupervisorFlags, policy: &ChildPolicy) -> Rig {
    Rig::running(flags, &[("a", policy.clone()), ("b", policy.clone()), ("c", policy.clone())])
}

fn significant() -> ChildPolicy {
    ChildPolicy { significant: true, ..policy(Transient) }
}

fn auto(auto_shutdown: AutoShutdown) -> SupervisorFlags {
    SupervisorFlags { auto_shutdown, ..flags(OneForOne, 3) }
}

#[test]
fn children_are_stopped_in_reverse_order_each_awaited() {
    // S-20
    let mut rig = three(flags(OneForOne, 3), &policy(Permanent));
    rig.input(Input::Shutdown);
    assert_eq!(rig.did(), "-c");
    assert_eq!(rig.gone("c").did(), "-b");
    assert_eq!(rig.gone("b").did(), "-a");
    assert_eq!(rig.gone("a").did(), "exit");
    assert_eq!(rig.exit, Some(Exit::Requested));
}

#[test]
fn dynamic_supervisors_stop_all_at_once() {
    // S-20, S-23
    let mut rig = three(SupervisorFlags { dynamic: true, ..flags(OneForOne, 3) }, &policy(Permanent));
    rig.input(Input::Shutdown);
    assert_eq!(rig.did(), "-a -b -c");
    assert_eq!(rig.gone("b").gone("a").gone("c").did(), "exit");
}

#[test]
fn a_removal_under_way_is_finished_by_a_shutdown_at_once() {
    let mut rig = three(SupervisorFlags { dynamic: true, ..flags(OneForOne, 3) }, &policy(Permanent));
    let asked = rig.ask(Request::RemoveChild("b".into()));
    rig.input(Input::Shutdown);
    rig.gone("b");
    assert_eq!(rig.reply(asked), Some(&Ok(Reply::Done)));
    assert!(!rig.has("b"));
}

#[test]
fn a_shutdown_while_it_starts_stops_what_has_been_started() {
    let p = policy(Permanent);
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", p.clone()), ("b", p.clone()), ("c", p)]);
    rig.boot().ready("a");
    rig.input(Input::Shutdown);
    assert_eq!(rig.did(), "-b");
    rig.gone("b");
    assert_eq!(rig.gone("a").did(), "exit");
}

#[test]
fn a_shutdown_before_it_starts_is_an_exit() {
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", policy(Permanent))]);
    rig.input(Input::Shutdown);
    assert_eq!(rig.did(), "exit");
    rig.boot();
    assert_eq!(rig.did(), "");
}

#[test]
fn waiting_children_are_not_started_any_more() {
    // a stop wins over every timer.
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut rig = three(flags(strategy, 3), &patient(Permanent, 50));
        rig.crash("c");
        if strategy == OneForAll {
            rig.gone("b").gone("a");
        }
        assert_eq!(rig.timers.len(), 1);
        rig.input(Input::Shutdown);
        assert!(rig.timers.is_empty());
        assert!(rig.state("c").is_down());
    }
}

#[test]
fn a_child_that_dies_before_it_is_stopped_is_simply_down() {
    // S-19: no crash, no restart.
    let mut rig = three(flags(OneForOne, 3), &policy(Permanent));
    rig.input(Input::Shutdown);
    rig.crash("a");
    assert_eq!((rig.did(), rig.used()), (String::new(), 0));
    rig.gone("c");
    assert_eq!(rig.gone("b").did(), "exit");
}

#[test]
fn a_kill_gives_no_child_any_more_time() {
    // S-20: still in order.
    let mut rig = three(flags(OneForOne, 3), &policy(Permanent));
    rig.input(Input::Shutdown);
    rig.input(Input::Kill);
    assert_eq!(rig.did(), "!c");
    assert_eq!(rig.gone("c").did(), "!b");
    rig.input(Input::Kill);
    assert_eq!(rig.did(), "");
    rig.gone("b").gone("a");
    assert_eq!(rig.exit, Some(Exit::Requested));
    let mut rig = three(flags(OneForOne, 3), &policy(Permanent));
    rig.ask(Request::TerminateChild("a".into()));
    rig.input(Input::Kill);
    assert_eq!(rig.did(), "!a !c", "also those that an operator has stopped");
}

#[test]
fn each_child_is_stopped_in_its_own_way() {
    // S-3
    for shutdown in [Shutdown::BrutalKill, Shutdown::Infinity] {
        let p = ChildPolicy { shutdown, ..policy(Permanent) };
        let mut rig = Rig::running(flags(OneForOne, 3), &[("a", p)]);
        rig.input(Input::Shutdown);
        assert_eq!(rig.did, [Did::Stop("a".into(), 1, shutdown)]);
    }
}

#[test]
fn requests_are_refused_while_it_stops_and_those_under_way_answered() {
    // S-18
    let mut rig = three(flags(OneForOne, 3), &policy(Permanent));
    let stop = rig.ask(Request::TerminateChild("b".into()));
    let start = rig.start_child("x", &policy(Permanent));
    let restart = rig.ask(Request::Restart("a".into()));
    rig.input(Input::Shutdown);
    for asked in [start, restart] {
        assert_eq!(rig.reply(asked), Some(&Err(RequestError::ShuttingDown)));
    }
    let late = rig.ask(Request::Restart("a".into()));
    assert_eq!(rig.reply(late), Some(&Err(RequestError::ShuttingDown)));
    rig.gone("b");
    assert_eq!(rig.reply(stop), Some(&Ok(Reply::Done)));
    rig.gone("x").gone("c").gone("a");
    assert!(rig.exit.is_some());
}

#[test]
fn any_significant_child_takes_the_supervisor_with_it() {
    // S-24
    let children = [("a", policy(Permanent)), ("s", significant())];
    let mut rig = Rig::running(auto(AutoShutdown::AnySignificant), &children);
    assert_eq!(rig.crash("s").did(), "+s", "restarted: it is not gone");
    rig.ready("s");
    assert_eq!(rig.end("s", clean()).did(), "-a");
    rig.gone("a");
    assert_eq!(rig.exit, Some(Exit::AutoShutdown { child: "s".into() }));
}

#[test]
fn all_significant_children_must_be_gone() {
    // S-24
    let children = [("a", policy(Permanent)), ("s", significant()), ("t", significant())];
    let mut rig = Rig::running(auto(AutoShutdown::AllSignificant), &children);
    assert_eq!(rig.end("s", clean()).did(), "");
    assert_eq!(rig.end("t", clean()).did(), "-a");
}

#[test]
fn a_stop_by_hand_is_no_end_but_is_gone() {
    // S-24
    let children = [("a", policy(Permanent)), ("s", significant()), ("t", significant())];
    let mut rig = Rig::running(auto(AutoShutdown::AllSignificant), &children);
    rig.ask(Request::TerminateChild("s".into()));
    rig.end("t", clean());
    assert!(rig.machine.is_stopping(), "also while it is still being stopped");
    let mut rig = Rig::running(auto(AutoShutdown::AllSignificant), &children);
    rig.ask(Request::RemoveChild("s".into()));
    rig.end("t", clean());
    assert!(rig.machine.is_stopping());
    let mut rig = Rig::running(auto(AutoShutdown::AllSignificant), &children[..2]);
    rig.ask(Request::TerminateChild("s".into()));
    assert_eq!((rig.gone("s").did(), rig.states()), (String::new(), "r-".into()));
}

#[test]
fn a_significant_child_that_waits_for_its_restart_is_alive() {
    // S-24
    let patient = ChildPolicy { significant: true, ..patient(Transient, 50) };
    let children = [("a", policy(Permanent)), ("s", patient), ("t", significant())];
    let mut rig = Rig::running(auto(AutoShutdown::AllSignificant), &children);
    rig.crash("s");
    assert_eq!(rig.end("t", clean()).did(), "");
}

#[test]
fn a_temporary_significant_child_counts_although_it_is_forgotten() {
    // S-24
    let s = ChildPolicy { significant: true, ..policy(Temporary) };
    let children = [("a", policy(Permanent)), ("s", s)];
    let mut rig = Rig::running(auto(AutoShutdown::AllSignificant), &children);
    assert_eq!(rig.crash("s").did(), "-a");
}

#[test]
fn what_a_group_is_about_to_bring_back_is_not_gone_and_what_it_is_not_is() {
    // S-24: `a` ended before `b` restarts the rest, which does not include it.
    let flags = SupervisorFlags { strategy: RestForOne, ..auto(AutoShutdown::AllSignificant) };
    let children = [("a", significant()), ("b", patient(Permanent, 50)), ("c", significant())];
    let mut rig = Rig::running(flags.clone(), &children);
    rig.end("c", clean()).crash("b");
    assert_eq!(rig.end("a", clean()).did(), "", "`c` comes back with `b`");
    rig.fire().ready("b").ready("c");
    assert_eq!(rig.states(), "-rr");
    rig.end("c", clean());
    assert!(rig.machine.is_stopping());
    let children = [("a", significant()), ("b", significant()), ("c", patient(Permanent, 50))];
    let mut rig = Rig::running(flags, &children);
    rig.end("a", clean()).crash("c");
    rig.end("b", clean());
    assert!(rig.machine.is_stopping(), "`a` does not come back with `c`");
    let children = [("a", significant()), ("b", policy(Permanent)), ("c", significant())];
    let flags = SupervisorFlags { strategy: RestForOne, ..auto(AutoShutdown::AllSignificant) };
    let mut rig = Rig::running(flags, &children);
    rig.ask(Request::TerminateChild("c".into()));
    rig.crash("b").end("a", clean());
    assert!(!rig.machine.is_stopping(), "`c` had been stopped by hand, and comes back with `b`");
}

#[test]
fn a_starting_child_is_stopped_like_any_other() {
    let mut rig = Rig::new(flags(OneForOne, 3), &[("a", policy(Permanent))]);
    rig.boot();
    rig.input(Input::Shutdown);
    rig.ready("a");
    assert_eq!(rig.state("a"), ChildState::Stopping);
    assert_eq!(rig.gone("a").did(), "exit");
}

#[test]
fn a_child_stopped_by_hand_before_a_pending_group_does_not_keep_the_supervisor() {
    // S-24: the group that waits begins behind it and does not bring it back.
    let significant = |restart| ChildPolicy { significant: true, ..policy(restart) };
    let children = [
        ("a", policy(Permanent)),
        ("b", significant(Transient)),
        ("c", significant(Temporary)),
        ("d", patient(Permanent, 50)),
    ];
    let flags = SupervisorFlags { auto_shutdown: AutoShutdown::AllSignificant, ..flags(RestForOne, 3) };
    let mut rig = Rig::running(flags, &children);
    rig.ask(Request::TerminateChild("b".into()));
    rig.crash("d");
    rig.crash("c");
    rig.gone("b").gone("a");
    assert_eq!(rig.exit, Some(Exit::AutoShutdown { child: "c".into() }));
}
