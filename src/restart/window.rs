//! [`Window`]: what happened within a sliding period.

use std::{collections::VecDeque, time::Duration};

use super::Intensity;
use crate::clock::TreeInstant;

/// Below this capacity memory is not released: it is not worth the copying.
const SMALL: usize = 32;

/// The restarts that a supervisor has made in its current period.
///
/// Guarantee: within any `period` it allows at most `max_restarts`. Each call costs O(1),
/// amortised, whatever `max_restarts` is (OTP walks its list of restarts each time, and slows down
/// with the number allowed). It takes eight bytes per restart in the period, released once they
/// have become too old.
///
/// Times must not go backwards; an earlier one is taken for the latest seen. The intensity may be
/// changed between calls and takes effect at the next; restarts that were already too old do not
/// count again under a longer period.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Oldest first.
    times: VecDeque<TreeInstant>,
}

impl Window {
    /// An empty window. Allocates nothing.
    pub fn new() -> Window {
        Window::default()
    }

    /// Returns `true` and counts the restart as of now if it is within the intensity. Returns
    /// `false` without counting it if it would be one too many.
    pub fn try_restart(&mut self, now: TreeInstant, intensity: &Intensity) -> bool {
        self.forget(now, intensity.period);
        let within = self.len() < intensity.max_restarts;
        if within {
            self.push(now);
        }
        within
    }

    /// How many restarts count now.
    pub fn used(&mut self, now: TreeInstant, intensity: &Intensity) -> u32 {
        self.forget(now, intensity.period);
        self.len()
    }

    /// Counts one more and returns how many there are within `period`, including this one.
    pub(super) fn record(&mut self, now: TreeInstant, period: Duration) -> u32 {
        self.forget(now, period);
        self.push(now);
        self.len()
    }

    fn len(&self) -> u32 {
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    fn push(&mut self, now: TreeInstant) {
        let latest = self.times.back().copied().unwrap_or(TreeInstant::EPOCH);
        self.times.push_back(now.max(latest));
    }

    /// Drops what is older than `period`.
    fn forget(&mut self, now: TreeInstant, period: Duration) {
        let old = |at: &TreeInstant| now.since(*at) > period;
        if self.times.back().is_some_and(old) {
            // After a quiet time all of them are dropped together.
            self.times.clear();
        }
        while self.times.front().is_some_and(old) {
            self.times.pop_front();
        }
        if self.times.capacity() > SMALL && self.times.len() < self.times.capacity() / 4 {
            self.times.shrink_to(self.times.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> TreeInstant {
        TreeInstant::new(Duration::from_secs(seconds))
    }

    #[test]
    fn memory_is_given_back_after_quiet() {
        let wide = Intensity::new(u32::MAX, Duration::from_secs(5));
        let mut window = Window::new();
        assert_eq!(window.times.capacity(), 0);
        for _ in 0..100_000 {
            assert!(window.try_restart(at(1), &wide));
        }
        assert_eq!(window.used(at(6), &wide), 100_000);
        assert_eq!(window.used(at(7), &wide), 0);
        assert!(window.times.capacity() <= SMALL, "{}", window.times.capacity());
    }

    #[test]
    fn memory_follows_a_fading_storm() {
        let wide = Intensity::new(u32::MAX, Duration::from_secs(5));
        let mut window = Window::new();
        for _ in 0..10_000 {
            assert!(window.try_restart(at(1), &wide));
        }
        assert!(window.try_restart(at(4), &wide));
        assert_eq!(window.used(at(7), &wide), 1);
        assert!(window.times.capacity() <= SMALL, "{}", window.times.capacity());
    }

    #[test]
    fn time_that_goes_backwards_keeps_the_order() {
        let narrow = Intensity::new(2, Duration::from_secs(5));
        let mut window = Window::new();
        assert!(window.try_restart(at(10), &narrow));
        assert!(window.try_restart(at(3), &narrow));
        assert!(!window.try_restart(at(15), &narrow));
        assert_eq!(window.used(at(16), &narrow), 0);
    }
}
