//! G-10, R-8.

use procession::{
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec},
    restart::{CrashLoop, RestartPolicy, Then},
    vocabulary::{Down, State},
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
        (1, &State::down(Down::NeverStarted), true)
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
async fn whatever_keeps_a_plugin_from_running_it_is_started_or_joined() {
    // G-10
    let manner = Manner { drain: SEC, ..Manner::default() };
    let policy = RestartPolicy::permanent().with_crash_loop(CrashLoop::new(1, SEC, Then::GiveUp));
    let host = PluginHostSpec::new().plugin(plugin("a").restart(policy));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    let ensure = async || stage.plugins.ensure_ready("a", 10 * SEC).await.unwrap().0;
    // Starting, ready.
    assert_eq!((ensure().await, ensure().await), (1, 1));
    // Given up.
    stage.plugins.call_value("a", "die", &1, procession::rpc::Timeout::Default).await.unwrap_err();
    tokio::time::sleep(SEC).await;
    assert_eq!(ensure().await, 2);
    // Stopped through its worker.
    stage.plugins.worker("a").unwrap().stop().await.unwrap();
    assert_eq!(ensure().await, 3);
    // Being stopped, and taken out of the host: it is declared, so it is still known.
    let plugins = stage.plugins.clone();
    let stop = tokio::spawn(async move { plugins.stop_plugin("a").await });
    settle().await;
    assert_eq!(ensure().await, 4);
    stop.await.unwrap().unwrap();
    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.stop_plugin("a").await.unwrap();
    assert_eq!(ensure().await, 5);
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
async fn a_failed_start_on_demand_can_be_tried_again() {
    // G-1, G-10
    let manner = Manner::refusing(1);
    let host = PluginHostSpec::new().plugin(plugin("a").on_demand());
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    let failed = stage.plugins.ensure_ready("a", 10 * SEC).await.unwrap_err();
    assert!(matches!(failed, PluginError::StartFailed { .. }), "{failed}");
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(stage.launches("a"), 1);
    stage.plugins.ensure_ready("a", 10 * SEC).await.unwrap();
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
