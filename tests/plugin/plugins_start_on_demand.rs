//! A plugin on demand starts when it is first needed; one that an operator stopped or its policy gave
//! up is started again only by an operator (G-10, R-8).

use procession::{
    exit::Exit,
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec},
    restart::{Backoff, CrashLoop, CrashLoopAction, RestartPolicy},
    rpc::{CallEffect, CallError},
    state::{ChildState, DownReason},
};

use serde_json::json;

use crate::support::{Echo, MS, Manner, SEC, Stage, launcher, plugin, settle};

#[tokio::test(start_paused = true)]
async fn a_plugin_on_demand_starts_when_it_is_needed() {
    // G-10
    let slow = Manner::slow(SEC);
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand());
    let stage = Stage::new(&launcher([("a", &slow)]), host).await;
    tokio::time::sleep(60 * SEC).await;
    assert!(stage.launcher.launched().is_empty());
    let listed = stage.plugins.list().unwrap();
    assert_eq!(
        (listed.len(), &listed[0].state, listed[0].declared),
        (1, &ChildState::down(DownReason::NeverStarted), true)
    );
    let mut callers = Vec::new();
    for _ in 0..10 {
        let plugins = stage.plugins.clone();
        callers.push(tokio::spawn(async move { plugins.ensure_ready("a", 10 * SEC).await }));
        tokio::time::sleep(10 * MS).await;
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), Incarnation(1));
    }
    assert_eq!(stage.launches("a"), 1);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_stopped_is_had_back_by_an_operator_only() {
    // G-10
    let manner = Manner { drain: SEC, ..Manner::default() };
    let host = PluginHostSpec::new().plugin(plugin("a")).plugin(plugin("b").on_demand());
    let stage = Stage::new(&launcher([("a", &manner), ("b", &manner)]), host).await;
    let ensure = async |id: &str| stage.plugins.ensure_ready(id, 10 * SEC).await;
    let stays_down = |outcome: Result<Incarnation, PluginError>| {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, PluginError::StaysDown(_)) && !error.is_retryable(), "{error}");
        assert!(error.to_string().contains("stopped"), "{error}");
    };
    // Starting, ready.
    assert_eq!((ensure("a").await.unwrap().0, ensure("a").await.unwrap().0), (1, 1));
    // Stopped through its worker.
    stage.plugins.worker("a").unwrap().stop().await.unwrap();
    stays_down(ensure("a").await);
    assert_eq!(stage.plugins.restart_plugin("a", "wanted again").await.unwrap().0, 2);
    assert_eq!(ensure("a").await.unwrap().0, 2);
    // While it is stopped and removed from the host: it is declared, so it is still known.
    let plugins = stage.plugins.clone();
    let stop = tokio::spawn(async move { plugins.stop_plugin("a").await });
    settle().await;
    stays_down(ensure("a").await);
    stop.await.unwrap().unwrap();
    stays_down(ensure("a").await);
    // The same for one that had not been started.
    stage.plugins.stop_plugin("b").await.unwrap();
    stays_down(ensure("b").await);
    assert_eq!((stage.launches("a"), stage.launches("b")), (2, 0));
    assert_eq!(stage.plugins.restart_plugin("a", "wanted again").await.unwrap().0, 3);
    let b = stage.plugins.start_plugin(plugin("b")).await.unwrap();
    assert_eq!((ensure("a").await.unwrap().0, ensure("b").await.unwrap()), (3, b));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_revive_what_its_policy_gave_up() {
    // G-10, R-5: three launches, however many callers need it and however often they ask.
    let policy = || {
        let thrice = CrashLoop::new(3, 60 * SEC, CrashLoopAction::GiveUp);
        RestartPolicy::permanent().with_backoff(Backoff::fixed(100 * MS)).with_crash_loop(thrice)
    };
    let host = PluginHostSpec::new()
        .plugin(plugin("listed").restart(policy()))
        .plugin(plugin("wanted").on_demand().restart(policy()));
    let broken = Manner::refusing(u32::MAX);
    let stage = Stage::new(&launcher([("listed", &broken), ("wanted", &broken)]), host).await;
    for id in ["listed", "wanted"] {
        let mut callers = Vec::new();
        for n in 0..10 {
            let plugins = stage.plugins.clone();
            callers.push(tokio::spawn(async move {
                tokio::time::sleep(n * 50 * MS).await;
                for _ in 0..10 {
                    plugins.ensure_ready(id, SEC).await.unwrap_err();
                }
                plugins.ensure_ready(id, SEC).await.unwrap_err()
            }));
        }
        for caller in callers {
            let error = caller.await.unwrap();
            let PluginError::StaysDown(down) = &error else { panic!("{error}") };
            assert!(matches!(down.state, ChildState::Down { why: DownReason::GaveUp { .. } }), "{error}");
            assert!(down.last_exit.is_some(), "it says how the last incarnation ended");
        }
        assert_eq!(stage.launches(id), 3, "{id}");
        // Another start by an operator begins with fresh counters.
        stage.plugins.restart_plugin(id, "repaired?").await.unwrap_err();
        tokio::time::sleep(SEC).await;
        assert_eq!(stage.launches(id), 6, "{id}");
        // Changing its declaration or configuration does not start it either.
        stage.plugins.set_config(id, serde_json::json!({"a": 1})).await.unwrap();
        stage.plugins.reload(id, plugin(id).restart(policy())).await.unwrap();
        stage.plugins.ensure_ready(id, SEC).await.unwrap_err();
        assert_eq!(stage.launches(id), 6, "{id}");
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_has_ended_by_itself_is_started_and_its_counters_stay() {
    // G-10, R-5: a plugin that ends when it is idle.
    let manner = Manner::default();
    let policy = RestartPolicy::transient().with_max_total_restarts(1);
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand().restart(policy));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    for n in 1..4 {
        assert_eq!(stage.plugins.ensure_ready("a", SEC).await.unwrap(), Incarnation(n));
        let _ = stage.plugins.call_value("a", "die", &0, procession::rpc::Timeout::Default).await;
        tokio::time::sleep(SEC).await;
        assert_eq!(stage.plugins.list().unwrap()[0].state, ChildState::down(DownReason::Ended));
        let seen = stage.plugins.diagnostics("a").unwrap();
        let node = seen.node.unwrap();
        assert_eq!((node.incarnation, node.last_exit), (Incarnation(n), Some(Exit::Clean { code: 0 })));
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_wait_and_not_the_start() {
    // G-10
    let slow = Manner::slow(5 * SEC);
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand());
    let stage = Stage::new(&launcher([("a", &slow)]), host).await;
    let before = tokio::time::Instant::now();
    let late = stage.plugins.ensure_ready("a", SEC).await.unwrap_err();
    assert!(matches!(late, PluginError::Unavailable(_)) && late.is_retryable(), "{late}");
    assert_eq!(before.elapsed(), SEC);
    assert_eq!(stage.plugins.ensure_ready("a", 10 * SEC).await.unwrap(), Incarnation(1));
    let unknown = stage.plugins.ensure_ready("b", SEC).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_on_demand_is_told_and_its_policy_goes_on() {
    // G-10
    let manner = Manner::refusing(1);
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(10 * SEC)).with_jitter(0.0);
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand().restart(policy));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    let failed = stage.plugins.ensure_ready("a", 60 * SEC).await.unwrap_err();
    assert!(matches!(failed, PluginError::StartFailed { .. }), "{failed}");
    // The next caller waits for the next attempt, and causes none.
    let late = stage.plugins.ensure_ready("a", SEC).await.unwrap_err();
    assert!(matches!(&late, PluginError::Unavailable(_)) && late.is_retryable(), "{late}");
    assert_eq!(stage.launches("a"), 1);
    assert_eq!(stage.plugins.ensure_ready("a", 60 * SEC).await.unwrap(), Incarnation(2));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_restarts_a_plugin_in_every_state() {
    //
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(plugin("a")).plugin(plugin("b").on_demand());
    let stage = Stage::new(&launcher([("a", &manner), ("b", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.plugins.restart_plugin("a", "test").await.unwrap(), Incarnation(2));
    assert_eq!(stage.plugins.restart_plugin("b", "test").await.unwrap(), Incarnation(1));
    for n in 0..20 {
        // Never refused by the crash budget.
        assert_eq!(stage.plugins.restart_plugin("a", "test").await.unwrap(), Incarnation(3 + n));
    }
    assert_eq!(stage.launcher.alive().len(), 2);
    let unknown = stage.plugins.restart_plugin("c", "test").await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_call_starts_it_and_all_others_join() {
    // S-28, G-10
    let slow = Manner::slow(SEC);
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand());
    let stage = Stage::new(&launcher([("a", &slow)]), host).await;
    assert!(stage.plugins.worker("a").unwrap().diagnostics().on_demand);
    let mut callers = Vec::new();
    for n in 0..100 {
        let plugins = stage.plugins.clone();
        callers.push(tokio::spawn(async move {
            tokio::time::sleep(n * 5 * MS).await;
            if n % 2 == 0 {
                plugins.call::<Echo>("a", &json!(n)).await.map(drop)
            } else {
                plugins.ensure_ready("a", 5 * SEC).await.map(drop)
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(stage.launches("a"), 1);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_idle_is_stopped_until_the_next_call_and_its_figures_stay() {
    // S-28, E-2
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(plugin("a").idle_timeout(10 * SEC));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    assert_eq!(stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap(), json!(1));
    stage.plugins.call_value("a", "die", &4, procession::rpc::Timeout::Default).await.unwrap_err();
    stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
    tokio::time::sleep(60 * SEC).await;
    assert!(stage.launcher.alive().is_empty());
    let idle = stage.plugins.diagnostics("a").unwrap();
    assert_eq!(idle.status.state, ChildState::down(DownReason::Idle));
    assert_eq!((idle.node.unwrap().total_failures, idle.status.incarnation.0), (1, 2));
    assert!(idle.last_crash.is_some());
    let session = stage.plugins.worker("a").unwrap().session().unwrap();
    assert_eq!((session.incarnation.0, session.live), (2, false));
    assert_eq!(stage.plugins.call::<Echo>("a", &json!(2)).await.unwrap(), json!(2));
    assert_eq!(stage.launches("a"), 3);
    let again = stage.plugins.diagnostics("a").unwrap();
    assert_eq!(again.node.unwrap().total_failures, 1);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_call_starts_what_was_stopped() {
    // S-28, G-10, G-7
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand()).plugin(plugin("b").on_demand());
    let stage = Stage::new(&launcher([("a", &manner), ("b", &manner)]), host).await;
    stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap();
    let refused = async |id: &str| {
        let refused = stage.plugins.call::<Echo>(id, &json!(1)).await.unwrap_err();
        assert!(matches!(refused.call(), Some(CallError::Unavailable { .. })), "{refused}");
        assert_eq!(refused.effect(), CallEffect::NotSent);
    };
    stage.plugins.worker("a").unwrap().stop().await.unwrap();
    refused("a").await;
    stage.plugins.restart_plugin("a", "wanted again").await.unwrap();
    stage.plugins.stop_plugin("a").await.unwrap();
    refused("a").await;
    stage.plugins.stop_all().await.unwrap().into_result().unwrap();
    refused("b").await;
    assert_eq!((stage.launches("a"), stage.launches("b")), (2, 0));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_starts_one_that_has_ended_by_itself() {
    // S-28, S-23: it has left the table of its host.
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand().restart(RestartPolicy::transient()));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    for n in 1..4 {
        let mut callers = Vec::new();
        for _ in 0..10 {
            let plugins = stage.plugins.clone();
            callers.push(tokio::spawn(async move { plugins.call::<Echo>("a", &json!(n)).await }));
        }
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap(), json!(n));
        }
        assert_eq!(stage.launches("a"), n);
        let _ = stage.plugins.call_value("a", "die", &0, procession::rpc::Timeout::Default).await;
        tokio::time::sleep(SEC).await;
        assert_eq!(stage.plugins.list().unwrap()[0].state, ChildState::down(DownReason::Ended));
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_an_operator_starts_has_one_outcome_and_is_on_demand_all_the_same() {
    // G-1, S-28
    let manner = Manner::refusing(1);
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new()).await;
    let spec = || plugin("a").idle_timeout(10 * SEC);
    let failed = stage.plugins.start_plugin(spec()).await.unwrap_err();
    assert!(matches!(failed, PluginError::StartFailed { .. }), "{failed}");
    assert!(stage.plugins.list().unwrap().is_empty() && stage.launcher.alive().is_empty(), "nothing is left");
    stage.plugins.start_plugin(spec()).await.unwrap();
    let twice = stage.plugins.start_plugin(spec()).await.unwrap_err();
    assert!(matches!(twice, PluginError::AlreadyStarted(_)), "{twice}");
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(stage.plugins.list().unwrap()[0].state, ChildState::down(DownReason::Idle));
    stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap();
    assert_eq!(stage.launches("a"), 3);
    // It returns with its host, and waits for its next call.
    stage.plugins.node().restart().await.unwrap();
    tokio::time::sleep(SEC).await;
    assert_eq!((stage.launches("a"), stage.launcher.alive().len()), (3, 0));
    stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap();
    assert_eq!(stage.launches("a"), 4);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn demands_at_once_are_bounded_as_all_first_starts() {
    // G-7
    let slow = Manner::slow(SEC);
    let ids: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
    let launcher = launcher(ids.iter().map(|id| (id.as_str(), &slow)));
    let host = PluginHostSpec::new().plugins(ids.iter().map(|id| plugin(id).on_demand()));
    let stage = Stage::new(&launcher, host).await;
    // A reload before the first start changes nothing about that.
    for id in &ids {
        stage.plugins.reload(id.as_str(), plugin(id).on_demand()).await.unwrap();
    }
    let mut callers = Vec::new();
    for id in ids {
        let plugins = stage.plugins.clone();
        callers.push(tokio::spawn(async move { plugins.ensure_ready(id.as_str(), 60 * SEC).await }));
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(slow.starting.1.load(std::sync::atomic::Ordering::SeqCst), 4);
    stage.end().await;
}
