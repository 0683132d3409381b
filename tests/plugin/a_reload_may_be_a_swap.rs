//! G-14: a reload of a plugin that allows an overlap replaces it without a failed call; a new one that does
//! not become ready changes nothing. What a plugin may do belongs to its declaration (G-9).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use procession::{
    id::Incarnation,
    plugin::{ConfigApplied, PluginError, PluginHostSpec, PluginSpec},
    process::Command,
    protocol::plugin_error_codes,
    rpc::{MethodRouter, Timeout},
};
use serde_json::{Value, json, value::to_raw_value};

use crate::support::{Echo, MS, Manner, SEC, Stage, drain, launcher, plugin, settle};

fn running(program: &str) -> PluginSpec {
    PluginSpec::new("a", Command::new(program)).overlap()
}

#[tokio::test(start_paused = true)]
async fn no_call_fails_during_twenty_reloads() {
    // G-14, C-9
    let manner = Manner { init: 5 * MS, ..Manner::default() };
    let host = PluginHostSpec::new().plugin(plugin("a").overlap());
    let stage = Stage::new(&launcher([("a", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..50)
        .map(|n| {
            let (plugins, stop) = (stage.plugins.clone(), stop.clone());
            tokio::spawn(async move {
                let mut made = 0;
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(plugins.call::<Echo>("a", &json!([n, made])).await.unwrap(), json!([n, made]));
                    made += 1;
                    tokio::time::sleep(MS).await;
                }
                made
            })
        })
        .collect();
    for n in 2..22 {
        let swapped = stage.plugins.reload("a", plugin("a").overlap()).await.unwrap();
        assert_eq!(swapped, Incarnation(n));
        assert!(stage.launcher.alive().len() <= 2);
    }
    stop.store(true, Ordering::SeqCst);
    let mut made = 0;
    for caller in callers {
        made += caller.await.unwrap();
    }
    assert!(made > 1000, "{made}");
    assert_eq!(stage.launches("a"), 21);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_overlap_on_both_sides_it_is_stopped_first() {
    // G-14, S-27
    let (old, new) = (Manner { drain: SEC, ..Manner::default() }, Manner { init: SEC, ..Manner::default() });
    let host = PluginHostSpec::new().plugin(running("old"));
    let stage = Stage::new(&launcher([("old", &old), ("new", &new)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let swap = |spec: PluginSpec| {
        let plugins = stage.plugins.clone();
        tokio::spawn(async move { plugins.reload("a", spec).await })
    };
    let to_none = swap(PluginSpec::new("a", Command::new("new")));
    for _ in 0..20 {
        tokio::time::sleep(100 * MS).await;
        assert!(stage.launcher.alive().len() <= 1);
    }
    to_none.await.unwrap().unwrap();
    let from_none = swap(running("old"));
    for _ in 0..20 {
        tokio::time::sleep(100 * MS).await;
        assert!(stage.launcher.alive().len() <= 1);
    }
    from_none.await.unwrap().unwrap();
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_one_that_does_not_become_ready_leaves_the_old_one_untouched() {
    // G-14, G-13
    let (old, new) = (Manner::default(), Manner::refusing(u32::MAX));
    let host = PluginHostSpec::new().plugin(running("old").config(json!(1)));
    let stage = Stage::new(&launcher([("old", &old), ("new", &new)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let mut events = stage.plugins.events().unwrap();
    let error = stage.plugins.reload("a", running("new").config(json!(2))).await.unwrap_err();
    let PluginError::ReloadFailed { restored, .. } = &error else { panic!("{error}") };
    assert_eq!(*restored, Some(Incarnation(1)));
    assert_eq!(stage.call("a", "config", ().into()).await, json!(1));
    assert_eq!((stage.launches("old"), old.heard_by(1)), (1, vec!["initialize".into(), "config".into()]));
    let told: Vec<String> = drain(&mut events).iter().map(|event| event.to_string()).collect();
    assert_eq!(told.iter().filter(|event| event.contains("rolled back")).count(), 1, "{told:?}");
    // It returns with its host as it was.
    stage.plugins.node().restart().await.unwrap();
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    assert_eq!((stage.launches("old"), stage.launches("new")), (2, 1));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_incarnation_has_the_capabilities_of_its_declaration() {
    // G-9, G-14: also while the old one finishes its calls beside the new one.
    let router = MethodRouter::new().method_value("host.who", |cx, _| async move {
        tokio::time::sleep(SEC).await;
        Ok(to_raw_value(&cx.incarnation).unwrap())
    });
    let manner = Manner::default();
    let host = PluginHostSpec::new().handler(router).plugin(running("old").capabilities(["host.who"]));
    let stage = Stage::new(&launcher([("old", &manner), ("new", &manner)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let ask = || {
        let plugins = stage.plugins.clone();
        tokio::spawn(async move {
            let who = json!({ "method": "host.who" });
            let answer = plugins.call_value("a", "ask", &who, Timeout::Default).await.unwrap();
            serde_json::from_str::<Value>(answer.get()).unwrap()
        })
    };
    let old = ask();
    settle().await;
    stage.plugins.reload("a", running("new").capabilities(["host.other"])).await.unwrap();
    let new = ask().await.unwrap();
    assert_eq!(new["error"]["code"], json!(plugin_error_codes::CAPABILITY_DENIED));
    assert_eq!(old.await.unwrap()["result"], json!(1), "its own declaration still allows it");
    // And back.
    tokio::time::sleep(20 * SEC).await;
    stage.plugins.reload("a", running("old").capabilities(["host.who"])).await.unwrap();
    assert_eq!(ask().await.unwrap()["result"], json!(3));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_not_taken_live_comes_by_a_swap() {
    // G-12, G-14
    let manner = Manner { init: SEC, ..Manner::default() };
    let host = PluginHostSpec::new().plugin(running("old").config(json!(1)));
    let stage = Stage::new(&launcher([("old", &manner)]), host).await;
    stage.plugins.ensure_ready("a", 5 * SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let change = tokio::spawn(async move { plugins.set_config("a", json!(2)).await });
    for _ in 0..9 {
        tokio::time::sleep(100 * MS).await;
        assert_eq!(stage.call("a", "config", ().into()).await, json!(1), "it is never away");
    }
    assert_eq!(change.await.unwrap().unwrap(), ConfigApplied::Restarted);
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    // One that is refused leaves the incarnation that has the last good one.
    let mut events = stage.plugins.events().unwrap();
    let failed = stage.plugins.set_config("a", json!("bad")).await.unwrap_err();
    let PluginError::ReloadFailed { restored: Some(Incarnation(2)), .. } = &failed else {
        panic!("{failed:?}")
    };
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    assert_eq!(stage.launches("old"), 3);
    let told: Vec<String> = drain(&mut events).iter().map(|event| event.to_string()).collect();
    assert_eq!(told.iter().filter(|event| event.contains("rolled back")).count(), 1, "{told:?}");
    // Later incarnations have it too.
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert_eq!(stage.call("a", "config", ().into()).await, json!(2));
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_announced_it_is_told_that_no_more_calls_follow() {
    // G-2, P-9
    let told = Manner { announces: vec!["retiring", "hang"], ..Manner::default() };
    let host = PluginHostSpec::new().plugin(running("told"));
    let stage = Stage::new(&launcher([("told", &told)]), host).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let open =
        tokio::spawn(async move { plugins.call_value("a", "hang", &(), Timeout::After(5 * SEC)).await });
    settle().await;
    stage.plugins.reload("a", running("told")).await.unwrap();
    stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap();
    tokio::time::sleep(SEC).await;
    // At once, although a call is open; only then is it asked to end.
    assert_eq!(told.heard_by(1), ["initialize", "hang", "retiring"]);
    open.await.unwrap().unwrap_err();
    tokio::time::sleep(SEC).await;
    assert_eq!(told.heard_by(1), ["initialize", "hang", "retiring", "$/cancelRequest", "shutdown"]);
    assert_eq!(told.heard_by(2), ["initialize", "echo"]);
    stage.end().await;
}
