//! G-5: the streams of plugins are keyed by plugin, incarnation, channel and scope. A host's subscriptions
//! take them by these, across restarts of plugins, and each stream ends once, synthetically if its plugin
//! ends.

use procession::{
    plugin::{PluginHostSpec, StreamFilter},
    rpc::{StreamEnd, StreamListener, StreamReceiver},
};
use serde_json::{Value, json};

use crate::support::{Manner, SEC, Stage, launcher, plugin, settle};

async fn open(stage: &Stage, id: &str, params: Value) -> Value {
    stage.call(id, "ask", json!({ "method": "streams.open", "params": params })).await
}

async fn say(stage: &Stage, id: &str, method: &str, params: Value) {
    stage.call(id, "say", json!({ "method": method, "params": params })).await;
}

fn key(stream: &StreamReceiver) -> (String, u64, String, Option<String>) {
    let scope = stream.scope().map(ToOwned::to_owned);
    (stream.path().to_string(), stream.incarnation().0, stream.channel().to_owned(), scope)
}

async fn stage(host: PluginHostSpec) -> Stage {
    let manner = Manner { announces: vec!["say"], ..Manner::default() };
    let host = host.plugin(plugin("a").capabilities(["nothing.else"])).plugin(plugin("b"));
    let stage = Stage::new(&launcher([("a", &manner), ("b", &manner)]), host).await;
    for id in ["a", "b"] {
        stage.plugins.ensure_ready(id, SEC).await.unwrap();
    }
    stage
}

#[tokio::test(start_paused = true)]
async fn a_subscription_takes_what_its_filter_admits() {
    let stage = stage(PluginHostSpec::new()).await;
    let subscribe = |filter: StreamFilter| stage.plugins.streams(filter, 4, 4).unwrap();
    let mut of_b = subscribe(StreamFilter::channel("rows").plugin("b"));
    let mut of_x = subscribe(StreamFilter::channel("rows").scope("x"));
    let mut all = subscribe(StreamFilter::channel("rows"));

    let other = open(&stage, "a", json!({ "stream": 1, "channel": "other" })).await;
    assert_eq!(other["error"]["code"], -32001, "nobody takes it");
    // Both plugins use the same ids.
    for (id, scope) in [("a", json!(null)), ("b", json!("x"))] {
        let params = json!({ "stream": 1, "channel": "rows", "scope": scope });
        assert_eq!(open(&stage, id, params).await["result"], json!({ "ok": true }));
    }
    let params = json!({ "stream": 2, "channel": "rows", "scope": "x" });
    assert_eq!(open(&stage, "a", params).await["result"], json!({ "ok": true }));
    let (mut a, mut b, x) =
        (all.accept().await.unwrap(), of_b.accept().await.unwrap(), of_x.accept().await.unwrap());
    let text = ToOwned::to_owned;
    assert_eq!(key(&a), ("/plugins/a".to_owned(), 1, "rows".to_owned(), None));
    assert_eq!(key(&b), ("/plugins/b".to_owned(), 1, "rows".to_owned(), Some("x".to_owned())));
    assert_eq!(key(&x), (text("/plugins/a"), 1, text("rows"), Some(text("x"))));

    say(&stage, "a", "streams.emit", json!({ "stream": 1, "item": "of a" })).await;
    say(&stage, "b", "streams.emit", json!({ "stream": 1, "item": "of b" })).await;
    say(&stage, "b", "streams.close", json!({ "stream": 1 })).await;
    assert_eq!(a.recv().await.unwrap().unwrap().get(), r#""of a""#);
    assert_eq!(b.recv().await.unwrap().unwrap().get(), r#""of b""#);
    assert!(b.recv().await.is_none());

    // The stream of the restarted plugin is another one.
    stage.plugins.restart_plugin("a", "test").await.unwrap();
    assert!(matches!(a.recv().await, Some(Err(StreamEnd::WorkerLost(_)))));
    assert!(a.recv().await.is_none());
    assert_eq!(open(&stage, "a", json!({ "stream": 1, "channel": "rows" })).await["result"]["ok"], true);
    assert_eq!(key(&all.accept().await.unwrap()).1, 2);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_full_or_dropped_gives_way() {
    let stage = stage(PluginHostSpec::new()).await;
    let first = stage.plugins.streams(StreamFilter::channel("rows"), 1, 4).unwrap();
    let mut second = stage.plugins.streams(StreamFilter::channel("rows"), 1, 4).unwrap();
    let mut answers = Vec::new();
    for stream in 0..3 {
        answers.push(open(&stage, "a", json!({ "stream": stream, "channel": "rows" })).await);
    }
    assert!(answers[..2].iter().all(|answer| answer["result"]["ok"] == true), "{answers:?}");
    assert_eq!(answers[2]["error"]["code"], -32000, "both are full");
    assert_eq!(second.accept().await.unwrap().id().to_string(), "1");
    drop((first, second));
    settle().await;
    let refused = open(&stage, "a", json!({ "stream": 3, "channel": "rows" })).await;
    assert_eq!(refused["error"]["code"], -32001);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_of_the_plugin_takes_what_no_subscription_takes() {
    let (queue, mut incoming) = StreamListener::new(4, 4);
    let own = plugin("c").worker(|worker| worker.streams(queue));
    let manner = Manner::default();
    let stage = Stage::new(&launcher([("c", &manner)]), PluginHostSpec::new().plugin(own)).await;
    stage.plugins.ensure_ready("c", SEC).await.unwrap();
    let mut subscribed = stage.plugins.streams(StreamFilter::channel("rows"), 4, 4).unwrap();
    for channel in ["rows", "other"] {
        let params = json!({ "stream": channel, "channel": channel });
        assert_eq!(open(&stage, "c", params).await["result"]["ok"], true);
    }
    assert_eq!(subscribed.accept().await.unwrap().channel(), "rows");
    assert_eq!(incoming.accept().await.unwrap().channel(), "other");
    stage.end().await;
}
