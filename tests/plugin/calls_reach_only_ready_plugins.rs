//! A call reaches only a ready plugin that announced the method; otherwise it fails, and says why (G-2,
//! G-8, C-12).

use procession::{
    plugin::{PluginError, PluginHostSpec},
    rpc::{CallEffect, CallError, Timeout},
    state::ChildState,
};
use serde_json::json;

use crate::support::{Echo, Manner, SEC, Stage, launcher, plugin, settle};

#[tokio::test(start_paused = true)]
async fn methods_that_were_not_announced_fail_without_being_sent() {
    // G-2
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let error = stage.plugins.call_value("a", "fly", &(), Timeout::Default).await.unwrap_err();
    assert!(matches!(error.call(), Some(CallError::MethodNotSupported { method }) if method == "fly"));
    assert_eq!((error.effect(), error.is_retryable()), (CallEffect::NotSent, false));
    assert_eq!(stage.plugins.call::<Echo>("a", &json!([1])).await.unwrap(), json!([1]));
    assert_eq!(manner.heard_by(1), ["initialize", "echo"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_call_is_sent_before_the_handshake_is_done() {
    // W-1
    let slow = Manner::slow(SEC);
    let stage = Stage::new(&launcher([("a", &slow)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    settle().await;
    let error = stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap_err();
    assert!(
        matches!(error.call(), Some(CallError::Unavailable { state: ChildState::Starting, .. })),
        "{error}"
    );
    assert!(error.is_retryable());
    stage.plugins.ensure_ready("a", 2 * SEC).await.unwrap();
    assert_eq!(slow.heard_by(1), ["initialize"]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn calls_to_nobody_say_so() {
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.stop_plugin("a").await.unwrap();
    let unknown = stage.plugins.call::<Echo>("b", &json!(1)).await.unwrap_err();
    assert!(matches!(unknown, PluginError::NotFound(_)), "{unknown}");
    let stopped = stage.plugins.call::<Echo>("a", &json!(1)).await.unwrap_err();
    assert!(matches!(stopped.call(), Some(CallError::Unavailable { .. })), "{stopped}");
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_plugin_and_says_how() {
    // C-4
    let manner = Manner { announces: vec!["hang"], ..Manner::default() };
    let stage = Stage::new(&launcher([("a", &manner)]), PluginHostSpec::new().plugin(plugin("a"))).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let plugins = stage.plugins.clone();
    let hanging =
        tokio::spawn(async move { plugins.call_value("a", "hang", &(), Timeout::After(30 * SEC)).await });
    settle().await;
    let before = tokio::time::Instant::now();
    let died = stage.plugins.call_value("a", "die", &9, Timeout::Default).await.unwrap_err();
    let lost = hanging.await.unwrap().unwrap_err();
    assert!(before.elapsed() < SEC);
    for error in [died, lost] {
        assert_eq!(error.exit(), Some(&procession::exit::Exit::Failed { code: 9 }));
        assert_eq!(error.effect(), CallEffect::Unknown);
    }
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_call_takes_longer_than_the_host_allows() {
    // C-3
    let manner = Manner { announces: vec!["hang"], ..Manner::default() };
    let spec = PluginHostSpec::new().max_timeout(5 * SEC).plugin(plugin("a"));
    let stage = Stage::new(&launcher([("a", &manner)]), spec).await;
    stage.plugins.ensure_ready("a", SEC).await.unwrap();
    let began = tokio::time::Instant::now();
    let late = stage.plugins.call_value("a", "hang", &(), Timeout::Never).await.unwrap_err();
    assert!(matches!(late.call(), Some(CallError::Timeout { after, .. }) if *after == 5 * SEC), "{late}");
    assert_eq!(began.elapsed(), 5 * SEC);
    assert!(PluginHostSpec::new().max_timeout(std::time::Duration::ZERO).validate().is_err());
    stage.end().await;
}
