//! [`PoolSpec`]: the declaration of a pool.

use std::{fmt, sync::Arc, time::Duration};

use super::ledger::{LedgerConfig, LedgerConfigMistake};
use crate::{
    event::RecycleReason,
    id::ChildId,
    restart::{CrashLoop, CrashLoopAction, Intensity, RestartPolicy},
    supervision::{ChildPolicy, SpecError, SpecErrors, SupervisorFlags, SupervisorSpec},
    worker::WorkerSpec,
};

/// What the workers of a pool are made from.
#[derive(Clone)]
pub struct WorkerTemplate(TemplateSource);

#[derive(Clone)]
enum TemplateSource {
    Fixed(Box<WorkerSpec>),
    Each(Arc<dyn Fn(&ChildId) -> WorkerSpec + Send + Sync>),
}

impl WorkerTemplate {
    /// A separate declaration for each key, with another directory or another account for example.
    /// Called inside the pool's actor, so it must not block. If it panics, or if the declaration is not
    /// valid, that key's worker does not start.
    pub fn each(make: impl Fn(&ChildId) -> WorkerSpec + Send + Sync + 'static) -> WorkerTemplate {
        WorkerTemplate(TemplateSource::Each(Arc::new(make)))
    }

    pub(super) fn make(&self, key: &ChildId) -> WorkerSpec {
        match &self.0 {
            TemplateSource::Fixed(spec) => (**spec).clone(),
            TemplateSource::Each(make) => make(key),
        }
    }
}

impl From<WorkerSpec> for WorkerTemplate {
    /// The same for all keys.
    fn from(spec: WorkerSpec) -> WorkerTemplate {
        WorkerTemplate(TemplateSource::Fixed(Box::new(spec)))
    }
}

impl fmt::Debug for WorkerTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TemplateSource::Fixed(spec) => spec.fmt(f),
            TemplateSource::Each(_) => f.write_str("Each(..)"),
        }
    }
}

/// When a worker is replaced (rule W-5): once it is idle. Calls and age are checked when a lease ends,
/// memory while it is idle as well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recycling {
    max_calls: Option<u64>,
    max_age: Option<Duration>,
    pub(super) max_rss_bytes: Option<u64>,
}

impl Recycling {
    pub(super) fn is_due(&self, calls: u64, age: Duration) -> Option<RecycleReason> {
        if self.max_calls.is_some_and(|max| calls >= max) {
            return Some(RecycleReason::Calls);
        }
        self.max_age.is_some_and(|max| age >= max).then_some(RecycleReason::Age)
    }
}

/// The declaration of a pool. Validated where it is used; all mistakes are reported together.
///
/// ```
/// use std::time::Duration;
/// use procession::{pool::PoolSpec, process::Command, worker::WorkerSpec};
///
/// let pool = PoolSpec::keyed(8, WorkerSpec::new(Command::new("agent")))
///     .idle_ttl(Duration::from_secs(600))
///     .max_waiting(100);
/// assert!(pool.validate().is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct PoolSpec {
    pub(super) template: WorkerTemplate,
    pub(super) rules: LedgerConfig,
    pub(super) acquire_timeout: Duration,
    restart: Option<RestartPolicy>,
    pub(super) recycling: Recycling,
    intensity: Option<Intensity>,
}

impl PoolSpec {
    /// How long [`acquire`](super::Pool::acquire) waits by default.
    pub const DEFAULT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

    /// A pool of at most `max` workers, one per key (rule L-1). Any number of leases per worker, 1,024
    /// waiting callers, no idle TTL, four concurrent starts.
    ///
    /// **One broken key does not end the pool**, unless the pool is given an
    /// [`intensity`](PoolSpec::intensity). The worker of a key that fails five times within 60 s is
    /// given up, and its callers get [`AcquireError::Failed`](super::AcquireError::Failed) with its
    /// last exit. For the next 30 s every caller for that key gets the same error, without a start
    /// ([`failed_pause`](PoolSpec::failed_pause)); the first caller after that triggers a start.
    pub fn keyed(max: usize, worker: impl Into<WorkerTemplate>) -> PoolSpec {
        PoolSpec::new(LedgerConfig::keyed(max), worker.into())
    }

    /// A pool of `min` to `max` interchangeable workers (rule L-2). One lease per worker at a time,
    /// otherwise as [`keyed`](PoolSpec::keyed). The workers are named `w1`, `w2`, and so on.
    ///
    /// A worker that fails five times within 60 s is given up. The pool then starts no other worker for
    /// 30 s ([`failed_pause`](PoolSpec::failed_pause)); the live workers are leased as before.
    pub fn anonymous(min: usize, max: usize, worker: impl Into<WorkerTemplate>) -> PoolSpec {
        PoolSpec::new(LedgerConfig { min, ..LedgerConfig::anonymous(max) }, worker.into())
    }

