//! A supervisor makes at most `max_restarts` restarts in any `period` (S-2).

use std::time::Duration;

use procession::internals::{ExitClass, Window};
use procession::{
    clock::TreeInstant,
    restart::{Backoff, Intensity, RestartPolicy},
};

use crate::common::{Child, at, immediate, ms, secs, steady};

const DEFAULT: Intensity = Intensity { max_restarts: 3, period: secs(5) };

/// How many starts a child gets that fails each time after `start`, before 3 in 5 s is spent; `None` if it
/// goes on after a thousand.
fn starts(policy: RestartPolicy, start: Duration) -> Option<u32> {
    let mut child = Child::new(policy);
    let mut window = Window::new();
    for starts in 1..1_000 {
        child.tracker.started(child.now);
        let end = child.now.after(start);
        let _ = child.ends(start, ExitClass::Failure);
        if !window.try_restart(end, &DEFAULT) {
            return Some(starts);
        }
    }
    None
}

// S-2
#[test]
fn the_first_n_are_made_and_the_next_is_not() {
    assert_eq!(Intensity::default(), DEFAULT);
    let mut window = Window::new();
    for used in 1..=3 {
        assert!(window.try_restart(at(1_000), &DEFAULT));
        assert_eq!(window.used(at(1_000), &DEFAULT), used);
    }
    assert!(!window.try_restart(at(1_000), &DEFAULT));
    assert_eq!(window.used(at(1_000), &DEFAULT), 3, "one that is refused is not counted");
}

// S-2: the worked example of the module's documentation.
#[test]
fn a_restart_as_old_as_the_period_still_counts() {
    let mut window = Window::new();
    for (crash, used) in [(0, 1), (1_000, 2), (4_000, 3), (5_500, 3)] {
        assert!(window.try_restart(at(crash), &DEFAULT));
        assert_eq!(window.used(at(crash), &DEFAULT), used);
    }
    assert!(!window.try_restart(at(6_000), &DEFAULT));
    let just_later = TreeInstant::new(ms(6_000) + Duration::from_nanos(1));
    assert!(window.try_restart(just_later, &DEFAULT));
}

// S-2
#[test]
fn zero_restarts_trip_at_once() {
    let mut window = Window::new();
    assert!(!window.try_restart(TreeInstant::EPOCH, &Intensity::new(0, secs(5))));
    assert!(!window.try_restart(at(1_000_000), &Intensity::new(0, secs(5))));
}

// an intensity may be changed.
#[test]
fn a_changed_intensity_takes_effect_at_the_next_restart() {
    let mut window = Window::new();
    for _ in 0..3 {
        assert!(window.try_restart(at(0), &DEFAULT));
    }
    assert!(window.try_restart(at(0), &Intensity::new(4, secs(5))));
    assert!(!window.try_restart(at(0), &Intensity::new(2, secs(5))));
    assert!(window.try_restart(at(2_000), &Intensity::new(2, secs(1))));
}

// S-2: not slower with more restarts allowed. Walking the list each time would take half a trillion steps
// here.
#[test]
fn a_million_restarts_in_one_period_are_cheap() {
    for max_restarts in [1_000_000, u32::MAX] {
        let wide = Intensity::new(max_restarts, secs(5));
        let mut window = Window::new();
        for n in 0..1_000_000 {
            assert!(window.try_restart(TreeInstant::new(Duration::from_nanos(n)), &wide));
        }
        assert_eq!(window.used(at(5_000), &wide), 1_000_000);
        assert_eq!(window.try_restart(at(5_000), &wide), max_restarts == u32::MAX);
    }
}

// whether one broken child takes its supervisor down is decided by its initial delay.
#[test]
fn an_initial_delay_above_710_ms_never_trips_3_in_5_s() {
    let doubling = |initial, max| steady().with_backoff(Backoff::exponential(initial, max));
    assert_eq!(starts(immediate(), secs(0)), Some(4));
    assert_eq!(starts(steady(), secs(0)), Some(4));
    assert_eq!(starts(doubling(ms(710), secs(30)), secs(0)), Some(4));
    assert_eq!(starts(doubling(ms(720), secs(30)), secs(0)), None);
    // Unless the cap is so low that the first three delays fit into the period.
    assert_eq!(starts(doubling(ms(720), ms(2_830)), secs(0)), Some(4));
    assert_eq!(starts(doubling(ms(720), ms(2_850)), secs(0)), None);
}

// A slow start is not bounded by it; `max_total_restarts` and crash loops are the second limit.
#[test]
fn a_slow_failing_start_never_trips_it() {
    assert_eq!(starts(immediate(), ms(1_600)), Some(4));
    assert_eq!(starts(immediate(), ms(1_700)), None);
    assert_eq!(starts(immediate(), secs(15)), None);
}

// Ten children that end at the same moment need a budget for ten.
#[test]
fn ten_ends_at_one_moment_need_ten_restarts() {
    let made = |intensity: Intensity| {
        let mut window = Window::new();
        (0..10).filter(|_| window.try_restart(at(1), &intensity)).count()
    };
    assert_eq!(made(DEFAULT), 3);
    assert_eq!(made(Intensity::new(10, secs(10))), 10);
}
