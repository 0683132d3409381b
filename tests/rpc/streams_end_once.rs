//! C-10: the other side opens streams of items, for a call or by the name of a channel; each ends once, after
//! its items, however it ends, and nothing that comes later changes that.

use std::sync::Arc;

use procession::{
    exit::Exit,
    rpc::{
        CloseReason, ExitReport, NoHandler, Peer, RpcError, StreamAcceptor, StreamEnd, StreamListener,
        StreamReceiver, Timeout,
    },
};
use serde_json::{Value, json};

use crate::support::*;

/// A peer that takes streams of every channel.
fn with_streams(streams: usize, items: usize) -> (Peer, Wire, StreamListener) {
    let (queue, incoming) = StreamListener::new(streams, items);
    let config = config(|config| config.stream_acceptor = Some(Arc::new(queue)));
    let (peer, wire) = peer_on_wire(config, Arc::new(NoHandler), 64 * 1024);
    (peer, wire, incoming)
}

async fn open(wire: &mut Wire, params: Value) -> Value {
    wire.send_json(json!({ "jsonrpc": "2.0", "id": "open", "method": "streams.open", "params": params }))
        .await;
    wire.line().await
}

async fn emit(wire: &mut Wire, stream: &str, item: Value) {
    let params = json!({ "stream": stream, "item": item });
    wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.emit", "params": params })).await;
}

async fn close(wire: &mut Wire, params: Value) {
    wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.close", "params": params })).await;
}

/// All items, and how the stream has ended.
async fn drain(mut stream: StreamReceiver) -> (Vec<String>, StreamEnd) {
    let (mut items, mut failed) = (Vec::new(), 0);
    while let Some(item) = stream.recv().await {
        match item {
            Ok(item) => items.push(item.get().to_owned()),
            Err(_) => failed += 1,
        }
    }
    assert!(stream.recv().await.is_none(), "once");
    let end = stream.end().unwrap().clone();
    assert_eq!(failed, usize::from(!matches!(end, StreamEnd::Closed)));
    (items, end)
}

