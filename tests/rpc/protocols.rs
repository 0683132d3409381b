//! The shipped protocols do handshake, stop, cancel, ping and log as documented (W-1, W-7, G-2, G-4), and
//! bound what they keep (C-15).

use std::{sync::Arc, time::Duration};

use procession::{
    exit::Exit,
    id::{Incarnation, TreePath},
    protocol::{
        self, ChildIdentity, LogLevel, Lsp, Mcp, McpEra, NoChannel, Plugin, Protocol, Ready, ReadyLine,
        SessionInfo, StdioUse, StopReply,
    },
    rpc::{CloseReason, Framing, Peer, RequestId},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use crate::support::{Wire, peer_on_wire};

fn hello() -> ChildIdentity {
    ChildIdentity::new(TreePath::root().join(&"demo".into()), Incarnation(3)).with_pid(77)
}

fn connect(protocol: impl Protocol) -> (Arc<dyn Protocol>, Peer, Wire) {
    let protocol: Arc<dyn Protocol> = Arc::new(protocol);
    let config = protocol::peer_config(&protocol).unwrap();
    let (peer, wire) = peer_on_wire(config, Arc::new(protocol.routes()), 1 << 16);
    (protocol, peer, wire)
}

fn shake(protocol: &Arc<dyn Protocol>, peer: &Peer) -> JoinHandle<Result<SessionInfo, Exit>> {
    let (protocol, peer) = (protocol.clone(), peer.clone());
    tokio::spawn(async move { protocol.handshake(&peer, &hello()).await })
}

fn stop(protocol: &Arc<dyn Protocol>, peer: &Peer) -> JoinHandle<StopReply> {
    let (protocol, peer) = (protocol.clone(), peer.clone());
    tokio::spawn(async move { protocol.shutdown(&peer).await })
}

async fn answer(wire: &mut Wire, result: Value) -> Value {
    let request = wire.line().await;
    wire.send_json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
    request
}

// W-7
#[test]
fn children_without_a_channel_are_ready_when_launched_or_when_they_say_so() {
    assert_eq!(NoChannel::default().stdio_use(), StdioUse::Output(Ready::Launched));
    let StdioUse::Output(ready) = ReadyLine::new("listening on").stdio_use() else { panic!("no output") };
    assert!(ready.is_met_by("  listening on 127.0.0.1:80"));
    assert!(!ready.is_met_by("now listening"));
    let bare: Arc<dyn Protocol> = Arc::new(NoChannel::default());
    assert!(protocol::peer_config(&bare).is_none());
}

// G-2
#[tokio::test(start_paused = true)]
async fn a_plugin_says_what_it_supports() {
    let plugin = Plugin::new(json!({"id": "demo"}), "2").with_config(json!({"secret": "s3cret"}));
    assert!(!format!("{plugin:?}").contains("s3cret"));
    let (plugin, peer, mut wire) = connect(plugin);
    let session = shake(&plugin, &peer);
    let request = answer(&mut wire, json!({"ok": true, "supportedMethods": ["a", "ping"], "more": 1})).await;
    assert_eq!(request["method"], "initialize");
    let params = &request["params"];
    assert_eq!((&params["manifest"]["id"], &params["config"]["secret"]), (&json!("demo"), &json!("s3cret")));
    assert_eq!(params["apiVersion"], "2");
    let info = &params["instanceInfo"];
    assert_eq!((&info["path"], &info["incarnation"], &info["pid"]), (&json!("/demo"), &json!(3), &json!(77)));
    let session = session.await.unwrap().unwrap();
    assert!(session.info.is_some());
    let methods = session.methods.unwrap();
    assert_eq!(methods.iter().collect::<Vec<_>>(), ["a", "ping"]);

    // A ping is sent because it was announced; an error is a sign of life.
    peer.set_announced_methods(methods);
    let ping = tokio::spawn({
        let (plugin, peer) = (plugin.clone(), peer.clone());
        async move { plugin.ping(&peer).await }
    });
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"id": id, "error": {"code": -1, "message": "busy"}})).await;
    assert!(ping.await.unwrap().unwrap().is_ok());
}

// G-2
#[tokio::test(start_paused = true)]
async fn a_plugin_that_refuses_fails_the_handshake_with_its_reason() {
    for (reply, expected) in [
        (json!({"ok": false, "reason": "no licence"}), "no licence"),
        (json!({"ok": false, "error": {"a": 1}}), r#"{"a":1}"#),
        (json!({"ok": false}), "`ok: false`"),
        (json!({"supportedMethods": []}), "missing field `ok`"),
        (json!(5), "unexpected answer"),
    ] {
        let (plugin, peer, mut wire) = connect(Plugin::default());
        let session = shake(&plugin, &peer);
        answer(&mut wire, reply).await;
        let exit = session.await.unwrap().unwrap_err();
        assert!(matches!(&exit, Exit::HandshakeFailed { reason } if reason.contains(expected)), "{exit}");
    }
    let (plugin, peer, mut wire) = connect(Plugin::default());
    let session = shake(&plugin, &peer);
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"id": id, "error": {"code": -32002, "message": "broken"}})).await;
    let exit = session.await.unwrap().unwrap_err();
    assert!(matches!(&exit, Exit::HandshakeFailed { reason } if reason.contains("broken")), "{exit}");
}