    fn new(rules: LedgerConfig, template: WorkerTemplate) -> PoolSpec {
        PoolSpec {
            template,
            rules,
            acquire_timeout: PoolSpec::DEFAULT_ACQUIRE_TIMEOUT,
            restart: None,
            recycling: Recycling::default(),
            intensity: None,
        }
    }

    /// Leases on one worker at a time; `None` for no bound.
    #[must_use]
    pub fn per_worker(mut self, leases: impl Into<Option<u32>>) -> PoolSpec {
        self.rules.per_worker = leases.into();
        self
    }

    /// How many callers may wait for a slot or for a lease on a full worker (rule L-4).
    #[must_use]
    pub fn max_waiting(mut self, callers: usize) -> PoolSpec {
        self.rules.max_waiting = callers;
        self
    }

    /// Stops a worker that has not been used for this long (rule L-5).
    #[must_use]
    pub fn idle_ttl(mut self, ttl: Duration) -> PoolSpec {
        self.rules.idle_ttl = Some(ttl);
        self
    }

    /// Keeps spare workers alive beside those in use; anonymous pools only (rule L-5).
    #[must_use]
    pub fn min_idle(mut self, workers: usize) -> PoolSpec {
        self.rules.min_idle = workers;
        self
    }

    /// Allows a busy worker to be stopped to make room when none is idle; its lease holders are
    /// notified (rule L-4).
    #[must_use]
    pub fn evict_busy(mut self, allowed: bool) -> PoolSpec {
        self.rules.evict_busy = allowed;
        self
    }

    /// How many starts may be under way at the same time; restarts are not delayed.
    #[must_use]
    pub fn start_concurrency(mut self, starts: usize) -> PoolSpec {
        self.rules.start_concurrency = starts;
        self
    }

    /// Keyed pools: how many younger callers may get a lease on a warm worker while the oldest caller waits
    /// for a slot and none is on its way. Later callers queue behind it, so that a key in constant use cannot
    /// starve the others. 1,024 by default; `None` for no bound.
    #[must_use]
    pub fn max_overtakes(mut self, callers: impl Into<Option<u32>>) -> PoolSpec {
        self.rules.max_overtakes = callers.into();
        self
    }

    /// Anonymous pools: the pause between the death of a worker that was never leased and the start of
    /// another spare worker; 1 s by default, and never zero. Callers are served without a pause.
    #[must_use]
    pub fn spare_pause(mut self, pause: Duration) -> PoolSpec {
        self.rules.spare_pause = pause;
        self
    }

