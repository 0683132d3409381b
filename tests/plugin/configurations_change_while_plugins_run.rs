//! A running plugin gets a new configuration live if it announced that, otherwise by a restart; a
//! refused one is rolled back (G-12).

use procession::{
    id::Incarnation,
    plugin::{
        ConfigApplied, PluginError, PluginEvent, PluginEventKind, PluginEventReceiver, PluginHostSpec,
        Plugins,
    },
    protocol::NoChannel,
    rpc::CallEffect,
};
use serde_json::json;

use crate::support::{Manner, SEC, Stage, drain, launcher, plugin, settle};

#[tokio::test(start_paused = true)]
async fn a_plugin_that_announced_it_is_told_live() {
    // G-12
    let manner = Manner { announces: vec!["configChanged"], ..Manner::default() };
    let host = PluginHostSpec::new().plugin(plugin("a").config(json!(1)));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.call("a", "config", ().into()).await, json!(1));
    assert_eq!(stage.plugins.set_config("a", json!(2)).await.unwrap(), ConfigApplied::Live);
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    assert_eq!(stage.launches("a"), 1);

    // Later incarnations have it too, after a crash and after a restart of the host.
    stage.plugins.call_value("a", "die", &1, procession::rpc::Timeout::Default).await.unwrap_err();
    tokio::time::sleep(SEC).await;
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    stage.plugins.node().restart().await.unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn any_other_is_restarted_with_it() {
    // G-12
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(plugin("a").config(json!(1)));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.plugins.set_config("a", json!(2)).await.unwrap(), ConfigApplied::Restarted);
    assert_eq!(stage.plugins.worker("a").unwrap().node().incarnation(), Incarnation(2));
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    assert!(!manner.heard_by(1).contains(&"configChanged".to_owned()));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_starting_or_stopped_gets_it_too() {
    // G-12
    let slow = Manner { announces: vec!["configChanged"], ..Manner::slow(SEC) };
    let host = PluginHostSpec::new().plugin(plugin("a").config(json!(1))).plugin(plugin("b").on_demand());
    let stage = Stage::new(&launcher([("a", &slow), ("b", &slow)]), host).await;
    settle().await;
    // Its handshake with the old configuration is under way.
    assert_eq!(stage.plugins.set_config("a", json!(2)).await.unwrap(), ConfigApplied::Live);
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    assert_eq!(stage.plugins.set_config("b", json!(3)).await.unwrap(), ConfigApplied::AtNextStart);
    stage.plugins.ensure_ready("b", 5 * SEC).await.unwrap();
    assert_eq!(stage.call("b", "config", ().into()).await, json!(3));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_many_changes_at_once_the_last_one_stays() {
    // G-12
    for announces in [vec!["configChanged"], vec![]] {
        let manner = Manner { announces, ..Manner::default() };
        let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
        stage.plugins.ensure_ready("a", SEC).await.unwrap();
        let changes: Vec<_> = (1..=20)
            .map(|n| {
                let plugins = stage.plugins.clone();
                tokio::spawn(async move { plugins.set_config("a", json!(n)).await })
            })
            .collect();
        for change in changes {
            change.await.unwrap().unwrap();
        }
        assert_eq!(stage.call("a", "config", ().into()).await, json!(20));
        // One restart served all callers.
        assert_eq!(stage.launches("a"), if manner.announces.is_empty() { 2 } else { 1 });
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_configuration_is_misuse() {
    let stage = Stage::new(&launcher([]), PluginHostSpec::new()).await;
    stage.launcher.program("bare", |me| async move { me.hang().await });
    stage.plugins.start_plugin(plugin("bare").protocol(NoChannel::default())).await.unwrap();
    let refused = stage.plugins.set_config("bare", json!(1)).await.unwrap_err();
    assert!(matches!(refused, PluginError::NotConfigurable(_)), "{refused}");
    let unknown = stage.plugins.set_config("b", json!(1)).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    stage.end().await;
}

/// What the events since the last call say about rollbacks and changes.
fn told(events: &mut PluginEventReceiver) -> Vec<String> {
    let kind = |event: std::sync::Arc<PluginEvent>| match &event.kind {
        PluginEventKind::ConfigChanged { .. } | PluginEventKind::RolledBack { .. } => {
            Some(event.kind.to_string())
        }
        _ => None,
    };
    drain(events).into_iter().filter_map(kind).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plugin_may_refuse_and_keeps_what_it_has() {
    // G-12, G-11
    let manner = Manner { announces: vec!["configChanged"], ..Manner::default() };
    let host = PluginHostSpec::new().plugin(plugin("a").config(json!(1)));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    let mut events = stage.plugins.events().unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    stage.plugins.set_config("a", json!(2)).await.unwrap();
    let refused = stage.plugins.set_config("a", json!("bad")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "plugin `a` refused its new configuration: bad port (code -32000); the old one is in force again"
    );
    assert!(!refused.is_retryable() && refused.effect() == CallEffect::Answered);
    assert_eq!(
        told(&mut events),
        [
            "got a new configuration while it runs",
            "was rolled back to its previous declaration or configuration: bad port (code -32000)"
        ]
    );
    // It was told nothing further, and later incarnations have the last accepted configuration.
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    assert_eq!(manner.heard_by(1).iter().filter(|method| *method == "configChanged").count(), 2);
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    // The same again, now that a handshake has delivered it.
    stage.plugins.set_config("a", json!("bad")).await.unwrap_err();
    assert_eq!(stage.plugins.set_config("a", json!(3)).await.unwrap(), ConfigApplied::Live);
    assert_eq!(stage.call("a", "config", ().into()).await, json!(3));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn all_whose_changes_were_refused_together_are_told() {
    // G-12
    let manner = Manner { announces: vec!["configChanged"], ..Manner::default() };
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    // The first change is under way when the others come; the second, when its turn has come, delivers
    // the third one's configuration, and with it gets the refusal.
    let (first, second, third) = tokio::join!(
        stage.plugins.set_config("a", json!(1)),
        stage.plugins.set_config("a", json!(2)),
        stage.plugins.set_config("a", json!("bad"))
    );
    assert_eq!(first.unwrap(), ConfigApplied::Live);
    for refused in [second, third] {
        assert!(matches!(refused, Err(PluginError::ConfigRefused { .. })), "{refused:?}");
    }
    assert_eq!(stage.call("a", "config", ().into()).await, json!(1));
    assert_eq!(manner.heard_by(1).iter().filter(|method| *method == "configChanged").count(), 2);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_answer_in_time_is_restarted_with_it() {
    // G-12
    let manner = Manner { announces: vec!["configChanged"], ..Manner::default() };
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(stage.plugins.set_config("a", json!("mute")).await.unwrap(), ConfigApplied::Restarted);
    assert!((Plugins::CONFIG_TIMEOUT..Plugins::CONFIG_TIMEOUT + SEC).contains(&before.elapsed()));
    assert_eq!((stage.call("a", "config", ().into()).await, stage.launches("a")), (json!("mute"), 2));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_become_ready_with_it_gets_the_old_one_back() {
    // G-12, G-13
    let manner = Manner::default();
    let host = PluginHostSpec::new().plugin(plugin("a").config(json!(1)));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    let mut events = stage.plugins.events().unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    stage.plugins.set_config("a", json!(2)).await.unwrap();
    let failed = stage.plugins.set_config("a", json!("bad")).await.unwrap_err();
    let PluginError::ReloadFailed { restored: Some(Incarnation(4)), .. } = &failed else {
        panic!("{failed:?}")
    };
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    assert_eq!(
        told(&mut events),
        [
            "got a new configuration by a restart",
            "was rolled back to its previous declaration or configuration: handshake failed: not today"
        ]
    );
    stage.end().await;
}
