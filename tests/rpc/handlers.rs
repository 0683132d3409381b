//! Requests of the other side run side by side within bounds, in order of arrival, and survive panics (C-6,
//! C-7).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::rpc::{CloseReason, MethodRouter, NoHandler, Peer, PeerConfig, RpcError};
use serde_json::{Value, json};

use crate::support::{Counter, Echo, Mark, Sleep, config, peer_on_wire, router};

// C-6: slow handlers run beside each other, at most `max_handlers`; then requests queue; then they are
// refused.
#[tokio::test(start_paused = true)]
async fn requests_queue_and_then_are_refused() {
    let config = config(|c| {
        c.max_handlers = 2;
        c.max_queued_requests = 3;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(router()), 1 << 16);
    let begin = tokio::time::Instant::now();
    for id in 0..7 {
        wire.send_json(json!({"jsonrpc": "2.0", "id": id, "method": "sleep", "params": 100})).await;
    }
    for id in [5, 6] {
        let refused = wire.line().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(id), &json!(-32000)));
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    for id in 0..5 {
        assert_eq!(wire.line().await["id"], id);
    }
    assert_eq!(begin.elapsed(), Duration::from_millis(300));
    peer.requests_answered().await;
    let stats = peer.stats();
    assert_eq!((stats.overloaded, stats.requests_open), (2, 0));
}

// C-6: the queue is bounded in bytes as well.
#[tokio::test(start_paused = true)]
async fn queued_requests_are_bounded_in_bytes() {
    let config = config(|c| {
        c.max_handlers = 1;
        c.max_queued_request_bytes = 1000;
    });
    let (_peer, mut wire) = peer_on_wire(config, Arc::new(router()), 1 << 16);
    wire.send_json(json!({"id": 0, "method": "sleep", "params": 100})).await;
    for id in 1..4 {
        wire.send_json(json!({"id": id, "method": "echo", "params": "x".repeat(450)})).await;
    }
    let refused = wire.line().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(3), &json!(-32000)));
}

// C-6: a child that asks for ever and never reads is cut off, with bounded memory.
#[tokio::test(start_paused = true)]
async fn replies_without_room_end_the_channel() {
    let config = config(|c| {
        c.max_queued_bytes = 4000;
        c.max_handlers = 2;
        c.max_queued_requests = 2;
        c.write_stall = None;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(router()), 256);
    let flood = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        for id in 0.. {
            let frame = json!({"id": id, "method": "echo", "params": "x".repeat(500)}).to_string() + "\n";
            if wire.writer.write_all(frame.as_bytes()).await.is_err() {
                return id;
            }
        }
        0
    });
    assert_eq!(peer.closed().await, CloseReason::LimitExceeded { which: "queued replies" });
    assert!(flood.await.unwrap() < 200);
    assert!(peer.stats().bytes_queued <= 8000);
}

// C-6, C-2: a handler that waits for the other side does not stop anything.
#[tokio::test(start_paused = true)]
async fn a_handler_can_call_back() {
    let relay = MethodRouter::new().method::<Echo, _, _>(|cx, text| async move {
        let peer = cx.peer().ok_or_else(|| RpcError::internal("gone"))?;
        peer.call::<Echo>(&format!("{text}!")).await.map_err(RpcError::internal)
    });
    let (a, _b) = Peer::memory_pair(
        (PeerConfig::default(), Arc::new(router())),
        (PeerConfig::default(), Arc::new(relay)),
    );
    assert_eq!(a.call::<Echo>(&"hello".into()).await.unwrap(), "hello!");
}

// C-6: notifications in order of arrival, and before any response that follows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_come_before_the_response_that_follows_them() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = MethodRouter::new().notification::<Mark>({
        let seen = seen.clone();
        move |_, n| seen.lock().unwrap().push(n)
    });
    let talker = MethodRouter::new().method::<Sleep, _, _>(|cx, n| async move {
        let peer = cx.peer().ok_or_else(|| RpcError::internal("gone"))?;
        for i in 0..20 {
            peer.notify::<Mark>(&(n * 20 + i)).await.map_err(RpcError::internal)?;
        }
        Ok(n)
    });
    let (a, _b) = Peer::memory_pair(
        (PeerConfig::default(), Arc::new(listener)),
        (PeerConfig::default(), Arc::new(talker)),
    );
    for n in 0..200 {
        a.call::<Sleep>(&n).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, (0..(n + 1) * 20).collect::<Vec<_>>());
    }
}

