//! A program that has never started and is missing is not retried; one that was ready before is
//! waited for while it is being replaced.

use procession::internals::{Decision, ExitClass, RestartTracker};
use procession::{clock::TreeInstant, restart::RestartType, state::GiveUpReason};

use crate::common::{Child, immediate, ms, restart, secs, steady};

const NEVER: Decision = Decision::GiveUp { why: GiveUpReason::NeverStarts };

//
#[test]
fn a_child_that_can_never_start_is_given_up_at_once() {
    for kind in [RestartType::Permanent, RestartType::Transient, RestartType::UnlessStopped] {
        for verdict in [ExitClass::Permanent, ExitClass::Missing] {
            let mut child = Child::new(steady().with_restart(kind));
            child.tracker.started(child.now);
            assert_eq!(child.ends(ms(1), verdict), NEVER);
            assert_eq!(child.tracker.total_failures(), 1);
            assert_eq!(child.tracker.total_restarts(), 0);
        }
    }
}

//
#[test]
fn it_is_retried_like_a_crash_if_asked_for() {
    let mut child = Child::new(steady().with_retry_never_started(true).with_max_total_restarts(2));
    assert_eq!(child.ends(ms(1), ExitClass::Permanent), restart(ms(100), 1));
    assert_eq!(child.ends(ms(1), ExitClass::Permanent), restart(ms(200), 2));
    let why = GiveUpReason::TotalRestarts { max: 2 };
    assert_eq!(child.ends(ms(1), ExitClass::Permanent), Decision::GiveUp { why });
}

// a program that is missing for a second while it is replaced is not missing for good.
#[test]
fn it_is_retried_once_the_place_has_been_ready() {
    let mut child = Child::new(steady());
    assert!(!child.tracker.has_been_ready());
    assert_eq!(child.lives(secs(1), ExitClass::Failure), restart(ms(100), 1));
    assert!(child.tracker.has_been_ready());
    child.tracker.started(child.now);
    assert_eq!(child.ends(ms(1), ExitClass::Permanent), restart(ms(200), 2));
    child.tracker.revived();
    assert_eq!(
        child.ends(ms(1), ExitClass::Permanent),
        restart(ms(100), 1),
        "a revival does not forget that"
    );
}

// the node remembers it, which outlives its supervisor.
#[test]
fn it_is_retried_if_an_earlier_life_was_ready() {
    let mut tracker = RestartTracker::new(0);
    tracker.set_has_been_ready();
    let decision = tracker.exited(TreeInstant::EPOCH, ExitClass::Permanent, &steady());
    assert_eq!(decision, restart(ms(100), 1));
}

// a handshake that fails before the first success is a crash, not a missing program.
#[test]
fn a_start_that_fails_otherwise_is_retried() {
    let mut child = Child::new(steady());
    assert_eq!(child.fails_to_start(secs(15)), restart(ms(100), 1));
    assert_eq!(child.fails_to_start(secs(15)), restart(ms(200), 2));
    assert_eq!(child.ends(ms(1), ExitClass::Permanent), NEVER);
}

fn looked_for(delay: u64) -> Decision {
    Decision::AwaitProgram { delay: ms(delay) }
}

// what is away for half a minute is being replaced, and costs nothing.
#[test]
fn a_program_that_was_there_is_waited_for_before_that_counts() {
    let mut child = Child::new(steady().with_max_total_restarts(2));
    assert_eq!(child.lives(secs(60), ExitClass::Failure), restart(ms(100), 1));
    for (n, delay) in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800].into_iter().enumerate() {
        // Missing, half-written, missing again: one absence.
        let verdict = if n % 2 == 0 { ExitClass::Missing } else { ExitClass::Busy };
        assert_eq!(child.ends(ms(0), verdict), looked_for(delay));
    }
    // What is left of the half minute.
    assert_eq!(child.ends(ms(0), ExitClass::Missing), looked_for(4_500));
    assert_eq!((child.tracker.failures(), child.tracker.total_restarts()), (1, 1));
    // From now on it counts.
    assert_eq!(child.ends(ms(0), ExitClass::Missing), restart(ms(200), 2));
    let why = GiveUpReason::TotalRestarts { max: 2 };
    assert_eq!(child.ends(ms(0), ExitClass::Missing), Decision::GiveUp { why });
}

//
#[test]
fn each_absence_has_its_own_time() {
    let mut child = Child::new(immediate().with_program_grace(secs(1)));
    assert_eq!(child.lives(secs(60), ExitClass::Failure), restart(secs(0), 1));
    for _ in 0..20 {
        // Never at once, whatever the back-off.
        assert_eq!(child.ends(ms(0), ExitClass::Missing), looked_for(100));
        assert_eq!(child.ends(ms(0), ExitClass::Busy), looked_for(200));
        let attempt = child.tracker.failures() + 1;
        assert_eq!(child.lives(ms(0), ExitClass::Failure), restart(secs(0), attempt));
    }
    // A failure of another kind: it was there.
    assert_eq!(child.ends(secs(0), ExitClass::Missing), looked_for(100));
    assert_eq!(child.fails_to_start(secs(2)), restart(secs(0), 22));
    assert_eq!(child.ends(secs(0), ExitClass::Missing), looked_for(100));
    // Without a grace it counts at once.
    child.policy = immediate().with_program_grace(secs(0));
    assert_eq!(child.ends(secs(0), ExitClass::Missing), restart(secs(0), 23));
}

// of a child that has never been ready.
#[test]
fn a_busy_program_is_a_failure_like_any_other() {
    let mut child = Child::new(steady());
    assert_eq!(child.ends(ms(0), ExitClass::Busy), restart(ms(100), 1));
    assert_eq!(child.ends(ms(0), ExitClass::Busy), restart(ms(200), 2));
}
