//! Both sides of the Language Server Protocol work: the default answers of a host, and a server in Rust
//! (W-7).

use std::{sync::Arc, time::Duration};

use procession::{
    id::{Incarnation, TreePath},
    protocol::{self, ChildIdentity, Lsp, Plugin, Protocol, Served, Server, StdioUse, StopReply},
    rpc::{
        CallError, CallOptions, CloseReason, Framing, Handler, MethodRouter, NoHandler, Peer, PeerConfig,
        RpcError, Timeout,
    },
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::{io::duplex, io::split, sync::mpsc, task::JoinHandle};

use crate::support::{Counter, Echo, Sleep, router};

fn hello() -> ChildIdentity {
    ChildIdentity::new(TreePath::root(), Incarnation(1))
}

async fn ask(peer: &Peer, method: &str, params: Value) -> Value {
    let answer = peer.call_value(method, &params, Timeout::Default).await;
    serde_json::from_str(answer.unwrap_or_else(|e| panic!("{e}")).get()).unwrap()
}

async fn code(peer: &Peer, method: &str) -> Option<i64> {
    match peer.call_value(method, &(), Timeout::Default).await {
        Err(CallError::Remote { error, .. }) => Some(error.code),
        _ => None,
    }
}

/// A server's end of a channel whose other end answers as a host with this protocol does by default.
fn server_of(host: &dyn Protocol) -> (Peer, Peer) {
    let config = || {
        let mut config = PeerConfig::default();
        config.framing = Framing::ContentLength;
        config
    };
    Peer::memory_pair((config(), Arc::new(host.routes())), (config(), Arc::new(NoHandler)))
}

// W-7
#[tokio::test(start_paused = true)]
async fn a_server_that_asks_its_host_gets_an_answer() {
    let folders = json!([{"uri": "file:///x", "name": "x"}]);
    let lsp = Lsp::new(json!({ "workspaceFolders": folders }))
        .with_settings(json!({"a": {"b": 5, "c": [1]}, "d": true}));
    let (_host, server) = server_of(&lsp);
    let items = json!({"items": [
        {"section": "a.b"}, {"scopeUri": "file:///x/y", "section": "a"}, {"section": "a.x.y"}, {"section": "d.e"}, {}
    ]});
    let expected = json!([5, {"b": 5, "c": [1]}, null, null, {"a": {"b": 5, "c": [1]}, "d": true}]);
    assert_eq!(ask(&server, "workspace/configuration", items).await, expected);
    assert_eq!(ask(&server, "workspace/workspaceFolders", Value::Null).await, folders);
    for accepted in [
        "client/registerCapability",
        "client/unregisterCapability",
        "window/workDoneProgress/create",
        "window/showMessageRequest",
        "workspace/diagnostic/refresh",
        "workspace/semanticTokens/refresh",
    ] {
        assert_eq!(ask(&server, accepted, json!({"registrations": []})).await, Value::Null, "{accepted}");
    }
    assert_eq!(ask(&server, "workspace/applyEdit", json!({"edit": {}})).await["applied"], false);
    assert_eq!(ask(&server, "window/showDocument", json!({"uri": "x:"})).await["success"], false);
    assert_eq!(code(&server, "workspace/configuration").await, Some(-32602));
    assert_eq!(code(&server, "workspace/unheardOf").await, Some(-32601));

    // Without settings there is still one answer for each item.
    let (_host, server) = server_of(&Lsp::default());
    let items = json!({"items": [{"section": "a.b"}, {}]});
    assert_eq!(ask(&server, "workspace/configuration", items).await, json!([null, null]));
    assert_eq!(ask(&server, "workspace/workspaceFolders", json!({})).await, Value::Null);
}

// C-8, W-7
#[test]
fn what_a_server_says_is_logged() {
    let lsp = Lsp::default();
    let entry = |method, params: Value| lsp.log(method, Some(&to_raw_value(&params).unwrap()));
    let shown = entry("window/showMessage", json!({"type": 2, "message": "w"})).unwrap();
    assert_eq!((shown.level, shown.message.as_str()), (protocol::LogLevel::Warn, "w"));
    let trace = entry("$/logTrace", json!({"message": "t", "verbose": "v"})).unwrap();
    assert_eq!((trace.level, trace.message.as_str()), (protocol::LogLevel::Trace, "t"));
    assert!(entry("textDocument/publishDiagnostics", json!({"message": "d"})).is_none());
}

/// A server in Rust and its host.
fn serve(server: Server, protocol: impl Protocol) -> (Arc<dyn Protocol>, Peer, JoinHandle<Served>) {
    let (near, far) = duplex(4096);
    let (reader, writer) = split(far);
    let serving = tokio::spawn(server.serve(reader, writer));
    let protocol: Arc<dyn Protocol> = Arc::new(protocol);
    let (reader, writer) = split(near);
    let config = protocol::peer_config(&protocol).unwrap();
    let peer = Peer::spawn(reader, writer, config, Arc::new(protocol.routes()));
    (protocol, peer, serving)
}

fn language_server(opened: mpsc::UnboundedSender<String>) -> MethodRouter {
    let seen = move |name: &'static str, opened: &mpsc::UnboundedSender<String>| {
        let _ = opened.send(name.to_owned());
    };
    let (initialized, configured, early) = (opened.clone(), opened.clone(), opened);
    router()
        .method_value("initialize", |_, params| async move {
            let params: Value = serde_json::from_str(params.unwrap().get()).unwrap();
            to_raw_value(&json!({"capabilities": {"root": params["rootUri"]}})).map_err(RpcError::internal)
        })
        .notification_value("initialized", move |_, _| seen("initialized", &initialized))
        .notification_value("workspace/didChangeConfiguration", move |_, params| {
            let _ = configured.send(params.unwrap().get().to_owned());
        })
        .notification_value("early", move |_, _| seen("early", &early))
}

