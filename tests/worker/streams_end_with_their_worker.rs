//! C-10, S-28, P-9: a stream of a worker is use of it: it is not idle meanwhile, and a stop or a swap waits
//! for the stream as for a call. Whatever ends the worker ends its streams, once, with the exit.

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    process::Signal,
    rpc::{CallOptions, StreamEnd, StreamListener, Timeout},
    state::{ChildState, DownReason},
    supervision::SupervisorSpec,
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{WorkerRef, WorkerSpec},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::support::*;

/// Writes the messages that it is called with, and after as many milliseconds as it is called with, an
/// answer. Its answers come as `heard`.
async fn relay(mut me: ScriptedProcess) -> i32 {
    let hello = read(&mut me).await.unwrap();
    let methods = json!({ "ok": true, "supportedMethods": ["write", "heard"] });
    answer(&mut me, &hello["id"], methods).await;
    let mut heard = Vec::new();
    while let Some(message) = read(&mut me).await {
        match message["method"].as_str() {
            Some("write") => {
                for line in message["params"].as_array().unwrap() {
                    let mut line = line.clone();
                    if line["params"]["request"] == "this" {
                        line["params"]["request"] = message["id"].clone();
                    }
                    match line.as_u64() {
                        Some(0) => std::future::pending().await,
                        Some(ms) => sleep(Duration::from_millis(ms)).await,
                        None => me.write_line(&line.to_string()).await.unwrap(),
                    }
                }
                let launch = me.launch();
                answer(&mut me, &message["id"], json!(launch)).await;
            }
            Some("heard") => answer(&mut me, &message["id"], json!(std::mem::take(&mut heard))).await,
            Some("shutdown") => {
                answer(&mut me, &message["id"], json!({})).await;
                return 0;
            }
            _ => heard.push(message),
        }
    }
    0
}

fn open(stream: &str) -> Value {
    let params = json!({ "stream": stream, "channel": "c" });
    json!({ "jsonrpc": "2.0", "id": stream, "method": "streams.open", "params": params })
}

fn open_for_this_call(stream: &str) -> Value {
    let params = json!({ "stream": stream, "channel": "c", "request": "this" });
    json!({ "jsonrpc": "2.0", "id": stream, "method": "streams.open", "params": params })
}

fn emit(stream: &str, item: u64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "streams.emit", "params": { "stream": stream, "item": item } })
}

fn close(stream: &str) -> Value {
    json!({ "jsonrpc": "2.0", "method": "streams.close", "params": { "stream": stream } })
}

fn spec(launcher: &ScriptedLauncher) -> (WorkerSpec, StreamListener) {
    launcher.program("worker", relay);
    let (queue, incoming) = StreamListener::new(16, 16);
    (plugin(launcher).streams(queue), incoming)
}

