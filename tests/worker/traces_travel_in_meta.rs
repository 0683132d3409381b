//! C-16: the trace that a call belongs to is handed on in `_meta`, where the protocol has that member.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use procession::{
    rpc::{PeerConfig, TraceContext, TraceContextHook},
    testing::ScriptedLauncher,
};
use serde_json::{Value, json};

use crate::support::*;

fn traced(hook: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) -> PeerConfig {
    let hook: TraceContextHook = Arc::new(hook);
    let mut config = PeerConfig::default();
    config.trace_context = Some(hook);
    config
}

/// What a plugin has read as the params of calls with these.
async fn read_as(config: PeerConfig, params: &[Value]) -> Vec<Value> {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher).channel(config)).await.unwrap();
    let mut read = Vec::new();
    for params in params {
        let answer = worker.call_value("echo", params, SEC).await.unwrap();
        read.push(serde_json::from_str(answer.get()).unwrap());
    }
    let _ = root.shutdown(60 * SEC).await;
    read
}

#[tokio::test(start_paused = true)]
async fn each_call_has_its_own() {
    let calls = AtomicU64::new(0);
    let config = traced(move || {
        let number = calls.fetch_add(1, Ordering::Relaxed);
        Some(TraceContext::new(format!("00-{number}")))
    });
    let own = json!({"_meta": {"traceparent": "mine", "x": 1}});
    let read = read_as(config, &[json!({"a": 1}), json!(null), json!([1]), json!("text"), own.clone()]).await;
    assert_eq!(read[0]["a"], 1);
    // The handshake is no call of the host.
    assert_eq!(read[0]["_meta"], json!({"traceparent": "00-0"}));
    assert_eq!(read[1], json!({"_meta": {"traceparent": "00-1"}}));
    assert_eq!(read[2..], [json!([1]), json!("text"), own]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_sent_is_left_out() {
    for (parent, state) in [("", ""), ("line\nbreak", "a=b"), ("caf\u{e9}", ""), (&*"x".repeat(513), "a=b")] {
        let trace = TraceContext::new(parent).with_tracestate(state);
        let read = read_as(traced(move || Some(trace.clone())), &[json!({"a": 1})]).await;
        assert_eq!(read, [json!({"a": 1})], "{parent}");
    }
    let trace = TraceContext::new("00-1").with_tracestate("x".repeat(513));
    let read = read_as(traced(move || Some(trace.clone())), &[json!({})]).await;
    assert_eq!(read, [json!({"_meta": {"traceparent": "00-1"}})]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_costs_the_trace_and_not_the_call() {
    let read = read_as(traced(|| panic!("no trace")), &[json!({"a": 1})]).await;
    assert_eq!(read, [json!({"a": 1})]);
}
