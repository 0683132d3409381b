//! [`RestartTracker`]: the restart history of one child, and the decisions that follow from it.

use std::time::Duration;

use super::{
    Backoff, CrashLoop, CrashLoopAction, Decision, ExitClass, RestartPolicy, Window, jitter::JitterRng,
};
use crate::{clock::TreeInstant, state::GiveUpReason};

/// The shortest pause before a missing program is looked for again.
const SHORTEST_PROGRAM_CHECK: Duration = Duration::from_millis(1);

/// Remembers about one child what its [`RestartPolicy`] needs, and decides at each exit what
/// happens.
///
/// It belongs to the child, not to an incarnation. Its owner reports each incarnation:
/// [`started`](Self::started), [`ready`](Self::ready), and how it ended: [`exited`](Self::exited)
/// if it ended by itself and is to be judged, [`stopped`](Self::stopped) if the supervisor stopped
/// it (group restart, operator, reload), which changes no counter. Times must not go backwards.
///
/// Guarantees: no number of exits overflows anything; the same seed and the same reports give the
/// same decisions; it takes less than 100 bytes, plus eight per failure in the window if there is a
/// crash loop.
#[derive(Clone, Debug)]
pub struct RestartTracker {
    jitter: JitterRng,
    /// Since when the live incarnation has been ready.
    ready_since: Option<TreeInstant>,
    /// The longest time for which an incarnation was ready before it was stopped, since the last
    /// exit that was judged.
    ready_for: Duration,
    total_failures: u64,
    failures: u32,
    /// Early ends in a row, including clean ones. The back-off grows with them.
    early: u32,
    total_restarts: u32,
    /// Since when the program has been missing, and how often it has been looked for.
    away_since: Option<TreeInstant>,
    program_checks: u32,
    ever_ready: bool,
    trial: bool,
    /// The ends that count in the window of the crash loop. `None` as long as there are none.
    crashes: Option<Box<Window>>,
}

impl RestartTracker {
    /// The tracker of a child that has not been started. Children of one tree need different seeds:
    /// otherwise they have the same jitter and are restarted in lockstep.
    pub fn new(seed: u64) -> RestartTracker {
        RestartTracker {
            jitter: JitterRng::new(seed),
            ready_since: None,
            ready_for: Duration::ZERO,
            total_failures: 0,
            failures: 0,
            early: 0,
            total_restarts: 0,
            away_since: None,
            program_checks: 0,
            ever_ready: false,
            trial: false,
            crashes: None,
        }
    }

    /// An incarnation has been launched. It is not ready, whatever the previous one was.
    pub fn started(&mut self, _now: TreeInstant) {
        self.ready_since = None;
    }

    /// The live incarnation has become ready.
    pub fn ready(&mut self, now: TreeInstant) {
        self.ready_since = Some(now);
        self.away_since = None;
        self.ever_ready = true;
    }

    /// The supervisor itself stops the live incarnation. No counter changes. Only the time for
    /// which it has been ready is kept, so that a child that was healthy for a day and is then
    /// restarted with its siblings does not pay for failures of yesterday. Optional: without this
    /// call, the incarnation has proved nothing.
    pub fn stopped(&mut self, now: TreeInstant) {
        if let Some(since) = self.ready_since.take() {
            self.ready_for = self.ready_for.max(now.since(since));
        }
    }

    /// The node of this child has been ready under an earlier incarnation of its supervisor. From
    /// then on, a missing program is taken to be in the middle of being replaced.
    pub fn set_has_been_ready(&mut self) {
        self.ever_ready = true;
    }

    /// Decides what happens after the live incarnation has ended by itself, or its start has
    /// failed.
    ///
    /// In this order:
    ///
    /// 1. The restart type says no: [`Leave`](Decision::Leave).
    /// 2. Its program is missing, and the child has been ready before: for `program_grace` the
    ///    program is [waited for](Decision::AwaitProgram), which changes no counter.
    /// 3. It can never start, has never been ready, and is not to be retried: give up.
    /// 4. One restart more than `max_total_restarts`: give up.
    /// 5. A failure that completes the crash loop, or any failure of a trial: what the crash loop
    ///    says. Where the child pays from a [budget of its own](super::BudgetScope::Own), a clean end
    ///    before `healthy_after` counts as a failure here.
    /// 6. Restart, with the delay of the back-off for that many early ends in a row, with jitter.
    ///    Every failure is early, and so is a clean end before `healthy_after`.
    ///
    /// Before that, if an incarnation has been ready for `healthy_after` without interruption, the
    /// ends in a row are forgotten and a trial is over. Nothing else does that, not even a clean
    /// exit.
    pub fn exited(&mut self, now: TreeInstant, class: ExitClass, policy: &RestartPolicy) -> Decision {
        let healthy = self.is_healthy(now, policy);
        if healthy {
            self.failures = 0;
            self.early = 0;
            self.trial = false;
        }
        self.ready_since = None;
        self.ready_for = Duration::ZERO;
        if let Some(delay) = self.awaits_program(now, class, policy) {
            return Decision::AwaitProgram { delay };
        }
        if class.is_failure() {
            self.failures = self.failures.saturating_add(1);
            self.total_failures = self.total_failures.saturating_add(1);
        }
        let early = class.is_failure() || !healthy;
        if early {
            self.early = self.early.saturating_add(1);
        }
        // If the intensity of the supervisor pays, clean ends are counted there.
        let counts = class.is_failure() || early && !policy.is_shared();
        if !policy.restart.wants_restart(class) {
            return Decision::Leave;
        }
        let never = matches!(class, ExitClass::Permanent | ExitClass::Missing) && !self.ever_ready;
        if never && !policy.retry_never_started {
            return Decision::GiveUp { why: GiveUpReason::NeverStarts };
        }
        if let Some(max) = policy.max_total_restarts.filter(|max| self.total_restarts >= *max) {
            return Decision::GiveUp { why: GiveUpReason::TotalRestarts { max } };
        }
        match policy.effective_crash_loop() {
            Some(crash_loop) if counts => {
                if let Some(decision) = self.check_crash_loop(now, crash_loop) {
                    return decision;
                }
            }
            Some(_) => {}
            None => {
                // It was unset while the child ran: nothing of it is kept.
                self.trial = false;
                self.crashes = None;
            }
        }
        self.total_restarts = self.total_restarts.saturating_add(1);
        let step = if early { self.early } else { 0 };
        let delay = self.jitter.spread(policy.backoff.delay(step), policy.jitter);
        Decision::Restart { delay, attempt: self.failures }
    }

