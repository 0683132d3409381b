//! Frames, noise, batches and errors are read and answered as JSON-RPC 2.0 §7 says (C-1, C-7, C-8, C-13).

use std::{sync::Arc, time::Duration};

use procession::rpc::{CloseReason, Framing, NoHandler, NoisePolicy, Peer, PeerConfig};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Mark, Wire, config, peer_on_wire, plain, router};

fn answering(change: impl FnOnce(&mut PeerConfig)) -> (Peer, Wire) {
    peer_on_wire(config(change), Arc::new(router()), 1 << 16)
}

// C-7: the examples of the specification, section 7.
#[tokio::test(start_paused = true)]
async fn the_specification_s_errors() {
    let (peer, mut wire) = answering(|_| {});
    let mut ask = async |text: &str| {
        wire.send(text).await;
        wire.line().await
    };
    let code = |answer: &Value| (answer["id"].clone(), answer["error"]["code"].as_i64().unwrap_or_default());
    let answer = ask(r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#).await;
    assert_eq!(code(&answer), (Value::Null, -32700));
    let answer = ask(r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#).await;
    assert_eq!(code(&answer), (Value::Null, -32600));
    let answer = ask(r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#).await;
    assert_eq!(code(&answer), (json!("1"), -32601));
    let answer = ask(
        r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1], "id": "1"}, {"jsonrpc": "2.0", "method"]"#,
    );
    assert_eq!(code(&answer.await), (Value::Null, -32700));
    assert_eq!(code(&ask(r#"{"id": 1, "id": 2, "method": "echo"}"#).await), (Value::Null, -32600));
    assert_eq!(code(&ask(r#"{"id": [], "method": "echo"}"#).await), (Value::Null, -32600));
    assert_eq!(code(&ask(r#"{"jsonrpc": "1.0", "id": 3, "method": "echo"}"#).await), (json!(3), -32600));
    // C-13: the frames around them are untouched.
    assert_eq!(ask(r#"{"id": 1.50, "method": "echo", "params": "a"}"#).await["result"], "a");
    assert_eq!(peer.stats().invalid_frames, 6);
    assert_eq!(peer.close_reason(), None);
}

// C-2: a batch is understood and answered as one.
#[tokio::test(start_paused = true)]
async fn a_batch_is_answered_as_one() {
    let (peer, mut wire) = answering(|_| {});
    wire.send(
        r#"[{"jsonrpc":"2.0","method":"sleep","params":50,"id":"1"},{"jsonrpc":"2.0","method":"mark","params":7},
        {"jsonrpc":"2.0","method":"nope","id":2},{"foo":"boo"},{"jsonrpc":"2.0","method":"echo","params":"x","id":null}]"#
            .replace('\n', "")
            .as_str(),
    )
    .await;
    let answer = wire.line().await;
    let mut ids: Vec<_> = answer.as_array().unwrap().iter().map(|a| a["id"].to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["\"1\"", "2", "null"]);
    // Nothing to answer, nothing sent.
    wire.send(
        r#"[{"jsonrpc":"2.0","method":"mark","params":1},{"jsonrpc":"2.0","method":"mark","params":2}]"#,
    )
    .await;
    assert!(wire.is_silent().await);
    assert_eq!(peer.stats().requests_open, 0);
}

// C-5: a batch is bounded as everything else is.
#[tokio::test(start_paused = true)]
async fn a_batch_without_end_is_refused_as_one() {
    let (peer, mut wire) = answering(|_| {});
    let batch = |messages| format!("[{}]", vec![r#"{"id":1,"method":"nope"}"#; messages].join(","));
    wire.send(&batch(4096)).await;
    assert!(wire.line().await.is_array());
    wire.send(&batch(4097)).await;
    let answer = wire.line().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32600)));
    assert_eq!(peer.close_reason(), None);
}

// C-2: responses may come in a batch as well.
#[tokio::test(start_paused = true)]
async fn responses_in_a_batch_are_delivered() {
    let (peer, mut wire) = plain();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.call::<crate::support::Echo>(&String::new()).await })
        })
        .collect();
    let ids = [wire.line().await["id"].clone(), wire.line().await["id"].clone()];
    wire.send_json(json!([{"id": ids[1], "result": "b"}, {"id": ids[0], "result": "a"}])).await;
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    assert_eq!(answers, ["a", "b"]);
}

// C-8
#[tokio::test(start_paused = true)]
async fn noise_is_counted_and_breaks_nothing() {
    let (peer, mut wire) = answering(|_| {});
    for line in ["starting up", "[INFO] ready", "{not json}", "", "\u{1b}[1mbold\u{1b}[0m", "\r"] {
        wire.send(line).await;
    }
    wire.writer.write_all(b"\xff\xfe broken utf-8\n").await.unwrap();
    wire.send("{\"id\":1,\"method\":\"echo\",\"params\":\"ok\"}\r").await;
    assert_eq!(wire.line().await["result"], "ok");
    assert_eq!(peer.stats().noise_lines, 5);
    for _ in 0..1000 {
        wire.send(&"n".repeat(200)).await;
    }
    assert!(wire.is_silent().await);
    assert_eq!(peer.stats().noise_lines, 1005);
}

// C-8
#[tokio::test(start_paused = true)]
async fn noise_can_be_a_violation() {
    let (peer, mut wire) = answering(|c| c.noise = NoisePolicy::Violation);
    wire.send("").await;
    assert!(wire.is_silent().await);
    assert_eq!(peer.close_reason(), None);
    wire.send("hello").await;
    assert!(matches!(peer.closed().await, CloseReason::Violation { reason } if reason.contains("hello")));
}

/// Writes until the other side does not read any more; returns the bytes it took.
async fn flood(mut wire: Wire, head: &[u8]) -> usize {
    let mut written = 0;
    let chunk = [b'x'; 1024];
    if wire.writer.write_all(head).await.is_err() {
        return 0;
    }
    while let Ok(n) = wire.writer.write(&chunk).await {
        written += n;
        assert!(written < 100 << 20, "nobody stops it");
    }
    written
}

// C-1: an endless line is refused when the bound is reached, not when it ends.
#[tokio::test(start_paused = true)]
async fn an_endless_line_is_refused_with_bounded_memory() {
    let bound = 100_000;
    for head in ["", "{\"id\":1,\"method\":\""] {
        let (peer, wire) = answering(|c| c.max_frame_bytes = bound);
        let taken = flood(wire, head.as_bytes()).await;
        assert!(
            matches!(peer.closed().await, CloseReason::Violation { reason } if reason.contains("larger"))
        );
        // What was read, and what the pipe of 64 KiB took on top.
        assert!(taken <= bound + 2 * (64 << 10), "{taken}");
        assert!(peer.stats().bytes_in as usize <= bound + (64 << 10));
    }
}

// C-1: with headers the size is known before.
#[tokio::test(start_paused = true)]
async fn a_content_length_over_the_bound_is_refused_unread() {
    for (head, expected) in [
        ("Content-Length: 100001\r\n\r\n", "larger than 100000"),
        ("Content-Length: x\r\n", "`x`"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "`6`"),
    ] {
        let (peer, wire) = answering(|c| {
            c.framing = Framing::ContentLength;
            c.max_frame_bytes = 100_000;
        });
        let taken = flood(wire, head.as_bytes()).await;
        let CloseReason::Violation { reason } = peer.closed().await else { panic!("no violation") };
        assert!(reason.contains(expected), "{reason}");
        assert!(taken <= 2 * (64 << 10), "{taken}");
    }
    // Nor is a header line without end.
    let (peer, wire) = answering(|c| c.framing = Framing::ContentLength);
    flood(wire, b"").await;
    assert!(matches!(peer.closed().await, CloseReason::Violation { .. }));
}

// C-13
#[tokio::test(start_paused = true)]
async fn extra_headers_and_noise_between_frames_are_accepted() {
    let (peer, mut wire) = answering(|c| c.framing = Framing::ContentLength);
    let body = r#"{"id":1,"method":"echo","params":"ok"}"#;
    let text = format!(
        "starting the server\n\r\ncontent-length:{}\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{body}\n\nContent-Length: {}\n\n{body}",
        body.len(),
        body.len()
    );
    wire.writer.write_all(text.as_bytes()).await.unwrap();
    for _ in 0..2 {
        let expected = "Content-Length: 38\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"ok\"}";
        let mut answer = vec![0; expected.len()];
        wire.reader.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
    assert_eq!(peer.stats().noise_lines, 1);
}

// C-13: U+2028 and U+2029 are escaped, and a pretty-printed raw value stays one line.
#[tokio::test(start_paused = true)]
async fn line_separators_never_leave_raw() {
    let (peer, mut wire) = plain();
    let text = "a\u{2028}b\u{2029}c “ü” €";
    peer.notify_value("n\u{2028}", text).await.unwrap();
    peer.notify_value(
        "n",
        serde_json::value::RawValue::from_string("{\n \"a\":\r\n1 }".into()).unwrap().as_ref(),
    )
    .await
    .unwrap();
    let mut line = String::new();
    use tokio::io::AsyncBufReadExt;
    wire.reader.read_line(&mut line).await.unwrap();
    assert!(!line.contains(['\u{2028}', '\u{2029}']), "{line:?}");
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((message["method"].as_str(), message["params"].as_str()), (Some("n\u{2028}"), Some(text)));
    assert_eq!(wire.line().await["params"], json!({"a": 1}));
}

// C-13: an error with a null id is a complaint, not an answer, if it may be about something else.
#[tokio::test(start_paused = true)]
async fn a_complaint_fails_nothing() {
    let (peer, mut wire) = plain();
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<crate::support::Echo>(&String::new()).await }
    });
    let id = wire.line().await["id"].clone();
    peer.notify_value("told", &()).await.unwrap();
    wire.line().await;
    wire.send_json(json!({"id": null, "error": {"code": -32700, "message": "?"}})).await;
    assert!(wire.is_silent().await);
    assert!(!call.is_finished());
    wire.send_json(json!({"id": id, "result": "ok"})).await;
    assert_eq!(call.await.unwrap().unwrap(), "ok");
    assert_eq!(peer.stats().complaints, 1);
}

// The last line of a stream needs no newline.
#[tokio::test(start_paused = true)]
async fn a_last_line_without_newline_counts() {
    let (near, mut far_writer) = tokio::io::duplex(4096);
    let peer = Peer::spawn(near, tokio::io::sink(), config(|c| c.hold_pending = true), Arc::new(NoHandler));
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<crate::support::Echo>(&String::new()).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    far_writer.write_all(br#"{"id":1,"result":"last words"}"#).await.unwrap();
    drop(far_writer);
    assert_eq!(call.await.unwrap().unwrap(), "last words");
}

/// Feeds the bytes in pieces of the given sizes and returns what was delivered.
fn deliver(bytes: &[u8], sizes: &[usize], framing: Framing) -> (Vec<u64>, u64) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let handler = procession::rpc::MethodRouter::new().notification::<Mark>({
            let seen = seen.clone();
            move |_, n| seen.lock().unwrap().push(n)
        });
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let peer = Peer::spawn(near, tokio::io::sink(), config(|c| c.framing = framing), Arc::new(handler));
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            far.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
            rest = more;
        }
        drop(far);
        peer.closed().await;
        let seen = seen.lock().unwrap().clone();
        (seen, peer.stats().noise_lines)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // C-1: however a byte stream is cut, the messages are the same.
    #[test]
    fn any_chunking_yields_the_same_messages(
        numbers in proptest::collection::vec(any::<u64>(), 1..20),
        noise in proptest::collection::vec("[ a-z]{0,12}", 20),
        sizes in proptest::collection::vec(1_usize..50, 1..20),
        headers in any::<bool>(),
        carriage_returns in any::<bool>(),
        unfinished in any::<bool>(),
    ) {
        let end = if carriage_returns { "\r\n" } else { "\n" };
        let mut text = String::new();
        for (n, noise) in numbers.iter().zip(&noise) {
            let body = json!({"jsonrpc": "2.0", "method": "mark", "params": n}).to_string();
            text += noise;
            // A header is found behind a line that was not finished (C-8).
            if !(headers && unfinished) {
                text += end;
            }
            if headers {
                text += &format!("Content-Length: {}{end}X-Extra: 1{end}{end}{body}", body.len());
            } else {
                text += &format!("{body}{end}");
            }
        }
        let framing = if headers { Framing::ContentLength } else { Framing::Lines };
        let expected_noise = noise.iter().take(numbers.len()).filter(|n| !n.trim().is_empty() && *n != "null" && *n != "true").count() as u64;
        let (seen, noise_lines) = deliver(text.as_bytes(), &sizes, framing);
        prop_assert_eq!(&seen, &numbers);
        prop_assert_eq!(noise_lines, expected_noise);
    }
}

// C-1, C-13, C-15: ids are kept and sent back, so they are bounded, whatever they are made of and
// whichever side answers.
#[tokio::test(start_paused = true)]
async fn ids_of_requests_are_bounded() {
    let long =
        |n: usize| [format!("\"{}\"", "i".repeat(n)), "9".repeat(n), format!("1.{}", "5".repeat(n - 2))];
    let (peer, mut wire) = answering(|_| {});
    for id in long(1024) {
        wire.send(&format!(r#"{{"id":{id},"method":"echo","params":"x"}}"#)).await;
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut wire.reader, &mut line).await.unwrap();
        assert!(line.contains(&format!("\"id\":{id},\"result\"")), "as it came");
    }
    for id in long(1025) {
        wire.send(&format!(r#"{{"id":{id},"method":"echo","params":"x"}}"#)).await;
        let refused = wire.line().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)));
        wire.send(&format!(r#"[{{"id":{id},"method":"echo","params":"x"}}]"#)).await;
        let refused = wire.line().await;
        assert_eq!((&refused[0]["id"], &refused[0]["error"]["code"]), (&Value::Null, &json!(-32600)));
        // The other way round: an answer to what nobody has asked.
        wire.send(&format!(r#"{{"id":{id},"result":1}}"#)).await;
    }
    assert!(wire.is_silent().await);
    let stats = peer.stats();
    assert_eq!((stats.unknown_replies, stats.invalid_frames, stats.requests_open), (3, 6, 0));
    assert_eq!(peer.close_reason(), None);
}
