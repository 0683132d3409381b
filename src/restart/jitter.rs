//! [`JitterRng`]: a tiny seeded source that spreads delays.

use std::time::Duration;

/// Splitmix64 (Steele, Lea and Flood, 2014): eight bytes of state, and neighbouring seeds give unrelated
/// sequences. Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct JitterRng(u64);

impl JitterRng {
    pub(super) fn new(seed: u64) -> JitterRng {
        JitterRng(seed)
    }

    /// `delay` changed by a random fraction of at most ± `fraction` (cut to `0..=1`; not a number is none).
    pub(super) fn spread(&mut self, delay: Duration, fraction: f64) -> Duration {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        if fraction == 0.0 || delay.is_zero() {
            return delay;
        }
        let nanos = delay.as_nanos() as f64 * (1.0 + fraction * self.signed_unit());
        // Saturates at 584 years.
        Duration::from_nanos(nanos.round() as u64)
    }

    /// Uniform in `-1.0..1.0`, from the upper 53 bits.
    fn signed_unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // The reference implementation's first outputs for the seed 1234567.
        let mut jitter = JitterRng::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| jitter.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn the_longest_delay_does_not_overflow() {
        let mut jitter = JitterRng::new(1);
        for _ in 0..100 {
            assert!(jitter.spread(Duration::MAX, 1.0) <= Duration::from_nanos(u64::MAX));
        }
        assert_eq!(jitter.spread(Duration::from_secs(1), f64::NAN), Duration::from_secs(1));
    }
}
