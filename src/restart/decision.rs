//! [`Decision`]: what is to happen to a child after an exit.

use std::time::Duration;

use crate::state::{GiveUpReason, Strategy};

/// What the restart policy of a child decides about an exit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision has no effect by itself"]
pub enum Decision {
    /// The restart type asks for no restart: the child has ended.
    Leave,
    /// Start the next incarnation after the delay, if the [`BudgetScope`](super::BudgetScope) allows it.
    Restart {
        /// How long to wait; zero is at once. Jitter is included.
        delay: Duration,
        /// Failures in a row so far; zero after clean exits without failures before them.
        attempt: u32,
    },
    /// Its program is missing and is waited for: start the next incarnation after the delay. No
    /// limit counts this.
    AwaitProgram {
        /// How long to wait; never zero. Jitter is included.
        delay: Duration,
    },
    /// Leave it down for this long, then make one trial start. Not counted by the intensity of the
    /// supervisor.
    CoolOff {
        /// How long, exactly.
        delay: Duration,
    },
    /// Leave it down until an operator restarts it. Not counted by the intensity of the supervisor.
    GiveUp {
        /// The limit that was reached.
        why: GiveUpReason,
    },
    /// The supervisor has to give up.
    Escalate {
        /// The limit that was reached.
        why: GiveUpReason,
    },
}

impl Decision {
    /// The decision as it stands under a strategy: where siblings restart together, giving up on one of them
    /// *is* an escalation.
    pub fn under(self, strategy: Strategy) -> Decision {
        match self {
            Decision::GiveUp { why } if strategy != Strategy::OneForOne => Decision::Escalate { why },
            other => other,
        }
    }
}
