//! A child that fails too often within the window of its crash loop cools off, is given up, or
//! escalates, as declared.

use procession::internals::{Decision, ExitClass};
use procession::{
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy, RestartType},
    state::{GiveUpReason, Strategy},
};

use crate::common::{Child, immediate, ms, restart, secs};

const COOL: Decision = Decision::CoolOff { delay: secs(60) };

fn cooling() -> RestartPolicy {
    immediate().with_crash_loop(CrashLoop::new(3, secs(30), CrashLoopAction::cool_off(secs(60))))
}

fn why() -> GiveUpReason {
    GiveUpReason::CrashLoop { max_failures: 3, window: secs(30) }
}

/// A child that has just been sent to cool off.
fn on_trial() -> Child {
    let mut child = Child::new(cooling());
    let _ = child.crashes();
    let _ = child.crashes();
    assert_eq!(child.crashes(), COOL);
    child
}

//
#[test]
fn the_limit_is_reached_with_the_last_failure_allowed_in_the_window() {
    let outcomes = [
        (CrashLoopAction::cool_off(secs(60)), COOL),
        (CrashLoopAction::GiveUp, Decision::GiveUp { why: why() }),
        (CrashLoopAction::Escalate, Decision::Escalate { why: why() }),
    ];
    for (then, outcome) in outcomes {
        let crash_loop = CrashLoop::new(3, secs(30), then);
        let policies =
            [immediate().with_crash_loop(crash_loop), immediate().with_budget(BudgetScope::Own(crash_loop))];
        for policy in policies {
            let mut child = Child::new(policy);
            assert_eq!(child.lives(ms(1), ExitClass::Failure), restart(secs(0), 1));
            assert_eq!(child.lives(ms(1), ExitClass::Failure), restart(secs(0), 2));
            assert_eq!(child.lives(ms(1), ExitClass::Failure), outcome);
        }
    }
}

// within the window, both ends included.
#[test]
fn failures_older_than_the_window_do_not_count() {
    let mut child = Child::new(cooling());
    let _ = child.crashes();
    assert_eq!(child.lives(secs(20), ExitClass::Failure), restart(secs(0), 1));
    assert_eq!(child.lives(ms(10_001), ExitClass::Failure), restart(secs(0), 1));
    // Failures at 20 s, 30.001 s and 50 s.
    assert_eq!(child.lives(ms(19_999), ExitClass::Failure), COOL);
}

// between the failures it was healthy, and they are still three in half a minute.
#[test]
fn health_does_not_empty_the_window() {
    let mut child = Child::new(cooling());
    let _ = child.lives(secs(11), ExitClass::Failure);
    let _ = child.lives(secs(11), ExitClass::Failure);
    assert_eq!(child.lives(secs(11), ExitClass::Failure), COOL);
}

// where the supervisor's intensity counts them.
#[test]
fn clean_exits_never_make_a_crash_loop_beside_an_intensity() {
    let mut child = Child::new(cooling());
    let _ = child.crashes();
    let _ = child.crashes();
    for _ in 0..100 {
        assert_eq!(child.lives(ms(1), ExitClass::Clean), restart(secs(0), 2));
    }
    assert_eq!(child.crashes(), COOL);
}

fn own() -> RestartPolicy {
    immediate().with_budget(BudgetScope::Own(CrashLoop::new(
        3,
        secs(30),
        CrashLoopAction::cool_off(secs(60)),
    )))
}

// nothing else would count them.
#[test]
fn early_clean_ends_count_in_a_crash_loop_of_the_childs_own() {
    for verdict in [ExitClass::Clean, ExitClass::Requested] {
        let mut child = Child::new(own());
        assert_eq!(child.lives(ms(1), verdict), restart(secs(0), 0));
        assert_eq!(child.crashes(), restart(secs(0), 1));
        assert_eq!(child.lives(ms(9_999), verdict), COOL);
        // Nor do they pass a trial.
        assert_eq!(child.lives(ms(1), verdict), COOL);
        assert_eq!(child.lives(secs(10), verdict), restart(secs(0), 0));
        assert!(!child.tracker.is_trial());
        assert_eq!(child.tracker.total_failures(), 1);
    }
}

// a job that takes its time is run again and again.
#[test]
fn clean_ends_of_a_healthy_child_do_not_count() {
    let mut child = Child::new(own());
    for _ in 0..50 {
        assert_eq!(child.lives(secs(10), ExitClass::Clean), restart(secs(0), 0));
    }
    // The job that is run until it fails: a failure is not restarted, ends at once are bounded.
    let mut child = Child::new(own().with_restart(RestartType::OnSuccess));
    let decisions: Vec<Decision> = (0..3).map(|_| child.lives(ms(1), ExitClass::Clean)).collect();
    assert_eq!(decisions, [restart(secs(0), 0), restart(secs(0), 0), COOL]);
}

