//! A supervisor's own settings, as plain data: [`SupervisorFlags`].

use serde::{Deserialize, Serialize};

use super::errors::SpecError;
use crate::{restart::Intensity, state::Strategy};

/// When a supervisor shuts itself down because significant children have ended (OTP's `auto_shutdown`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// Never.
    #[default]
    Never,
    /// When one of them has ended by itself and is not restarted.
    AnySignificant,
    /// When the last of them has ended in this way.
    AllSignificant,
}

/// A supervisor's own settings (OTP's supervisor flags).
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisorFlags {
    /// Which siblings restart with a child that failed.
    pub strategy: Strategy,
    /// How many restarts in which time are too many. With `None` it is 3 in 5 s, for those children
    /// that do not pay for their own restarts ([`BudgetScope`](crate::restart::BudgetScope)).
    pub intensity: Option<Intensity>,
    /// Whether the supervisor ends with its significant children.
    pub auto_shutdown: AutoShutdown,
    /// Children are added and removed at run time, leave the table when they have ended for good,
    /// and are all stopped at once (Elixir's `DynamicSupervisor`).
    pub dynamic: bool,
    /// The largest number of children, including those that are restarting or stopping.
    pub max_children: Option<usize>,
}

impl Default for SupervisorFlags {
    fn default() -> SupervisorFlags {
        SupervisorFlags {
            strategy: Strategy::OneForOne,
            intensity: None,
            auto_shutdown: AutoShutdown::Never,
            dynamic: false,
            max_children: None,
        }
    }
}

impl SupervisorFlags {
    /// The effective intensity, set or default.
    pub fn effective_intensity(&self) -> Intensity {
        self.intensity.unwrap_or_default()
    }

    pub(crate) fn check(&self, errors: &mut Vec<SpecError>) {
        if self.effective_intensity().period.is_zero() {
            errors.push(SpecError { field: "intensity.period".into(), problem: "must not be zero".into() });
        }
        if self.dynamic && self.strategy != Strategy::OneForOne {
            let problem = format!("a dynamic supervisor is one-for-one, not {}", self.strategy);
            errors.push(SpecError { field: "strategy".into(), problem });
        }
    }
}
