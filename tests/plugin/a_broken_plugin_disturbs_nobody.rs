//! A broken plugin keeps neither its host nor other plugins from starting and running: it backs off and
//! cools off by itself (G-6, S-7, R-6).

use procession::{
    id::Incarnation,
    plugin::{PluginEventKind, PluginHostSpec},
    restart::{Backoff, RestartPolicy},
    state::ChildState,
};

use crate::support::{MS, Manner, SEC, Stage, drain, launcher, plugin};

#[tokio::test(start_paused = true)]
async fn broken_plugins_keep_neither_the_host_nor_others_from_starting() {
    // S-7, G-6
    let (fine, refusing, dying) = (Manner::default(), Manner::refusing(u32::MAX), Manner::dying(50 * MS));
    let host = PluginHostSpec::new()
        .plugin(plugin("missing"))
        .plugin(plugin("refusing"))
        .plugin(plugin("dying"))
        .plugin(plugin("hanging"))
        .plugin(plugin("fine"));
    let launcher = launcher([("fine", &fine), ("refusing", &refusing), ("dying", &dying)]);
    launcher.program("hanging", |me| async move { me.hang().await });
    let before = tokio::time::Instant::now();
    let stage = Stage::new(&launcher, host).await;
    assert!(before.elapsed() < 10 * MS && stage.root.is_ready());
    assert_eq!(stage.plugins.ensure_ready("fine", SEC).await.unwrap(), Incarnation(1));
    tokio::time::sleep(600 * SEC).await;
    assert_eq!(stage.plugins.ensure_ready("fine", SEC).await.unwrap(), Incarnation(1));
    assert_eq!(stage.plugins.node().incarnation(), Incarnation(1), "the host was restarted");
    //
    assert!(stage.plugins.worker("missing").unwrap().state().is_down());
    assert!(stage.launches("dying") < 70 && stage.launches("refusing") < 70);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_initialize_is_retried_with_back_off_within_the_budget() {
    // G-6: not dead for good, and not restarted endlessly at full speed.
    let manner = Manner { init: MS, ..Manner::refusing(4) };
    let policy =
        RestartPolicy::permanent().with_backoff(Backoff::exponential(100 * MS, 10 * SEC)).with_jitter(0.0);
    let stage = Stage::new(
        &launcher([("a", &manner)]),
        PluginHostSpec::new().plugin(plugin("a").restart(policy.clone())),
    )
    .await;
    let mut events = stage.plugins.events().unwrap();
    assert_eq!(stage.plugins.ensure_ready("a", 60 * SEC).await.unwrap(), Incarnation(5));
    let delays: Vec<u64> = drain(&mut events)
        .iter()
        .filter_map(|event| match &event.kind {
            PluginEventKind::Crashed { delay: Some(delay), .. } => u64::try_from(delay.as_millis()).ok(),
            _ => None,
        })
        .collect();
    assert_eq!(delays, [100, 200, 400, 800]);

    // The same once it has been ready and the window is empty: a failed `initialize` is a crash like
    // any other.
    tokio::time::sleep(60 * SEC).await;
    manner.refusals.store(2, std::sync::atomic::Ordering::SeqCst);
    stage.plugins.call_value("a", "die", &1, procession::rpc::Timeout::Default).await.unwrap_err();
    tokio::time::sleep(100 * SEC).await;
    assert_eq!(stage.plugins.ensure_ready("a", SEC).await.unwrap(), Incarnation(8));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_never_initializes_cools_off() {
    // R-0 (5), R-4: 5 failures in 60 s, then a pause of 60 s, then one trial.
    let manner = Manner::refusing(u32::MAX);
    let policy = RestartPolicy::permanent().with_jitter(0.0);
    let host = PluginHostSpec::new().plugin(plugin("a").restart(policy));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    tokio::time::sleep(30 * SEC).await;
    assert_eq!(stage.launches("a"), 5);
    assert!(matches!(stage.plugins.worker("a").unwrap().state(), ChildState::CoolingOff { .. }));
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(stage.launches("a"), 6);
    assert!(stage.root.is_ready());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_exits_with_0_before_it_is_ready_cools_off_too() {
    //
    let stage = launcher([]);
    stage.program("quits", |_| async { 0 });
    let policy = RestartPolicy::permanent().with_jitter(0.0);
    let host = PluginHostSpec::new().plugin(plugin("quits").restart(policy));
    let stage = Stage::new(&stage, host).await;
    let mut events = stage.plugins.events().unwrap();
    let error = stage.plugins.ensure_ready("quits", SEC).await.unwrap_err().to_string();
    assert!(error.contains("ended before it was ready: exited with code 0"), "{error}");
    tokio::time::sleep(30 * SEC).await;
    assert_eq!(stage.launches("quits"), 5);
    assert!(matches!(stage.plugins.worker("quits").unwrap().state(), ChildState::CoolingOff { .. }));
    tokio::time::sleep(3570 * SEC).await;
    assert!(stage.launches("quits") <= 5 + 60, "{}", stage.launches("quits"));
    let told = drain(&mut events);
    let crashes = told.iter().filter(|e| matches!(e.kind, PluginEventKind::Crashed { code: Some(0), .. }));
    assert!(crashes.count() >= 60, "each is told");
    stage.end().await;
}