// C-7
#[tokio::test(start_paused = true)]
async fn a_panic_is_answered_and_hurts_nobody() {
    let handler = router()
        .method_value("panic", |_, _| async { panic!("on purpose") })
        .method_value("panic at once", |_, _| -> std::future::Ready<_> { panic!("on purpose") })
        .notification_value("panic", |_, _| panic!("on purpose"));
    let (peer, mut wire) = peer_on_wire(config(|c| c.max_handlers = 1), Arc::new(handler), 4096);
    for method in ["panic", "panic at once"] {
        wire.send_json(json!({"jsonrpc": "2.0", "id": "p", "method": method})).await;
        let answer = wire.line().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("p"), &json!(-32603)));
    }
    wire.send_json(json!({"jsonrpc": "2.0", "method": "panic"})).await;
    wire.send_json(json!({"jsonrpc": "2.0", "id": 2, "method": "echo", "params": "alive"})).await;
    assert_eq!(wire.line().await["result"], "alive");
    assert_eq!(peer.stats().panics, 3);
}

// C-7
#[tokio::test(start_paused = true)]
async fn unknown_methods_and_bad_params_are_told_apart() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Params {
        items: Vec<u8>,
    }
    struct Sum;
    impl procession::rpc::Method for Sum {
        const NAME: &'static str = "sum";
        type Params = Params;
        type Output = u8;
    }
    let handler = MethodRouter::new().method::<Sum, _, _>(|_, p| async move { Ok(p.items.iter().sum()) });
    let (_peer, mut wire) = peer_on_wire(PeerConfig::default(), Arc::new(handler), 4096);
    let mut ask = async |method: &str, params: Value| {
        wire.send_json(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await;
        wire.line().await
    };
    assert_eq!(ask("sum", json!({"items": [1, 2]})).await["result"], 3);
    let error = ask("nope", json!([])).await["error"].clone();
    assert_eq!(error["code"], -32601);
    assert!(error["message"].as_str().unwrap().contains("`nope`"));
    let error = ask("sum", json!({"items": [1, 300]})).await["error"].clone();
    assert_eq!(error["code"], -32602);
    assert!(error["message"].as_str().unwrap().contains("`items[1]`"), "{error}");
    assert_eq!(ask("sum", Value::Null).await["error"]["code"], -32602);
}

// C-6: handlers are dropped when the peer is closed.
#[tokio::test(start_paused = true)]
async fn closing_drops_the_handlers() {
    struct OnDrop(Counter);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.add();
        }
    }
    let dropped = Counter::default();
    let handler = MethodRouter::new().method_value("hang", {
        let dropped = dropped.clone();
        move |_, _| {
            let guard = OnDrop(dropped.clone());
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    let (peer, mut wire) = peer_on_wire(PeerConfig::default(), Arc::new(handler), 4096);
    for id in 0..10 {
        wire.send_json(json!({"id": id, "method": "hang"})).await;
    }
    assert!(wire.is_silent().await);
    peer.close(CloseReason::Requested);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(dropped.get(), 10);
}

// The context names who asks.
#[tokio::test(start_paused = true)]
async fn the_context_names_the_other_side() {
    // G-3
    let handler = MethodRouter::new().method_value("who", |cx, _| async move {
        serde_json::value::to_raw_value(&json!([cx.path, cx.incarnation])).map_err(RpcError::internal)
    });
    let config = config(|c| {
        c.path = procession::id::TreePath::root().join(&"p".into());
        c.incarnation = procession::id::Incarnation(7);
    });
    let (near, _far) =
        Peer::memory_pair((PeerConfig::default(), Arc::new(NoHandler)), (config, Arc::new(handler)));
    let who = near.call_value("who", &(), procession::rpc::Timeout::Default).await.unwrap();
    assert_eq!(who.get(), r#"["/p",7]"#);
}
