//! Every mistake in a policy is found before anything runs, and names its field.

use std::time::Duration;

use procession::{
    restart::{
        Backoff, BudgetScope, CrashLoop, CrashLoopAction, Intensity, PolicyError, RestartPolicy, RestartType,
    },
    state::Strategy,
};

use crate::common::{ms, secs};

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

fn mistakes(policy: &RestartPolicy) -> Vec<String> {
    let errors = policy.validate(Strategy::OneForOne).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

// S-6
#[test]
fn the_ready_made_policies_are_valid_everywhere() {
    for strategy in STRATEGIES {
        for policy in [
            RestartPolicy::default(),
            RestartPolicy::permanent(),
            RestartPolicy::transient(),
            RestartPolicy::temporary(),
            RestartPolicy::actor(),
            RestartPolicy::default().with_max_total_restarts(0),
            RestartPolicy::default().with_crash_loop(CrashLoop::new(1, ms(1), CrashLoopAction::Escalate)),
            RestartPolicy::default().with_budget(BudgetScope::Own(CrashLoop::new(
                1,
                ms(1),
                CrashLoopAction::GiveUp,
            ))),
        ] {
            assert_eq!(policy.validate(strategy), Ok(()));
        }
    }
    assert_eq!(Intensity::default().validate(), Ok(()));
    assert_eq!(Intensity::new(0, ms(1)).validate(), Ok(()));
}

// none is bounded by the intensity alone.
#[test]
fn restarts_without_delay_need_a_bound() {
    let unlimited = Intensity::new(u32::MAX, secs(5));
    let crash_loop = CrashLoop::default();
    let at_once = RestartPolicy::actor();
    for policy in [at_once.clone(), at_once.clone().with_backoff(Backoff::fixed(Duration::ZERO))] {
        assert_eq!(policy.check_rate(&Intensity::default()), Ok(()));
        assert_eq!(policy.check_rate(&unlimited), Err(PolicyError::Unbounded));
        // This one sees no clean ends.
        let with_loop = policy.clone().with_crash_loop(crash_loop);
        assert_eq!(with_loop.check_rate(&unlimited), Err(PolicyError::Unbounded));
        let own = policy.clone().with_budget(BudgetScope::Own(crash_loop));
        assert_eq!(own.check_rate(&unlimited), Ok(()));
        assert_eq!(policy.with_restart(RestartType::Temporary).check_rate(&unlimited), Ok(()));
    }
    for backoff in [Backoff::default(), Backoff::fixed(ms(1))] {
        assert_eq!(at_once.clone().with_backoff(backoff).check_rate(&unlimited), Ok(()));
    }
}

// S-6: all mistakes of one spec are reported together, each naming its field.
#[test]
fn every_mistake_is_named() {
    let policy = RestartPolicy::default()
        .with_jitter(1.5)
        .with_backoff(Backoff::Exponential { initial: secs(2), factor: 0.5, max: secs(1) })
        .with_healthy_after(Duration::ZERO)
        .with_crash_loop(CrashLoop::new(0, Duration::ZERO, CrashLoopAction::cool_off(Duration::ZERO)));
    assert_eq!(
        mistakes(&policy),
        [
            "`jitter` must be between 0 and 1, not 1.5",
            "`backoff.factor` must be a finite number of at least 1, not 0.5",
            "`backoff.max` (1s) must not be below `backoff.initial` (2s)",
            "`healthy_after` must not be zero: becoming ready is no proof of health",
            "`crash_loop.max_failures` must be at least 1",
            "`crash_loop.window` must not be zero",
            "`crash_loop.then.cool_off.for` must not be zero",
        ]
    );
    let own = BudgetScope::Own(CrashLoop::new(0, Duration::ZERO, CrashLoopAction::cool_off(Duration::ZERO)));
    assert_eq!(
        mistakes(&RestartPolicy::default().with_budget(own)),
        [
            "`budget.own.max_failures` must be at least 1",
            "`budget.own.window` must not be zero",
            "`budget.own.then.cool_off.for` must not be zero",
        ]
    );
}

// S-6
#[test]
fn numbers_that_are_none_are_refused() {
    for jitter in [f64::NAN, f64::INFINITY, -0.1, 1.000_001] {
        assert_eq!(mistakes(&RestartPolicy::default().with_jitter(jitter)).len(), 1, "{jitter}");
    }
    for jitter in [0.0, 1.0] {
        assert_eq!(RestartPolicy::default().with_jitter(jitter).validate(Strategy::OneForOne), Ok(()));
    }
    for factor in [f64::NAN, f64::INFINITY, 0.999, -2.0] {
        let backoff = Backoff::Exponential { initial: secs(1), factor, max: secs(2) };
        assert_eq!(mistakes(&RestartPolicy::default().with_backoff(backoff)).len(), 1, "{factor}");
    }
    let stuck = Backoff::exponential(Duration::ZERO, secs(1));
    assert_eq!(mistakes(&RestartPolicy::default().with_backoff(stuck)).len(), 1);
}

// R-0 (6)
#[test]
fn a_group_cannot_wait_for_one_that_cools_off() {
    let crash_loop = CrashLoop::default();
    for (policy, field) in [
        (RestartPolicy::default().with_crash_loop(crash_loop), "crash_loop"),
        (RestartPolicy::default().with_budget(BudgetScope::Own(crash_loop)), "budget.own"),
    ] {
        assert_eq!(policy.validate(Strategy::OneForOne), Ok(()));
        for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
            let refused = vec![PolicyError::CoolOffInGroup { field, strategy }];
            assert_eq!(policy.validate(strategy), Err(refused));
        }
    }
}

// R-0 (5)
#[test]
fn a_child_has_one_crash_loop() {
    let policy = RestartPolicy::default()
        .with_crash_loop(CrashLoop::new(9, secs(9), CrashLoopAction::GiveUp))
        .with_budget(BudgetScope::Own(CrashLoop::default()));
    assert_eq!(policy.validate(Strategy::OneForOne), Err(vec![PolicyError::TwoCrashLoops]));
    assert_eq!(policy.effective_crash_loop(), Some(&CrashLoop::default()));
}

// S-2
#[test]
fn a_zero_period_is_refused() {
    assert_eq!(Intensity::new(3, Duration::ZERO).validate(), Err(PolicyError::ZeroPeriod));
}
