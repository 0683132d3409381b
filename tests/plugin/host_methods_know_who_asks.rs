//! A host method knows which plugin and incarnation asks, answers only that incarnation, and is subject
//! to the plugin's capabilities (G-3, G-8, G-9).

use procession::{
    plugin::{PluginHostSpec, plugin_of},
    protocol::plugin_error_codes,
    rpc::{MethodRouter, RpcError},
};
use serde_json::{Value, json, value::to_raw_value};

use crate::support::{MS, Manner, SEC, Stage, launcher, plugin, settle};

fn router() -> MethodRouter {
    MethodRouter::new()
        .method_value("host.who", |cx, _| async move {
            let who = json!({
                "plugin": plugin_of(&cx), "path": cx.path, "incarnation": cx.incarnation,
            });
            Ok(to_raw_value(&who).unwrap())
        })
        .method_value("host.slow", |_, _| async {
            tokio::time::sleep(5 * SEC).await;
            Ok(to_raw_value("late").unwrap())
        })
        .method_value("host.no", |_, _| async {
            Err(RpcError::new(plugin_error_codes::NOT_IMPLEMENTED, "later"))
        })
}

#[tokio::test(start_paused = true)]
async fn the_context_names_the_plugin_its_path_and_its_incarnation() {
    // G-3
    let manner = Manner::default();
    let host = PluginHostSpec::new().handler(router()).plugin(plugin("a/b")).plugin(plugin("c"));
    let stage = Stage::new(&launcher([("a/b", &manner), ("c", &manner)]), host).await;
    for id in ["a/b", "c"] {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
    }
    stage.plugins.restart_plugin("c", "a second life").await.unwrap();
    let who = json!({ "method": "host.who" });
    let first = stage.call("a/b", "ask", who.clone()).await;
    assert_eq!(first["result"], json!({ "plugin": "a/b", "path": "/plugins/a~1b", "incarnation": 1 }));
    let second = stage.call("c", "ask", who).await;
    assert_eq!(second["result"], json!({ "plugin": "c", "path": "/plugins/c", "incarnation": 2 }));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_reaches_another_incarnation() {
    // G-3: request 77 of the old process is still being handled when the new one is up.
    let manner = Manner::default();
    let host = PluginHostSpec::new().handler(router()).plugin(plugin("a"));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let asking = tokio::spawn(async move {
        let slow = json!({ "method": "host.slow" });
        plugins.call_value("a", "ask", &slow, procession::rpc::Timeout::Default).await
    });
    settle().await;
    stage.plugins.call_value("a", "die", &1, procession::rpc::Timeout::Default).await.unwrap_err();
    asking.await.unwrap().unwrap_err();
    stage.plugins.ensure_ready("a", 2 * SEC).await.unwrap();
    tokio::time::sleep(10 * SEC).await;
    assert_eq!(manner.heard_by(2), ["initialize"], "the new process got the old one's answer");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn only_named_capabilities_are_granted() {
    // G-9, G-8
    let manner = Manner { announces: vec!["say"], ..Manner::default() };
    let noted = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = noted.clone();
    let router = router().notification_value("host.note", move |cx, _| {
        notes.lock().unwrap().push(cx.path.to_string());
    });
    let host = PluginHostSpec::new()
        .handler(router)
        .plugin(plugin("all"))
        .plugin(plugin("some").capabilities(["host.who", "host.no"]))
        .plugin(plugin("none").capabilities(Vec::<String>::new()));
    let stage = Stage::new(&launcher([("all", &manner), ("some", &manner), ("none", &manner)]), host).await;
    let code = async |id: &str, method: &str| -> Value {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
        stage.call(id, "ask", json!({ "method": method })).await["error"]["code"].clone()
    };
    assert_eq!(code("all", "host.who").await, Value::Null);
    assert_eq!(code("all", "host.no").await, json!(plugin_error_codes::NOT_IMPLEMENTED));
    assert_eq!(code("all", "host.unknown").await, json!(procession::rpc::error_codes::METHOD_NOT_FOUND));
    assert_eq!(code("some", "host.who").await, Value::Null);
    assert_eq!(code("some", "host.no").await, json!(plugin_error_codes::NOT_IMPLEMENTED));
    assert_eq!(code("some", "host.slow").await, json!(plugin_error_codes::CAPABILITY_DENIED));
    assert_eq!(code("none", "host.who").await, json!(plugin_error_codes::CAPABILITY_DENIED));
    for id in ["all", "some", "none"] {
        stage.call(id, "say", json!({ "method": "host.note" })).await;
    }
    assert_eq!(*noted.lock().unwrap(), ["/plugins/all"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_may_have_a_handler_of_its_own() {
    let manner = Manner::default();
    let own = MethodRouter::new().method_value("host.who", |_, _| async {
        tokio::time::sleep(MS).await;
        Ok(to_raw_value("own").unwrap())
    });
    let host = PluginHostSpec::new().handler(router()).plugin(plugin("a").handler(own));
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!(stage.call("a", "ask", json!({ "method": "host.who" })).await["result"], "own");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_told_which_host_it_has() {
    // G-2
    let named = procession::protocol::ProgramInfo::new("editor", "3.1");
    for (host, expected) in [
        (PluginHostSpec::new().host_info(named), ("editor", "3.1")),
        (PluginHostSpec::new(), ("procession", env!("CARGO_PKG_VERSION"))),
    ] {
        let manner = Manner::default();
        let stage = Stage::new(&launcher([("a", &manner)]), host.plugin(plugin("a"))).await;
        stage.plugins.ensure_ready("a", SEC).await.unwrap();
        let hello = manner.heard.lock().unwrap().drain(..).next().unwrap().1;
        let info = &hello["params"]["instanceInfo"];
        assert_eq!((info["hostId"].as_str().unwrap(), info["hostVersion"].as_str().unwrap()), expected);
        assert_eq!(info["path"], "/plugins/a");
        stage.end().await;
    }
}
