//! A restart policy can be read from a configuration, in which every field may be left out.

use std::time::Duration;

use procession::restart::{
    Backoff, BudgetScope, CrashLoop, CrashLoopAction, Intensity, RestartPolicy, RestartType,
};
use serde_json::{from_value, json, to_value};

use crate::common::{ms, secs};

fn refused(value: serde_json::Value) -> String {
    from_value::<RestartPolicy>(value).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

// T-1
#[test]
fn every_field_may_be_left_out() {
    assert_eq!(from_value::<RestartPolicy>(json!({})).unwrap(), RestartPolicy::default());
    assert_eq!(from_value::<Intensity>(json!({})).unwrap(), Intensity::new(3, secs(5)));
    assert_eq!(from_value::<CrashLoop>(json!({})).unwrap(), CrashLoop::default());
    assert_eq!(from_value::<Backoff>(json!({ "exponential": {} })).unwrap(), Backoff::default());
    assert_eq!(
        from_value::<RestartPolicy>(json!({ "crash_loop": {} })).unwrap().crash_loop,
        Some(CrashLoop::default())
    );
}

// T-1, R-2, R-4
#[test]
fn a_configuration_reads_as_a_person_writes_it() {
    let policy: RestartPolicy = from_value(json!({
        "restart": "on_success",
        "backoff": { "exponential": { "initial": "250ms", "max": "1m 30s" } },
        "jitter": 0.5,
        "healthy_after": 20,
        "max_total_restarts": 100,
        "retry_never_started": true,
        "budget": { "own": { "max_failures": 7, "window": 0.5, "then": { "cool_off": { "for": "5m" } } } },
    }))
    .unwrap();
    let own = CrashLoop::new(7, ms(500), CrashLoopAction::cool_off(secs(300)));
    let expected = RestartPolicy::permanent()
        .with_restart(RestartType::OnSuccess)
        .with_backoff(Backoff::exponential(ms(250), secs(90)))
        .with_jitter(0.5)
        .with_healthy_after(secs(20))
        .with_max_total_restarts(100)
        .with_retry_never_started(true)
        .with_budget(BudgetScope::Own(own));
    assert_eq!(policy, expected);
    let words: RestartPolicy = from_value(json!({
        "backoff": "none", "budget": "shared", "crash_loop": { "then": "escalate" }, "restart": "unless_stopped",
    }))
    .unwrap();
    assert_eq!((words.backoff, words.budget), (Backoff::None, Some(BudgetScope::Shared)));
    assert_eq!(words.crash_loop.unwrap().then, CrashLoopAction::Escalate);
}

// T-1: unknown fields and bad values are errors.
#[test]
fn mistakes_in_a_configuration_are_errors() {
    assert!(refused(json!({ "jiter": 0.1 })).contains("unknown field `jiter`"));
    assert!(refused(json!({ "restart": "always" })).contains("unknown variant `always`"));
    let deep = json!({ "backoff": { "exponential": { "initial": "1s", "cap": "2s" } } });
    assert!(refused(deep).contains("unknown field `cap`"));
    let deep = json!({ "budget": { "own": { "then": { "cool_off": { "for": "1s", "max": 1 } } } } });
    assert!(refused(deep).contains("unknown field `max`"));
    assert!(refused(json!({ "crash_loop": { "windows": "1s" } })).contains("unknown field `windows`"));
    assert!(refused(json!({ "healthy_after": "10" })).contains("a number needs a unit"));
    assert!(refused(json!({ "healthy_after": -1 })).contains("a number of seconds"));
    assert!(from_value::<Intensity>(json!({ "intensity": 3 })).is_err());
}

#[test]
fn policies_survive_a_round_trip() {
    let policies = [
        RestartPolicy::default(),
        RestartPolicy::actor(),
        RestartPolicy::transient().with_backoff(Backoff::fixed(Duration::from_nanos(1_000_001))),
        RestartPolicy::temporary().with_crash_loop(CrashLoop::new(1, secs(86_461), CrashLoopAction::GiveUp)),
        RestartPolicy::default().with_budget(BudgetScope::Own(CrashLoop::default())),
    ];
    for policy in policies {
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<RestartPolicy>(&text).unwrap(), policy, "{text}");
    }
    let written = to_value(RestartPolicy::default()).unwrap();
    assert_eq!(written["healthy_after"], "10s");
    assert_eq!(written["backoff"]["exponential"]["initial"], "100ms");
    assert_eq!(to_value(Intensity::default()).unwrap(), json!({ "max_restarts": 3, "period": "5s" }));
}
