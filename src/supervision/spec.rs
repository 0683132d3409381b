//! Declarations: [`ChildSpec`], [`SupervisorSpec`].

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use ractor::Actor;

use super::{
    child_policy::{ChildPolicy, Shutdown, StartMode},
    errors::{SpecError, SpecErrors},
    panics::catch_panic,
    start::{ActorStarter, Start},
    supervisor_flags::{AutoShutdown, SupervisorFlags},
};
use crate::{
    id::ChildId,
    restart::{Intensity, RestartPolicy},
    state::Strategy,
};

/// The declaration of one child (OTP's child specification).
#[derive(Clone)]
pub struct ChildSpec {
    /// Its name, unique in its supervisor.
    pub id: ChildId,
    /// When it is started, stopped and restarted. Shared, since a pool has thousands of children with one
    /// policy.
    pub policy: Arc<ChildPolicy>,
    /// How it is started.
    pub start: Arc<dyn Start>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A child with a [`Start`] of your own.
    pub fn new(id: impl Into<ChildId>, policy: ChildPolicy, start: impl Start + 'static) -> ChildSpec {
        ChildSpec { id: id.into(), policy: Arc::new(policy), start: Arc::new(start) }
    }

    /// Any ractor actor. `make` is called for each incarnation. Defaults: permanent, restarted at
    /// once, required at start, 5 s to stop.
    ///
    /// The actor needs no name and no knowledge of this crate. It is ready when its `pre_start` has
    /// returned, and is stopped by ractor's `stop`. As everywhere in tokio, its `pre_start` must
    /// not block a thread: until it first waits, it runs in the task of the supervisor.
    pub fn actor<A, F>(id: impl Into<ChildId>, make: F) -> ChildSpec
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        // Shared until it is changed: there may be a hundred thousand children.
        static POLICY: LazyLock<Arc<ChildPolicy>> = LazyLock::new(|| Arc::new(ChildPolicy::actor()));
        ChildSpec { id: id.into(), policy: POLICY.clone(), start: Arc::new(ActorStarter::new(make)) }
    }

    /// All mistakes that its start finds, such as those of a nested supervisor.
    pub(crate) fn check_start(&self, errors: &mut Vec<SpecError>) {
        match catch_panic("`Start::validate`", || self.start.validate()) {
            Ok(Ok(())) => {}
            Ok(Err(found)) => errors.extend(found.below(&format!("children[{}]", self.id))),
            Err(panicked) => errors.push(SpecError {
                field: format!("children[{}].start", self.id),
                problem: panicked.to_string(),
            }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut ChildPolicy)) -> ChildSpec {
        change(Arc::make_mut(&mut self.policy));
        self
    }

    /// Sets when it is restarted.
    #[must_use]
    pub fn restart(self, restart: RestartPolicy) -> ChildSpec {
        self.with(|policy| policy.restart = restart)
    }

    /// Sets how it is stopped.
    #[must_use]
    pub fn shutdown(self, shutdown: Shutdown) -> ChildSpec {
        self.with(|policy| policy.shutdown = shutdown)
    }

    /// The start of its supervisor does not wait for it. A failed first start is a crash under its
    /// policy.
    #[must_use]
    pub fn background(self) -> ChildSpec {
        self.with(|policy| policy.start = StartMode::Background)
    }

    /// The start of its supervisor waits for it, and fails with it.
    #[must_use]
    pub fn required(self) -> ChildSpec {
        self.with(|policy| policy.start = StartMode::Required)
    }

    /// Its supervisor does not start it: the first demand does (rule S-28). For a worker, the first call is
    /// a demand.
    #[must_use]
    pub fn on_demand(self) -> ChildSpec {
        self.with(|policy| policy.start = StartMode::OnDemand)
    }

    /// Two incarnations of it may be alive together: a reload is then a swap (rule G-14).
    #[must_use]
    pub fn overlap(self) -> ChildSpec {
        self.with(|policy| policy.overlap = true)
    }

    /// A spare incarnation waits beside the live one and takes its place when that crashes (rule W-6).
    /// Includes [`overlap`](ChildSpec::overlap).
    #[must_use]
    pub fn standby(self) -> ChildSpec {
        self.with(|policy| (policy.overlap, policy.standby) = (true, true))
    }

    /// Sets how long a start may take until the child is ready. Not zero.
    #[must_use]
    pub fn start_timeout(self, timeout: Duration) -> ChildSpec {
        self.with(|policy| policy.start_timeout = timeout)
    }

    /// Its end counts for [`AutoShutdown`].
    #[must_use]
    pub fn significant(self) -> ChildSpec {
        self.with(|policy| policy.significant = true)
    }
}

