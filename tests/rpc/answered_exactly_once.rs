//! Every call is answered exactly once, whatever the load (C-4, C-6).

use std::{sync::Arc, time::Duration};

use procession::rpc::{CallEffect, CallError, CallOptions, Peer, PeerConfig, Timeout};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Echo, Sleep, config, peer_on_wire, plain, router};

/// Two peers over a pipe of `bytes` bytes.
fn pair(bytes: usize, config: PeerConfig) -> (Peer, Peer) {
    let (near, far) = tokio::io::duplex(bytes);
    let (nr, nw) = tokio::io::split(near);
    let (fr, fw) = tokio::io::split(far);
    (Peer::spawn(nr, nw, config.clone(), Arc::new(router())), Peer::spawn(fr, fw, config, Arc::new(router())))
}

async fn storm(a: Peer, b: Peer, calls: usize, bytes: usize) {
    let mut tasks = JoinSet::new();
    for peer in [a, b] {
        for i in 0..calls {
            let peer = peer.clone();
            tasks.spawn(async move {
                let text = format!("{i}:{}", "x".repeat(bytes));
                let answer = peer.call_with::<Echo>(&text, CallOptions::timeout(Timeout::Never)).await;
                assert_eq!(answer.unwrap(), text);
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

// C-2, C-6: typed calls in both directions at once, with pipes far smaller than a frame.
#[tokio::test(start_paused = true)]
async fn two_peers_at_full_load_never_deadlock() {
    let (a, b) = pair(64, PeerConfig::default());
    storm(a, b, 1000, 300).await;
}

// C-6: also when every bound is hit all the time.
#[tokio::test(start_paused = true)]
async fn nor_do_they_with_tiny_bounds() {
    let config = config(|c| {
        c.max_in_flight = 8;
        c.max_handlers = 2;
        c.max_queued_bytes = 512;
    });
    let (a, b) = pair(64, config);
    storm(a, b, 200, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_on_several_threads() {
    let (a, b) = pair(4096, config(|c| c.max_queued_bytes = 16 * 1024));
    storm(a.clone(), b.clone(), 2000, 1000).await;
    assert_eq!((a.stats().in_flight, b.stats().in_flight), (0, 0));
    assert_eq!(a.stats().unknown_replies + b.stats().unknown_replies, 0);
}

// C-3, C-13
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_discarded_and_counted() {
    let (peer, mut wire) = plain();
    let call = peer.call_with::<Sleep>(&1, CallOptions::timeout(Timeout::After(Duration::from_secs(2))));
    let begin = tokio::time::Instant::now();
    let error = call.await.unwrap_err();
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    assert!(
        matches!(&error, CallError::Timeout { after, .. } if *after == Duration::from_secs(2)),
        "{error}"
    );
    assert_eq!(error.effect(), CallEffect::Unknown);
    assert!(!error.is_retryable());

    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"jsonrpc": "2.0", "id": id, "result": 1})).await;
    wire.send_json(json!({"jsonrpc": "2.0", "id": id, "result": 1})).await;
    wire.send_json(json!({"jsonrpc": "2.0", "id": "1", "result": 1})).await;
    wire.send_json(json!({"jsonrpc": "2.0", "id": 999, "result": 1})).await;
    assert!(wire.is_silent().await);
    let stats = peer.stats();
    assert_eq!((stats.late_replies, stats.unknown_replies, stats.in_flight), (1, 3, 0));
}

// C-13: the other side's ids are its own.
#[tokio::test(start_paused = true)]
async fn ids_are_matched_by_direction() {
    let (peer, mut wire) = peer_on_wire(PeerConfig::default(), Arc::new(router()), 64 * 1024);
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Echo>(&"mine".to_owned()).await }
    });
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": "theirs"})).await;
    assert_eq!(wire.line().await, json!({"jsonrpc": "2.0", "id": id, "result": "theirs"}));
    wire.send_json(json!({"jsonrpc": "2.0", "id": id, "result": "right"})).await;
    assert_eq!(call.await.unwrap().unwrap(), "right");
}

// C-13: some servers give a number back as a string. A request's id keeps its type.
#[tokio::test(start_paused = true)]
async fn an_answer_with_the_id_as_a_string_is_one() {
    let (peer, mut wire) = peer_on_wire(PeerConfig::default(), Arc::new(router()), 64 * 1024);
    for answer in [json!({"result": "right"}), json!({"error": {"code": 7, "message": "no"}})] {
        let call = tokio::spawn({
            let peer = peer.clone();
            async move { peer.call::<Echo>(&"mine".to_owned()).await }
        });
        let id = wire.line().await["id"].to_string();
        // Near misses are the ids of no call.
        for wrong in [
            format!("0{id}"),
            format!("+{id}"),
            format!(" {id}"),
            format!("{id}.0"),
            "x".into(),
            String::new(),
        ] {
            wire.send_json(json!({"jsonrpc": "2.0", "id": wrong, "result": "wrong"})).await;
        }
        wire.send_json(json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": "theirs"})).await;
        assert_eq!(wire.line().await, json!({"jsonrpc": "2.0", "id": id, "result": "theirs"}));
        let mut whole = json!({"jsonrpc": "2.0", "id": id});
        whole.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        wire.send_json(whole).await;
        match call.await.unwrap() {
            Ok(result) => assert_eq!(result, "right"),
            Err(error) => assert_eq!(error.remote().map(|remote| remote.code), Some(7)),
        }
    }
    assert_eq!(peer.stats().unknown_replies, 12);
}

// C-4: code, message and data are preserved.
#[tokio::test(start_paused = true)]
async fn an_error_comes_back_as_it_was_sent() {
    let (peer, mut wire) = plain();
    let call = tokio::spawn(async move { peer.call::<Echo>(&String::new()).await });
    let id = wire.line().await["id"].clone();
    wire.send_json(
        json!({"jsonrpc": "2.0", "id": id, "error": {"code": -5, "message": "no", "data": {"a": [1]}}}),
    )
    .await;
    let error = call.await.unwrap().unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!((remote.code, remote.message.as_str()), (-5, "no"));
    assert_eq!(remote.data.as_ref().unwrap().get(), r#"{"a":[1]}"#);
    assert_eq!(error.effect(), CallEffect::Answered);
}

// C-15: 1 MiB of the message of an error is kept.
#[tokio::test(start_paused = true)]
async fn the_message_of_an_error_is_cut() {
    const MIB: usize = 1024 * 1024;
    // Behind the text it says how much is missing.
    for (sent, kept) in [(MIB, MIB..=MIB), (2 * MIB, MIB..=MIB + 64)] {
        let (peer, mut wire) = plain();
        let call = tokio::spawn(async move { peer.call::<Echo>(&String::new()).await });
        let id = wire.line().await["id"].clone();
        let error = json!({"code": -5, "message": "x".repeat(sent)});
        wire.send_json(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
        let error = call.await.unwrap().unwrap_err();
        let message = &error.remote().unwrap().message;
        assert!(kept.contains(&message.len()), "{} of {sent}", message.len());
        assert!(error.to_string().len() < 4096, "the text for people is shorter still");
    }
}

// C-4: an answer that is no answer still answers, naming the field.
#[tokio::test(start_paused = true)]
async fn a_result_of_the_wrong_shape_is_an_error_with_a_path() {
    #[derive(serde::Deserialize, Debug)]
    #[allow(dead_code)]
    struct Out {
        list: Vec<u8>,
    }
    struct Get;
    impl procession::rpc::Method for Get {
        const NAME: &'static str = "get";
        type Params = ();
        type Output = Out;
    }
    let (peer, mut wire) = plain();
    let call = tokio::spawn(async move { peer.call::<Get>(&()).await });
    let request = wire.line().await;
    assert_eq!(request.get("params"), None);
    wire.send_json(json!({"id": request["id"], "result": {"list": [1, "x"]}})).await;
    let error = call.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("`list[1]`"), "{error}");
    assert_eq!(error.effect(), CallEffect::Answered);
}

// C-4, C-13: a result that is no JSON answers its call, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_result_that_is_no_json_fails_its_call() {
    let (peer, mut wire) = plain();
    let typed = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Echo>(&String::new()).await.map(drop) }
    });
    let raw = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call_value("f", &(), Timeout::Default).await.map(drop) }
    });
    for _ in 0..2 {
        let id = wire.line().await["id"].clone();
        wire.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":[1,]}}"#)).await;
    }
    for call in [typed, raw] {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::InvalidResult { .. }), "{error}");
    }
    assert_eq!(peer.close_reason(), None);
}

// A JavaScript server drops a `result` that is undefined.
#[tokio::test(start_paused = true)]
async fn a_response_without_result_is_null() {
    let (peer, mut wire) = plain();
    let call = tokio::spawn(async move { peer.call_value("f", &json!([1]), Timeout::Default).await });
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"jsonrpc": "2.0", "id": id})).await;
    assert_eq!(call.await.unwrap().unwrap().get(), "null");
}
