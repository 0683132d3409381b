//! A channel ends once, with its first cause, and each of its calls learns how (C-4, C-12).

use std::{sync::Arc, time::Duration};

use procession::{
    exit::Exit,
    rpc::{
        CallEffect, CallError, CallOptions, CloseReason, ExitReport, NoHandler, Peer, PeerConfig, Timeout,
    },
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, task::JoinHandle};

use crate::support::{Echo, config, peer_on_wire, plain, router};

type Call = JoinHandle<Result<String, CallError>>;

fn call(peer: &Peer, text: &str) -> Call {
    let (peer, text) = (peer.clone(), text.to_owned());
    tokio::spawn(async move { peer.call::<Echo>(&text).await })
}

fn lost() -> ExitReport {
    ExitReport { exit: Exit::Signalled { signal: 9, core: false }, stderr_tail: "oops".into() }
}

// The child's side: the end of the stream is all there is to know.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_answers_all_calls() {
    let (peer, wire) = plain();
    let open = call(&peer, "a");
    tokio::task::yield_now().await;
    drop(wire);
    assert_eq!(peer.closed().await, CloseReason::Eof);
    let error = open.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::Eof, .. }), "{error}");
    let error = call(&peer, "b").await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

// C-4: answers in the pipe are delivered, all others fail with the exit at once.
#[tokio::test(start_paused = true)]
async fn answers_in_the_pipe_are_delivered_before_the_rest_is_lost() {
    let (peer, mut wire) = peer_on_wire(config(|c| c.hold_pending = true), Arc::new(NoHandler), 1 << 16);
    let (first, second) = (call(&peer, "a"), call(&peer, "b"));
    let id = wire.line().await["id"].clone();
    wire.line().await;
    wire.send_json(json!({"id": id, "result": "in the pipe"})).await;
    drop(wire);
    // The owner has noticed the exit. The end of the stream ends the drain at once.
    let begin = tokio::time::Instant::now();
    peer.drain(Duration::from_millis(100), Duration::from_secs(1)).await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(peer.close_reason(), Some(CloseReason::Eof));
    let begin = tokio::time::Instant::now();
    // A call made now is neither sent nor failed before the exit is known.
    let third = call(&peer, "c");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!second.is_finished() && !third.is_finished());
    peer.close(lost());
    assert_eq!(first.await.unwrap().unwrap(), "in the pipe");
    for (call, outcome) in [(second, CallEffect::Unknown), (third, CallEffect::NotSent)] {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.exit(), Some(&lost().exit));
        assert_eq!(error.effect(), outcome);
        assert!(matches!(error, CallError::WorkerLost { lost, .. } if lost.stderr_tail == "oops"));
    }
    // Every later call says the same, and the first ending stays.
    peer.close(CloseReason::Requested);
    let error = call(&peer, "d").await.unwrap().unwrap_err();
    assert!(error.exit().is_some() && error.is_retryable());
    assert!(begin.elapsed() <= Duration::from_millis(2), "{:?}", begin.elapsed());
}

