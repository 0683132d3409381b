//! The delay before a restart grows with the failures in a row, up to its cap.

use std::time::Duration;

use procession::internals::ExitClass;
use procession::restart::{Backoff, RestartPolicy};

use crate::common::{Child, immediate, ms, restart, secs, steady};

// the first delay is exactly `initial`, not twice that.
#[test]
fn the_default_doubles_from_100_ms_to_30_s() {
    let mut child = Child::new(steady());
    let delays = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
    for (attempt, delay) in (1..).zip(delays) {
        assert_eq!(child.crashes(), restart(ms(delay), attempt));
    }
}

//
#[test]
fn each_back_off_has_its_table() {
    let odd = Backoff::Exponential { initial: ms(300), factor: 1.5, max: secs(2) };
    let flat = Backoff::Exponential { initial: ms(300), factor: 1.0, max: secs(2) };
    let tables: [(Backoff, [u64; 7]); 5] = [
        (Backoff::None, [0; 7]),
        (Backoff::fixed(ms(70)), [70; 7]),
        (Backoff::exponential(ms(1), ms(9)), [1, 1, 2, 4, 8, 9, 9]),
        (odd, [300_000, 300_000, 450_000, 675_000, 1_012_500, 1_518_750, 2_000_000]),
        (flat, [300; 7]),
    ];
    for (backoff, table) in tables {
        for (failures, expected) in (0..).zip(table) {
            let expected = if backoff == odd { Duration::from_micros(expected) } else { ms(expected) };
            assert_eq!(backoff.delay(failures), expected, "{backoff:?} after {failures}");
        }
    }
}

// all counters saturate.
#[test]
fn any_number_of_failures_stays_at_the_cap() {
    let tiny = f64::from_bits(1.0_f64.to_bits() + 1);
    for factor in [2.0, 1.1, 1e300, f64::INFINITY, f64::NAN] {
        let backoff = Backoff::Exponential { initial: ms(100), factor, max: secs(30) };
        for failures in [1_000, 1 << 31, u32::MAX] {
            assert_eq!(backoff.delay(failures), secs(30), "{factor} {failures}");
        }
    }
    let slow = Backoff::Exponential { initial: ms(100), factor: tiny, max: secs(30) };
    assert!(slow.delay(u32::MAX) < ms(101));
    let endless = Backoff::exponential(Duration::from_nanos(1), Duration::MAX);
    assert_eq!(endless.delay(4), Duration::from_nanos(8));
    assert_eq!(endless.delay(u32::MAX), Duration::MAX);
    assert!(endless.delay(80) > secs(1 << 33));
    assert_eq!(Backoff::exponential(Duration::ZERO, secs(1)).delay(u32::MAX), Duration::ZERO);
    assert_eq!(Backoff::exponential(secs(9), secs(1)).delay(1), secs(1));
}

// clean ends that come too early wait longer each time, and are no failures.
#[test]
fn early_clean_ends_wait_as_failures_do() {
    for verdict in [ExitClass::Clean, ExitClass::Requested] {
        let mut child = Child::new(steady());
        for delay in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            assert_eq!(child.lives(ms(9_999), verdict), restart(ms(delay), 0));
        }
        assert_eq!((child.tracker.failures(), child.tracker.total_failures()), (0, 0));
        // Half a minute of work is not early: it may end like that for ever.
        for _ in 0..50 {
            assert_eq!(child.lives(secs(30), verdict), restart(ms(100), 0));
        }
        assert_eq!(child.lives(ms(1), verdict), restart(ms(100), 0));
        assert_eq!(child.lives(ms(1), verdict), restart(ms(200), 0));
    }
}

// a fixed delay stays what it is.
#[test]
fn a_fixed_delay_does_not_grow() {
    let mut child = Child::new(steady().with_backoff(Backoff::fixed(ms(70))));
    for _ in 0..50 {
        assert_eq!(child.lives(ms(1), ExitClass::Clean), restart(ms(70), 0));
    }
}

// of what comes in a row, clean ends and failures lengthen the delay together; only failures are
// counted as such.
#[test]
fn a_clean_exit_between_failures_grows_and_resets_nothing() {
    let mut child = Child::new(steady());
    assert_eq!(child.crashes(), restart(ms(100), 1));
    assert_eq!(child.crashes(), restart(ms(200), 2));
    assert_eq!(child.lives(ms(1), ExitClass::Clean), restart(ms(400), 2));
    assert_eq!(child.crashes(), restart(ms(800), 3));
    assert_eq!(child.lives(secs(10), ExitClass::Failure), restart(ms(100), 1));
    assert_eq!(child.lives(ms(1), ExitClass::Clean), restart(ms(200), 1));
}

// pools and actors: none.
#[test]
fn actors_restart_at_once() {
    let mut child = Child::new(RestartPolicy::actor());
    for attempt in 1..100 {
        assert_eq!(child.crashes(), restart(Duration::ZERO, attempt));
    }
    assert_eq!(child.policy, immediate());
    // Jitter of nothing is nothing.
    let mut child = Child::new(immediate().with_jitter(1.0));
    assert_eq!(child.crashes(), restart(Duration::ZERO, 1));
}
