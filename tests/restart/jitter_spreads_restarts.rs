//! Jitter spreads restarts within its bounds, also at the cap, and the same seed gives the same
//! delays.

use std::{collections::BTreeSet, time::Duration};

use procession::internals::{Decision, ExitClass, RestartTracker};
use procession::{
    clock::TreeInstant,
    restart::{Backoff, RestartPolicy},
};

use crate::common::{ms, secs};

fn delays(seed: u64, policy: &RestartPolicy, count: usize) -> Vec<Duration> {
    let mut tracker = RestartTracker::new(seed);
    (0..count)
        .map(|_| match tracker.exited(TreeInstant::EPOCH, ExitClass::Failure, policy) {
            Decision::Restart { delay, .. } => delay,
            other => panic!("{other:?}"),
        })
        .collect()
}

// ± the fraction, for every delay, the first included.
#[test]
fn every_delay_is_within_the_fraction_and_uses_all_of_it() {
    let policy = RestartPolicy::default().with_backoff(Backoff::fixed(secs(10))).with_jitter(0.2);
    let delays = delays(1, &policy, 10_000);
    let (low, high) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
    assert!(low >= secs(8) && low < ms(8_010), "{low:?}");
    assert!(high <= secs(12) && high > ms(11_990), "{high:?}");
    let mean = delays.iter().sum::<Duration>() / 10_000;
    assert!(mean > ms(9_950) && mean < ms(10_050), "{mean:?}");
}

// also at the cap.
#[test]
fn it_does_not_vanish_at_the_cap() {
    let policy = RestartPolicy::default();
    let at_cap: BTreeSet<Duration> = delays(1, &policy, 60).split_off(20).into_iter().collect();
    assert_eq!(at_cap.len(), 40);
    assert!(at_cap.iter().any(|delay| *delay > secs(30)), "cap first, then jitter");
    assert!(at_cap.iter().any(|delay| *delay < secs(30)));
    assert!(at_cap.iter().all(|delay| (secs(24)..=secs(36)).contains(delay)));
}

// jitter is seeded. D-1.
#[test]
fn a_seed_gives_one_sequence_and_another_seed_another() {
    let policy = RestartPolicy::default();
    assert_eq!(delays(42, &policy, 100), delays(42, &policy, 100));
    // Ten children that died at the same moment, with neighbouring seeds.
    let first: BTreeSet<Duration> = (0..10).map(|seed| delays(seed, &policy, 1)[0]).collect();
    assert_eq!(first.len(), 10);
    let spread = *first.last().unwrap() - *first.first().unwrap();
    assert!(spread > ms(20), "{spread:?}");
}

// counters are reset, the sequence of delays goes on.
#[test]
fn a_revival_does_not_replay_it() {
    let policy = RestartPolicy::default().with_backoff(Backoff::fixed(secs(1)));
    let unbroken = delays(3, &policy, 2);
    let mut tracker = RestartTracker::new(3);
    for delay in unbroken {
        let decision = tracker.exited(TreeInstant::EPOCH, ExitClass::Failure, &policy);
        assert_eq!(decision, Decision::Restart { delay, attempt: 1 });
        tracker.revived();
    }
}

// whole fraction, and values that validation refuses, stay in bounds.
#[test]
fn no_fraction_makes_a_delay_negative_or_more_than_double() {
    for jitter in [1.0, 1e9, f64::INFINITY] {
        let policy = RestartPolicy::default().with_backoff(Backoff::fixed(secs(1))).with_jitter(jitter);
        assert!(delays(5, &policy, 1_000).iter().all(|delay| *delay <= secs(2)));
    }
    for jitter in [0.0, -1.0, f64::NAN] {
        let policy = RestartPolicy::default().with_backoff(Backoff::fixed(secs(1))).with_jitter(jitter);
        assert!(delays(5, &policy, 10).iter().all(|delay| *delay == secs(1)));
    }
}