// W-1: a handshake ends with the channel, not with its own timeout.
#[tokio::test(start_paused = true)]
async fn a_handshake_ends_with_the_channel() {
    for protocol in
        [Arc::new(Plugin::default()) as Arc<dyn Protocol>, Arc::new(Mcp::default()), Arc::new(Lsp::default())]
    {
        let config = protocol::peer_config(&protocol).unwrap();
        let (peer, wire) = peer_on_wire(config, Arc::new(protocol.routes()), 1 << 16);
        let begin = tokio::time::Instant::now();
        let session = shake(&protocol, &peer);
        tokio::task::yield_now().await;
        drop(wire);
        let exit = session.await.unwrap().unwrap_err();
        assert!(matches!(exit, Exit::ChannelLost { .. }), "{exit}");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        peer.close(CloseReason::Requested);
    }
}

// P-9
#[tokio::test(start_paused = true)]
async fn a_plugin_is_asked_to_shut_down() {
    let (plugin, peer, mut wire) = connect(Plugin::default());
    // Also when it has not announced it.
    peer.set_announced_methods(["a"]);
    let goodbye = stop(&plugin, &peer);
    assert_eq!(answer(&mut wire, Value::Null).await["method"], "shutdown");
    assert_eq!(goodbye.await.unwrap(), StopReply::Acknowledged);
    let goodbye = stop(&plugin, &peer);
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"id": id, "error": {"code": -32601, "message": "?"}})).await;
    assert_eq!(goodbye.await.unwrap(), StopReply::CloseStdin);
    assert!(plugin.ping(&peer).await.is_none());
}

