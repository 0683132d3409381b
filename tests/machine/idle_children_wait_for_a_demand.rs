//! S-28: a child on demand is started by the first demand, and one that is idle is stopped until the
//! next one.

use procession::internals::machine::{Reply, Request};
use procession::{
    id::Incarnation,
    restart::RestartType::{Permanent, Transient},
    state::{
        ChildState, DownReason,
        Strategy::{OneForAll, OneForOne},
    },
    supervision::{AutoShutdown, ChildPolicy, RequestError, StartMode, SupervisorFlags},
};

use crate::rig::{Rig, clean, flags, policy, ready};

fn on_demand() -> ChildPolicy {
    ChildPolicy { start: StartMode::OnDemand, ..policy(Permanent) }
}

fn stop_idle(rig: &mut Rig, incarnation: u64) {
    rig.ask(Request::StopIdle("a".into(), Incarnation(incarnation)));
}

fn demand(rig: &mut Rig) -> procession::internals::machine::OperatorRequestId {
    rig.ask(Request::Demand("a".into()))
}

const IDLE: ChildState = ChildState::down(DownReason::Idle);

#[test]
fn the_first_demand_starts_it_and_the_others_join() {
    let mut rig = Rig::new(flags(OneForOne, 9), &[("a", on_demand()), ("b", policy(Permanent))]);
    rig.boot();
    assert_eq!(rig.did(), "+b", "its supervisor does not start it");
    rig.ready("b");
    assert_eq!(rig.did(), "up");
    let asked = [demand(&mut rig), demand(&mut rig)];
    rig.ready("a");
    assert!(asked.iter().all(|asked| rig.reply(*asked) == Some(&ready(1))));
}

#[test]
fn one_that_is_idle_stops_until_it_is_demanded() {
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", policy(Permanent))]);
    stop_idle(&mut rig, 2);
    assert_eq!(rig.did(), "", "of another incarnation");
    stop_idle(&mut rig, 1);
    assert_eq!(rig.did(), "-a");
    assert_eq!(rig.gone("a").state("a"), IDLE);
    demand(&mut rig);
    assert_eq!((rig.did().as_str(), rig.used()), ("+a", 0));
}

#[test]
fn a_demand_that_comes_while_it_stops_starts_it_again() {
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", policy(Permanent))]);
    stop_idle(&mut rig, 1);
    let asked = demand(&mut rig);
    assert_eq!(rig.gone("a").did(), "+a");
    rig.ready("a");
    assert_eq!(rig.reply(asked), Some(&ready(2)));
}

#[test]
fn a_group_restart_leaves_it_alone_and_restarts_it_if_it_runs() {
    let children = [("a", on_demand()), ("b", policy(Permanent))];
    let mut rig = Rig::new(flags(OneForAll, 9), &children);
    rig.boot().ready("b");
    assert_eq!(rig.crash("b").did(), "+b");
    rig.ready("b");
    demand(&mut rig);
    rig.ready("a").crash("b");
    assert_eq!(rig.gone("a").did(), "+a +b", "as one in the background");
    rig.ready("a").ready("b");
    let live = rig.incarnation("a");
    stop_idle(&mut rig, live);
    rig.gone("a").crash("b");
    assert_eq!((rig.did().as_str(), rig.state("a")), ("+b", IDLE));
}

#[test]
fn what_an_operator_stops_is_not_demanded() {
    let mut rig = Rig::running(flags(OneForOne, 9), &[("a", policy(Permanent))]);
    stop_idle(&mut rig, 1);
    rig.gone("a");
    rig.ask(Request::TerminateChild("a".into()));
    assert_eq!(rig.state("a"), ChildState::down(DownReason::Stopped));
    let asked = demand(&mut rig);
    assert!(matches!(rig.reply(asked), Some(Err(RequestError::StoppedByOperator(_)))));
}

#[test]
fn one_that_is_idle_counts_as_alive() {
    // S-24
    let significant = ChildPolicy { significant: true, ..policy(Transient) };
    let flags = SupervisorFlags { auto_shutdown: AutoShutdown::AllSignificant, ..flags(OneForOne, 9) };
    let mut rig = Rig::running(flags, &[("a", significant.clone()), ("b", significant)]);
    stop_idle(&mut rig, 1);
    rig.gone("a").end("b", clean());
    assert!(rig.exit.is_none());
    let asked = demand(&mut rig);
    rig.ready("a").end("a", clean());
    assert_eq!(rig.reply(asked), Some(&ready(2)));
    assert!(rig.exit.is_some());
}

#[test]
fn a_child_that_is_added_waits_as_well() {
    let mut rig = Rig::running(flags(OneForOne, 9), &[]);
    let asked = rig.start_child("a", &on_demand());
    assert_eq!((rig.reply(asked), rig.did()), (Some(&Ok(Reply::Done)), String::new()));
    demand(&mut rig);
    assert_eq!(rig.did(), "+a");
}
