//! [`Backoff`]: how the delay before a restart grows with failures in a row.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::human_duration;

const INITIAL: Duration = Duration::from_millis(100);
const FACTOR: f64 = 2.0;
const MAX: Duration = Duration::from_secs(30);

/// The delay before a restart, as a function of the early ends in a row: failures, and clean ends of a child
/// that has not been ready for [`healthy_after`](super::RestartPolicy::healthy_after).
///
/// Default: exponential, 100 ms doubling to 30 s. Jitter is applied afterwards (see
/// [`RestartPolicy::jitter`](super::RestartPolicy::jitter)), at the cap as well.
///
/// In a configuration: `"none"`, `{ fixed = { delay = "1s" } }`,
/// `{ exponential = { initial = "100ms", max = "30s" } }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Backoff {
    /// At once. Only the intensity of the supervisor, or the child's own
    /// [budget](super::BudgetScope::Own), then bounds the rate: this is refused under a supervisor whose
    /// intensity is [no limit](super::Intensity::is_unlimited).
    None,
    /// Always the same delay.
    Fixed {
        /// The delay.
        #[serde(with = "human_duration")]
        delay: Duration,
    },
    /// `initial`, `initial · factor`, `initial · factor²`, … up to `max`.
    Exponential {
        /// The delay after the first early end, and after a clean exit of a healthy child. Default 100 ms.
        #[serde(with = "human_duration", default = "initial")]
        initial: Duration,
        /// The factor between one delay and the next. Default 2.
        #[serde(default = "factor")]
        factor: f64,
        /// The longest delay, before jitter. Default 30 s.
        #[serde(with = "human_duration", default = "max")]
        max: Duration,
    },
}

impl Backoff {
    /// Always the same delay.
    pub fn fixed(delay: Duration) -> Backoff {
        Backoff::Fixed { delay }
    }

    /// Doubling from `initial` to `max`.
    pub fn exponential(initial: Duration, max: Duration) -> Backoff {
        Backoff::Exponential { initial, factor: FACTOR, max }
    }

    /// Whether it never waits: none, or a fixed delay of zero.
    pub fn is_none(&self) -> bool {
        matches!(self, Backoff::None | Backoff::Fixed { delay: Duration::ZERO })
    }

    /// The delay after the `ends`-th early end in a row, before jitter.
    ///
    /// The first is exactly `initial`. Zero (a clean exit of a healthy child) waits as long as one.
    /// Never more than `max`, for no number of ends; the same on every platform.
    pub fn delay(&self, ends: u32) -> Duration {
        match *self {
            Backoff::None => Duration::ZERO,
            Backoff::Fixed { delay } => delay,
            Backoff::Exponential { initial, factor, max } => {
                let steps = ends.saturating_sub(1);
                if steps == 0 || initial.is_zero() {
                    return initial.min(max);
                }
                let nanos = initial.as_nanos() as f64 * power(factor, steps);
                // NaN and infinity are capped as well.
                if nanos < max.as_nanos() as f64 {
                    // Saturates at 584 years, and at zero.
                    Duration::from_nanos(nanos.round() as u64)
                } else {
                    max
                }
            }
        }
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::exponential(INITIAL, MAX)
    }
}

fn initial() -> Duration {
    INITIAL
}

fn factor() -> f64 {
    FACTOR
}

fn max() -> Duration {
    MAX
}

/// By squaring: `powf` and `powi` may differ in the last bit between platforms, and a seed must
/// give the same event log everywhere.
fn power(mut base: f64, mut exponent: u32) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    product
}
