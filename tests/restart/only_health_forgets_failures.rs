//! Failures in a row are forgotten only after the child has been ready for `healthy_after` without
//! interruption.

use procession::internals::{Decision, ExitClass};
use procession::{
    restart::{CrashLoop, CrashLoopAction},
    state::GiveUpReason,
};

use crate::common::{Child, immediate, ms, restart, secs, steady};

// it becomes ready each time and dies right after that.
#[test]
fn a_child_that_dies_right_after_ready_reaches_its_limit() {
    let policy = steady().with_crash_loop(CrashLoop::new(3, secs(60), CrashLoopAction::GiveUp));
    let mut child = Child::new(policy);
    assert_eq!(child.lives(ms(90), ExitClass::Failure), restart(ms(100), 1));
    assert_eq!(child.lives(ms(90), ExitClass::Failure), restart(ms(200), 2));
    let why = GiveUpReason::CrashLoop { max_failures: 3, window: secs(60) };
    assert_eq!(child.lives(ms(90), ExitClass::Failure), Decision::GiveUp { why });
}

// back-off grows although every run was ready.
#[test]
fn runs_shorter_than_healthy_after_reset_nothing() {
    let mut child = Child::new(steady());
    for (attempt, delay) in (1..).zip([100, 200, 400, 800]) {
        assert_eq!(child.lives(ms(9_999), ExitClass::Failure), restart(ms(delay), attempt));
    }
    assert_eq!(child.lives(secs(10), ExitClass::Failure), restart(ms(100), 1));
    assert_eq!(child.lives(secs(3), ExitClass::Failure), restart(ms(200), 2));
}

// R-3: *ready*, not merely alive.
#[test]
fn a_long_start_is_no_health() {
    let mut child = Child::new(steady());
    assert_eq!(child.fails_to_start(secs(3_600)), restart(ms(100), 1));
    assert_eq!(child.fails_to_start(secs(3_600)), restart(ms(200), 2));
    child.tracker.started(child.now);
    child.now = child.now.after(secs(3_600));
    child.tracker.ready(child.now);
    assert_eq!(child.ends(secs(9), ExitClass::Failure), restart(ms(400), 3));
}

// uninterrupted. S-12: a group restart consumes an exit, and the tracker only hears of the next start.
#[test]
fn being_ready_twice_does_not_add_up() {
    let mut child = Child::new(steady());
    assert_eq!(child.crashes(), restart(ms(100), 1));
    for _ in 0..3 {
        child.tracker.started(child.now);
        child.tracker.ready(child.now);
        child.now = child.now.after(secs(6));
    }
    assert_eq!(child.lives(secs(6), ExitClass::Failure), restart(ms(200), 2));
}

// S-12: the next incarnation is not ready because the one before it was.
#[test]
fn an_incarnation_after_a_group_restart_has_to_become_ready_itself() {
    let mut child = Child::new(steady());
    assert_eq!(child.crashes(), restart(ms(100), 1));
    child.tracker.started(child.now);
    child.tracker.ready(child.now);
    child.now = child.now.after(secs(9));
    assert_eq!(child.fails_to_start(secs(9)), restart(ms(200), 2));
}

// R-3, S-12: what an incarnation has proved before its supervisor stopped it is not lost.
#[test]
fn a_healthy_child_that_was_stopped_with_its_siblings_is_healthy() {
    let mut child = Child::new(steady());
    assert_eq!(child.crashes(), restart(ms(100), 1));
    child.tracker.started(child.now);
    child.tracker.ready(child.now);
    child.now = child.now.after(secs(10));
    child.tracker.stopped(child.now);
    assert_eq!((child.tracker.failures(), child.tracker.total_restarts()), (1, 1), "no counter changes");
    assert_eq!(child.crashes(), restart(ms(100), 1));
    // It is used up.
    assert_eq!(child.crashes(), restart(ms(200), 2));
    // The time after the stop does not count.
    child.tracker.started(child.now);
    child.tracker.ready(child.now);
    child.tracker.stopped(child.now.after(secs(9)));
    child.now = child.now.after(secs(20));
    assert_eq!(child.crashes(), restart(ms(400), 3));
}

// reporting a launch is optional. An exit, or a stop, ends the time of being ready by itself.
#[test]
fn an_end_is_an_end_even_if_no_launch_is_reported() {
    let mut child = Child::new(steady());
    assert_eq!(child.crashes(), restart(ms(100), 1));
    assert_eq!(child.ends(secs(60), ExitClass::Failure), restart(ms(200), 2));
    child.tracker.ready(child.now);
    child.tracker.stopped(child.now.after(secs(9)));
    assert_eq!(child.ends(secs(60), ExitClass::Failure), restart(ms(400), 3));
}

// a clean end after a healthy run forgets them as well.
#[test]
fn a_clean_exit_after_a_healthy_life_forgets() {
    let mut child = Child::new(steady());
    let _ = child.crashes();
    let _ = child.crashes();
    assert_eq!(child.lives(secs(10), ExitClass::Clean), restart(ms(100), 0));
    assert_eq!(child.crashes(), restart(ms(100), 1));
}

// R-3, W-4: what a snapshot shows for a child that has been healthy for an hour.
#[test]
fn failures_in_a_row_can_be_read_as_of_now() {
    let mut child = Child::new(steady());
    let _ = child.crashes();
    child.tracker.started(child.now);
    child.tracker.ready(child.now);
    let (soon, later) = (child.now.after(ms(9_999)), child.now.after(secs(10)));
    assert_eq!(child.tracker.failures_at(soon, &child.policy), 1);
    assert_eq!(child.tracker.failures_at(later, &child.policy), 0);
    assert_eq!(child.tracker.failures(), 1);
}

// even with a policy that validation refuses.
#[test]
fn a_start_alone_is_never_health() {
    let mut child = Child::new(immediate().with_healthy_after(secs(0)));
    for attempt in 1..5 {
        assert_eq!(child.fails_to_start(secs(1)), restart(secs(0), attempt));
    }
    assert_eq!(child.crashes(), restart(secs(0), 5));
}
