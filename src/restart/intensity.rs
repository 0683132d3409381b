//! [`Intensity`]: how many restarts a supervisor makes in a period before it gives up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::human_duration;
use crate::state::GiveUpReason;

/// A supervisor's restart intensity (OTP: `intensity` and `period`): at most `max_restarts` in a sliding
/// `period`.
///
/// Shared by all children whose [`BudgetScope`](super::BudgetScope) is shared. The [module](super) explains
/// how to choose it. Default: 3 in 5 s. (OTP's own default is 1 in 5 s.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intensity {
    /// Restarts allowed in one period; the next one is not attempted. Zero allows none;
    /// [`u32::MAX`] is no limit.
    pub max_restarts: u32,
    /// The sliding window. Not zero.
    #[serde(with = "human_duration")]
    pub period: Duration,
}

impl Intensity {
    /// At most `max_restarts` in a sliding `period`.
    pub fn new(max_restarts: u32, period: Duration) -> Intensity {
        Intensity { max_restarts, period }
    }

    /// Whether it is no limit at all: `max_restarts` is [`u32::MAX`].
    pub fn is_unlimited(&self) -> bool {
        self.max_restarts == u32::MAX
    }

    /// The limit, as it appears in states and exits.
    pub fn limit(&self) -> GiveUpReason {
        GiveUpReason::Intensity { max_restarts: self.max_restarts, period: self.period }
    }
}

impl Default for Intensity {
    fn default() -> Intensity {
        Intensity::new(3, Duration::from_secs(5))
    }
}
