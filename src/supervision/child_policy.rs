//! The plain-data half of a child's declaration: [`ChildPolicy`].
//!
//! This and its id are all that the pure machine knows of a child.

use std::{collections::HashSet, time::Duration};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::{
    errors::{SpecError, SpecErrors},
    supervisor_flags::{AutoShutdown, SupervisorFlags},
};
use crate::{
    id::ChildId,
    restart::{RestartPolicy, RestartType},
    state::{ChildKind, Strategy},
    untrusted::one_line_up_to,
};

/// How a child is stopped (OTP's `shutdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// It is killed at once.
    BrutalKill,
    /// It is asked to stop, and killed if it has not ended after this long. Zero is a valid
    /// timeout.
    Timeout(#[serde(with = "crate::human_duration")] Duration),
    /// It is asked to stop, and awaited for as long as it takes.
    Infinity,
}

impl Shutdown {
    /// OTP's defaults: five seconds for a worker, no limit for a supervisor.
    pub const fn default_for(kind: ChildKind) -> Shutdown {
        match kind {
            ChildKind::Worker => Shutdown::Timeout(Duration::from_secs(5)),
            ChildKind::Supervisor => Shutdown::Infinity,
        }
    }
}

/// Whether a supervisor's start waits for a child (rule S-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// The next child starts when this one is ready. If it fails to start, its supervisor fails to
    /// start.
    #[default]
    Required,
    /// The start does not wait for it. A failed first start is a crash under the restart policy of
    /// the child.
    Background,
    /// The supervisor does not start it: the first call does (rule S-28). From then on it is as a
    /// background child.
    OnDemand,
}

/// Everything about a child that decides when it is started, stopped and restarted; plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildPolicy {
    /// When it is restarted.
    pub restart: RestartPolicy,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Whether its supervisor's start waits for it.
    pub start: StartMode,
    /// How long a start may take until the child is ready.
    pub start_timeout: Duration,
    /// What it is.
    pub kind: ChildKind,
    /// Whether its end counts for [`AutoShutdown`].
    pub significant: bool,
    /// Whether two incarnations may be alive together: a reload is then a swap (rule G-14). Without
    /// it, the next incarnation never starts before nothing is left of the one before.
    pub overlap: bool,
    /// Whether a spare incarnation waits beside the live one, to take its place when that crashes
    /// (rule W-6). Needs `overlap`.
    pub standby: bool,
}

impl ChildPolicy {
    /// The default start timeout, 30 seconds.
    pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(30);

    /// The defaults for an actor: permanent, restarted at once, required at start.
    pub fn actor() -> ChildPolicy {
        ChildPolicy {
            restart: RestartPolicy::actor(),
            shutdown: Shutdown::default_for(ChildKind::Worker),
            start: StartMode::Required,
            start_timeout: Self::DEFAULT_START_TIMEOUT,
            kind: ChildKind::Worker,
            significant: false,
            overlap: false,
            standby: false,
        }
    }

    /// The defaults for a nested supervisor: as for an actor, but with unlimited time to stop.
    pub fn supervisor() -> ChildPolicy {
        let kind = ChildKind::Supervisor;
        ChildPolicy { shutdown: Shutdown::default_for(kind), kind, ..Self::actor() }
    }

    /// All mistakes in this policy, given the flags of the supervisor it is for.
    pub(crate) fn check(&self, id: &str, flags: &SupervisorFlags, errors: &mut Vec<SpecError>) {
        let mut add = |field: &str, problem: String| {
            errors
                .push(SpecError { field: format!("children[{}].{field}", one_line_up_to(100, id)), problem });
        };
        if id.is_empty() {
            add("id", "must not be empty".into());
        }
        if id.len() > ChildId::MAX_BYTES {
            add("id", format!("has {} bytes, and must not have more than {}", id.len(), ChildId::MAX_BYTES));
        }
        if self.start_timeout.is_zero() {
            add("start_timeout", "must not be zero".into());
        }
        if self.significant && flags.auto_shutdown == AutoShutdown::Never {
            add("significant", "needs an auto_shutdown other than `never`".into());
        }
        if self.significant
            && matches!(self.restart.restart, RestartType::Permanent | RestartType::UnlessStopped)
        {
            add("significant", "a child that is always restarted never ends by itself".into());
        }
        if self.standby && !self.overlap {
            add("standby", "needs `overlap`: the spare runs beside the live incarnation".into());
        }
        if self.standby && flags.strategy != Strategy::OneForOne {
            add("standby", format!("needs a one-for-one supervisor, not {}", flags.strategy));
        }
        if self.standby && self.restart.restart == RestartType::Temporary {
            add("standby", "a temporary child is never restarted, so a spare would never be used".into());
        }
        if let Err(problems) = self.restart.validate(flags.strategy) {
            for problem in problems {
                add("restart", problem.to_string());
            }
        }
        if let Err(problem) = self.restart.check_rate(&flags.effective_intensity()) {
            add("restart", problem.to_string());
        }
    }
}

impl SupervisorFlags {
    /// Checks the flags and the children together.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6).
    pub fn validate<'a>(
        &self,
        children: impl IntoIterator<Item = (&'a str, &'a ChildPolicy)>,
    ) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        self.check(&mut errors);
        let children = children.into_iter();
        let mut seen = HashSet::with_capacity_and_hasher(children.size_hint().0, RandomState::default());
        let mut count = 0;
        for (id, policy) in children {
            count += 1;
            policy.check(id, self, &mut errors);
            if !seen.insert(id) {
                errors
                    .push(SpecError { field: format!("children[{id}].id"), problem: "is used twice".into() });
            }
        }
        if self.max_children.is_some_and(|max| count > max) {
            errors.push(SpecError {
                field: "max_children".into(),
                problem: format!("is less than {count} children"),
            });
        }
        SpecErrors::check(errors)
    }
}
