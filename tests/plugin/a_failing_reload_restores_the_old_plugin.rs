//! A reload gives a plugin another declaration; if the new one does not become ready, the old one is
//! restored (G-13).

use procession::{
    exit::Exit,
    id::Incarnation,
    plugin::{PluginError, PluginHostSpec, PluginSpec},
    process::Command,
    state::ChildState,
};
use serde_json::json;

use crate::support::{Manner, SEC, Stage, drain, launcher, plugin, settle};

fn running(program: &str) -> PluginSpec {
    PluginSpec::new("a", Command::new(program))
}

#[tokio::test(start_paused = true)]
async fn a_reload_replaces_the_process() {
    // G-13
    let (old, new) = (Manner::default(), Manner::default());
    let host = PluginHostSpec::new().plugin(running("old").config(json!(1)));
    let stage = Stage::new(&launcher([("old", &old), ("new", &new)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let worker = stage.plugins.worker("a").unwrap();
    let reloaded = stage.plugins.reload("a", running("new").config(json!(2))).await.unwrap();
    assert_eq!(reloaded, Incarnation(2));
    assert_eq!((stage.launches("old"), stage.launches("new")), (1, 1));
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    // The old address is still valid, and the new declaration is what returns with the host.
    assert_eq!(worker.state(), ChildState::Ready);
    stage.plugins.node().restart().await.unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.launches("new"), 2);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_declaration_is_found_before_anything_is_stopped() {
    // G-13, S-6
    let old = Manner::default();
    let stage = Stage::new(&launcher([("old", &old)]), PluginHostSpec::new().plugin(running("old"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    for wrong in [running(""), plugin("b"), running("old").start_timeout(std::time::Duration::ZERO)] {
        let refused = stage.plugins.reload("a", wrong).await.unwrap_err();
        assert!(matches!(refused, PluginError::Invalid(_)), "{refused}");
    }
    assert_eq!(stage.plugins.ensure_ready("a", SEC).await.unwrap(), Incarnation(1));
    assert_eq!(old.heard_by(1), ["initialize"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_fails_restores_and_says_so() {
    // G-13
    let (old, new) = (Manner::default(), Manner::refusing(u32::MAX));
    let host = PluginHostSpec::new().plugin(running("old").config(json!(1)));
    let stage = Stage::new(&launcher([("old", &old), ("new", &new)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let mut events = stage.plugins.events().unwrap();
    let error = stage.plugins.reload("a", running("new").config(json!(2))).await.unwrap_err();
    let last = drain(&mut events).pop().unwrap().to_string();
    assert!(
        last.ends_with("plugin `a`#3 was rolled back to its previous declaration or configuration: handshake failed: not today"),
        "{last}"
    );
    let PluginError::ReloadFailed { exit, restored, .. } = &error else { panic!("{error}") };
    assert_eq!(*exit, Exit::HandshakeFailed { reason: "not today".into() });
    assert_eq!(*restored, Some(Incarnation(3)));
    assert_eq!(stage.call("a", "config", ().into()).await, json!(1));
    tokio::time::sleep(600 * SEC).await;
    assert_eq!((stage.launches("old"), stage.launches("new")), (2, 1));

    // A missing program and a start that hangs have the same effect.
    stage.launcher.program("hanging", |me| async move { me.hang().await });
    for wrong in ["missing", "hanging"] {
        stage.plugins.reload("a", running(wrong)).await.unwrap_err();
        assert_eq!(stage.call("a", "config", ().into()).await, json!(1));
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn if_the_old_one_fails_too_its_policy_goes_on_with_it() {
    // G-13: the declaration is restored, and its policy retries what cannot run.
    let (old, new) = (Manner::default(), Manner::refusing(u32::MAX));
    let stage =
        Stage::new(&launcher([("old", &old), ("new", &new)]), PluginHostSpec::new().plugin(running("old")))
            .await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    old.refusals.store(1, std::sync::atomic::Ordering::SeqCst);
    let error = stage.plugins.reload("a", running("new")).await.unwrap_err();
    assert!(matches!(error, PluginError::ReloadFailed { restored: None, .. }), "{error}");
    stage.plugins.ensure_ready("a", 10 * SEC).await.unwrap();
    assert_eq!((stage.launches("old"), stage.launches("new")), (3, 1));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_reload() {
    // G-13, P-9
    let (old, new) = (Manner::default(), Manner { init: 10 * SEC, ..Manner::refusing(1) });
    let stage =
        Stage::new(&launcher([("old", &old), ("new", &new)]), PluginHostSpec::new().plugin(running("old")))
            .await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let reload = tokio::spawn(async move { plugins.reload("a", running("new")).await });
    settle().await;
    stage.plugins.stop_plugin("a").await.unwrap();
    assert!(matches!(reload.await.unwrap(), Err(PluginError::Stopped(_))));
    assert!(stage.launcher.alive().is_empty());
    tokio::time::sleep(60 * SEC).await;
    assert!(stage.launcher.alive().is_empty());
    // Declared, so still known: as it was declared.
    stage.plugins.restart_plugin("a", "wanted again").await.unwrap();
    assert_eq!(stage.launches("old"), 2);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_run_gets_it_with_its_next_start() {
    let (old, new) = (Manner::default(), Manner::default());
    let stage = Stage::new(
        &launcher([("old", &old), ("new", &new)]),
        PluginHostSpec::new().plugin(running("old").on_demand()),
    )
    .await;
    assert_eq!(stage.plugins.reload("a", running("new")).await.unwrap(), Incarnation::NONE);
    assert!(stage.launcher.launched().is_empty());
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.launches("new"), 1);
    let unknown = stage.plugins.reload("b", plugin("b")).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    stage.end().await;
}