// W-7
#[tokio::test(start_paused = true)]
async fn a_language_server_in_rust_lives_by_the_order_of_a_session() {
    let (seen, mut log) = mpsc::unbounded_channel();
    let lsp = Lsp::new(json!({"rootUri": "file:///r"})).with_settings(json!({"a": 1}));
    let (lsp, peer, serving) = serve(Server::lsp(language_server(seen)), lsp);

    assert_eq!(code(&peer, "echo").await, Some(-32002));
    assert_eq!(code(&peer, "shutdown").await, Some(-32002));
    peer.notify_value("early", &()).await.unwrap();

    let session = lsp.handshake(&peer, &hello()).await.unwrap();
    assert_eq!(session.info.unwrap().get(), r#"{"capabilities":{"root":"file:///r"}}"#);
    assert_eq!(log.recv().await.unwrap(), "initialized", "nothing came before it");
    assert_eq!(log.recv().await.unwrap(), r#"{"settings":{"a":1}}"#);
    assert_eq!(code(&peer, "initialize").await, Some(-32600));
    assert_eq!(peer.call::<Echo>(&"x".into()).await.unwrap(), "x");

    // What is open at the end is still answered; what comes after the shutdown is not begun.
    let open = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Sleep>(&5000).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(peer.call_value("shutdown", &(), Timeout::Default).await.is_ok());
    assert_eq!(code(&peer, "echo").await, Some(-32600));
    peer.notify_value("exit", &()).await.unwrap();
    assert_eq!(open.await.unwrap().unwrap(), 5000);
    assert_eq!(serving.await.unwrap(), Served::Shutdown);
    assert_eq!(peer.closed().await, CloseReason::Eof);
}

// W-7
#[tokio::test(start_paused = true)]
async fn a_language_server_in_rust_is_stopped_by_the_hosts_protocol() {
    // Without a route for `initialize`, and with its answer to a host that does not wait for it.
    let (lsp, peer, serving) = serve(Server::lsp(router()), Lsp::default());
    let info = lsp.handshake(&peer, &hello()).await.unwrap().info.unwrap();
    assert_eq!(info.get(), r#"{"capabilities":{}}"#);
    assert_eq!(lsp.shutdown(&peer).await, StopReply::Acknowledged);
    assert_eq!(serving.await.unwrap(), Served::Shutdown);

    let (lsp, peer, serving) = serve(Server::lsp(router()), Lsp::default());
    lsp.handshake(&peer, &hello()).await.unwrap();
    let shutdown = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call_value("shutdown", &(), CallOptions::default()).await.map(|r| r.get().to_owned()) }
    });
    tokio::task::yield_now().await;
    peer.notify_value("exit", &()).await.unwrap();
    assert_eq!(shutdown.await.unwrap().unwrap(), "null");
    assert_eq!(serving.await.unwrap(), Served::Shutdown);
}

