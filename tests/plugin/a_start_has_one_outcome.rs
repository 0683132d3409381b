//! All callers of one start get the same outcome, and a failed start leaves nothing behind (G-1).

use procession::{
    exit::Exit,
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec},
    restart::{CrashLoop, CrashLoopAction, RestartPolicy},
    state::ChildState,
};

use crate::support::{MS, Manner, SEC, Stage, launcher, plugin, settle};

#[tokio::test(start_paused = true)]
async fn callers_of_one_start_join_it() {
    // G-1
    let slow = Manner::slow(SEC);
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    let mut starts = Vec::new();
    for _ in 0..10 {
        let plugins = stage.plugins.clone();
        starts.push(tokio::spawn(async move { plugins.start_plugin(plugin("a")).await }));
        tokio::time::sleep(10 * MS).await;
    }
    for start in starts {
        assert_eq!(start.await.unwrap().unwrap(), Incarnation(1));
    }
    assert_eq!(stage.launches("a"), 1);
    let again = stage.plugins.start_plugin(plugin("a")).await.unwrap_err();
    assert!(matches!(&again, PluginError::AlreadyStarted(id) if id.as_str() == "a"), "{again}");
    assert!(!again.is_retryable());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_at_boot_is_joined_too() {
    // G-1, S-7
    let (slow, bad) = (Manner::slow(SEC), Manner { init: SEC, ..Manner::refusing(1) });
    let stage = Stage::new(
        &launcher([("slow", &slow), ("bad", &bad)]),
        PluginHostSpec::new().plugin(plugin("slow")).plugin(plugin("bad")),
    )
    .await;
    assert_eq!(stage.plugins.start_plugin(plugin("slow")).await.unwrap(), Incarnation(1));
    assert_eq!(stage.launches("slow"), 1);
    stage.end().await;

    let stage = Stage::new(&launcher([("bad", &bad)]), PluginHostSpec::new().plugin(plugin("bad"))).await;
    bad.refusals.store(1, std::sync::atomic::Ordering::SeqCst);
    let failed = stage.plugins.start_plugin(plugin("bad")).await.unwrap_err();
    assert!(
        matches!(failed, PluginError::StartFailed { exit: Exit::HandshakeFailed { .. }, .. }),
        "{failed}"
    );
    // It is declared, so it is nevertheless retried.
    assert_eq!(stage.plugins.ensure_ready("bad", 5 * SEC).await.unwrap(), Incarnation(2));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_leaves_nothing_and_a_new_one_works() {
    // G-1: it does not go on restarting in the background, and does not block the next start.
    let manner = Manner::refusing(1);
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new()).await;
    let failed = stage.plugins.start_plugin(plugin("a")).await.unwrap_err();
    assert_eq!(failed.exit(), Some(&Exit::HandshakeFailed { reason: "not today".into() }));
    assert!(stage.plugins.list().unwrap().is_empty());
    assert!(stage.launcher.alive().is_empty());
    tokio::time::sleep(600 * SEC).await;
    assert_eq!(stage.launches("a"), 1, "a failed start goes on in the background");
    assert!(matches!(stage.plugins.worker("a"), Err(PluginError::NotFound(_))));

    assert_eq!(stage.plugins.start_plugin(plugin("a")).await.unwrap(), Incarnation(2));
    assert_eq!(stage.call("a", "who", ().into()).await["launch"], 2);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_ends_with_the_process_and_does_not_wait_for_its_timeout() {
    // W-1, G-1
    let stage = Stage::new(&launcher([]), PluginHostSpec::new()).await;
    stage.launcher.program("dies", |mut me| async move {
        me.write_error_line("no license").await.unwrap();
        3
    });
    let before = tokio::time::Instant::now();
    let failed = stage.plugins.start_plugin(plugin("dies")).await.unwrap_err();
    assert_eq!(failed.exit(), Some(&Exit::Failed { code: 3 }));
    assert!(before.elapsed() < SEC);
    assert_eq!(
        failed.to_string(),
        "plugin `dies` did not start: failed with exit code 3; its stderr ends with `no license`"
    );
    let missing = stage.plugins.start_plugin(plugin("missing")).await.unwrap_err();
    assert!(matches!(missing.exit(), Some(Exit::NeverStarted { .. })), "{missing}");
    assert!(stage.plugins.list().unwrap().is_empty());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_has_given_up_is_replaced() {
    // G-1: it is registered, but down.
    let dying = Manner::dying(10 * MS);
    let fine = Manner::default();
    let stage = Stage::new(&launcher([("dying", &dying), ("fine", &fine)]), PluginHostSpec::new()).await;
    let policy = RestartPolicy::permanent().with_crash_loop(CrashLoop::new(1, SEC, CrashLoopAction::GiveUp));
    stage.plugins.start_plugin(plugin("dying").restart(policy)).await.unwrap();
    tokio::time::sleep(SEC).await;
    assert!(stage.plugins.worker("dying").unwrap().state().is_down());

    let other = procession::plugin::PluginSpec::new("dying", procession::process::Command::new("fine"));
    stage.plugins.start_plugin(other).await.unwrap();
    settle().await;
    assert_eq!(stage.plugins.worker("dying").unwrap().state(), ChildState::Ready);
    assert_eq!((stage.launches("dying"), stage.launches("fine")), (1, 1));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_take_the_start_with_it() {
    // G-1: the other callers still get the outcome.
    let slow = Manner::slow(SEC);
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new()).await;
    let impatient = tokio::time::timeout(100 * MS, stage.plugins.start_plugin(plugin("a"))).await;
    assert!(impatient.is_err());
    assert_eq!(stage.plugins.start_plugin(plugin("a")).await.unwrap(), Incarnation(1));
    stage.end().await;
}