    /// An operator starts it although it was stopped, given up or cooling off: all counters and
    /// limits begin at zero.
    ///
    /// Whether the child has ever been ready is remembered, and the jitter continues.
    pub fn revived(&mut self) {
        *self = RestartTracker {
            jitter: self.jitter.clone(),
            ever_ready: self.ever_ready,
            ..RestartTracker::new(0)
        };
    }

    /// A delay with the jitter of the policy.
    pub(crate) fn spread(&mut self, delay: Duration, policy: &RestartPolicy) -> Duration {
        self.jitter.spread(delay, policy.jitter)
    }

    /// Failures in a row, as of the last exit. [`failures_at`](Self::failures_at) says how many
    /// still count.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Failures in a row, as an exit at this moment would find them: none if the child has been healthy
    /// since.
    pub fn failures_at(&self, now: TreeInstant, policy: &RestartPolicy) -> u32 {
        if self.is_healthy(now, policy) { 0 } else { self.failures }
    }

    /// When the failures in a row will have been forgotten, if the live incarnation stays ready;
    /// `None` if none is ready.
    pub fn forgets_at(&self, policy: &RestartPolicy) -> Option<TreeInstant> {
        // Being ready for no time at all proves nothing.
        let least = policy.healthy_after.max(Duration::from_nanos(1));
        self.ready_since.map(|since| since.after(least))
    }

    /// Failures since the beginning, or since it was revived.
    pub fn total_failures(&self) -> u64 {
        self.total_failures
    }

    /// Restarts decided since the beginning, or since it was revived: after failures, clean exits and
    /// cool-offs.
    pub fn total_restarts(&self) -> u32 {
        self.total_restarts
    }

    /// Whether it is on trial after a cool-off: from the decision to cool off until an exit after
    /// `healthy_after` of being ready. Meanwhile, any end that counts in the crash loop leads to
    /// the next cool-off at once.
    pub fn is_trial(&self) -> bool {
        self.trial
    }

    /// Whether any incarnation has ever been ready.
    pub fn has_been_ready(&self) -> bool {
        self.ever_ready
    }

    /// How long to wait for a program that is being replaced; `None` if it is not, or has been
    /// missing for too long.
    fn awaits_program(
        &mut self,
        now: TreeInstant,
        class: ExitClass,
        policy: &RestartPolicy,
    ) -> Option<Duration> {
        if !class.is_away() || !self.ever_ready {
            self.away_since = None;
            return None;
        }
        if self.away_since.is_none() {
            (self.away_since, self.program_checks) = (Some(now), 0);
        }
        let left = policy.program_grace.checked_sub(now.since(self.away_since?))?;
        if left.is_zero() || !policy.restart.wants_restart(class) {
            return None;
        }
        self.program_checks = self.program_checks.saturating_add(1);
        // Never at once: a program that is missing now will not be there a microsecond later.
        let backoff = if policy.backoff.is_none() { Backoff::default() } else { policy.backoff };
        let delay = self.jitter.spread(backoff.delay(self.program_checks), policy.jitter);
        // The last check is at the end of the grace period.
        Some(delay.clamp(SHORTEST_PROGRAM_CHECK, left.max(SHORTEST_PROGRAM_CHECK)))
    }

    /// Counts one more end in the crash loop; `None` if its limit has not been reached.
    fn check_crash_loop(&mut self, now: TreeInstant, crash_loop: &CrashLoop) -> Option<Decision> {
        let crashes = self.crashes.get_or_insert_default();
        let reached = crashes.record(now, crash_loop.window) >= crash_loop.max_failures;
        if !reached && !self.trial {
            return None;
        }
        let why = crash_loop.limit();
        Some(match crash_loop.then {
            CrashLoopAction::CoolOff { delay } => {
                // These failures have been paid for; the trial starts from zero.
                self.crashes = None;
                self.trial = true;
                self.total_restarts = self.total_restarts.saturating_add(1);
                Decision::CoolOff { delay }
            }
            CrashLoopAction::GiveUp => Decision::GiveUp { why },
            CrashLoopAction::Escalate => Decision::Escalate { why },
        })
    }

    /// Whether an incarnation has been ready for long enough since the last exit that was judged.
    /// Never true for one that was not ready at all, even if the policy requires no time.
    fn is_healthy(&self, now: TreeInstant, policy: &RestartPolicy) -> bool {
        let live = self.ready_since.map_or(Duration::ZERO, |since| now.since(since));
        let ready_for = live.max(self.ready_for);
        !ready_for.is_zero() && ready_for >= policy.healthy_after
    }
}