// W-7
#[tokio::test(start_paused = true)]
async fn a_language_server_that_is_not_asked_to_shut_down_is_aborted() {
    let (lsp, peer, serving) = serve(Server::lsp(router()), Lsp::default());
    lsp.handshake(&peer, &hello()).await.unwrap();
    peer.notify_value("exit", &()).await.unwrap();
    assert_eq!(serving.await.unwrap(), Served::Aborted);

    let (_lsp, peer, serving) = serve(Server::lsp(router()), Lsp::default());
    peer.notify_value("exit", &()).await.unwrap();
    assert_eq!(serving.await.unwrap(), Served::Aborted, "also when it was never initialized");

    let (lsp, peer, serving) = serve(Server::lsp(router()), Lsp::default());
    lsp.handshake(&peer, &hello()).await.unwrap();
    drop(peer);
    assert_eq!(serving.await.unwrap(), Served::Disconnected(CloseReason::Eof));
}

/// Never answers by itself, and counts what it is asked.
struct Deaf(Counter);

#[async_trait::async_trait]
impl Handler for Deaf {
    async fn request(
        &self,
        _: procession::rpc::Context,
        _: &str,
        _: Option<&serde_json::value::RawValue>,
    ) -> Result<Box<serde_json::value::RawValue>, RpcError> {
        self.0.add();
        std::future::pending().await
    }
    fn notification(&self, _: procession::rpc::Context, _: &str, _: Option<&serde_json::value::RawValue>) {}
}

// P-9
#[tokio::test(start_paused = true)]
async fn a_language_server_does_not_wait_for_the_hosts_answers_at_its_exit() {
    let begun = Counter::default();
    let router = MethodRouter::new().method_value("ask", |cx, _| async move {
        let peer = cx.peer().ok_or_else(|| RpcError::internal("no peer"))?;
        let answer = peer.call_value("never", &(), Timeout::Never).await;
        to_raw_value(&answer.is_err()).map_err(RpcError::internal)
    });
    let (near, far) = duplex(4096);
    let (reader, writer) = split(far);
    let serving = tokio::spawn(Server::lsp(router).serve(reader, writer));
    let lsp: Arc<dyn Protocol> = Arc::new(Lsp::default());
    let (reader, writer) = split(near);
    let config = protocol::peer_config(&lsp).unwrap();
    let peer = Peer::spawn(reader, writer, config, Arc::new(Deaf(begun.clone())));
    lsp.handshake(&peer, &hello()).await.unwrap();
    let open = tokio::spawn({
        let peer = peer.clone();
        async move { ask(&peer, "ask", Value::Null).await }
    });
    while begun.get() == 0 {
        tokio::task::yield_now().await;
    }
    let begin = tokio::time::Instant::now();
    assert_eq!(lsp.shutdown(&peer).await, StopReply::Acknowledged);
    assert_eq!(open.await.unwrap(), true, "its own call failed, so it could answer");
    assert_eq!(serving.await.unwrap(), Served::Shutdown);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

// C-1, G-2
#[tokio::test(start_paused = true)]
async fn plugin_workers_may_use_the_other_framing() {
    let server = Server::new(router()).framing(Framing::ContentLength);
    let plugin = Plugin::default().with_framing(Framing::ContentLength);
    assert_eq!(plugin.stdio_use(), StdioUse::Rpc(Framing::ContentLength));
    let (plugin, peer, serving) = serve(server, plugin);
    let session = plugin.handshake(&peer, &hello()).await.unwrap();
    assert_eq!(session.methods.iter().flatten().collect::<Vec<_>>(), ["echo", "ping", "sleep"]);
    assert_eq!(peer.call::<Echo>(&"a\u{2028}b\n".into()).await.unwrap(), "a\u{2028}b\n");
    assert_eq!(plugin.shutdown(&peer).await, StopReply::Acknowledged);
    assert_eq!(serving.await.unwrap(), Served::Shutdown);
    let written = serde_json::to_value(Plugin::default().with_framing(Framing::ContentLength)).unwrap();
    assert_eq!(written["framing"], "content_length");
    let read: Plugin = serde_json::from_value(json!({"manifest": {}})).unwrap();
    assert_eq!(read.framing, Framing::Lines);
}
