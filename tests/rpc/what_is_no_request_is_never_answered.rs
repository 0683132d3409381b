//! C-7, C-8: only a message with a method asks for something. Everything else that cannot be used is logged
//! and counted, so programs may log to stdout in JSON, and two sides never answer each other endlessly.

use std::{sync::Arc, time::Duration};

use procession::{
    protocol::Server,
    rpc::{CallOptions, Framing, NoHandler, Peer, Timeout},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::support::{Echo, Wire, config, peer_on_wire, plain, router};

/// Lines that are JSON, mostly, and no messages.
const LOG_LINES: [&str; 17] = [
    r#"{"timestamp":"2025-11-08 00:45:32.612","level":"info","message":"starting up","service":"s"}"#,
    r#"{"level":"error","error":"connection refused"}"#,
    r#"{"level":"error","error":{"name":"Error","code":"ECONNREFUSED"}}"#,
    r#"{"level":"info","id":"req-1","msg":"done"}"#,
    r#"{"level":"info","id":1,"msg":"done"}"#,
    r#"{"level":"info","ratio":NaN,"id":1}"#,
    r#"{"level":"info","level":"info"}"#,
    r#"{"level":"info","mess"#,
    r#"["info","starting up"]"#,
    r#"[{"level":"info"},{"level":"info"}]"#,
    r#"[{"level":"info"},42]"#,
    r#"[{"level":"info"},"#,
    "[]",
    "[1,2,3]",
    "\"ready\"",
    "42",
    "null",
];

// C-8
#[tokio::test(start_paused = true)]
async fn a_json_logger_makes_noise() {
    let (peer, mut wire) = plain();
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Echo>(&String::new()).await }
    });
    assert_eq!(wire.line().await["id"], 1);
    for line in LOG_LINES {
        wire.send(line).await;
    }
    assert!(wire.is_silent().await, "none is answered");
    assert!(!call.is_finished(), "none is an answer");
    let stats = peer.stats();
    // Two of them are batches of two.
    assert_eq!((stats.noise_lines, stats.invalid_frames), (LOG_LINES.len() as u64 + 2, 0), "{stats:?}");
    wire.send_json(json!({"jsonrpc": "2.0", "id": 1, "result": "done"})).await;
    assert_eq!(call.await.unwrap().unwrap(), "done");
}

// C-8
#[tokio::test(start_paused = true)]
async fn json_that_is_no_message_can_be_a_violation() {
    for line in LOG_LINES {
        let (peer, mut wire) = peer_on_wire(
            config(|c| c.noise = procession::rpc::NoisePolicy::Violation),
            Arc::new(NoHandler),
            1 << 16,
        );
        wire.send(line).await;
        let end = peer.closed().await;
        assert!(matches!(&end, procession::rpc::CloseReason::Violation { .. }), "{line}: {end}");
    }
}

// C-7
#[tokio::test(start_paused = true)]
async fn an_error_without_an_id_is_never_answered() {
    let (peer, mut wire) = plain();
    let errors = [
        r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid request"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request"}}"#,
        r#"{"jsonrpc":"2.0","id":"","error":{"code":-32700,"message":"parse error"}}"#,
        r#"[{"error":{"code":1,"message":"in a batch"}}]"#,
    ];
    for error in errors {
        wire.send(error).await;
    }
    wire.send(r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m","data":NaN}}"#).await;
    assert!(wire.is_silent().await);
    assert_eq!((peer.stats().complaints, peer.stats().noise_lines), (4, 1));
}

