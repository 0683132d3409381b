//! [`RestartPolicy`]: everything that is declared about the restarts of one child.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, BudgetScope, CrashLoop, RestartType};
use crate::human_duration;

/// When one child is restarted, after how long, and when it no longer is.
///
/// Plain data, part of the declaration of a child. It may be changed, also unset, while the child
/// runs, and takes effect at the next exit. In a configuration every field may be left out, unknown
/// ones are errors, and durations are strings (`"250ms"`, `"1m 30s"`) or numbers of seconds.
///
/// ```
/// # use std::time::Duration;
/// use procession::restart::{Backoff, CrashLoop, RestartPolicy, CrashLoopAction};
///
/// let policy = RestartPolicy::transient()
///     .with_backoff(Backoff::exponential(Duration::from_millis(250), Duration::from_secs(60)))
///     .with_crash_loop(CrashLoop::new(5, Duration::from_secs(120), CrashLoopAction::GiveUp));
/// assert!(policy.validate(Default::default()).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// Which exits lead to a restart. Default: all.
    pub restart: RestartType,
    /// How long it waits. Default: exponential, 100 ms to 30 s.
    pub backoff: Backoff,
    /// The fraction by which a delay is shortened or lengthened at random, `0..=1`, also at the cap
    /// of the back-off, so that children that ended together are not restarted in lockstep. Default
    /// 0.2; without effect on a delay of zero.
    pub jitter: f64,
    /// How long it must have been ready without interruption before its failures in a row are
    /// forgotten and a trial counts as passed. A clean end before that lengthens the back-off as a
    /// failure does. Judged when it ends. Default 10 s; not zero.
    #[serde(with = "human_duration")]
    pub healthy_after: Duration,
    /// How many failures in which time are too many. Checked before the budget of the supervisor.
    /// Default: no limit.
    pub crash_loop: Option<CrashLoop>,
    /// How many restarts are made in all (until an operator restarts it): after clean exits,
    /// failures and cool-offs alike. When one more would be needed, the child is given up. Default:
    /// no limit.
    pub max_total_restarts: Option<u32>,
    /// Whether a child that can never start as it is declared (no such program, a command that is too long)
    /// is retried like one that crashed. Default: no, unless it has been ready before.
    pub retry_never_started: bool,
    /// How long a failed launch of a child that has been ready before counts against no limit, if
    /// its program is missing, empty, half-written or not executable: a program is replaced in such
    /// steps. It is looked for with the delays of the back-off (100 ms and more where there is
    /// none). Default 30 s; with zero such a launch counts at once.
    #[serde(with = "human_duration")]
    pub program_grace: Duration,
    /// Where its restarts are counted. Unset by default: it is decided when the declaration becomes
    /// a child (see [`BudgetScope`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetScope>,
    /// The least time between two restarts by an operator (rule R-8); one that comes earlier is
    /// refused as too soon. Requests that arrive while one is being carried out join it and count
    /// as one. Default: none.
    #[serde(with = "human_duration::option", skip_serializing_if = "Option::is_none")]
    pub min_interval: Option<Duration>,
}

impl RestartPolicy {
    /// The default: every exit leads to a restart.
    pub fn permanent() -> RestartPolicy {
        RestartPolicy {
            restart: RestartType::Permanent,
            backoff: Backoff::default(),
            jitter: 0.2,
            healthy_after: Duration::from_secs(10),
            crash_loop: None,
            max_total_restarts: None,
            retry_never_started: false,
            program_grace: Duration::from_secs(30),
            budget: None,
            min_interval: None,
        }
    }

    /// Only failures lead to a restart.
    pub fn transient() -> RestartPolicy {
        RestartPolicy::permanent().with_restart(RestartType::Transient)
    }

    /// Nothing leads to a restart.
    pub fn temporary() -> RestartPolicy {
        RestartPolicy::permanent().with_restart(RestartType::Temporary)
    }

    /// The default for actors and for the workers of pools: permanent, without delay, as OTP. The
    /// supervisor's intensity alone limits the rate.
    pub fn actor() -> RestartPolicy {
        RestartPolicy::permanent().with_backoff(Backoff::None).with_jitter(0.0)
    }

    /// Sets [`restart`](Self::restart).
    #[must_use]
    pub fn with_restart(mut self, restart: RestartType) -> RestartPolicy {
        self.restart = restart;
        self
    }

    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> RestartPolicy {
        self.backoff = backoff;
        self
    }

    /// Sets [`jitter`](Self::jitter).
    #[must_use]
    pub fn with_jitter(mut self, jitter: f64) -> RestartPolicy {
        self.jitter = jitter;
        self
    }

    /// Sets [`healthy_after`](Self::healthy_after).
    #[must_use]
    pub fn with_healthy_after(mut self, healthy_after: Duration) -> RestartPolicy {
        self.healthy_after = healthy_after;
        self
    }

    /// Sets [`crash_loop`](Self::crash_loop), or unsets it with `None`.
    #[must_use]
    pub fn with_crash_loop(mut self, crash_loop: impl Into<Option<CrashLoop>>) -> RestartPolicy {
        self.crash_loop = crash_loop.into();
        self
    }

    /// Sets [`max_total_restarts`](Self::max_total_restarts), or unsets it with `None`.
    #[must_use]
    pub fn with_max_total_restarts(mut self, max: impl Into<Option<u32>>) -> RestartPolicy {
        self.max_total_restarts = max.into();
        self
    }

    /// Sets [`retry_never_started`](Self::retry_never_started).
    #[must_use]
    pub fn with_retry_never_started(mut self, retry: bool) -> RestartPolicy {
        self.retry_never_started = retry;
        self
    }

    /// Sets [`program_grace`](Self::program_grace).
    #[must_use]
    pub fn with_program_grace(mut self, grace: Duration) -> RestartPolicy {
        self.program_grace = grace;
        self
    }

    /// Sets [`budget`](Self::budget), or unsets it with `None`.
    #[must_use]
    pub fn with_budget(mut self, budget: impl Into<Option<BudgetScope>>) -> RestartPolicy {
        self.budget = budget.into();
        self
    }

    /// Sets [`min_interval`](Self::min_interval), or unsets it with `None`.
    #[must_use]
    pub fn with_min_interval(mut self, min_interval: impl Into<Option<Duration>>) -> RestartPolicy {
        self.min_interval = min_interval.into();
        self
    }

    /// Whether the supervisor's intensity counts the child's restarts, as it does by default.
    pub fn is_shared(&self) -> bool {
        self.budget.is_none_or(|budget| budget.is_shared())
    }

    /// Gives the child a budget of its own: its crash loop, or `default` if it has none.
    pub(crate) fn use_own_budget(&mut self, default: CrashLoop) {
        if self.is_shared() {
            self.budget = Some(BudgetScope::Own(self.crash_loop.take().unwrap_or(default)));
        }
    }

    /// The crash loop that applies to the child: that of its own budget, else
    /// [`crash_loop`](Self::crash_loop).
    pub fn effective_crash_loop(&self) -> Option<&CrashLoop> {
        match &self.budget {
            Some(BudgetScope::Own(crash_loop)) => Some(crash_loop),
            Some(BudgetScope::Shared) | None => self.crash_loop.as_ref(),
        }
    }
}

impl Default for RestartPolicy {
    fn default() -> RestartPolicy {
        RestartPolicy::permanent()
    }
}
