//! A child with a timeline, which drives its tracker as a supervisor would.

use std::time::Duration;

use procession::internals::{Decision, ExitClass, RestartTracker};
use procession::{
    clock::TreeInstant,
    restart::{Backoff, RestartPolicy},
};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn at(millis: u64) -> TreeInstant {
    TreeInstant::new(ms(millis))
}

/// Doubling from 100 ms to 30 s without jitter, all else as by default.
pub(crate) fn steady() -> RestartPolicy {
    RestartPolicy::permanent().with_jitter(0.0)
}

/// Without delay and jitter.
pub(crate) fn immediate() -> RestartPolicy {
    steady().with_backoff(Backoff::None)
}

pub(crate) struct Child {
    pub(crate) tracker: RestartTracker,
    pub(crate) policy: RestartPolicy,
    pub(crate) now: TreeInstant,
}

impl Child {
    pub(crate) fn new(policy: RestartPolicy) -> Child {
        Child { tracker: RestartTracker::new(7), policy, now: TreeInstant::EPOCH }
    }

    /// One incarnation: launched, ready at once, ended after `life`. Then the delay of the decision
    /// passes.
    pub(crate) fn lives(&mut self, life: Duration, verdict: ExitClass) -> Decision {
        self.tracker.started(self.now);
        self.tracker.ready(self.now);
        self.ends(life, verdict)
    }

    /// One incarnation that never becomes ready.
    pub(crate) fn fails_to_start(&mut self, after: Duration) -> Decision {
        self.tracker.started(self.now);
        self.ends(after, ExitClass::Failure)
    }

    pub(crate) fn ends(&mut self, life: Duration, verdict: ExitClass) -> Decision {
        self.now = self.now.after(life);
        let decision = self.tracker.exited(self.now, verdict, &self.policy);
        if let Decision::Restart { delay, .. }
        | Decision::AwaitProgram { delay }
        | Decision::CoolOff { delay } = decision
        {
            self.now = self.now.after(delay);
        }
        decision
    }

    /// Dies as soon as it is ready.
    pub(crate) fn crashes(&mut self) -> Decision {
        self.lives(Duration::ZERO, ExitClass::Failure)
    }
}

pub(crate) fn restart(delay: Duration, attempt: u32) -> Decision {
    Decision::Restart { delay, attempt }
}
