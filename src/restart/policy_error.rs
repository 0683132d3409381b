//! [`PolicyError`]: what is wrong with a policy, by field; and the checks themselves.

use std::time::Duration;

use super::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, Intensity, RestartPolicy, RestartType};
use crate::state::Strategy;

/// A mistake in a [`RestartPolicy`] or an [`Intensity`](super::Intensity). Always misuse and never
/// retryable: it is found before anything runs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Jitter is a fraction.
    #[error("`jitter` must be between 0 and 1, not {value}")]
    Jitter {
        /// What was given.
        value: f64,
    },
    /// Delays must not shrink, nor grow without bound.
    #[error("`backoff.factor` must be a finite number of at least 1, not {value}")]
    Factor {
        /// What was given.
        value: f64,
    },
    /// A back-off cannot grow from zero.
    #[error("`backoff.initial` must not be zero: it would never grow; for restarts without delay use `none`")]
    ZeroInitial,
    /// The cap is below the first delay.
    #[error("`backoff.max` ({max:?}) must not be below `backoff.initial` ({initial:?})")]
    MaxBelowInitial {
        /// The first delay.
        initial: Duration,
        /// The cap.
        max: Duration,
    },
    /// A mere start would count as health, and a child that dies right after it would restart for ever.
    #[error("`healthy_after` must not be zero: becoming ready is no proof of health")]
    ZeroHealthyAfter,
    /// A window of zero length.
    #[error("`{field}.window` must not be zero")]
    ZeroWindow {
        /// `crash_loop` or `budget.own`.
        field: &'static str,
    },
    /// A crash loop with no failures.
    #[error("`{field}.max_failures` must be at least 1")]
    ZeroMaxFailures {
        /// `crash_loop` or `budget.own`.
        field: &'static str,
    },
    /// A cool-off of zero length.
    #[error("`{field}.then.cool_off.for` must not be zero")]
    ZeroCoolOff {
        /// `crash_loop` or `budget.own`.
        field: &'static str,
    },
    /// Siblings that restart together cannot wait for one that cools off.
    #[error("`{field}.then` must not be `cool_off` under {strategy}; use `escalate`")]
    CoolOffInGroup {
        /// `crash_loop` or `budget.own`.
        field: &'static str,
        /// The supervisor's strategy.
        strategy: Strategy,
    },
    /// Two crash loops for one child.
    #[error("`crash_loop` and `budget.own` exclude each other: `budget.own` is the child's crash loop")]
    TwoCrashLoops,
    /// Nothing bounds the rate of the restarts.
    #[error(
        "`backoff` must not be `none` where no intensity bounds the restarts: wait between them, give the supervisor an \
         intensity, or the child a budget of its own (`budget.own`)"
    )]
    Unbounded,
    /// An intensity with a period of zero.
    #[error("`intensity.period` must not be zero")]
    ZeroPeriod,
}

impl RestartPolicy {
    /// Checks the policy for a child of a supervisor with this strategy.
    ///
    /// # Errors
    ///
    /// All mistakes at once, each naming its field. A policy that is used in spite of them does not
    /// panic: values out of range are cut, and `budget.own` takes precedence over `crash_loop`.
    pub fn validate(&self, strategy: Strategy) -> Result<(), Vec<PolicyError>> {
        let mut errors = Vec::new();
        if !(0.0..=1.0).contains(&self.jitter) {
            errors.push(PolicyError::Jitter { value: self.jitter });
        }
        check_backoff(&self.backoff, &mut errors);
        if self.healthy_after.is_zero() {
            errors.push(PolicyError::ZeroHealthyAfter);
        }
        if let Some(crash_loop) = &self.crash_loop {
            check_crash_loop(crash_loop, "crash_loop", strategy, &mut errors);
        }
        if let Some(BudgetScope::Own(crash_loop)) = &self.budget {
            check_crash_loop(crash_loop, "budget.own", strategy, &mut errors);
            if self.crash_loop.is_some() {
                errors.push(PolicyError::TwoCrashLoops);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Checks that something bounds the rate at which a supervisor with this intensity restarts the child.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Unbounded`].
    pub fn check_rate(&self, intensity: &Intensity) -> Result<(), PolicyError> {
        let bounded = !self.backoff.is_none() || !self.is_shared() || !intensity.is_unlimited();
        if bounded || self.restart == RestartType::Temporary { Ok(()) } else { Err(PolicyError::Unbounded) }
    }
}

impl Intensity {
    /// Checks that the period is not zero.
    ///
    /// # Errors
    ///
    /// [`PolicyError::ZeroPeriod`] if the period is zero.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.period.is_zero() { Err(PolicyError::ZeroPeriod) } else { Ok(()) }
    }
}

fn check_backoff(backoff: &Backoff, errors: &mut Vec<PolicyError>) {
    let Backoff::Exponential { initial, factor, max } = *backoff else { return };
    if !(factor >= 1.0 && factor.is_finite()) {
        errors.push(PolicyError::Factor { value: factor });
    }
    if initial.is_zero() {
        errors.push(PolicyError::ZeroInitial);
    }
    if max < initial {
        errors.push(PolicyError::MaxBelowInitial { initial, max });
    }
}

fn check_crash_loop(
    crash_loop: &CrashLoop,
    field: &'static str,
    strategy: Strategy,
    errors: &mut Vec<PolicyError>,
) {
    if crash_loop.max_failures == 0 {
        errors.push(PolicyError::ZeroMaxFailures { field });
    }
    if crash_loop.window.is_zero() {
        errors.push(PolicyError::ZeroWindow { field });
    }
    if let CrashLoopAction::CoolOff { delay } = crash_loop.then {
        if delay.is_zero() {
            errors.push(PolicyError::ZeroCoolOff { field });
        }
        if strategy != Strategy::OneForOne {
            errors.push(PolicyError::CoolOffInGroup { field, strategy });
        }
    }
}
