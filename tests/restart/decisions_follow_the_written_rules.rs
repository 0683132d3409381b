//! The tracker decides as the written rules do: random histories of a child, judged by the tracker
//! and by a reference that keeps the whole history.

use std::time::Duration;

use procession::internals::{Decision, ExitClass, RestartTracker};
use procession::{
    clock::TreeInstant,
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy, RestartType},
    state::GiveUpReason,
};
use proptest::prelude::*;

use crate::common::{ms, secs};

/// One incarnation: how long it took to become ready (if it did), how long it was, and its end.
#[derive(Clone, Debug)]
struct Life {
    start: u64,
    ready: Option<u64>,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Judged(ExitClass),
    /// Stopped with its siblings.
    Consumed,
    Revived,
}

fn life() -> impl Strategy<Value = Life> {
    let end = prop_oneof![
        8 => Just(End::Judged(ExitClass::Failure)),
        2 => Just(End::Judged(ExitClass::Clean)),
        1 => Just(End::Judged(ExitClass::Permanent)),
        3 => Just(End::Judged(ExitClass::Missing)),
        1 => Just(End::Judged(ExitClass::Busy)),
        1 => Just(End::Judged(ExitClass::Requested)),
        2 => Just(End::Consumed),
        1 => Just(End::Revived),
    ];
    let ready = prop::option::of(prop_oneof![Just(0u64), 0u64..20_000, Just(9_999), Just(10_000)]);
    (0u64..3_000, ready, end).prop_map(|(start, ready, end)| Life { start, ready, end })
}

fn policy() -> impl Strategy<Value = RestartPolicy> {
    let restart = prop_oneof![
        4 => Just(RestartType::Permanent),
        2 => Just(RestartType::Transient),
        1 => Just(RestartType::OnSuccess),
    ];
    let backoff = prop_oneof![
        Just(Backoff::None),
        (0u64..5_000).prop_map(|delay| Backoff::fixed(ms(delay))),
        (1u64..2_000, 1.0f64..4.0, 2_000u64..60_000).prop_map(|(initial, factor, max)| {
            Backoff::Exponential { initial: ms(initial), factor, max: ms(max) }
        }),
    ];
    let then = prop_oneof![
        Just(CrashLoopAction::cool_off(secs(7))),
        Just(CrashLoopAction::GiveUp),
        Just(CrashLoopAction::Escalate)
    ];
    let crash_loop = (1u32..6, 1_000u64..60_000, then)
        .prop_map(|(max_failures, window, then)| CrashLoop::new(max_failures, ms(window), then));
    let jitter = prop_oneof![Just(0.0), 0.0f64..=1.0];
    let rest = (prop::option::of(crash_loop), any::<bool>(), prop::option::of(0u32..20), any::<bool>());
    (restart, backoff, jitter, rest).prop_map(
        |(restart, backoff, jitter, (crash_loop, own, total, retry))| {
            let policy = RestartPolicy::permanent()
                .with_restart(restart)
                .with_backoff(backoff)
                .with_jitter(jitter)
                .with_max_total_restarts(total)
                .with_retry_never_started(retry);
            match crash_loop {
                Some(crash_loop) if own => policy.with_budget(BudgetScope::Own(crash_loop)),
                other => policy.with_crash_loop(other),
            }
        },
    )
}

fn backoff_after(backoff: &Backoff, step: u32) -> Duration {
    match *backoff {
        Backoff::None => Duration::ZERO,
        Backoff::Fixed { delay } => delay,
        Backoff::Exponential { initial, factor, max } => {
            let mut delay = initial.as_secs_f64();
            for _ in 1..step {
                delay = (delay * factor).min(max.as_secs_f64());
            }
            Duration::from_secs_f64(delay)
        }
    }
}

/// The rules, with lists instead of counters and without regard for cost.
#[derive(Default)]
struct Reference {
    /// Failures since the last sign of health.
    streak: Vec<TreeInstant>,
    /// Ends since the last sign of health.
    early: u32,
    /// What counts in a crash loop, since the last cool-off.
    failures: Vec<TreeInstant>,
    restarts: Vec<TreeInstant>,
    longest_ready: Option<Duration>,
    trial: bool,
    ever_ready: bool,
    /// When the program was looked for and was not there, since it was there last.
    away: Vec<TreeInstant>,
}

