//! All mistakes in the declaration of a host and its plugins are reported together, before anything
//! starts (S-6).

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    plugin::{PluginError, PluginHostSpec, PluginSpec},
    process::Command,
    protocol::{Lsp, Mcp, ReadyLine},
    restart::RestartPolicy,
    supervision::{SpecErrors, SupervisorSpec, TreeStartError},
    testing::ScriptedLauncher,
    worker::Liveness,
};

use serde_json::json;

use crate::support::{Manner, SEC, Stage, launcher, plugin};

#[tokio::test(start_paused = true)]
async fn all_mistakes_are_told_at_once() {
    // S-6
    let hasty = Liveness { interval: Duration::ZERO, timeout: Duration::ZERO, failures_allowed: 0 };
    let host = PluginHostSpec::new()
        .start_concurrency(0)
        .max_plugins(3)
        .intensity(1, Duration::ZERO)
        .plugin(plugin("twice"))
        .plugin(plugin("twice"))
        .plugin(plugin(""))
        .plugin(
            plugin("odd")
                .api_version("")
                .capabilities([""])
                .liveness(hasty)
                .start_timeout(Duration::ZERO)
                .restart(RestartPolicy::permanent().with_jitter(2.0)),
        );
    let errors = host.validate().unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    for expected in [
        "start_concurrency",
        "max_plugins",
        "intensity.period",
        "plugins[twice].id",
        "plugins[].id",
        "plugins[].command.program",
        "plugins[odd].api_version",
        "plugins[odd].capabilities",
        "plugins[odd].liveness.interval",
        "plugins[odd].liveness.timeout",
        "plugins[odd].start_timeout",
        "plugins[odd].restart",
    ] {
        assert!(fields.contains(&expected), "{expected} is not among {fields:?}");
    }
    // The tree reports them too, before it starts anything.
    let spec = SupervisorSpec::one_for_one().child(host.child("plugins"));
    let refused = Root::start(spec, RootOptions::default()).await.unwrap_err();
    let TreeStartError::Invalid(all) = refused else { panic!("{refused}") };
    assert_eq!(all.iter().count(), errors.iter().count());
    assert!(all.iter().any(|error| error.field == "children[plugins].plugins[odd].api_version"));
}

#[tokio::test(start_paused = true)]
async fn a_start_at_run_time_is_checked_too() {
    // S-6
    let fine = Manner::default();
    let stage =
        Stage::new(&launcher([("a", &fine), ("b", &fine)]), PluginHostSpec::new().max_plugins(1)).await;
    let wrong = stage.plugins.start_plugin(plugin("a").api_version("")).await.unwrap_err();
    assert!(matches!(wrong, PluginError::Invalid(_)), "{wrong}");
    stage.plugins.start_plugin(plugin("a")).await.unwrap();
    let full = stage.plugins.start_plugin(plugin("b")).await.unwrap_err();
    assert!(matches!(full, PluginError::Refused(_)) && full.is_retryable(), "{full}");
    assert_eq!(stage.plugins.list().unwrap().len(), 1);
    stage.plugins.stop_plugin("a").await.unwrap();
    stage.plugins.start_plugin(plugin("b")).await.unwrap();
    let secret = plugin("c").config(serde_json::json!({ "token": "hunter2" }));
    assert!(!format!("{secret:?}").contains("hunter2"));
    let _ = SEC;
    stage.end().await;
}

#[test]
fn what_belongs_to_the_plugin_protocol_is_refused_with_another_one() {
    // S-6: regardless of the order of the settings.
    let first = plugin("a").protocol(Mcp::default()).config(json!({"key": 1})).api_version("2");
    let last = plugin("b").manifest(json!({"name": "b"})).protocol(Mcp::default());
    let errors = PluginHostSpec::new().plugin(first).plugin(last).validate().unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.iter().count(), 3, "{texts:?}");
    for field in ["plugins[a].config", "plugins[a].api_version", "plugins[b].manifest"] {
        let problem = "belongs to the plugin protocol, but the plugin speaks `mcp`";
        assert!(texts.iter().any(|text| text.contains(field) && text.contains(problem)), "{texts:?}");
    }
    plugin("c").protocol(Mcp::default()).validate().unwrap();
}

#[test]
fn what_would_have_no_effect_is_refused() {
    // S-6
    use procession::rpc::MethodRouter;
    let fields = |spec: PluginSpec| {
        let found = |errors: SpecErrors| errors.iter().map(|error| error.field.clone()).collect();
        spec.validate().map_or_else(found, |()| Vec::new())
    };
    // Set in the worker, where the plugin's own setting would replace it.
    let elsewhere = plugin("a")
        .worker(|worker| worker.protocol(Mcp::default()).handler(MethodRouter::new()).stderr_tail(1));
    assert_eq!(fields(elsewhere), ["plugins[a].worker.protocol", "plugins[a].worker.handler"]);
    // A plugin without a channel is allowed, but it sends no requests and cannot be called.
    let silent = plugin("b").protocol(ReadyLine::new("up"));
    assert_eq!(fields(silent.clone()), Vec::<String>::new());
    assert_eq!(
        fields(silent.capabilities(["x"]).handler(MethodRouter::new()).liveness(Liveness::default())),
        ["plugins[b].handler", "plugins[b].liveness", "plugins[b].capabilities"]
    );
    let pinged = plugin("c").protocol(Lsp::default()).liveness(Liveness::default());
    assert_eq!(fields(pinged), ["plugins[c].liveness"]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_without_a_channel_starts() {
    // W-7: a setting that the host gives all plugins is no mistake of this one.
    let launcher = ScriptedLauncher::new();
    launcher.program("quiet", |mut me| async move {
        me.write_line("up and running").await.unwrap();
        me.hang().await
    });
    let host = PluginHostSpec::new().handler(procession::rpc::MethodRouter::new());
    let stage = Stage::new(&launcher, host).await;
    let quiet = PluginSpec::new("quiet", Command::new("quiet")).protocol(ReadyLine::new("up"));
    stage.plugins.start_plugin(quiet).await.unwrap();
    assert!(stage.plugins.call_value("quiet", "x", &(), procession::rpc::Timeout::Default).await.is_err());
    stage.end().await;
}