async fn write(worker: &WorkerRef, lines: Value) -> u64 {
    let launch = worker.call_value("write", &lines, CallOptions::default()).await.unwrap();
    launch.get().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_ends_them_with_its_exit_once() {
    let launcher = ScriptedLauncher::new();
    let (spec, mut incoming) = spec(&launcher);
    let (root, worker) = tree(spec).await.unwrap();
    write(&worker, json!([open("a"), emit("a", 1), open("b"), close("b"), open("a")])).await;
    let (mut a, mut b) = (incoming.accept().await.unwrap(), incoming.accept().await.unwrap());
    assert_eq!((a.path().to_string(), a.incarnation().0), ("/w".to_owned(), 1));
    launcher.kill(worker.pid().unwrap(), Signal::KILL).unwrap();
    assert_eq!(a.recv().await.unwrap().unwrap().get(), "1");
    let Some(Err(StreamEnd::WorkerLost(lost))) = a.recv().await else { panic!("{a:?}") };
    assert!(matches!(lost.exit, Exit::Signalled { .. }), "{lost}");
    assert!(a.recv().await.is_none() && b.recv().await.is_none());
    assert!(matches!(b.end(), Some(StreamEnd::Closed)));
    // The next incarnation may use the same ids.
    worker.wait_ready(10 * SEC).await.unwrap();
    write(&worker, json!([open("a"), emit("a", 2), close("a")])).await;
    let mut again = incoming.accept().await.unwrap();
    assert_eq!(again.incarnation().0, 2);
    assert_eq!(again.recv().await.unwrap().unwrap().get(), "2");
    assert!(again.recv().await.is_none());
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_it_wrote_before_its_end_is_received() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        if me.launch() > 1 {
            return serve(me).await;
        }
        shake_hands(&mut me).await;
        for line in [open("a"), emit("a", 1), emit("a", 2), open("b"), close("b")] {
            me.write_line(&line.to_string()).await.unwrap();
        }
        7
    });
    let (queue, mut incoming) = StreamListener::new(16, 16);
    let spec = plugin(&launcher).streams(queue);
    let (root, _worker) = tree(spec).await.unwrap();
    let (mut a, mut b) = (incoming.accept().await.unwrap(), incoming.accept().await.unwrap());
    assert!(a.recv().await.unwrap().is_ok() && a.recv().await.unwrap().is_ok());
    let Some(Err(StreamEnd::WorkerLost(lost))) = a.recv().await else { panic!("{a:?}") };
    assert_eq!(lost.exit, Exit::Failed { code: 7 });
    assert!(b.recv().await.is_none());
    drop(root.shutdown(60 * SEC).await);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_an_open_stream_is_not_idle() {
    let launcher = ScriptedLauncher::new();
    let (spec, mut incoming) = spec(&launcher);
    let (root, worker) = tree(spec.idle_timeout(40 * SEC)).await.unwrap();
    write(&worker, json!([open("a")])).await;
    let mut stream = incoming.accept().await.unwrap();
    sleep(1000 * SEC).await;
    assert_eq!((worker.state(), launcher.launched().len()), (ChildState::Ready, 1));
    stream.cancel();
    sleep(60 * SEC).await;
    assert_eq!(worker.state(), ChildState::down(DownReason::Idle));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_streams_within_its_time() {
    let launcher = ScriptedLauncher::new();
    let (spec, mut incoming) = spec(&launcher);
    let (root, worker) = tree(spec).await.unwrap();
    let writing = tokio::spawn({
        let worker = worker.clone();
        async move { write(&worker, json!([open("a"), emit("a", 1)])).await }
    });
    writing.await.unwrap();
    let mut stream = incoming.accept().await.unwrap();
    // It goes on by itself, after its call was answered.
    let ending = tokio::spawn({
        let (worker, began) = (worker.clone(), Instant::now());
        async move {
            worker.stop().await.unwrap();
            began.elapsed()
        }
    });
    sleep(3 * SEC).await;
    assert!(!ending.is_finished(), "a stream is open");
    assert_eq!(stream.recv().await.unwrap().unwrap().get(), "1");
    drop(stream);
    assert!(ending.await.unwrap() < 4 * SEC);
    // One that never ends gets the time to drain.
    worker.restart("test").await.unwrap();
    write(&worker, json!([open("a")])).await;
    let mut endless = incoming.accept().await.unwrap();
    let began = Instant::now();
    worker.stop().await.unwrap();
    assert!((7 * SEC..11 * SEC).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(matches!(endless.recv().await, Some(Err(StreamEnd::WorkerLost(_)))));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_it_stops_only_streams_of_open_calls_are_taken() {
    let launcher = ScriptedLauncher::new();
    let (spec, mut incoming) = spec(&launcher);
    let (root, worker) = tree(spec).await.unwrap();
    let lines =
        json!([1000, open("own"), open_for_this_call("calls"), emit("calls", 1), 1000, close("calls")]);
    let (mut streams, call) = worker.call_streaming("write", &lines, Timeout::Default, 4);
    let stopping = async {
        sleep(MS).await;
        let began = Instant::now();
        worker.stop().await.unwrap();
        began.elapsed()
    };
    let (result, stopped) = tokio::join!(call, stopping);
    result.unwrap();
    assert!((2 * SEC - MS..3 * SEC).contains(&stopped), "{stopped:?}");
    let mut stream = streams.accept().await.unwrap();
    assert!(stream.recv().await.unwrap().is_ok() && stream.recv().await.is_none());
    assert!(matches!(stream.end(), Some(StreamEnd::Closed)));
    assert!(incoming.try_accept().is_none());
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_swap_lets_them_end_where_they_began() {
    let launcher = ScriptedLauncher::new();
    let (spec, mut incoming) = spec(&launcher);
    let child = spec.child("w").overlap();
    let root = SupervisorSpec::one_for_one().child(child.clone());
    let root = Root::start(root, RootOptions::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    let first = worker.peer().unwrap().1;
    write(&worker, json!([open("a")])).await;
    let mut stream = incoming.accept().await.unwrap();
    root.supervisor().reload_child(child).await.unwrap();
    assert_eq!(write(&worker, json!([])).await, 2);
    sleep(2 * SEC).await;
    assert_eq!((launcher.alive().len(), first.stats().streams_open), (2, 1), "it waits for the stream");
    stream.cancel();
    sleep(SEC).await;
    assert_eq!(launcher.alive().len(), 1);
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_again_gets_the_streams_of_each_sending() {
    let launcher = ScriptedLauncher::new();
    let (spec, _incoming) = spec(&launcher);
    let (root, worker) = tree(spec).await.unwrap();
    let lines = json!([open_for_this_call("a"), emit("a", 1), 5000, close("a")]);
    let options = CallOptions::default().idempotent();
    let (mut streams, call) = worker.call_streaming("write", &lines, options, 4);
    let killing = async {
        sleep(SEC).await;
        launcher.kill(worker.pid().unwrap(), Signal::KILL).unwrap();
    };
    let (result, ()) = tokio::join!(call, killing);
    assert_eq!(result.unwrap().get(), "2");
    let mut ends = Vec::new();
    while let Some(mut stream) = streams.accept().await {
        while stream.recv().await.is_some() {}
        ends.push((stream.incarnation().0, matches!(stream.end(), Some(StreamEnd::Closed))));
    }
    assert_eq!(ends, [(1, false), (2, true)]);
    root.shutdown(60 * SEC).await.into_result().unwrap();
}