impl Reference {
    fn lived(&mut self, ready_for: Option<Duration>) {
        self.longest_ready = self.longest_ready.max(ready_for);
        if ready_for.is_some() {
            self.away.clear();
        }
        self.ever_ready |= ready_for.is_some();
    }

    /// The decision, with the delay before jitter.
    fn judge(&mut self, now: TreeInstant, verdict: ExitClass, policy: &RestartPolicy) -> Decision {
        //
        let healthy = self.longest_ready.take().is_some_and(|ready| ready >= policy.healthy_after);
        if healthy {
            self.streak.clear();
            self.early = 0;
            self.trial = false;
        }
        //
        let away = matches!(verdict, ExitClass::Missing | ExitClass::Busy) && self.ever_ready;
        if away {
            self.away.push(now);
            let left = policy.program_grace.saturating_sub(now.since(self.away[0]));
            if !left.is_zero() && policy.restart.wants_restart(verdict) {
                let backoff = match policy.backoff {
                    Backoff::None => Backoff::default(),
                    Backoff::Fixed { delay } if delay.is_zero() => Backoff::default(),
                    other => other,
                };
                let delay = backoff_after(&backoff, self.away.len() as u32);
                return Decision::AwaitProgram { delay: delay.min(left) };
            }
        } else {
            self.away.clear();
        }
        let failed = !matches!(verdict, ExitClass::Clean | ExitClass::Requested);
        self.early += u32::from(failed || !healthy);
        if failed {
            self.streak.push(now);
        }
        if !policy.restart.wants_restart(verdict) {
            return Decision::Leave;
        }
        //
        let never = matches!(verdict, ExitClass::Permanent | ExitClass::Missing);
        if never && !self.ever_ready && !policy.retry_never_started {
            return Decision::GiveUp { why: GiveUpReason::NeverStarts };
        }
        //
        if let Some(max) = policy.max_total_restarts
            && self.restarts.len() >= max as usize
        {
            return Decision::GiveUp { why: GiveUpReason::TotalRestarts { max } };
        }
        //
        let counts = failed || !healthy && matches!(policy.budget, Some(BudgetScope::Own(_)));
        if let (true, Some(crash_loop)) = (counts, policy.effective_crash_loop()) {
            self.failures.push(now);
            let recent = self.failures.iter().filter(|at| now.since(**at) <= crash_loop.window).count();
            if recent >= crash_loop.max_failures as usize || self.trial {
                let why = GiveUpReason::CrashLoop {
                    max_failures: crash_loop.max_failures,
                    window: crash_loop.window,
                };
                return match crash_loop.then {
                    CrashLoopAction::GiveUp => Decision::GiveUp { why },
                    CrashLoopAction::Escalate => Decision::Escalate { why },
                    CrashLoopAction::CoolOff { delay } => {
                        self.failures.clear();
                        self.restarts.push(now);
                        self.trial = true;
                        Decision::CoolOff { delay }
                    }
                };
            }
        }
        self.restarts.push(now);
        //
        let step = if failed || !healthy { self.early } else { 1 };
        let delay = backoff_after(&policy.backoff, step);
        Decision::Restart { delay, attempt: self.streak.len() as u32 }
    }
}

