//! A plugin on demand starts when it is first needed; one that an operator stopped or its policy gave
//! up is started again only by an operator (G-10, R-8).

use procession::{
    exit::Exit,
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec},
    restart::{Backoff, CrashLoop, CrashLoopAction, RestartPolicy},
    state::{ChildState, DownReason},
};

use crate::support::{MS, Manner, SEC, Stage, launcher, plugin, settle};

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
