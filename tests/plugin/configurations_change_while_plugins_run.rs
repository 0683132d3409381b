//! G-12.

use procession::{
    id::Incarnation,
    plugin::{ConfigApplied, PluginError, PluginHostSpec},
    protocol::Bare,
};
use serde_json::json;

use crate::support::{Manner, SEC, Stage, launcher, plugin, settle};

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

    // Whatever comes after has it too: a crash, and a restart of the host.
    stage.plugins.call_value("a", "die", &1, procession::rpc::Timeout::Default).await.unwrap_err();
    tokio::time::sleep(SEC).await;
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    stage.plugins.place().restart().await.unwrap();
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
    assert_eq!(stage.plugins.worker("a").unwrap().place().incarnation(), Incarnation(2));
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
        // One restart brought it to all who asked for one.
        assert_eq!(stage.launches("a"), if manner.announces.is_empty() { 2 } else { 1 });
        stage.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_configuration_is_misuse() {
    let stage = Stage::new(&launcher([]), PluginHostSpec::new()).await;
    stage.launcher.program("bare", |me| async move { me.hang().await });
    stage.plugins.start_plugin(plugin("bare").protocol(Bare::default())).await.unwrap();
    let refused = stage.plugins.set_config("bare", json!(1)).await.unwrap_err();
    assert!(matches!(refused, PluginError::NotConfigurable(_)), "{refused}");
    let unknown = stage.plugins.set_config("b", json!(1)).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    stage.end().await;
}
