use procession::{
    restart::{Decision, RestartType, Tracker, Verdict},
    time::At,
    vocabulary::Limit,
};

use crate::common::{Child, ms, restart, secs, steady};

const NEVER: Decision = Decision::GiveUp { why: Limit::NeverStarts };

// R-6, pitfall 2
#[test]
fn a_child_that_can_never_start_is_given_up_at_once() {
    for kind in [RestartType::Permanent, RestartType::Transient, RestartType::UnlessStopped] {
        let mut child = Child::new(steady().with_restart(kind));
        child.tracker.started(child.now);
        assert_eq!(child.ends(ms(1), Verdict::Permanent), NEVER);
        assert_eq!(child.tracker.total_failures(), 1);
        assert_eq!(child.tracker.total_restarts(), 0);
    }
}

//
#[test]
fn it_is_retried_like_a_crash_if_asked_for() {
    let mut child = Child::new(steady().with_retry_never_started(true).with_max_total_restarts(2));
    assert_eq!(child.ends(ms(1), Verdict::Permanent), restart(ms(100), 1));
    assert_eq!(child.ends(ms(1), Verdict::Permanent), restart(ms(200), 2));
    let why = Limit::TotalRestarts { max: 2 };
    assert_eq!(child.ends(ms(1), Verdict::Permanent), Decision::GiveUp { why });
}

// a program that is being replaced for a second is not gone for good.
#[test]
fn it_is_retried_once_the_place_has_been_ready() {
    let mut child = Child::new(steady());
    assert!(!child.tracker.has_been_ready());
    assert_eq!(child.lives(secs(1), Verdict::Failure), restart(ms(100), 1));
    assert!(child.tracker.has_been_ready());
    child.tracker.started(child.now);
    assert_eq!(child.ends(ms(1), Verdict::Permanent), restart(ms(200), 2));
    child.tracker.revived();
    assert_eq!(child.ends(ms(1), Verdict::Permanent), restart(ms(100), 1), "a revival does not forget that");
}

// R-6: *the place*, which outlives its supervisor.
#[test]
fn it_is_retried_if_an_earlier_life_was_ready() {
    let mut tracker = Tracker::new(0);
    tracker.known_ready();
    let decision = tracker.exited(At::EPOCH, Verdict::Permanent, &steady());
    assert_eq!(decision, restart(ms(100), 1));
}

// a handshake that fails before the first success is a crash, not a missing program.
#[test]
fn a_start_that_fails_otherwise_is_retried() {
    let mut child = Child::new(steady());
    assert_eq!(child.fails_to_start(secs(15)), restart(ms(100), 1));
    assert_eq!(child.fails_to_start(secs(15)), restart(ms(200), 2));
    assert_eq!(child.ends(ms(1), Verdict::Permanent), NEVER);
}
