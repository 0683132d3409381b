//! C-13: a message with `"id": null` whose method is a notification here is taken as a notification, and not
//! answered.

use std::sync::{Arc, Mutex};

use procession::{
    protocol::{Lsp, Mcp, Plugin, Protocol, Served, Server},
    rpc::{Handler, MethodRouter, Notification, RpcError},
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{Mark, config, peer_on_wire, with_cancel};

struct Told;
impl Notification for Told {
    const NAME: &'static str = "told";
    type Params = Value;
}

/// Takes `mark` itself and leaves `told` to its fallback; `both` is a method and a notification.
fn router() -> (Arc<MethodRouter>, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let heard = heard.clone();
        move || heard.lock().unwrap().push(name.to_owned())
    };
    let (mark, told, both) = (note("mark"), note("told"), note("both"));
    let fallback = MethodRouter::new().notification::<Told>(move |_, _| told());
    let answer = |_, _| async { serde_json::value::to_raw_value("answered").map_err(RpcError::internal) };
    let router = MethodRouter::new()
        .notification::<Mark>(move |_, _| mark())
        .notification_value("both", move |_, _| both())
        .method_value("both", answer)
        .method_value("wait", |cx, _| async move {
            cx.cancelled().await;
            Err(RpcError::new(5, "cancelled"))
        })
        .fallback(Arc::new(fallback));
    (Arc::new(router), heard)
}

#[tokio::test(start_paused = true)]
async fn the_router_knows_which_it_is() {
    let (router, heard) = router();
    assert!(router.is_notification("mark") && router.is_notification("told"));
    assert!(!router.is_notification("both") && !router.is_notification("other"));
    let (peer, mut wire) = peer_on_wire(config(with_cancel), router, 1 << 16);
    wire.send(r#"{"jsonrpc":"2.0","id":null,"method":"mark","params":1}"#).await;
    wire.send(r#"[{"id":null,"method":"mark","params":1},{"method":"told","id":null}]"#).await;
    assert!(wire.is_silent().await, "not answered");
    assert_eq!(*heard.lock().unwrap(), ["mark", "mark", "told"]);
    // What is a method is answered, and what nobody knows is refused.
    wire.send(r#"{"id":null,"method":"both"}"#).await;
    assert_eq!(wire.line().await, json!({"jsonrpc": "2.0", "id": null, "result": "answered"}));
    wire.send(r#"{"id":null,"method":"other"}"#).await;
    assert_eq!(wire.line().await["error"]["code"], -32601);
    // With an id it is a request, whatever the handler takes it for.
    wire.send(r#"{"id":1,"method":"mark","params":1}"#).await;
    assert_eq!(wire.line().await["error"]["code"], -32601);
    assert_eq!(heard.lock().unwrap().len(), 3);
    assert_eq!(peer.stats().invalid_frames, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_one() {
    let (router, _) = router();
    let (_peer, mut wire) = peer_on_wire(config(with_cancel), router, 1 << 16);
    wire.send(r#"{"id":7,"method":"wait"}"#).await;
    wire.send(r#"{"id":null,"method":"$/cancelRequest","params":{"id":7}}"#).await;
    let answer = wire.line().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(5)));
    assert!(wire.is_silent().await);
}

#[test]
fn protocols_know_theirs() {
    for (protocol, told, asked) in [
        (&Mcp::default() as &dyn Protocol, "notifications/progress", "ping"),
        (&Plugin::default(), "log", "shutdown"),
        (&Lsp::default(), "textDocument/publishDiagnostics", "workspace/configuration"),
        (&Lsp::default(), "$/progress", "window/showMessageRequest"),
    ] {
        assert!(protocol.is_notification(told) && !protocol.is_notification(asked), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_language_server_in_rust_is_told_to_exit_in_this_way_too() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(far);
    let server = tokio::spawn(Server::lsp(MethodRouter::new()).serve(reader, writer));
    let (_reader, mut writer) = tokio::io::split(near);
    for body in [
        r#"{"id":1,"method":"initialize","params":{}}"#,
        r#"{"id":2,"method":"shutdown"}"#,
        r#"{"id":null,"method":"exit"}"#,
    ] {
        // In order: a request must have been handled before the next message.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        writer.write_all(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    }
    assert_eq!(server.await.unwrap(), Served::Shutdown);
}