/// `actual` is `plain` ± the fraction (and a microsecond of rounding).
fn within(actual: Duration, plain: Duration, fraction: f64) -> bool {
    let slack = plain.mul_f64(fraction) + Duration::from_micros(1);
    actual >= plain.saturating_sub(slack) && actual <= plain + slack
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    // S-12
    #[test]
    fn a_tracker_agrees_with_the_rules(
        seed in any::<u64>(),
        policy in policy(),
        lives in prop::collection::vec(life(), 1..60),
    ) {
        prop_assert_eq!(policy.validate(Default::default()), Ok(()));
        let (mut tracker, mut reference) = (RestartTracker::new(seed), Reference::default());
        let mut now = TreeInstant::EPOCH;
        for life in lives {
            tracker.started(now);
            now = now.after(ms(life.start));
            if let Some(ready) = life.ready {
                tracker.ready(now);
                now = now.after(ms(ready));
            }
            reference.lived(life.ready.map(ms));
            match life.end {
                End::Consumed => tracker.stopped(now),
                End::Revived => {
                    tracker.revived();
                    reference = Reference { ever_ready: reference.ever_ready, ..Reference::default() };
                }
                End::Judged(verdict) => {
                    let actual = tracker.exited(now, verdict, &policy);
                    let expected = reference.judge(now, verdict, &policy);
                    match (&actual, &expected) {
                        (
                            Decision::Restart { delay, attempt },
                            Decision::Restart { delay: plain, attempt: nth },
                        ) => {
                            prop_assert_eq!(attempt, nth);
                            prop_assert!(within(*delay, *plain, policy.jitter), "{:?} {:?}", delay, plain);
                        }
                        (
                            Decision::AwaitProgram { delay },
                            Decision::AwaitProgram { delay: plain },
                        ) => {
                            prop_assert!(!delay.is_zero());
                            // Cut to what is left, after the jitter.
                            let least = Duration::from_secs_f64(plain.as_secs_f64() * (1.0 - policy.jitter));
                            prop_assert!(*delay >= least.saturating_sub(ms(1)), "{:?} {:?}", delay, plain);
                            prop_assert!(*delay <= policy.program_grace);
                        }
                        _ => prop_assert_eq!(&actual, &expected),
                    }
                    if let Decision::Restart { delay, .. }
                    | Decision::AwaitProgram { delay }
                    | Decision::CoolOff { delay } = actual
                    {
                        now = now.after(delay);
                    }
                }
            }
            prop_assert_eq!(tracker.failures() as usize, reference.streak.len());
            prop_assert_eq!(tracker.total_restarts() as usize, reference.restarts.len());
            prop_assert_eq!(tracker.is_trial(), reference.trial);
        }
    }

    // whatever happens, a child that gives up is not restarted more often than its limits say.
    #[test]
    fn limits_hold_for_every_life(
        max_failures in 1u32..6,
        window in 1u64..60_000,
        total in 0u32..30,
        backoff in prop_oneof![Just(Backoff::None), Just(Backoff::default())],
        lives in prop::collection::vec(life(), 1..60),
    ) {
        let window = ms(window);
        let policy = RestartPolicy::permanent()
            .with_backoff(backoff)
            .with_max_total_restarts(total)
            .with_crash_loop(CrashLoop::new(max_failures, window, CrashLoopAction::GiveUp));
        let mut tracker = RestartTracker::new(1);
        let (mut now, mut restarts, mut failed) = (TreeInstant::EPOCH, 0, Vec::new());
        for life in lives {
            let End::Judged(verdict) = life.end else { continue };
            tracker.started(now);
            if let Some(ready) = life.ready {
                tracker.ready(now);
                now = now.after(ms(ready));
            }
            let delay = match tracker.exited(now, verdict, &policy) {
                Decision::Restart { delay, .. } => delay,
                Decision::AwaitProgram { delay } => {
                    now = now.after(delay);
                    continue;
                }
                _ => break,
            };
            restarts += 1;
            if verdict.is_failure() {
                failed.push(now);
            }
            now = now.after(delay);
        }
        prop_assert!(restarts <= total);
        for (n, first) in failed.iter().enumerate() {
            let within = failed[n..].iter().filter(|at| at.since(*first) <= window).count();
            prop_assert!(within < max_failures as usize, "{} in {:?}", within, window);
        }
    }
}

// A service may have 100,000 children.
#[test]
fn a_tracker_is_small() {
    assert!(size_of::<RestartTracker>() <= 96, "{}", size_of::<RestartTracker>());
}

#[test]
fn huge_histories_do_not_overflow() {
    let policy = RestartPolicy::default().with_jitter(1.0);
    let mut tracker = RestartTracker::new(u64::MAX);
    for _ in 0..100_000 {
        let _ = tracker.exited(TreeInstant::NEVER, ExitClass::Failure, &policy);
    }
    assert_eq!((tracker.failures(), tracker.total_failures()), (100_000, 100_000));
}