/// Decides who pays for the restarts of a child whose policy leaves it open (R-0 (5)). This is
/// where a declaration becomes a child of a supervisor with these flags. Nothing behind this point,
/// least of all the machine, knows an open budget; one that stays open is shared.
pub(crate) fn decide_budget(policy: &mut Arc<ChildPolicy>, start: &dyn Start, flags: &SupervisorFlags) {
    let alone = flags.strategy == Strategy::OneForOne && flags.intensity.is_none();
    if alone && policy.restart.budget.is_none() {
        // It is code of the user, and a panic in it must not end the supervisor.
        let own = catch_panic("`Start::own_budget`", || start.own_budget()).unwrap_or_default();
        if let Some(crash_loop) = own {
            Arc::make_mut(policy).restart.use_own_budget(crash_loop);
        }
    }
}

/// The declaration of a supervisor: flags and children. It is validated where it is used; all
/// mistakes are reported at once.
#[derive(Clone, Debug, Default)]
pub struct SupervisorSpec {
    /// Its settings.
    pub flags: SupervisorFlags,
    /// Its first children, in start order.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor without children and without an explicit intensity: it allows 3 restarts in 5
    /// s, of those children that do not pay for their own ([`BudgetScope`](crate::restart::BudgetScope)).
    pub fn new(strategy: Strategy) -> SupervisorSpec {
        SupervisorSpec {
            flags: SupervisorFlags { strategy, ..SupervisorFlags::default() },
            children: Vec::new(),
        }
    }

    /// One-for-one.
    pub fn one_for_one() -> SupervisorSpec {
        SupervisorSpec::new(Strategy::OneForOne)
    }

    /// One-for-all.
    pub fn one_for_all() -> SupervisorSpec {
        SupervisorSpec::new(Strategy::OneForAll)
    }

    /// Rest-for-one.
    pub fn rest_for_one() -> SupervisorSpec {
        SupervisorSpec::new(Strategy::RestForOne)
    }

    /// One-for-one, for children that are added and removed at run time and are all stopped at once
    /// (Elixir's `DynamicSupervisor`).
    ///
    /// A child that ends by itself and is not restarted leaves the table, whatever its restart
    /// type. So a supervisor that has had a million children remembers only those that still exist.
    /// A child that its own policy has given up
    /// ([`DownReason::GaveUp`](crate::state::DownReason::GaveUp)), or that was stopped by hand,
    /// stays until it is removed.
    pub fn dynamic() -> SupervisorSpec {
        let flags = SupervisorFlags { dynamic: true, ..SupervisorFlags::default() };
        SupervisorSpec { flags, children: Vec::new() }
    }

    /// At most `max_restarts` in a sliding `period`, for all children without a budget of their
    /// own; one more makes the supervisor give up. Without this, the process workers of a
    /// one-for-one or dynamic supervisor pay for their own crashes, and none of them ends it.
    #[must_use]
    pub fn intensity(mut self, max_restarts: u32, period: Duration) -> SupervisorSpec {
        self.flags.intensity = Some(Intensity { max_restarts, period });
        self
    }

    /// Sets when it shuts down with its significant children.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> SupervisorSpec {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// The largest number of children, including those that are restarting or stopping.
    #[must_use]
    pub fn max_children(mut self, max: usize) -> SupervisorSpec {
        self.flags.max_children = Some(max);
        self
    }

    /// Adds a child after the existing ones.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> SupervisorSpec {
        self.children.push(child);
        self
    }

    /// Checks the declaration, nested supervisors included.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6).
    pub fn validate(&self) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        if let Err(found) = self.flags.validate(self.children.iter().map(|c| (c.id.as_str(), &*c.policy))) {
            errors.extend(found.iter().cloned());
        }
        for child in &self.children {
            child.check_start(&mut errors);
        }
        SpecErrors::check(errors)
    }
}
