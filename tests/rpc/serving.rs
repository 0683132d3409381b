//! A worker written in Rust serves the other side of the plugin protocol (G-2, P-9).

use std::{
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use procession::{
    exit::Exit,
    id::{Incarnation, TreePath},
    protocol::{self, ChildIdentity, Plugin, Protocol, Served, Server, StopReply},
    rpc::{CloseReason, MethodRouter, NoHandler, Peer, Timeout},
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::support::{Echo, Sleep, config, peer_on_wire, router};

fn host(
    reader: impl tokio::io::AsyncRead + Send + Unpin + 'static,
    writer: impl tokio::io::AsyncWrite + Send + Unpin + 'static,
) -> (Arc<dyn Protocol>, Peer) {
    let plugin: Arc<dyn Protocol> =
        Arc::new(Plugin::new(json!({"id": "demo"}), "1").with_config(json!({"n": 5})));
    let peer = Peer::spawn(reader, writer, protocol::peer_config(&plugin).unwrap(), Arc::new(NoHandler));
    (plugin, peer)
}

fn hello() -> ChildIdentity {
    ChildIdentity::new(TreePath::root(), Incarnation(1))
}

fn serve(server: Server) -> (Arc<dyn Protocol>, Peer, JoinHandle<Served>) {
    let (near, far) = tokio::io::duplex(4096);
    let (fr, fw) = tokio::io::split(far);
    let serving = tokio::spawn(server.serve(fr, fw));
    let (nr, nw) = tokio::io::split(near);
    let (plugin, peer) = host(nr, nw);
    (plugin, peer, serving)
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_drains_and_ends() {
    let (plugin, peer, serving) = serve(Server::new(router()).announce("configChanged"));
    let session = plugin.handshake(&peer, &hello()).await.unwrap();
    assert_eq!(
        session.methods.iter().flatten().collect::<Vec<_>>(),
        ["configChanged", "echo", "ping", "sleep"]
    );
    peer.set_announced_methods(session.methods.unwrap());
    assert!(plugin.ping(&peer).await.unwrap().is_ok());
    assert_eq!(peer.call::<Echo>(&"x".into()).await.unwrap(), "x");
    // What is open when the shutdown comes is still answered; what comes after is not begun.
    let open = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Sleep>(&5000).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(plugin.shutdown(&peer).await, StopReply::Acknowledged);
    let refused = peer.call::<Echo>(&"y".into()).await.unwrap_err();
    assert_eq!(refused.remote().unwrap().code, protocol::plugin_error_codes::UNAVAILABLE);
    assert_eq!(open.await.unwrap().unwrap(), 5000);
    assert_eq!(serving.await.unwrap(), Served::Shutdown);
    assert_eq!(peer.closed().await, CloseReason::Eof);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_stdin_ends_the_worker() {
    let (_plugin, peer, serving) = serve(Server::new(router()));
    drop(peer);
    assert_eq!(serving.await.unwrap(), Served::Disconnected(CloseReason::Eof));
}

#[tokio::test(start_paused = true)]
async fn a_worker_can_refuse_its_configuration() {
    let (plugin, peer, _serving) = serve(Server::new(router()).on_initialize(|init, cx| async move {
        assert!(cx.peer().is_some());
        assert_eq!(init.manifest["id"], "demo");
        match init.config["n"].as_u64() {
            Some(n) if n < 5 => Ok(()),
            n => Err(format!("{n:?} is too much")),
        }
    }));
    let exit = plugin.handshake(&peer, &hello()).await.unwrap_err();
    assert_eq!(exit, Exit::HandshakeFailed { reason: "Some(5) is too much".into() });
}

const WORKER: &str = "PROCESSION_TEST_WORKER";

/// Not a test: the worker that the tests below start as a process of its own. What the test harness prints
/// around it is noise on the channel, which is as it should be.
#[test]
fn worker_process() {
    if std::env::var_os(WORKER).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(Server::new(router()).serve_stdio()).unwrap();
    std::process::exit(match served {
        Served::Shutdown => 3,
        _ => 4,
    });
}

fn worker(stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serving::worker_process", "--nocapture"])
        .env(WORKER, "1")
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .unwrap()
}

async fn use_it(plugin: Arc<dyn Protocol>, peer: Peer) {
    let session = plugin.handshake(&peer, &hello()).await.unwrap();
    peer.set_announced_methods(session.methods.unwrap());
    let big = "b".repeat(1 << 20);
    let calls = (0..4).map(|_| {
        let (peer, big) = (peer.clone(), big.clone());
        tokio::spawn(async move { assert!(peer.call::<Echo>(&big).await.unwrap() == big) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert!(peer.stats().noise_lines > 0);
    assert_eq!(plugin.shutdown(&peer).await, StopReply::Acknowledged);
    assert_eq!(peer.closed().await, CloseReason::Eof);
}

#[tokio::test]
async fn a_real_worker_over_pipes() {
    let mut child = worker(Stdio::piped(), Stdio::piped());
    let stdin = OwnedFd::from(child.stdin.take().unwrap());
    let stdout = OwnedFd::from(child.stdout.take().unwrap());
    let writer = tokio::net::unix::pipe::Sender::from_owned_fd(stdin).unwrap();
    let reader = tokio::net::unix::pipe::Receiver::from_owned_fd(stdout).unwrap();
    let (plugin, peer) = host(reader, writer);
    use_it(plugin, peer).await;
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn a_real_worker_over_sockets_ends_with_its_host() {
    let sockets = || std::os::unix::net::UnixStream::pair().unwrap();
    let ((near_in, far_in), (near_out, far_out)) = (sockets(), sockets());
    let mut child = worker(OwnedFd::from(far_in), OwnedFd::from(far_out));
    let tokio_stream = |stream: std::os::unix::net::UnixStream| {
        stream.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(stream).unwrap()
    };
    let (plugin, peer) = host(tokio_stream(near_out), tokio_stream(near_in));
    plugin.handshake(&peer, &hello()).await.unwrap();
    let pong = peer.call_value("ping", &(), Timeout::Default).await.unwrap();
    assert_eq!(pong.get(), "{}");
    peer.close(CloseReason::Requested);
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
}

#[tokio::test]
async fn a_real_worker_over_files() {
    let dir = std::env::temp_dir().join(format!("procession-serving-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (input, output) = (dir.join("in"), dir.join("out"));
    std::fs::write(
        &input,
        "{\"id\":1,\"method\":\"initialize\"}\n{\"id\":2,\"method\":\"echo\",\"params\":\"hi\"}\n",
    )
    .unwrap();
    let mut child = worker(std::fs::File::open(&input).unwrap(), std::fs::File::create(&output).unwrap());
    tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    let text = std::fs::read_to_string(&output).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let answers: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // Its input was over at once, and all is answered.
    assert!(answers.iter().any(|a| a["id"] == 1 && a["result"]["ok"] == true), "{text}");
    assert!(answers.iter().any(|a| a["id"] == 2 && a["result"] == "hi"), "{text}");
}

// C-6, W-4: a worker whose handlers are all busy, with more requests waiting, still shows that it lives.
#[tokio::test(start_paused = true)]
async fn a_ping_waits_behind_no_handler() {
    let two_at_once = config(|c| c.max_handlers = 2);
    let (plugin, peer, _serving) = serve(Server::new(router()).config(two_at_once));
    let session = plugin.handshake(&peer, &hello()).await.unwrap();
    peer.set_announced_methods(session.methods.unwrap());
    let begin = Instant::now();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.call::<Sleep>(&1000).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(plugin.ping(&peer).await.unwrap().is_ok());
    assert_eq!(begin.elapsed(), Duration::from_millis(1));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

// C-6: the same for what a host's router answers at once, alone and in a batch. A later route replaces it,
// and one that is too large is an error.
#[tokio::test(start_paused = true)]
async fn what_takes_no_work_is_answered_at_once() {
    let raw = |value: Value| serde_json::value::to_raw_value(&value).unwrap();
    let routes = router()
        .method_immediate("version", raw(json!(7)))
        .method_immediate("replaced", raw(json!(1)))
        .method_value("replaced", move |_, _| {
            let two = raw(json!(2));
            async move { Ok(two) }
        })
        .method_immediate("huge", raw(json!("x".repeat(2000))));
    let bounded = config(|c| {
        c.max_handlers = 1;
        c.max_outgoing_frame_bytes = Some(1000);
    });
    let (_peer, mut wire) =
        peer_on_wire(bounded, Arc::new(MethodRouter::new().fallback(Arc::new(routes))), 1 << 16);
    wire.send_json(json!({"id": 1, "method": "sleep", "params": 1000})).await;
    wire.send_json(json!({"id": 2, "method": "version"})).await;
    assert_eq!(wire.line().await, json!({"jsonrpc": "2.0", "id": 2, "result": 7}));
    wire.send_json(json!([{"id": 3, "method": "version"}, {"id": 4, "method": "version"}])).await;
    assert_eq!(wire.line().await.as_array().unwrap().len(), 2);
    wire.send_json(json!({"id": 5, "method": "huge"})).await;
    assert_eq!(wire.line().await["error"]["code"], -32603);
    wire.send_json(json!({"id": 6, "method": "replaced"})).await;
    assert_eq!(wire.line().await["id"], 1);
    assert_eq!(wire.line().await["result"], 2);
}
