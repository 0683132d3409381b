//! A child is given up after `max_total_restarts` restarts, however slowly they come.

use procession::internals::{Decision, ExitClass};
use procession::{
    restart::{BudgetScope, CrashLoop, CrashLoopAction},
    state::GiveUpReason,
};

use crate::common::{Child, immediate, ms, restart, secs, steady};

fn given_up(max: u32) -> Decision {
    Decision::GiveUp { why: GiveUpReason::TotalRestarts { max } }
}

// the limit for starts that are too slow for every window.
#[test]
fn so_many_restarts_are_made_and_no_more() {
    let mut child = Child::new(immediate().with_max_total_restarts(3));
    for attempt in 1..=3 {
        assert_eq!(child.fails_to_start(secs(15)), restart(secs(0), attempt));
    }
    assert_eq!(child.fails_to_start(secs(15)), given_up(3));
    assert_eq!(child.tracker.total_restarts(), 3);
}

// all its restarts count, healthy or not, clean or not.
#[test]
fn health_and_clean_exits_do_not_refill_it() {
    let mut child = Child::new(steady().with_max_total_restarts(2));
    assert_eq!(child.lives(secs(3_600), ExitClass::Failure), restart(ms(100), 1));
    assert_eq!(child.lives(secs(3_600), ExitClass::Clean), restart(ms(100), 0));
    assert_eq!(child.lives(secs(3_600), ExitClass::Clean), given_up(2));
}

// only an operator revives it, with counters reset.
#[test]
fn a_revival_begins_anew() {
    let mut child = Child::new(steady().with_max_total_restarts(1));
    assert_eq!(child.crashes(), restart(ms(100), 1));
    assert_eq!(child.crashes(), given_up(1));
    assert_eq!(child.crashes(), given_up(1));
    child.tracker.revived();
    let tracker = &child.tracker;
    assert_eq!((tracker.failures(), tracker.total_failures(), tracker.total_restarts()), (0, 0, 0));
    assert_eq!(child.crashes(), restart(ms(100), 1));
    assert_eq!(child.crashes(), given_up(1));
}

// it goes before the crash loop, so that a trial is not one restart too many.
#[test]
fn a_trial_start_is_a_restart() {
    let crash_loop = CrashLoop::new(1, secs(1), CrashLoopAction::cool_off(secs(60)));
    let mut child =
        Child::new(immediate().with_max_total_restarts(2).with_budget(BudgetScope::Own(crash_loop)));
    assert_eq!(child.crashes(), Decision::CoolOff { delay: secs(60) });
    assert_eq!(child.crashes(), Decision::CoolOff { delay: secs(60) });
    assert_eq!(child.crashes(), given_up(2));
}

//
#[test]
fn zero_allows_none_and_the_bound_can_be_moved() {
    let mut child = Child::new(immediate().with_max_total_restarts(0));
    assert_eq!(child.lives(ms(1), ExitClass::Clean), given_up(0));
    child.policy = child.policy.with_max_total_restarts(1);
    assert_eq!(child.crashes(), restart(secs(0), 1));
    assert_eq!(child.crashes(), given_up(1));
    child.policy = child.policy.with_max_total_restarts(None);
    assert_eq!(child.crashes(), restart(secs(0), 3));
}
