//! C-1: frames that are sent are bounded like frames that are read, since a program that cannot take a frame
//! may end.

use std::{sync::Arc, time::Duration};

use procession::{
    exit::Exit,
    id::{Incarnation, TreePath},
    protocol::{self, ChildIdentity, Lsp, Mcp, Plugin, Protocol},
    rpc::{CallEffect, CallError, CallOptions, Framing, MethodRouter, NoHandler, Peer, RpcError},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::io::AsyncReadExt;

use crate::support::{Echo, Wire, config, peer_on_wire};

const MAX: usize = 1000;

fn limited(framing: Framing) -> (Peer, Wire) {
    let router = MethodRouter::new()
        .method_value("large", |_, params| async move {
            let bytes: usize = serde_json::from_str(params.unwrap().get()).unwrap();
            to_raw_value(&"r".repeat(bytes)).map_err(RpcError::internal)
        })
        .method_value("fail", |_, params| async move {
            let bytes: usize = serde_json::from_str(params.unwrap().get()).unwrap();
            Err(RpcError::new(77, "failed").with_data(&"d".repeat(bytes)))
        });
    let config = config(|c| {
        c.max_outgoing_frame_bytes = Some(MAX);
        c.framing = framing;
    });
    peer_on_wire(config, Arc::new(router), 1 << 16)
}

fn too_large(error: &CallError) -> usize {
    let CallError::TooLarge { bytes, max_bytes, .. } = error else { panic!("{error}") };
    assert_eq!((*max_bytes, error.effect(), error.is_retryable()), (MAX, CallEffect::NotSent, false));
    let text = error.to_string();
    assert!(text.contains(&bytes.to_string()) && text.contains("1000"), "{text}");
    *bytes
}

/// How large a call with these params is.
fn size(params: &str) -> usize {
    json!({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": params}).to_string().len()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_large_is_not_sent() {
    for framing in [Framing::Lines, Framing::ContentLength] {
        let (peer, mut wire) = limited(framing);
        let fits = MAX - size("");
        let error = peer.call::<Echo>(&"x".repeat(fits + 1)).await.unwrap_err();
        assert_eq!(too_large(&error), MAX + 1);
        let error = peer.call::<Echo>(&"x".repeat(10 << 20)).await.unwrap_err();
        assert_eq!(too_large(&error), size("") + (10 << 20));
        // Escaped on the way out, it grows.
        let error = peer.call::<Echo>(&"\u{2028}".repeat(MAX / 4)).await.unwrap_err();
        assert_eq!(too_large(&error), size("") + MAX / 4 * 6);
        assert!(wire.is_silent().await, "nothing of it was sent");
        assert_eq!((peer.stats().bytes_queued, peer.stats().in_flight), (0, 0));
        // What just fits goes out, with the next id of all.
        let text = "x".repeat(fits);
        let call = tokio::time::timeout(Duration::from_secs(1), peer.call::<Echo>(&text));
        assert!(call.await.is_err());
        let mut sent = vec![0; MAX + 2];
        let n = wire.reader.read(&mut sent).await.unwrap();
        assert!(n >= MAX || framing == Framing::ContentLength, "{n}");
        assert_eq!(peer.close_reason(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn nor_is_a_notification() {
    let (peer, mut wire) = limited(Framing::Lines);
    let text = "x".repeat(MAX);
    too_large(&peer.notify_value("n", &text).await.unwrap_err());
    too_large(&peer.try_notify_value("n", &text).unwrap_err());
    assert_eq!(peer.stats().dropped_notifications, 0);
    peer.notify_value("n", &1).await.unwrap();
    assert_eq!(wire.line().await["params"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_too_large_becomes_an_error() {
    let (peer, mut wire) = limited(Framing::Lines);
    for (bytes, fits) in [(MAX - 36, true), (MAX - 35, false), (20 << 20, false)] {
        wire.send_json(json!({"id": 1, "method": "large", "params": bytes})).await;
        let answer = wire.line().await;
        assert_eq!(answer["id"], 1);
        if fits {
            assert_eq!(answer["result"].as_str().unwrap().len(), bytes);
        } else {
            assert_eq!(answer["error"]["code"], -32603, "{answer}");
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("too large") && message.contains("1000"), "{message}");
        }
    }
    // An error keeps its code.
    wire.send_json(json!({"id": "e", "method": "fail", "params": 5000})).await;
    let answer = wire.line().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("e"), &json!(77)));
    assert!(answer["error"]["message"].as_str().unwrap().contains("too large"));
    assert_eq!(peer.close_reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_answers_is_sent_in_as_many_frames_as_it_takes() {
    let (peer, mut wire) = limited(Framing::Lines);
    let request = |id: usize, bytes: usize| json!({"id": id, "method": "large", "params": bytes});
    let mut batch: Vec<_> = (0..20).map(|id| request(id, 200)).collect();
    // Alone it would just fit; in brackets it does not.
    batch.push(request(20, MAX - 38));
    batch.push(request(21, MAX));
    // Refused by the reader itself.
    batch.extend((0..20).map(|id| json!({"id": 100 + id, "method": 5})));
    wire.send_json(batch.into()).await;
    let mut answers = Vec::new();
    while answers.len() < 42 {
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut wire.reader, &mut line).await.unwrap();
        assert!(line.trim_end().len() <= MAX, "{}", line.len());
        let Value::Array(part) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        answers.extend(part);
    }
    let errors = answers.iter().filter(|answer| answer.get("error").is_some());
    assert_eq!(errors.count(), 22, "the two large ones, and those that were refused");
    let mut ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq((0..22).chain(100..120)), "{ids:?}");
    assert!(wire.is_silent().await);
    peer.requests_answered().await;
    assert_eq!(peer.stats().bytes_queued, 0, "all is given back");
}

#[test]
fn a_protocol_says_what_its_programs_take() {
    let bound =
        |protocol: Arc<dyn Protocol>| protocol::peer_config(&protocol).unwrap().max_outgoing_frame_bytes;
    assert_eq!(bound(Arc::new(Mcp::default())), Some((10 << 20) - (64 << 10)));
    assert_eq!(bound(Arc::new(Lsp::default())), Some(64 << 20));
    assert_eq!(bound(Arc::new(Plugin::default())), Some(64 << 20));
    assert_eq!(config(|c| c.max_outgoing_frame_bytes = Some(0)).mistakes(), ["max_outgoing_frame_bytes"]);
}

// Without a protocol, no more is sent than another one of this crate reads.
#[tokio::test(start_paused = true)]
async fn two_peers_take_what_they_send() {
    let (peer, _far) = Peer::memory_pair(
        (config(|_| {}), Arc::new(NoHandler)),
        (config(|_| {}), Arc::new(crate::support::router())),
    );
    let text = "x".repeat(65 << 20);
    let error = peer.call_value("echo", &text, CallOptions::default()).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { max_bytes, .. } if max_bytes == 64 << 20), "{error}");
    assert_eq!(peer.close_reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_too_large_says_so() {
    let protocol: Arc<dyn Protocol> = Arc::new(Plugin::default().with_config(json!("x".repeat(2 * MAX))));
    let mut config = protocol::peer_config(&protocol).unwrap();
    config.max_outgoing_frame_bytes = Some(MAX);
    let (peer, _wire) = peer_on_wire(config, Arc::new(NoHandler), 1 << 16);
    let exit =
        protocol.handshake(&peer, &ChildIdentity::new(TreePath::root(), Incarnation(1))).await.unwrap_err();
    assert!(
        matches!(&exit, Exit::HandshakeFailed { reason } if reason.contains("no more than 1000")),
        "{exit}"
    );
}