#[tokio::test(start_paused = true)]
async fn a_call_gets_the_streams_that_name_it_and_they_may_outlive_it() {
    let (peer, mut wire) =
        peer_on_wire(config(|config| config.streams = true), Arc::new(NoHandler), 64 * 1024);
    let (mut streams, call) = peer.call_streaming("list", &(), Timeout::Default, 8);
    let other_side = async {
        let request = wire.line().await;
        let params = json!({ "stream": "s", "channel": "rows", "scope": "x", "request": request["id"] });
        wire.send_json(json!({ "jsonrpc": "2.0", "id": 7, "method": "streams.open", "params": params }))
            .await;
        // Without waiting for the answer.
        emit(&mut wire, "s", json!({ "row": 1 })).await;
        assert_eq!(wire.line().await["result"], json!({ "ok": true }));
        wire.send_json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": "done" })).await;
        let late = json!({ "stream": "t", "channel": "rows", "request": request["id"] });
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(open(&mut wire, late).await["error"]["code"], -32001, "its call is answered");
        emit(&mut wire, "s", json!([2, 3])).await;
        close(&mut wire, json!({ "stream": "s" })).await;
    };
    let (result, ()) = tokio::join!(call, other_side);
    assert_eq!(result.unwrap().get(), r#""done""#);
    let stream = streams.accept().await.unwrap();
    assert_eq!((stream.channel(), stream.scope(), stream.call().is_some()), ("rows", Some("x"), true));
    let (items, end) = drain(stream).await;
    assert_eq!(items, [r#"{"row":1}"#, "[2,3]"]);
    assert!(matches!(end, StreamEnd::Closed));
    assert!(streams.accept().await.is_none(), "no more come for this call");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nothing_takes_is_refused() {
    let (peer, mut wire) =
        peer_on_wire(config(|config| config.streams = true), Arc::new(NoHandler), 64 * 1024);
    let refused = open(&mut wire, json!({ "stream": 1, "channel": "c" })).await;
    assert_eq!(refused["error"]["code"], -32001);
    emit(&mut wire, "1", json!(1)).await;
    let refused = open(&mut wire, json!({ "stream": 1, "channel": "c", "request": 99 })).await;
    assert_eq!(refused["error"]["code"], -32001, "there is no such call");
    let stats = peer.stats();
    assert_eq!((stats.refused_streams, stats.dropped_stream_items, stats.streams_open), (2, 1, 0));

    // The consumer takes them no longer.
    let (_peer, mut wire, incoming) = with_streams(4, 4);
    drop(incoming);
    assert_eq!(open(&mut wire, json!({ "stream": 1, "channel": "c" })).await["error"]["code"], -32001);

    // Without streams these methods are the handler's.
    let (_peer, mut wire) = plain();
    assert_eq!(open(&mut wire, json!({ "stream": 1, "channel": "c" })).await["error"]["code"], -32601);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_malformed_or_repeats_an_id_is_refused() {
    let (peer, mut wire, mut incoming) = with_streams(4, 4);
    let long = "x".repeat(1025);
    let malformed = [
        json!(null),
        json!(["s", "c"]),
        json!({ "channel": "c" }),
        json!({ "stream": null, "channel": "c" }),
        json!({ "stream": {}, "channel": "c" }),
        json!({ "stream": long, "channel": "c" }),
        json!({ "stream": "s" }),
        json!({ "stream": "s", "channel": 3 }),
        json!({ "stream": "s", "channel": long }),
        json!({ "stream": "s", "channel": "c", "scope": 3 }),
        json!({ "stream": "s", "channel": "c", "request": [] }),
        json!({ "stream": "s", "channel": "c", "credit": 3 }),
    ];
    for params in &malformed {
        assert_eq!(open(&mut wire, params.clone()).await["error"]["code"], -32602, "{params}");
    }
    let opened = json!({ "stream": "s", "channel": "c", "scope": null, "request": null, "credit": false });
    assert_eq!(open(&mut wire, opened.clone()).await["result"], json!({ "ok": true }));
    assert_eq!(open(&mut wire, opened.clone()).await["error"]["code"], -32602, "it is open");
    close(&mut wire, json!({ "stream": "s" })).await;
    assert_eq!(open(&mut wire, opened).await["error"]["code"], -32602, "it has been used");
    assert!(matches!(drain(incoming.accept().await.unwrap()).await.1, StreamEnd::Closed));
    assert!(incoming.try_accept().is_none());
    assert_eq!(peer.stats().refused_streams, malformed.len() as u64 + 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_end_counts_and_what_comes_later_is_counted() {
    let (peer, mut wire, mut incoming) = with_streams(4, 4);
    open(&mut wire, json!({ "stream": "s", "channel": "c" })).await;
    emit(&mut wire, "s", json!(1)).await;
    let error = json!({ "code": 5, "message": "disk full\n" });
    close(&mut wire, json!({ "stream": "s", "error": error })).await;
    emit(&mut wire, "s", json!(2)).await;
    close(&mut wire, json!({ "stream": "s" })).await;
    emit(&mut wire, "never", json!(3)).await;
    close(&mut wire, json!({ "stream": "never" })).await;
    close(&mut wire, json!(null)).await;
    wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.emit", "params": { "stream": "s" } })).await;
    let notified = json!({ "stream": "t", "channel": "c" });
    wire.send_json(json!({ "jsonrpc": "2.0", "method": "streams.open", "params": notified })).await;
    // With a null id, as some libraries write it.
    let params = json!({ "stream": "never", "item": 4 });
    wire.send_json(json!({ "jsonrpc": "2.0", "id": null, "method": "streams.emit", "params": params })).await;
    let (items, end) = drain(incoming.accept().await.unwrap()).await;
    let StreamEnd::Failed(RpcError { code: 5, message, .. }) = &end else { panic!("{end}") };
    assert_eq!((items, message.as_str()), (vec!["1".to_owned()], "disk full\n"));
    assert_eq!(end.to_string(), "the stream failed: disk full\\n (code 5)");
    assert!(wire.is_silent().await, "nothing is answered");
    let stats = peer.stats();
    assert_eq!((stats.stream_items, stats.dropped_stream_items, stats.invalid_frames), (1, 3, 4));
    assert_eq!((stats.streams_open, stats.stream_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_gives_up_tells_the_other_side() {
    let (peer, mut wire, mut incoming) = with_streams(4, 4);
    for (n, stream) in ["a", "b"].into_iter().enumerate() {
        open(&mut wire, json!({ "stream": stream, "channel": "c" })).await;
        emit(&mut wire, stream, json!(1)).await;
        let mut taken = incoming.accept().await.unwrap();
        assert_eq!(taken.recv().await.unwrap().unwrap().get(), "1");
        if n == 0 {
            drop(taken);
        } else {
            taken.cancel();
            assert!(taken.recv().await.is_none() && matches!(taken.end(), Some(StreamEnd::Cancelled)));
        }
        let told = wire.line().await;
        assert_eq!(told["method"], "streams.close");
        assert_eq!(told["params"], json!({ "stream": stream, "reason": "cancelled" }));
        emit(&mut wire, stream, json!(2)).await;
    }
    // Never received, but opened.
    open(&mut wire, json!({ "stream": "c", "channel": "c" })).await;
    drop(incoming);
    assert_eq!(wire.line().await["params"]["reason"], "cancelled");
    assert!(wire.is_silent().await);
    assert_eq!((peer.stats().dropped_stream_items, peer.stats().streams_open), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_channel_ends_all_of_them() {
    for lost in [false, true] {
        let (peer, mut wire, mut incoming) = with_streams(4, 4);
        open(&mut wire, json!({ "stream": "closed", "channel": "c" })).await;
        open(&mut wire, json!({ "stream": "open", "channel": "c" })).await;
        emit(&mut wire, "open", json!(1)).await;
        close(&mut wire, json!({ "stream": "closed" })).await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let (closed, open) = (incoming.accept().await.unwrap(), incoming.accept().await.unwrap());
        if lost {
            peer.close(ExitReport { exit: Exit::Failed { code: 3 }, stderr_tail: String::new() });
        } else {
            drop(wire);
        }
        let (items, end) = drain(open).await;
        assert_eq!(items, ["1"]);
        match end {
            StreamEnd::WorkerLost(report) if lost => assert_eq!(report.exit, Exit::Failed { code: 3 }),
            StreamEnd::ChannelClosed(CloseReason::Eof | CloseReason::WriteFailed { .. }) if !lost => {}
            end => panic!("{end}"),
        }
        assert!(matches!(drain(closed).await.1, StreamEnd::Closed), "it had ended before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_refuses() {
    struct Clumsy;
    impl StreamAcceptor for Clumsy {
        fn open<'a>(
            &self,
            offered: procession::rpc::OfferedStream<'a>,
        ) -> Option<procession::rpc::OfferedStream<'a>> {
            assert_eq!(offered.channel(), "good", "it is not");
            offered.refuse(RpcError::new(1, "not today"));
            None
        }
    }
    let config = config(|config| config.stream_acceptor = Some(Arc::new(Clumsy)));
    let (peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 64 * 1024);
    assert_eq!(open(&mut wire, json!({ "stream": 1, "channel": "bad" })).await["error"]["code"], -32001);
    assert_eq!(open(&mut wire, json!({ "stream": 1, "channel": "good" })).await["error"]["code"], 1);
    assert_eq!((peer.stats().panics, peer.stats().refused_streams), (1, 2));
}