// C-7
#[tokio::test(start_paused = true)]
async fn what_has_a_method_is_answered_also_when_it_cannot_be_read() {
    let (peer, mut wire) = peer_on_wire(config(|_| {}), Arc::new(router()), 1 << 16);
    for (request, id, code) in [
        (r#"{"id":7,"method":"echo","params":NaN}"#, json!(7), -32700),
        (r#"{"jsonrpc":"2.0","id":"a","method":"echo","params":["#, json!("a"), -32700),
        (r#"{"id":1.50,"method":"echo","params":"a","params":"b"}"#, json!(1.5), -32600),
        (r#"{"method":"echo","params":'x'}"#, Value::Null, -32700),
        (r#"{"id":8,"method":5}"#, json!(8), -32600),
        (r#"[{"id":7,"method":"echo","params":NaN}]"#, Value::Null, -32700),
    ] {
        wire.send(request).await;
        let answer = wire.line().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{request}: {answer}");
    }
    assert_eq!(peer.stats().invalid_frames, 6);
}

/// Answers every error that comes with this line; says how many came within a few seconds.
async fn argue(wire: &mut Wire, line: &str) -> u32 {
    let mut errors = 0;
    wire.send(line).await;
    let arguing = async {
        loop {
            assert!(wire.line().await.get("error").is_some());
            errors += 1;
            wire.send(line).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), arguing).await;
    errors
}

// C-7
#[tokio::test(start_paused = true)]
async fn two_sides_never_answer_each_other_for_ever() {
    for line in LOG_LINES {
        let (_peer, mut wire) = plain();
        assert_eq!(argue(&mut wire, line).await, 0, "{line}");
    }
    for line in [r#"{"method":1}"#, r#"{"method":"a","meth"#, r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#] {
        let (_peer, mut wire) = plain();
        let errors = argue(&mut wire, line).await;
        assert!((1..=400).contains(&errors), "at most 100 in a second: {errors}");
    }
}

// C-7: two of this crate, one of which has said something odd to the other.
#[tokio::test(start_paused = true)]
async fn two_peers_are_silent_after_an_odd_line() {
    for line in LOG_LINES.into_iter().chain([r#"{"error":{"code":1,"message":"?"}}"#, r#"{"method":1}"#]) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let ((near_reader, mut near_writer), (far_reader, far_writer)) =
            (tokio::io::split(near), tokio::io::split(far));
        near_writer.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let a = Peer::spawn(near_reader, near_writer, config(|_| {}), Arc::new(router()));
        let b = Peer::spawn(far_reader, far_writer, config(|_| {}), Arc::new(router()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(a.stats().frames_out + b.stats().frames_out <= 1, "{line}");
        assert_eq!(a.call::<Echo>(&"x".to_owned()).await.unwrap(), "x");
    }
}

// C-7: a worker in Rust is no different.
#[tokio::test(start_paused = true)]
async fn a_server_does_not_answer_it_either() {
    for framing in [Framing::Lines, Framing::ContentLength] {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(far);
        let server = tokio::spawn(Server::new(router()).framing(framing).serve(reader, writer));
        let (reader, mut writer) = tokio::io::split(near);
        for line in LOG_LINES {
            let framed = match framing {
                Framing::ContentLength => format!("Content-Length: {}\r\n\r\n{line}", line.len()),
                _ => format!("{line}\n"),
            };
            writer.write_all(framed.as_bytes()).await.unwrap();
        }
        let mut said = BufReader::new(reader).lines();
        let waited = tokio::time::timeout(Duration::from_secs(5), said.next_line()).await;
        assert!(waited.is_err(), "{waited:?}");
        writer.shutdown().await.unwrap();
        server.await.unwrap();
        let rest = said.next_line().await.unwrap();
        assert_eq!(rest, None);
    }
}

// C-7, C-13: what is refused leaves the rest alone, and calls go on.
#[tokio::test(start_paused = true)]
async fn past_the_rate_requests_are_answered_still() {
    let (peer, mut wire) = peer_on_wire(config(|_| {}), Arc::new(router()), 1 << 16);
    for _ in 0..500 {
        wire.send(r#"{"method":1}"#).await;
    }
    wire.send(r#"{"id":1,"method":"echo","params":"ok"}"#).await;
    let mut errors = 0;
    loop {
        let answer = wire.line().await;
        if answer["result"] == "ok" {
            break;
        }
        errors += 1;
    }
    assert_eq!((errors, peer.stats().invalid_frames), (100, 500));
    let call = peer.call_value("x", &(), CallOptions::timeout(Timeout::After(Duration::from_secs(1))));
    let (call, ()) = tokio::join!(call, async {
        let id = wire.line().await["id"].clone();
        wire.send_json(json!({"id": id, "result": 1})).await;
    });
    assert_eq!(call.unwrap().get(), "1");
}