    /// How long [`acquire`](super::Pool::acquire) waits; 30 s by default.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> PoolSpec {
        self.acquire_timeout = timeout;
        self
    }

    /// How long a key stays given up after its policy has given up: callers are refused at once, with
    /// the last exit and the time that is left, and nothing is started. 30 s by default; with zero each
    /// caller triggers another start. [`Pool::reset_failed`](super::Pool::reset_failed) ends this pause
    /// for all keys of a pool. An anonymous pool pauses as a whole when the policy of one of its
    /// workers gives up; live workers stay in use.
    #[must_use]
    pub fn failed_pause(mut self, pause: Duration) -> PoolSpec {
        self.rules.failed_pause = pause;
        self
    }

    /// At most `max_restarts` of all workers together in a sliding `period`; with the next one the pool
    /// gives up (rule S-17), and its supervisor decides what happens to it.
    ///
    /// There is no intensity by default, as in plugin hosts (rule R-0): each worker pays for its own
    /// crashes, and a broken pool does not end its siblings.
    #[must_use]
    pub fn intensity(mut self, max_restarts: u32, period: Duration) -> PoolSpec {
        self.intensity = Some(Intensity { max_restarts, period });
        self
    }

    /// When workers are restarted: by default always and without delay ([`RestartPolicy::actor`]).
    /// Restarts count against the pool's intensity if it has one; otherwise a worker is given up after
    /// five failures within 60 s. A policy in the worker's own declaration is a mistake. In a pool
    /// without an intensity, a policy with the shared budget gets a budget of its own: its own crash
    /// loop, or those five failures.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> PoolSpec {
        self.restart = Some(policy);
        self
    }

    /// Replaces a worker after this many calls through leases, when it is idle (rule W-5).
    #[must_use]
    pub fn recycle_after_calls(mut self, calls: u64) -> PoolSpec {
        self.recycling.max_calls = Some(calls);
        self
    }

    /// Replaces a worker that has been ready for this long, when the last lease on it ends (rule W-5).
    #[must_use]
    pub fn recycle_after(mut self, age: Duration) -> PoolSpec {
        self.recycling.max_age = Some(age);
        self
    }

    /// Replaces a worker whose processes use more resident memory than this many bytes together, when the
    /// last lease on it ends (rule W-5): all processes of its control group, or else of its process group.
    /// Every five seconds, those workers are looked at that are idle or of which a lease has ended since,
    /// and at most one of them is replaced, the largest one, so that they are not replaced together. Has no
    /// effect on systems other than Linux.
    #[must_use]
    pub fn recycle_above_rss(mut self, bytes: u64) -> PoolSpec {
        self.recycling.max_rss_bytes = Some(bytes);
        self
    }

    /// Keyed pools: a worker that is due is replaced without a gap (rule W-5): once its leases have ended, a
    /// successor of the same key is started beside it, and it goes when the successor is ready. Callers that
    /// come meanwhile wait for the outcome. If the successor does not become ready, the worker goes on, and
    /// the next try comes not before 60 s. Not by default.
    ///
    /// For that time the key has two processes, and occupies one more slot of the cap. At the cap, or while
    /// callers wait for that slot, a worker that is due is stopped as without `overlap`, and its key starts
    /// again on demand; a worker whose successor is starting may be stopped to make room as an idle one. So
    /// `max` needs one slot more than there are keys in use.
    #[must_use]
    pub fn overlap(mut self, allowed: bool) -> PoolSpec {
        self.rules.overlap = allowed;
        self
    }

    /// Checks the declaration.
    ///
    /// # Errors
    /// All mistakes at once, each naming its field (rule S-6). The declarations that a template makes
    /// for each key are checked when they are made.
    pub fn validate(&self) -> Result<(), SpecErrors> {
        let error = |field: &str, problem: &str| SpecError { field: field.into(), problem: problem.into() };
        let mut errors: Vec<SpecError> = self.rules.mistakes().iter().map(describe).collect();
        if self.recycling.max_calls == Some(0) {
            errors.push(error("recycle_after_calls", "must not be zero"));
        }
        if self.recycling.max_age == Some(Duration::ZERO) {
            errors.push(error("recycle_after", "must not be zero"));
        }
        if self.recycling.max_rss_bytes == Some(0) {
            errors.push(error("recycle_above_rss", "must not be zero"));
        }
        let policy = match &self.template.0 {
            TemplateSource::Fixed(worker) => {
                if let Err(found) = worker.validate() {
                    errors.extend(found.below("worker"));
                }
                if let Some((field, problem)) = misplaced_policy(worker) {
                    errors.push(error(field, problem));
                }
                worker.policy()
            }
            TemplateSource::Each(_) => ChildPolicy::actor(),
        };
        let policy = ChildPolicy { restart: self.restart_policy(), ..policy };
        if let Err(found) = self.flags().validate([("worker", &policy)]) {
            errors.extend(found.iter().map(|e| {
                let field = e.field.replace("children[worker].", "worker.");
                SpecError { field, problem: e.problem.clone() }
            }));
        }
        SpecErrors::check(errors)
    }

    pub(super) fn restart_policy(&self) -> RestartPolicy {
        let mut policy = self.restart.clone().unwrap_or_else(RestartPolicy::actor);
        if self.intensity.is_none() {
            // Each worker pays for its own crashes, regardless of the other restart settings.
            policy.use_own_budget(CrashLoop::new(5, Duration::from_secs(60), CrashLoopAction::GiveUp));
        }
        policy
    }

    pub(super) fn flags(&self) -> SupervisorFlags {
        // Without an intensity no restart counts: each worker pays for its own crashes.
        let unlimited = Intensity { max_restarts: u32::MAX, period: Duration::from_secs(5) };
        let intensity = self.intensity.unwrap_or(unlimited);
        SupervisorFlags { intensity: Some(intensity), ..SupervisorSpec::dynamic().flags }
    }
}

/// Whether a worker's declaration has a restart policy, which the pool's policy would override.
pub(super) fn misplaced_policy(worker: &WorkerSpec) -> Option<(&'static str, &'static str)> {
    if worker.explicit.restart {
        return Some(("worker.restart", "has no effect in a pool: set it with `PoolSpec::restart`"));
    }
    if worker.idle_timeout.is_some() {
        let problem = "is not for a pool, which stops its idle workers itself: see `PoolSpec::idle_ttl`";
        return Some(("worker.idle_timeout", problem));
    }
    #[cfg(feature = "watch")]
    if worker.watch.is_some() {
        let problem = "is not for a pool, since a worker must not be replaced while it is lent";
        return Some(("worker.watch", problem));
    }
    let problem = "is not for a pool, which replaces a worker when its lease ends: see \
                   `PoolSpec::recycle_after_calls`, `PoolSpec::recycle_after` and \
                   `PoolSpec::recycle_above_rss`";
    worker.is_recycled().then_some(("worker.recycle_…", problem))
}

fn describe(mistake: &LedgerConfigMistake) -> SpecError {
    let (field, problem) = match mistake {
        LedgerConfigMistake::Zero(field) => (*field, "must not be zero".to_owned()),
        LedgerConfigMistake::AboveMax { field, value, max } => {
            (*field, format!("is {value}, above `max`, which is {max}"))
        }
        LedgerConfigMistake::AnonymousOnly(field) => (*field, "has no effect in a keyed pool".to_owned()),
        LedgerConfigMistake::KeyedOnly(field) => (*field, "has no effect in an anonymous pool".to_owned()),
    };
    SpecError { field: field.to_owned(), problem }
}