//
#[test]
fn a_failed_trial_is_followed_by_the_next_cool_off_at_once() {
    let mut child = on_trial();
    for _ in 0..5 {
        assert!(child.tracker.is_trial());
        assert_eq!(child.lives(ms(9_999), ExitClass::Failure), COOL);
    }
    assert_eq!(child.fails_to_start(secs(3_600)), COOL);
}

//
#[test]
fn a_trial_that_stays_healthy_is_over_and_its_failures_are_paid_for() {
    let mut child = on_trial();
    assert_eq!(child.lives(secs(10), ExitClass::Failure), restart(secs(0), 1));
    assert!(!child.tracker.is_trial());
    assert_eq!(child.crashes(), restart(secs(0), 2));
    assert_eq!(child.crashes(), COOL);
}

// failures from before the cool-off count no more, even if the window is longer than the cool-off.
#[test]
fn a_cool_off_empties_the_window() {
    let policy =
        immediate().with_crash_loop(CrashLoop::new(3, secs(3_600), CrashLoopAction::cool_off(secs(1))));
    let mut child = Child { policy, ..on_trial() };
    assert_eq!(child.lives(secs(10), ExitClass::Failure), restart(secs(0), 1));
    assert_eq!(child.crashes(), restart(secs(0), 2));
    assert_eq!(child.crashes(), Decision::CoolOff { delay: secs(1) });
}

// beside an intensity a clean exit is no failure of the trial, and no proof of health.
#[test]
fn a_clean_exit_neither_fails_nor_passes_a_trial() {
    let mut child = on_trial();
    assert_eq!(child.lives(ms(1), ExitClass::Clean), restart(secs(0), 3));
    assert!(child.tracker.is_trial());
    assert_eq!(child.crashes(), COOL);
    assert_eq!(child.lives(secs(10), ExitClass::Clean), restart(secs(0), 0));
    assert!(!child.tracker.is_trial());
}

//
#[test]
fn a_policy_changed_in_a_trial_takes_effect_at_the_next_exit() {
    let mut child = on_trial();
    child.policy = immediate();
    assert_eq!(child.crashes(), restart(secs(0), 4));
    assert!(!child.tracker.is_trial());
    child.policy = cooling();
    assert_eq!(child.crashes(), restart(secs(0), 5));

    let mut child = on_trial();
    child.policy = immediate().with_crash_loop(CrashLoop::new(3, secs(30), CrashLoopAction::GiveUp));
    assert_eq!(child.crashes(), Decision::GiveUp { why: why() });
}

// also unset; nothing of it is left when it is set again.
#[test]
fn a_crash_loop_that_was_unset_begins_anew() {
    let mut child = Child::new(cooling());
    let _ = child.crashes();
    let _ = child.crashes();
    child.policy = immediate();
    assert_eq!(child.crashes(), restart(secs(0), 3));
    child.policy = cooling();
    assert_eq!(child.crashes(), restart(secs(0), 4));
    assert_eq!(child.crashes(), restart(secs(0), 5));
    assert_eq!(child.crashes(), COOL);
}

//
#[test]
fn a_revival_ends_the_trial_and_empties_the_window() {
    let mut child = on_trial();
    child.tracker.revived();
    assert!(!child.tracker.is_trial());
    assert_eq!(child.crashes(), restart(secs(0), 1));
    assert_eq!(child.crashes(), restart(secs(0), 2));
    assert_eq!(child.crashes(), COOL);
}

// R-0 (6)
#[test]
fn giving_up_on_one_of_a_group_is_an_escalation() {
    let give_up = Decision::GiveUp { why: why() };
    let escalate = Decision::Escalate { why: why() };
    assert_eq!(give_up.clone().under(Strategy::OneForOne), give_up);
    assert_eq!(give_up.clone().under(Strategy::OneForAll), escalate);
    assert_eq!(give_up.under(Strategy::RestForOne), escalate);
    assert_eq!(restart(secs(1), 1).under(Strategy::OneForAll), restart(secs(1), 1));
    assert_eq!(Decision::Leave.under(Strategy::OneForAll), Decision::Leave);
}

// the cool-off itself is exact; the trial after it counts as one restart of the child.
#[test]
fn a_cool_off_has_no_jitter_and_counts_as_one_restart() {
    let policy = cooling().with_backoff(Backoff::default()).with_jitter(1.0);
    let mut child = Child { policy, ..on_trial() };
    assert_eq!(child.tracker.total_restarts(), 3);
    assert_eq!(child.crashes(), COOL);
    assert_eq!(child.tracker.total_restarts(), 4);
}
