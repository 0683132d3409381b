//! C-13, C-4: an answer whose id can be read fails its call at once, whatever is wrong with the rest of it,
//! and the error says what and where. Without that, the call would wait for its whole timeout.

use std::sync::Arc;

use procession::{
    exit::Exit,
    protocol::{self, ChildIdentity, Lsp, Mcp, McpEra, Plugin, Protocol},
    rpc::{CallEffect, CallError, CallOptions, Framing, NoHandler, Peer},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::support::{Echo, Wire, config, peer_on_wire, plain};

/// Answers to call 1 that cannot be read, and what the error says of the mistake.
fn damaged() -> Vec<(Vec<u8>, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let deep = "[".repeat(300_000);
    vec![
        (text(r#"{"jsonrpc":"2.0","id":1,"result":{"v":NaN}}"#), "line 1 column"),
        (text(r#"{"id":1,"result":{"v":NaN},"error":null}"#), "line 1 column 23"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":{"v":Infinity},"took":3}"#), "line 1 column"),
        (
            text(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"bad","data":{"v":NaN}}}"#),
            "line 1 column",
        ),
        (
            text(r#"{"jsonrpc":"2.0","id":1,"error":{"code":"ENOENT","message":"bad"}}"#),
            "not an error object",
        ),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"name\":\"caf\xe9\"}}".to_vec(), "line 1 column"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":1,"\ud800":2}"#), "line 1 column"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":1,"result":1}"#), "duplicate field `result`"),
        (
            text(r#"{"jsonrpc":"2.0","id":1,"result":1,"error":null,"jsonrpc":"2.0"}"#),
            "duplicate field `jsonrpc`",
        ),
        (text(r#"{"jsonrpc":"2.0","id":1,"id":1,"result":1}"#), "duplicate field `id`"),
        (text(r#"{"jsonrpc":"2.0","id":99,"result":1,"id":1}"#), "duplicate field `id`"),
        (text("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}"), "behind a byte order mark"),
        (utf_16("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}"), "behind a byte order mark"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":1} done"#), "trailing characters"),
        (
            text(r#"{"jsonrpc":"2.0","id":1,"result":1}{"jsonrpc":"2.0","id":2,"result":1}"#),
            "trailing characters",
        ),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":1,}"#), "key must be a string"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":{"a":/* none */1}}"#), "line 1 column"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1,2"#), "EOF while parsing"),
        (text(r#"{"jsonrpc":"2.0","id":1,"res"#), "EOF while parsing"),
        (text("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"a\tb\"}"), "control character"),
        (text(r#"[{"jsonrpc":"2.0","id":1,"result":NaN}]"#), "line 1 column"),
        (text(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}}}"#)), "line 1 column"),
        (text(r#"{"jsonrpc":"2.0","result":nan,"id":1}"#), "line 1 column"),
        (text(r#"{"jsonrpc":"2.0","id":1,"result":.5,"x":1}"#), "line 1 column"),
    ]
}

fn calling(peer: &Peer) -> tokio::task::JoinHandle<Result<Value, CallError>> {
    let peer = peer.clone();
    tokio::spawn(async move {
        let result = peer.call_value("m", &(), CallOptions::default()).await;
        result.map(|raw| serde_json::from_str(raw.get()).unwrap())
    })
}

async fn send(wire: &mut Wire, framing: Framing, body: &[u8]) {
    let head = match framing {
        Framing::ContentLength => format!("Content-Length: {}\r\n\r\n", body.len()),
        _ => String::new(),
    };
    let frame = [head.as_bytes(), body, if framing == Framing::Lines { b"\n" } else { b"" }].concat();
    wire.writer.write_all(&frame).await.unwrap();
}

// C-4, C-13
#[tokio::test(start_paused = true)]
async fn a_damaged_answer_fails_its_call_at_once() {
    for framing in [Framing::Lines, Framing::ContentLength] {
        for (answer, mistake) in damaged() {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(120)]).into_owned();
            let (peer, mut wire) =
                peer_on_wire(config(|c| c.framing = framing), Arc::new(NoHandler), 1 << 20);
            let (begin, call) = (Instant::now(), calling(&peer));
            tokio::task::yield_now().await;
            send(&mut wire, framing, &answer).await;
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(begin.elapsed(), std::time::Duration::ZERO, "{shown}");
            assert!(matches!(&error, CallError::InvalidResult { .. }), "{shown}: {error}");
            assert_eq!(error.effect(), CallEffect::Answered);
            let text = error.to_string();
            assert!(text.contains(mistake) && text.contains("cannot be read"), "{shown}: {text}");
            assert!(text.contains("it begins with") || mistake == "not an error object", "{shown}: {text}");
            assert!(text.len() < 1200, "{shown}: {text}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\t'), "{text}");
            assert_eq!(peer.close_reason(), None, "one bad frame fails nothing but itself");
        }
    }
}

// C-4: what only the type of the output tells is told with the same words.
#[tokio::test(start_paused = true)]
async fn a_typed_call_says_the_same() {
    for (result, mistake) in [("NaN", "line 1 column"), ("{\"a\":1e999}", "number out of range")] {
        let (peer, mut wire) = plain();
        let call = tokio::spawn(async move {
            struct Any;
            impl procession::rpc::Method for Any {
                const NAME: &'static str = "any";
                type Params = ();
                type Output = Value;
            }
            peer.call::<Any>(&()).await
        });
        tokio::task::yield_now().await;
        wire.send(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).await;
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(&error, CallError::InvalidResult { reason, .. } if reason.contains(mistake)),
            "{error}"
        );
        assert!(error.to_string().contains("it begins with"), "{error}");
    }
}

// C-13: a text that names two calls answers neither; the calls around them are untouched.
#[tokio::test(start_paused = true)]
async fn it_fails_the_calls_that_it_names_and_no_others() {
    let (peer, mut wire) = plain();
    let calls: Vec<_> = (0..5).map(|_| calling(&peer)).collect();
    for _ in 0..5 {
        wire.line().await;
    }
    wire.send(r#"{"id":1,"result":1,"id":2}"#).await;
    wire.send(r#"{"id":3,"result":1}{"id":4,"result":NaN}"#).await;
    // Of nobody, and of nothing.
    wire.send(r#"{"id":77,"result":NaN}"#).await;
    wire.send(r#"{"id":"05","result":NaN}"#).await;
    wire.send(r#"{"id":5"#).await;
    assert!(wire.is_silent().await, "an answer is never answered");
    let unknown = peer.stats().unknown_replies;
    wire.send(r#"{"id":5,"result":5}"#).await;
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().ok());
    }
    assert_eq!(answers, [None, None, None, None, Some(json!(5))]);
    assert_eq!((unknown, peer.stats().in_flight), (2, 0));
}

// C-13: its own request with the same id is not taken for an answer.
#[tokio::test(start_paused = true)]
async fn a_damaged_request_fails_no_call() {
    let (peer, mut wire) = plain();
    let call = calling(&peer);
    wire.line().await;
    for request in [r#"{"id":1,"method":"m","params":NaN}"#, r#"{"id":1,"params":NaN,"method":"m"}"#] {
        wire.send(request).await;
        assert_eq!(wire.line().await["error"]["code"], -32700);
    }
    wire.send(r#"{"id":1,"result":true}"#).await;
    assert_eq!(call.await.unwrap().unwrap(), json!(true));
}

// C-13: a program that prints its messages for debugging also sends them properly.
#[tokio::test(start_paused = true)]
async fn a_printed_answer_is_noise() {
    let (peer, mut wire) = plain();
    let call = calling(&peer);
    wire.line().await;
    for line in [
        "{'jsonrpc': '2.0', 'id': 1, 'result': None}",
        "{ jsonrpc: '2.0', id: 1, result: {} }",
        r#"DEBUG sending {"jsonrpc":"2.0","id":1,"result":0}"#,
    ] {
        wire.send(line).await;
    }
    wire.send(r#"{"id":1,"result":"sent"}"#).await;
    assert_eq!(call.await.unwrap().unwrap(), "sent");
    assert_eq!(peer.stats().noise_lines, 3);
}

// C-13
#[tokio::test(start_paused = true)]
async fn an_integer_may_be_written_in_any_way() {
    for id in ["1", "1.0", "1e0", "1E+0", "10e-1", "1.000", "\"1\""] {
        let (peer, mut wire) = plain();
        let call = calling(&peer);
        wire.line().await;
        wire.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"yes"}}"#)).await;
        assert_eq!(call.await.unwrap().unwrap(), "yes", "{id}");
        // Back it goes as it came.
        wire.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#)).await;
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut wire.reader, &mut line).await.unwrap();
        assert!(line.contains(&format!(r#""id":{id},"#)), "{line}");
    }
    for id in ["\"01\"", "\"1.0\"", "1.5", "-1", "1e300", "true", "[1]"] {
        let (peer, mut wire) = plain();
        let call = calling(&peer);
        wire.line().await;
        wire.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"no"}}"#)).await;
        assert!(wire.is_silent().await);
        assert!(!call.is_finished(), "{id}");
    }
}

// C-13, C-12: whether the call was carried out nobody knows.
#[tokio::test(start_paused = true)]
async fn an_error_without_an_id_is_the_last_calls_if_it_can_be_no_others() {
    for id in [r#""id":null,"#, r#""id":"","#, ""] {
        let (peer, mut wire) = plain();
        let call = calling(&peer);
        wire.line().await;
        let complaint =
            format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32700,"message":"parse error"}}}}"#);
        wire.send(&complaint).await;
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(&error, CallError::Unattributed { .. }), "{error}");
        assert_eq!((error.effect(), error.is_retryable()), (CallEffect::Unknown, false));
        assert!(error.to_string().contains("parse error") && error.remote().unwrap().code == -32700);
        // Should it be answered all the same, that is late.
        wire.send(r#"{"id":1,"result":1}"#).await;
        assert!(wire.is_silent().await);
        assert_eq!((peer.stats().late_replies, peer.stats().complaints), (1, 1));

        // Two calls are open; or the last thing sent was an answer.
        let calls = [calling(&peer), calling(&peer)];
        for _ in 0..2 {
            wire.line().await;
        }
        wire.send(&complaint).await;
        wire.send(r#"{"id":2,"result":1}"#).await;
        wire.send(r#"{"id":"theirs","method":"m"}"#).await;
        assert_eq!(wire.line().await["id"], "theirs");
        wire.send(&complaint).await;
        assert!(wire.is_silent().await);
        assert!(!calls[1].is_finished());
        wire.send(r#"{"id":3,"result":3}"#).await;
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
    }
}

// W-1: a handshake that cannot be read fails at once and says why.
#[tokio::test(start_paused = true)]
async fn a_handshake_says_so_too() {
    let protocols: [Arc<dyn Protocol>; 3] = [
        Arc::new(Plugin::default()),
        Arc::new(Mcp::default().with_era(McpEra::Initialize)),
        Arc::new(Lsp::default()),
    ];
    let answers: [(&[u8], &str); 4] = [
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"caf\xe9\"}}", "line 1 column"),
        (b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", "behind a byte order mark"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"ok\":True}}", "line 1 column"),
        (b"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32600,\"message\":\"no such thing\"}}", "no such thing"),
    ];
    for protocol in protocols {
        for (answer, expected) in answers {
            let config = protocol::peer_config(&protocol).unwrap();
            let framing = config.framing;
            let (peer, mut wire) = peer_on_wire(config, Arc::new(protocol.routes()), 1 << 16);
            let hello = ChildIdentity::new(procession::id::TreePath::root(), procession::id::Incarnation(1));
            let begin = Instant::now();
            let answering = async {
                tokio::task::yield_now().await;
                send(&mut wire, framing, answer).await;
            };
            let (session, ()) = tokio::join!(protocol.handshake(&peer, &hello), answering);
            assert_eq!(begin.elapsed(), std::time::Duration::ZERO);
            let exit = session.unwrap_err();
            assert!(
                matches!(&exit, Exit::HandshakeFailed { reason } if reason.contains(expected)),
                "{}: {exit}",
                protocol.name()
            );
        }
    }
}

// C-4: a call through a lease of the same peer is not held up by a flood of such answers.
#[tokio::test(start_paused = true)]
async fn a_flood_of_damaged_answers_hides_no_good_one() {
    let (peer, mut wire) = plain();
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Echo>(&"x".to_owned()).await }
    });
    wire.line().await;
    for n in 2..5000 {
        wire.send(&format!(r#"{{"id":{n},"result":NaN,"more":[]}}"#)).await;
    }
    wire.send(r#"{"id":1,"result":"x"}"#).await;
    assert_eq!(call.await.unwrap().unwrap(), "x");
    assert_eq!((peer.stats().unknown_replies, peer.close_reason()), (4998, None));
}
