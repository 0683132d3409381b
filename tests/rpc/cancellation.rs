//! A call that is given up is cancelled on the other side, and never leaves half a frame (C-3, C-11).

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use procession::rpc::{CallOptions, MethodRouter, NoHandler, Peer, Timeout};
use serde_json::json;

use crate::support::{Counter, Echo, Sleep, config, peer_on_wire, with_cancel};

// C-3
#[tokio::test(start_paused = true)]
async fn a_timed_out_call_is_cancelled() {
    let (peer, mut wire) = peer_on_wire(config(with_cancel), Arc::new(NoHandler), 4096);
    let after = CallOptions::timeout(Timeout::After(Duration::from_secs(1)));
    peer.call_with::<Sleep>(&1, after).await.unwrap_err();
    let id = wire.line().await["id"].clone();
    assert_eq!(
        wire.line().await,
        json!({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    );
}

// C-3
#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_and_an_answered_one_is_not() {
    let (peer, mut wire) = peer_on_wire(config(with_cancel), Arc::new(NoHandler), 4096);
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Sleep>(&1).await }
    });
    let id = wire.line().await["id"].clone();
    call.abort();
    let cancel = wire.line().await;
    assert_eq!((&cancel["method"], &cancel["params"]["id"]), (&json!("$/cancelRequest"), &id));
    wire.send_json(json!({"id": id, "result": 1})).await;

    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call::<Sleep>(&1).await }
    });
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"id": id, "result": 1})).await;
    call.await.unwrap().unwrap();
    assert!(wire.is_silent().await);
    assert_eq!(peer.stats().late_replies, 1);
    assert_eq!(peer.stats().in_flight, 0);
}

// C-3: its answer was there before its caller looked again, and nobody is to hear of it any more.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_with_its_answer_is_not_cancelled() {
    let (peer, mut wire) = peer_on_wire(config(with_cancel), Arc::new(NoHandler), 4096);
    let mut call = Box::pin(peer.call::<Sleep>(&1));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let id = wire.line().await["id"].clone();
    wire.send_json(json!({"id": id, "result": 1})).await;
    assert!(wire.is_silent().await);
    assert_eq!(peer.stats().in_flight, 0);
    drop(call);
    assert!(wire.is_silent().await);
    // Nor is it late: it was answered.
    assert_eq!((peer.stats().late_replies, peer.stats().unknown_replies), (0, 0));
}

// C-11: callers come and go at every moment while the pipe takes a few bytes at a time; every frame stays
// whole.
#[tokio::test(start_paused = true)]
async fn dropped_callers_never_leave_half_a_frame() {
    let config = config(|c| {
        with_cancel(c);
        c.max_queued_bytes = 2000;
        c.max_in_flight = 16;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 7);
    let callers = tokio::spawn({
        let peer = peer.clone();
        async move {
            let mut calls = Vec::new();
            for i in 0..200_u64 {
                let peer = peer.clone();
                calls.push(tokio::spawn(async move {
                    let text = "y".repeat((i * 7 % 400) as usize);
                    let call = peer.call::<Echo>(&text);
                    let _ = tokio::time::timeout(Duration::from_millis(1 + i % 5), call).await;
                }));
                if i % 3 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            for call in calls {
                call.await.unwrap();
            }
            peer.notify_value("end", &()).await.unwrap();
        }
    });
    let (mut requests, mut cancels) = (0, 0);
    loop {
        // Fails on anything that is not one whole JSON text.
        let message = wire.line().await;
        match message["method"].as_str().unwrap() {
            "echo" => requests += 1,
            "$/cancelRequest" => cancels += 1,
            _ => break,
        }
        if requests % 4 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    callers.await.unwrap();
    assert!(requests > 0 && cancels > 0 && cancels <= requests, "{requests} {cancels}");
    assert_eq!(peer.stats().in_flight, 0);
}

// C-3, the other way round: a handler learns that nobody waits.
#[tokio::test(start_paused = true)]
async fn a_handler_learns_of_the_cancellation() {
    let cancelled = Counter::default();
    let handler = MethodRouter::new().method::<Sleep, _, _>({
        let cancelled = cancelled.clone();
        move |cx, ms| {
            let cancelled = cancelled.clone();
            async move {
                tokio::select! {
                    biased;
                    () = cx.cancelled() => { assert!(cx.is_cancelled()); cancelled.add(); }
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                }
                Ok(ms)
            }
        }
    });
    let (a, _b) = Peer::memory_pair(
        (config(with_cancel), Arc::new(NoHandler)),
        (config(with_cancel), Arc::new(handler)),
    );
    a.call::<Sleep>(&10).await.unwrap();
    assert_eq!(cancelled.get(), 0);
    let after = CallOptions::timeout(Timeout::After(Duration::from_secs(1)));
    a.call_with::<Sleep>(&1_000_000, after).await.unwrap_err();
    // A request that comes later is answered later.
    a.call::<Sleep>(&1).await.unwrap();
    assert_eq!(cancelled.get(), 1);
    assert_eq!(a.stats().late_replies, 1);
}

// C-6, C-13: cancellations are dispensable; they do not take the room that replies need.
#[tokio::test(start_paused = true)]
async fn cancellations_leave_room_for_replies() {
    let config = config(|c| {
        with_cancel(c);
        c.max_queued_bytes = 2000;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 64);
    for _ in 0..300 {
        let mut call = Box::pin(peer.call::<Sleep>(&1));
        tokio::select! { biased; _ = &mut call => unreachable!(), () = std::future::ready(()) => {} }
    }
    assert!(peer.stats().bytes_queued > 2500, "calls and cancellations wait: {}", peer.stats().bytes_queued);
    wire.send(r#"{"method":1}"#).await;
    let complained = async {
        while peer.stats().complaints == 0 && peer.stats().invalid_frames == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), complained).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), peer.closed()).await.is_err(), "it is still open");
    drop(wire);
}
