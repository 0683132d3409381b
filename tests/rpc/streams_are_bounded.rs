//! C-6, C-10, C-15: streams are bounded in number, items and bytes. The reader never waits for a consumer: a
//! stream without room ends, and only that one. Credit keeps one that asks for it from overflowing.

use std::{sync::Arc, time::Duration};

use procession::rpc::{CallOptions, NoHandler, Peer, PeerConfig, StreamEnd, StreamListener, Timeout};
use serde_json::json;

use crate::support::*;

fn with_streams(items: usize, change: impl FnOnce(&mut PeerConfig)) -> (Peer, Wire, StreamListener) {
    let (queue, incoming) = StreamListener::new(10_000, items);
    let mut config = config(|config| config.stream_acceptor = Some(Arc::new(queue)));
    change(&mut config);
    let (peer, wire) = peer_on_wire(config, Arc::new(NoHandler), 64 * 1024);
    (peer, wire, incoming)
}

async fn open(wire: &mut Wire, stream: u64) {
    let params = json!({ "stream": stream, "channel": "c" });
    wire.send_json(json!({ "jsonrpc": "2.0", "id": stream, "method": "streams.open", "params": params }))
        .await;
}

async fn emit(wire: &mut Wire, stream: u64, item: &str) {
    let params = json!({ "stream": stream, "item": item });
    wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.emit", "params": params })).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_loses_its_stream_and_delays_nobody() {
    let (peer, mut wire, mut incoming) = with_streams(3, |_| {});
    for stream in [1, 2] {
        open(&mut wire, stream).await;
        assert_eq!(wire.line().await["result"]["ok"], true);
    }
    let (mut slow, mut fast) = (incoming.accept().await.unwrap(), incoming.accept().await.unwrap());
    for n in 0..10 {
        emit(&mut wire, 1, &n.to_string()).await;
        emit(&mut wire, 2, &n.to_string()).await;
        assert_eq!(fast.recv().await.unwrap().unwrap().get(), format!("\"{n}\""));
    }
    let told = wire.line().await;
    assert_eq!(told["method"], "streams.close");
    assert_eq!(told["params"], json!({ "stream": 1, "reason": "overflow" }));
    let (answer, ()) =
        tokio::join!(peer.call_value("echo", &(), CallOptions::timeout(Timeout::Default)), async {
            let id = wire.line().await["id"].clone();
            wire.send_json(json!({ "jsonrpc": "2.0", "id": id, "result": 1 })).await;
        });
    answer.unwrap();
    for n in 0..3 {
        assert_eq!(slow.recv().await.unwrap().unwrap().get(), format!("\"{n}\""));
    }
    assert!(matches!(slow.recv().await, Some(Err(StreamEnd::Overflow))));
    assert!(slow.recv().await.is_none());
    let stats = peer.stats();
    assert_eq!((stats.overflowed_streams, stats.dropped_stream_items, stats.streams_open), (1, 7, 1));
    assert!(wire.is_silent().await, "it is told once");
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_all_streams_count_together() {
    let (peer, mut wire, mut incoming) = with_streams(1000, |config| config.max_stream_bytes = 10_000);
    let item = "x".repeat(4_000);
    for stream in [1, 2, 3] {
        open(&mut wire, stream).await;
        wire.line().await;
        emit(&mut wire, stream, &item).await;
    }
    assert_eq!(wire.line().await["params"], json!({ "stream": 3, "reason": "overflow" }));
    assert!(peer.stats().stream_bytes <= 10_000);
    // What was taken makes room.
    let mut first = incoming.accept().await.unwrap();
    assert!(first.recv().await.unwrap().is_ok());
    emit(&mut wire, 1, &item).await;
    assert!(first.recv().await.unwrap().is_ok());
    // One that is larger than the bound never has room.
    emit(&mut wire, 1, &"x".repeat(20_000)).await;
    assert!(matches!(first.recv().await, Some(Err(StreamEnd::Overflow))));
    drop(incoming);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(peer.stats().stream_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_streams_are_opened_and_few_are_held() {
    let (peer, mut wire, mut incoming) = with_streams(1, |config| config.max_streams = 100);
    let (mut opened, mut refused) = (0, 0);
    for stream in 0..10_000 {
        open(&mut wire, stream).await;
        let answer = wire.line().await;
        match answer["error"]["code"].as_i64() {
            None => opened += 1,
            Some(-32000) => refused += 1,
            Some(code) => panic!("{code}"),
        }
    }
    assert_eq!((opened, refused, peer.stats().streams_open), (100, 9_900, 100));
    // One that has ended counts until its consumer has seen that.
    let close = json!({ "jsonrpc": "2.0", "method": "streams.close", "params": { "stream": 0 } });
    wire.send_json(close).await;
    open(&mut wire, 10_000).await;
    assert_eq!(wire.line().await["error"]["code"], -32000);
    let mut first = incoming.accept().await.unwrap();
    assert!(first.recv().await.is_none());
    open(&mut wire, 10_001).await;
    assert_eq!(wire.line().await["result"]["ok"], true);
    assert!(peer.close_reason().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_streams_is_bounded_too() {
    let (queue, mut incoming) = StreamListener::new(2, 1);
    let config = config(|config| config.stream_acceptor = Some(Arc::new(queue)));
    let (_peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 64 * 1024);
    let mut answers = Vec::new();
    for stream in 0..4 {
        open(&mut wire, stream).await;
        answers.push(wire.line().await["error"]["code"].as_i64());
        if stream == 2 {
            assert!(incoming.accept().await.is_some());
            // Its drop is told.
            wire.line().await;
        }
    }
    assert_eq!(answers, [None, None, Some(-32000), None]);
}

#[tokio::test(start_paused = true)]
async fn credit_keeps_a_stream_from_overflowing() {
    let (peer, mut wire, mut incoming) = with_streams(8, |_| {});
    let params = json!({ "stream": "s", "channel": "c", "credit": true });
    wire.send_json(json!({ "jsonrpc": "2.0", "id": 1, "method": "streams.open", "params": params })).await;
    let answer = wire.line().await;
    assert_eq!(answer["result"], json!({ "ok": true, "credit": 8 }));
    let mut stream = incoming.accept().await.unwrap();
    let sending = async {
        let mut credit = 8;
        for n in 0..1000 {
            if credit == 0 {
                let more = wire.line().await;
                assert_eq!(
                    (&more["method"], &more["params"]["stream"]),
                    (&json!("streams.credit"), &json!("s"))
                );
                credit += more["params"]["items"].as_u64().unwrap();
            }
            credit -= 1;
            let params = json!({ "stream": "s", "item": n });
            wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.emit", "params": params })).await;
        }
        let params = json!({ "stream": "s" });
        wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.close", "params": params })).await;
    };
    let taking = async {
        let mut taken = 0;
        while let Some(item) = stream.recv().await {
            assert_eq!(item.unwrap().get(), taken.to_string());
            taken += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        taken
    };
    let ((), taken) = tokio::join!(sending, taking);
    assert_eq!((taken, peer.stats().overflowed_streams), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_ends_is_taken_item_by_item() {
    let (peer, mut wire, mut incoming) = with_streams(16, |_| {});
    open(&mut wire, 1).await;
    wire.line().await;
    let mut stream = incoming.accept().await.unwrap();
    for n in 0..5_000_u32 {
        emit(&mut wire, 1, &n.to_string()).await;
        assert_eq!(stream.recv().await.unwrap().unwrap().get(), format!("\"{n}\""));
    }
    assert_eq!((peer.stats().stream_items, peer.stats().stream_bytes), (5_000, 0));
}
