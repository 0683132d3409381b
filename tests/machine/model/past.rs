//! What the policy of a child says to an exit, recomputed from its whole log each
//! time.

use std::time::Duration;

use procession::{
    clock::TreeInstant,
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy, RestartType},
    state::GiveUpReason,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ExitClass {
    Clean,
    Failure,
    /// Can never start as it is declared.
    Never,
    /// Its program is not there.
    Missing,
    /// Its program is being written.
    Busy,
    Requested,
}

impl ExitClass {
    fn is_failure(self) -> bool {
        matches!(self, ExitClass::Failure | ExitClass::Never | ExitClass::Missing | ExitClass::Busy)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Would {
    Leave,
    Restart(Duration, u32),
    /// Not counted.
    Await(Duration, u32),
    CoolOff(Duration),
    GiveUp(GiveUpReason),
    Escalate(GiveUpReason),
}

#[derive(Clone, Debug)]
enum Entry {
    Started,
    Ready(TreeInstant),
    /// The supervisor took it down.
    TakenDown(TreeInstant),
    Judged {
        at: TreeInstant,
        /// Its program was away, and had been there.
        away: bool,
        failure: bool,
        early: bool,
        healthy: bool,
        would: Would,
        counts_in_loop: bool,
        loop_unset: bool,
    },
    Revived,
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Past(Vec<Entry>);

impl Past {
    pub(crate) fn started(&mut self) {
        self.0.push(Entry::Started);
    }

    pub(crate) fn ready(&mut self, now: TreeInstant) {
        self.0.push(Entry::Ready(now));
    }

    pub(crate) fn taken_down(&mut self, now: TreeInstant) {
        self.0.push(Entry::TakenDown(now));
    }

    pub(crate) fn revived(&mut self) {
        self.0.push(Entry::Revived);
    }

    /// Since the last revival.
    fn life(&self) -> &[Entry] {
        let from = self.0.iter().rposition(|e| matches!(e, Entry::Revived)).map_or(0, |i| i + 1);
        &self.0[from..]
    }

    /// The longest that it was ready without interruption since the last exit that was judged.
    fn longest_ready(&self, now: TreeInstant) -> Duration {
        let life = self.life();
        let from = life.iter().rposition(|e| matches!(e, Entry::Judged { .. })).map_or(0, |i| i + 1);
        let mut longest = Duration::ZERO;
        let mut since = None;
        for entry in &life[from..] {
            match entry {
                Entry::Started => since = None,
                Entry::Ready(at) => since = Some(*at),
                Entry::TakenDown(at) => {
                    longest = longest.max(since.take().map_or(Duration::ZERO, |s| at.since(s)));
                }
                _ => {}
            }
        }
        longest.max(since.map_or(Duration::ZERO, |s| now.since(s)))
    }

    pub(crate) fn judge(&mut self, now: TreeInstant, verdict: ExitClass, policy: &RestartPolicy) -> Would {
        let ready = self.longest_ready(now);
        let healthy = !ready.is_zero() && ready >= policy.healthy_after;
        let (would, reached_loop) = self.would(now, verdict, healthy, policy);
        let waits = matches!(would, Would::Await(..));
        self.0.push(Entry::Judged {
            at: now,
            away: self.is_away(verdict),
            failure: verdict.is_failure() && !waits,
            early: (verdict.is_failure() || !healthy) && !waits,
            healthy,
            would: would.clone(),
            counts_in_loop: reached_loop && crash_loop(policy).is_some() && counts(verdict, healthy, policy),
            loop_unset: reached_loop && crash_loop(policy).is_none(),
        });
        would
    }

    fn would(
        &self,
        now: TreeInstant,
        verdict: ExitClass,
        healthy: bool,
        policy: &RestartPolicy,
    ) -> (Would, bool) {
        let wants = match policy.restart {
            RestartType::Permanent | RestartType::UnlessStopped => true,
            RestartType::Transient => verdict.is_failure(),
            RestartType::OnSuccess => verdict == ExitClass::Clean,
            RestartType::Temporary => false,
        };
        if !wants {
            return (Would::Leave, false);
        }
        if self.is_away(verdict) {
            let since = self.absence();
            let away = since.first().map_or(Duration::ZERO, |(at, _)| now.since(*at));
            if away < policy.program_grace {
                let looks = 1 + since.iter().filter(|(_, waits)| *waits).count();
                let backoff = match policy.backoff {
                    Backoff::None => Backoff::default(),
                    other => other,
                };
                let wait = delay(&backoff, looks as u32).min(policy.program_grace - away);
                let failures = if healthy { 0 } else { self.in_a_row().0 };
                return (Would::Await(wait, failures), false);
            }
        }
        let never = matches!(verdict, ExitClass::Never | ExitClass::Missing);
        if never && !policy.retry_never_started && !self.ever_ready() {
            return (Would::GiveUp(GiveUpReason::NeverStarts), false);
        }
        let made =
            |e: &&Entry| matches!(e, Entry::Judged { would: Would::Restart(..) | Would::CoolOff(_), .. });
        if let Some(max) = policy.max_total_restarts
            && self.life().iter().filter(made).count() >= max as usize
        {
            return (Would::GiveUp(GiveUpReason::TotalRestarts { max }), false);
        }
        if let Some(crash_loop) = crash_loop(policy).filter(|_| counts(verdict, healthy, policy)) {
            let recent = 1 + self.crashes(now, crash_loop.window);
            let trial = !healthy && self.on_trial();
            if trial || recent >= crash_loop.max_failures as usize {
                let limit = crash_loop.limit();
                let would = match crash_loop.then {
                    CrashLoopAction::CoolOff { delay } => Would::CoolOff(delay),
                    CrashLoopAction::GiveUp => Would::GiveUp(limit),
                    CrashLoopAction::Escalate => Would::Escalate(limit),
                };
                return (would, true);
            }
        }
        let (failures, early) = if healthy { (0, 0) } else { self.in_a_row() };
        let failures = failures + u32::from(verdict.is_failure());
        let early = if verdict.is_failure() || !healthy { early + 1 } else { 0 };
        (Would::Restart(delay(&policy.backoff, early), failures), true)
    }

    fn ever_ready(&self) -> bool {
        self.0.iter().any(|e| matches!(e, Entry::Ready(_)))
    }

    ///
    fn is_away(&self, verdict: ExitClass) -> bool {
        matches!(verdict, ExitClass::Missing | ExitClass::Busy) && self.ever_ready()
    }

    /// The ends, since the program was there last, at which it was not, and whether it was waited for.
    fn absence(&self) -> Vec<(TreeInstant, bool)> {
        let there = |e: &Entry| matches!(e, Entry::Ready(_) | Entry::Judged { away: false, .. });
        let life = self.life();
        let from = life.iter().rposition(there).map_or(0, |i| i + 1);
        let away = |e: &Entry| match e {
            Entry::Judged { at, away: true, would, .. } => Some((*at, matches!(would, Would::Await(..)))),
            _ => None,
        };
        life[from..].iter().filter_map(away).collect()
    }

    /// failures, and ends that were failures or too early.
    fn in_a_row(&self) -> (u32, u32) {
        let mut row = (0, 0);
        for entry in self.life() {
            if let Entry::Judged { failure, early, healthy, .. } = entry {
                let before = if *healthy { (0, 0) } else { row };
                row = (before.0 + u32::from(*failure), before.1 + u32::from(*early));
            }
        }
        row
    }

    /// since a cool-off nothing has shown that it is well, and the loop has not been unset.
    fn on_trial(&self) -> bool {
        let life = self.life();
        let cooled = |e: &Entry| matches!(e, Entry::Judged { would: Would::CoolOff(_), .. });
        let over = |e: &Entry| {
            matches!(e, Entry::Judged { healthy: true, .. } | Entry::Judged { loop_unset: true, .. })
        };
        life.iter().rposition(cooled).is_some_and(|i| !life[i + 1..].iter().any(over))
    }

    /// Failures in the window, since the last cool-off.
    fn crashes(&self, now: TreeInstant, window: Duration) -> usize {
        let life = self.life();
        let fresh = |e: &Entry| {
            matches!(
                e,
                Entry::Judged { would: Would::CoolOff(_), .. } | Entry::Judged { loop_unset: true, .. }
            )
        };
        let from = life.iter().rposition(fresh).map_or(0, |i| i + 1);
        let counts = |e: &&Entry| match e {
            Entry::Judged { at, counts_in_loop: true, .. } => now.since(*at) <= window,
            _ => false,
        };
        life[from..].iter().filter(counts).count()
    }
}

///
fn counts(verdict: ExitClass, healthy: bool, policy: &RestartPolicy) -> bool {
    verdict.is_failure() || !healthy && matches!(policy.budget, Some(BudgetScope::Own(_)))
}

fn crash_loop(policy: &RestartPolicy) -> Option<CrashLoop> {
    match policy.budget {
        Some(BudgetScope::Own(crash_loop)) => Some(crash_loop),
        Some(BudgetScope::Shared) | None => policy.crash_loop,
    }
}

/// R-2, without jitter and with doubling.
pub(super) fn delay(backoff: &Backoff, failures: u32) -> Duration {
    match backoff {
        Backoff::None => Duration::ZERO,
        Backoff::Fixed { delay } => *delay,
        Backoff::Exponential { initial, max, .. } => {
            (*initial * 2_u32.pow(failures.saturating_sub(1).min(20))).min(*max)
        }
    }
}
