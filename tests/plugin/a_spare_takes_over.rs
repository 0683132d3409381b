//! W-6 for plugins: a spare takes the place of a plugin that crashes, with the declaration and configuration
//! that the plugin has (G-9, G-12).

use procession::{
    plugin::{ConfigApplied, PluginError, PluginHostSpec, PluginSpec},
    process::Command,
    protocol::plugin_error_codes,
    restart::RestartPolicy,
    rpc::{MethodRouter, Timeout},
};
use serde_json::{json, value::to_raw_value};
use tokio::time::{Instant, sleep};

use crate::support::{Manner, SEC, Stage, launcher, plugin, settle};

fn spared(config: i32) -> PluginSpec {
    PluginSpec::new("a", Command::new("a")).standby().config(json!(config))
}

async fn die(stage: &Stage) {
    stage.plugins.call_value("a", "die", &3, Timeout::Default).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_crash_costs_no_time_and_no_permission_is_gained_or_lost() {
    // W-6, G-9
    let router = MethodRouter::new()
        .method_value("host.who", |cx, _| async move { Ok(to_raw_value(&cx.incarnation).unwrap()) });
    let slow = Manner::slow(5 * SEC);
    let host = PluginHostSpec::new().handler(router).plugin(spared(1).capabilities(["host.who"]));
    let stage = Stage::new(&launcher([("a", &slow)]), host).await;
    stage.plugins.ensure_ready("a", 60 * SEC).await.unwrap();
    sleep(10 * SEC).await;
    assert_eq!(stage.launcher.alive().len(), 2);
    let before = Instant::now();
    die(&stage).await;
    let who = stage.call("a", "ask", json!({ "method": "host.who" })).await;
    let other = stage.call("a", "ask", json!({ "method": "host.other" })).await;
    assert_eq!(who["result"], json!(2));
    assert_eq!(other["error"]["code"], json!(plugin_error_codes::CAPABILITY_DENIED));
    assert!(before.elapsed() < SEC);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_has_the_newest_declaration_and_configuration() {
    // W-6, G-12, G-14
    let manner = Manner { announces: vec!["configChanged"], ..Manner::default() };
    let host = PluginHostSpec::new().plugin(spared(1));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    sleep(SEC).await;
    let config = async || stage.call("a", "config", ().into()).await;
    // Not live, although it announces that: the spare would not have it.
    assert_eq!(stage.plugins.set_config("a", json!(2)).await.unwrap(), ConfigApplied::Restarted);
    sleep(60 * SEC).await;
    die(&stage).await;
    assert_eq!(config().await, json!(2));
    sleep(60 * SEC).await;
    // The same once more: the live one and its spare have it, so nothing happens.
    let launched = stage.launches("a");
    let (first, second) =
        tokio::join!(stage.plugins.set_config("a", json!(3)), stage.plugins.set_config("a", json!(3)));
    assert_eq!((first.unwrap(), second.unwrap()), (ConfigApplied::Restarted, ConfigApplied::Live));
    sleep(60 * SEC).await;
    assert_eq!(stage.launches("a") - launched, 2, "a successor, and its spare");
    stage.plugins.reload("a", spared(4)).await.unwrap();
    sleep(60 * SEC).await;
    die(&stage).await;
    assert_eq!(config().await, json!(4));
    sleep(60 * SEC).await;
    assert_eq!(
        stage.plugins.diagnostics("a").unwrap().node.unwrap().second.unwrap().role.to_string(),
        "spare"
    );
    stage.plugins.stop_plugin("a").await.unwrap();
    assert!(stage.launcher.alive().is_empty(), "a stop is one of both");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_refused_where_it_would_mean_nothing() {
    // W-6, S-6
    let stage = Stage::new(&launcher([]), PluginHostSpec::new()).await;
    let temporary = plugin("a").standby().restart(RestartPolicy::temporary());
    let refused = stage.plugins.start_plugin(temporary).await.unwrap_err();
    let PluginError::Invalid(errors) = &refused else { panic!("{refused}") };
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["plugins[a].standby"]);
    settle().await;
    stage.end().await;
}