// C-4, P-8: the drain ends at EOF, after quiet, or at its maximum.
#[tokio::test(start_paused = true)]
async fn a_drain_is_bounded() {
    let (peer, mut wire) = plain();
    let (quiet, max) = (Duration::from_millis(100), Duration::from_secs(1));
    let begin = tokio::time::Instant::now();
    peer.drain(quiet, max).await;
    assert_eq!(begin.elapsed(), quiet);
    let talker = tokio::spawn(async move {
        loop {
            wire.writer.write_all(b"\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let begin = tokio::time::Instant::now();
    peer.drain(quiet, max).await;
    assert_eq!(begin.elapsed(), max);
    talker.abort();
}

// C-4: a thousand open calls fail in one step of time.
#[tokio::test(start_paused = true)]
async fn all_calls_fail_at_once() {
    let (peer, _wire) = peer_on_wire(config(|c| c.hold_pending = true), Arc::new(NoHandler), 64);
    let calls: Vec<_> = (0..2000).map(|i| call(&peer, &i.to_string())).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begin = tokio::time::Instant::now();
    peer.close(lost());
    for call in calls {
        assert!(call.await.unwrap().unwrap_err().exit().is_some());
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(peer.stats().in_flight, 0);
}

// C-12: a frame that the writer never took was not sent.
#[tokio::test(start_paused = true)]
async fn the_outcome_tells_what_was_handed_to_the_pipe() {
    let (peer, _wire) = plain();
    let calls = [call(&peer, "a"), call(&peer, "b")];
    // The callers run, the writer does not.
    tokio::task::yield_now().await;
    peer.close(lost());
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().effect(), CallEffect::NotSent);
    }
}

// A writer that fails does not stop the reader: the answer may be on its way.
#[tokio::test(start_paused = true)]
async fn a_closed_input_is_noticed_and_the_output_still_read() {
    let (near, mut far_writer) = tokio::io::duplex(4096);
    let (out, far_reader) = tokio::io::duplex(4096);
    let peer = Peer::spawn(near, out, config(|c| c.hold_pending = true), Arc::new(NoHandler));
    let first = call(&peer, "a");
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(far_reader);
    peer.notify_value("n", &()).await.unwrap();
    assert!(matches!(peer.closed().await, CloseReason::WriteFailed { .. }));
    far_writer.write_all(b"{\"id\":1,\"result\":\"late but there\"}\n").await.unwrap();
    assert_eq!(first.await.unwrap().unwrap(), "late but there");
}

// The last handle closes; the streams go with the tasks.
#[tokio::test(start_paused = true)]
async fn dropping_the_peer_closes_both_streams() {
    let (peer, mut wire) = peer_on_wire(PeerConfig::default(), Arc::new(router()), 4096);
    let clone = peer.clone();
    drop(peer);
    assert!(wire.is_silent().await);
    drop(clone);
    let mut line = String::new();
    use tokio::io::AsyncBufReadExt;
    assert_eq!(wire.reader.read_line(&mut line).await.unwrap(), 0);
    tokio::task::yield_now().await;
    assert!(wire.writer.write_all(b"x").await.is_err());
}

// MCP's stop: what is queued goes out, then the stream ends, and answers still come in.
#[tokio::test(start_paused = true)]
async fn closing_the_writer_flushes_first() {
    let (near, mut far_writer) = tokio::io::duplex(4096);
    let (out, far_reader) = tokio::io::duplex(16);
    let peer = Peer::spawn(near, out, PeerConfig::default(), Arc::new(NoHandler));
    let open = call(&peer, "flushed");
    tokio::task::yield_now().await;
    let reading = tokio::spawn(async move {
        let mut far_reader = far_reader;
        let mut all = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut far_reader, &mut all).await.unwrap();
        all
    });
    peer.close_writer().await;
    let all = reading.await.unwrap();
    assert!(all.ends_with("\"flushed\"}\n"), "{all}");
    let error = call(&peer, "too late").await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(peer.notify_value("n", &()).await.is_err());
    far_writer.write_all(b"{\"id\":1,\"result\":\"ok\"}\n").await.unwrap();
    assert_eq!(open.await.unwrap().unwrap(), "ok");
}

// C-4: closing in the middle of everything answers everything, once.
#[tokio::test(start_paused = true)]
async fn closing_during_everything_answers_everything() {
    for steps in 0..60 {
        let tiny = config(|c| {
            c.max_in_flight = 4;
            c.max_queued_bytes = 200;
        });
        let (near, far) = tokio::io::duplex(32);
        let ((nr, nw), (fr, fw)) = (tokio::io::split(near), tokio::io::split(far));
        let a = Peer::spawn(nr, nw, tiny.clone(), Arc::new(router()));
        let b = Peer::spawn(fr, fw, tiny, Arc::new(router()));
        let calls: Vec<_> = (0..20).flat_map(|i| [call(&a, &"x".repeat(i * 9)), call(&b, "yy")]).collect();
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        a.close(lost());
        for call in calls {
            let answer = tokio::time::timeout(Duration::from_secs(5), call).await.unwrap().unwrap();
            if let Err(error) = answer {
                assert!(matches!(error, CallError::WorkerLost { .. } | CallError::Closed { .. }), "{error}");
            }
        }
        assert!(matches!(b.closed().await, CloseReason::Eof | CloseReason::WriteFailed { .. }));
        assert_eq!((a.stats().in_flight, b.stats().in_flight), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_that_was_not_announced_is_not_sent() {
    // G-2
    let (peer, mut wire) = plain();
    peer.set_announced_methods(["echo"]);
    let error = peer.call_value("other", &(), Timeout::Default).await.unwrap_err();
    assert!(matches!(error, CallError::MethodNotSupported { .. }));
    assert!(wire.is_silent().await);
    let _open = call(&peer, "x");
    assert_eq!(wire.line().await["method"], "echo");
}

// C-3, C-4: deadlines, handlers and what waits for room end with the peer, not at their own time.
#[tokio::test(start_paused = true)]
async fn no_task_and_no_alarm_outlives_a_peer() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for dropped in [false, true] {
        let (peer, mut wire) = peer_on_wire(PeerConfig::default(), Arc::new(router()), 64);
        wire.send_json(json!({"id": 1, "method": "sleep", "params": 3_600_000})).await;
        let calls: Vec<_> = (0..5).map(|_| call(&peer, &"x".repeat(100))).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(tasks() > before + 5);
        if dropped {
            // A call holds its peer: only without callers it goes.
            calls.iter().for_each(|call| call.abort());
        } else {
            peer.close(CloseReason::Requested);
        }
        drop(peer);
        for call in calls {
            let _ = call.await;
        }
        let begin = tokio::time::Instant::now();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((tasks(), begin.elapsed()), (before, Duration::ZERO));
    }
}

// C-4: a call that nobody polls any more keeps its place, and must not keep those that wait for one.
#[tokio::test(start_paused = true)]
async fn the_end_answers_calls_that_wait_for_a_place() {
    let (peer, _wire) = peer_on_wire(config(|c| c.max_in_flight = 1), Arc::new(NoHandler), 4096);
    let params = String::new();
    let mut held = Box::pin(peer.call::<Echo>(&params));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(held.as_mut().poll(&mut cx).is_pending());
    let waits = tokio::spawn({
        let peer = peer.clone();
        let never = CallOptions::timeout(Timeout::Never);
        async move { peer.call_with::<Echo>(&String::new(), never).await }
    });
    tokio::task::yield_now().await;
    peer.close(CloseReason::Requested);
    let error = tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { effect: CallEffect::NotSent, .. }), "{error:?}");
}
