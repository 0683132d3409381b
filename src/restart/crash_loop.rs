//! [`CrashLoop`]: how many failures of one child are too many, and what happens then
//! ([`CrashLoopAction`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::human_duration;
use crate::state::GiveUpReason;

/// A child's own limit: `max_failures` failures within `window`.
///
/// It is reached *with* the `max_failures`-th failure, which is not followed by an ordinary
/// restart. Failures count; in a [budget of the child's own](super::BudgetScope::Own), so do clean ends
/// before [`healthy_after`](super::RestartPolicy::healthy_after). A failure of age ≤ `window`
/// counts. Being healthy in between does not empty the window; a cool-off and a restart by an
/// operator do. Default: 5 failures in 60 s, then cool off for 60 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrashLoop {
    /// The number of failures that is too many. At least 1.
    pub max_failures: u32,
    /// The sliding window. Not zero.
    #[serde(with = "human_duration")]
    pub window: Duration,
    /// What happens when the limit is reached.
    pub then: CrashLoopAction,
}

/// What happens to a child in a crash loop.
///
/// In a configuration: `{ cool_off = { for = "60s" } }`, `"give_up"`, `"escalate"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CrashLoopAction {
    /// Leave it down for a while, then make one trial start. If the trial ends in a way that counts before it
    /// has been ready for `healthy_after`, the next cool-off follows at once. Only under one-for-one.
    CoolOff {
        /// How long. Not zero. (`for` in a configuration.)
        #[serde(rename = "for", with = "human_duration")]
        delay: Duration,
    },
    /// Leave it down until an operator restarts it. Under one-for-all and rest-for-one this
    /// escalates, because siblings that depend on each other cannot do without one of them.
    GiveUp,
    /// The supervisor gives up, as if its intensity had been exceeded.
    Escalate,
}

impl CrashLoop {
    /// `max_failures` failures within `window`, then `then`.
    pub fn new(max_failures: u32, window: Duration, then: CrashLoopAction) -> CrashLoop {
        CrashLoop { max_failures, window, then }
    }

    /// The limit, as it appears in states and exits.
    pub fn limit(&self) -> GiveUpReason {
        GiveUpReason::CrashLoop { max_failures: self.max_failures, window: self.window }
    }
}

impl Default for CrashLoop {
    fn default() -> CrashLoop {
        CrashLoop::new(5, Duration::from_secs(60), CrashLoopAction::cool_off(Duration::from_secs(60)))
    }
}

impl CrashLoopAction {
    /// Cool off for this long.
    pub fn cool_off(delay: Duration) -> CrashLoopAction {
        CrashLoopAction::CoolOff { delay }
    }
}