// W-7
#[tokio::test(start_paused = true)]
async fn an_mcp_server_is_initialized() {
    let (mcp, peer, mut wire) = connect(Mcp::default().with_era(McpEra::Initialize));
    let session = shake(&mcp, &peer);
    let request = wire.line().await;
    assert_eq!(request["method"], "initialize");
    assert_eq!(request["params"]["clientInfo"]["name"], "procession");
    // The server may ask while it is being asked.
    wire.send_json(json!({"jsonrpc": "2.0", "id": "s", "method": "ping"})).await;
    assert_eq!(wire.line().await, json!({"jsonrpc": "2.0", "id": "s", "result": {}}));
    wire.send_json(json!({"jsonrpc": "2.0", "id": request["id"], "result": {
        "protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}}))
        .await;
    assert_eq!(wire.line().await, json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let session = session.await.unwrap().unwrap();
    assert!(session.methods.is_none() && session.info.unwrap().get().contains("tools"));
    assert_eq!(mcp.shutdown(&peer).await, StopReply::CloseStdin);
    peer.close_writer().await;
    let mut end = Vec::new();
    wire.reader.read_to_end(&mut end).await.unwrap();
    assert!(end.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_mcp_server_of_an_unknown_revision_is_refused() {
    let (mcp, peer, mut wire) = connect(Mcp::default().with_era(McpEra::Initialize));
    let session = shake(&mcp, &peer);
    answer(&mut wire, json!({"protocolVersion": "1999-01-01", "capabilities": {}})).await;
    let exit = session.await.unwrap().unwrap_err();
    assert!(matches!(&exit, Exit::HandshakeFailed { reason } if reason.contains("1999-01-01")), "{exit}");
}

// W-7
#[tokio::test(start_paused = true)]
async fn a_language_server_is_initialized_and_stopped() {
    async fn read(wire: &mut Wire) -> Value {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(wire.reader.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length: usize = head.trim().strip_prefix("Content-Length: ").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        wire.reader.read_exact(&mut body).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }
    async fn reply(wire: &mut Wire, value: Value) {
        let body = value.to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        wire.writer.write_all(frame.as_bytes()).await.unwrap();
    }
    let (lsp, peer, mut wire) = connect(Lsp::new(json!({"rootUri": "file:///x"})));
    let session = shake(&lsp, &peer);
    let request = read(&mut wire).await;
    assert_eq!(
        (&request["method"], &request["params"]["rootUri"]),
        (&json!("initialize"), &json!("file:///x"))
    );
    assert_eq!(request["params"]["processId"], std::process::id());
    reply(&mut wire, json!({"jsonrpc": "2.0", "id": request["id"], "result": {"capabilities": {}}})).await;
    session.await.unwrap().unwrap();
    assert_eq!(read(&mut wire).await["method"], "initialized");
    let goodbye = stop(&lsp, &peer);
    let request = read(&mut wire).await;
    assert_eq!((&request["method"], request.get("params")), (&json!("shutdown"), None));
    reply(&mut wire, json!({"jsonrpc": "2.0", "id": request["id"], "result": null})).await;
    assert_eq!(read(&mut wire).await["method"], "exit");
    assert_eq!(goodbye.await.unwrap(), StopReply::Acknowledged);
    assert!(matches!(Lsp::default().stdio_use(), StdioUse::Rpc(Framing::ContentLength)));
}

// C-3
#[test]
fn cancellations_are_written_and_read() {
    let protocols: [(Arc<dyn Protocol>, &str, &str); 3] = [
        (Arc::new(Plugin::default()), "$/cancelRequest", "id"),
        (Arc::new(Lsp::default()), "$/cancelRequest", "id"),
        (Arc::new(Mcp::default()), "notifications/cancelled", "requestId"),
    ];
    for (protocol, method, field) in protocols {
        for id in [RequestId::Number(4), RequestId::from("4")] {
            let (name, params) = protocol.cancel(&id).unwrap();
            assert_eq!(name, method);
            let value: Value = serde_json::from_str(params.get()).unwrap();
            assert_eq!(value[field], serde_json::to_value(&id).unwrap());
            assert_eq!(protocol.incoming_cancel(method, Some(&params)), Some(id));
        }
        assert_eq!(protocol.incoming_cancel("other", None), None);
        assert_eq!(protocol.incoming_cancel(method, None), None);
    }
}

// G-4
#[test]
fn log_notifications_are_recognised() {
    type Case = (Arc<dyn Protocol>, &'static str, Value, LogLevel, &'static str);
    let cases: [Case; 5] = [
        (
            Arc::new(Plugin::default()),
            "log",
            json!({"level": "warning", "message": "m", "meta": {"a": 1}}),
            LogLevel::Warn,
            "m",
        ),
        (Arc::new(Plugin::default()), "log", json!({"message": "m"}), LogLevel::Info, "m"),
        (
            Arc::new(Mcp::default()),
            "notifications/message",
            json!({"level": "critical", "data": "d"}),
            LogLevel::Error,
            "d",
        ),
        (
            Arc::new(Mcp::default()),
            "notifications/message",
            json!({"level": "debug", "logger": "l", "data": {"a": 1}}),
            LogLevel::Debug,
            r#"{"a":1}"#,
        ),
        (
            Arc::new(Lsp::default()),
            "window/logMessage",
            json!({"type": 1, "message": "e"}),
            LogLevel::Error,
            "e",
        ),
    ];
    for (protocol, method, params, level, message) in cases {
        let params = to_raw_value(&params).unwrap();
        let entry = protocol.log(method, Some(&params)).unwrap();
        assert_eq!((entry.level, entry.message.as_str()), (level, message));
        assert!(protocol.log("other", Some(&params)).is_none());
        assert!(protocol.log(method, None).is_none());
    }
}

// C-15: at most 4,096 methods, with 256 KiB of names.
#[tokio::test(start_paused = true)]
async fn a_plugin_announces_so_many_methods_and_no_more() {
    let numbered = |n: usize| -> Vec<String> { (0..n).map(|n| format!("m{n}")).collect() };
    // With its quotes, each of these names has 1,024 bytes.
    let long = |n: usize| -> Vec<String> { (0..n).map(|n| format!("{n:01022}")).collect() };
    for (methods, is_refused) in
        [(numbered(4096), false), (numbered(4097), true), (long(256), false), (long(257), true)]
    {
        let (plugin, peer, mut wire) = connect(Plugin::default());
        let session = shake(&plugin, &peer);
        answer(&mut wire, json!({"ok": true, "supportedMethods": methods})).await;
        match session.await.unwrap() {
            Ok(session) => assert_eq!((session.methods.unwrap().len(), is_refused), (methods.len(), false)),
            Err(exit) => {
                assert!(is_refused, "{exit}");
                let told = "more than 4096 methods, or more than 256 KiB of their names";
                assert!(matches!(&exit, Exit::HandshakeFailed { reason } if reason.contains(told)), "{exit}");
            }
        }
    }
}

// C-15: a log message keeps 16 KiB, and the reason of a handshake that fails 2 KiB.
#[tokio::test(start_paused = true)]
async fn a_log_message_is_cut() {
    const KIB: usize = 1024;
    let long = "x".repeat(64 * KIB);
    let cases: [(Box<dyn Protocol>, &str, Value); 3] = [
        (Box::new(Plugin::default()), "log", json!({"message": long})),
        (Box::new(Mcp::default()), "notifications/message", json!({"level": "info", "data": long})),
        (Box::new(Lsp::default()), "window/logMessage", json!({"type": 3, "message": long})),
    ];
    for (protocol, method, params) in cases {
        let entry = protocol.log(method, Some(&to_raw_value(&params).unwrap())).unwrap();
        let kept = entry.message.len();
        // Behind the text it says how much is missing.
        assert!((16 * KIB..16 * KIB + 64).contains(&kept), "{}: {kept}", protocol.name());
    }
    let (plugin, peer, mut wire) = connect(Plugin::default());
    let session = shake(&plugin, &peer);
    answer(&mut wire, json!({"ok": false, "reason": long})).await;
    let Err(Exit::HandshakeFailed { reason }) = session.await.unwrap() else { panic!("it is ready") };
    assert!((2 * KIB..2 * KIB + 64).contains(&reason.len()), "{}", reason.len());
}
