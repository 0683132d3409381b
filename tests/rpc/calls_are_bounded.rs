//! Each call ends by its timeout, and calls in flight and queued bytes are bounded (C-3, C-5, C-11, C-12).

use std::{sync::Arc, time::Duration};

use procession::rpc::{CallEffect, CallError, CallOptions, CloseReason, Method, NoHandler, Peer, Timeout};
use tokio::{io::AsyncReadExt, task::JoinHandle};

use crate::support::{Counter, Echo, Mark, Sleep, config, peer_on_wire, plain};

const SECOND: Duration = Duration::from_secs(1);

// C-3
#[tokio::test(start_paused = true)]
async fn a_timeout_of_zero_is_refused() {
    let (peer, mut wire) = plain();
    let zero = CallOptions::timeout(Timeout::After(Duration::ZERO));
    let error = peer.call_with::<Sleep>(&1, zero).await.unwrap_err();
    assert!(matches!(error, CallError::ZeroTimeout { .. }) && error.is_misuse() && !error.is_retryable());
    assert!(wire.is_silent().await);
}

// C-3: call > method > peer; `Never` is for ever.
#[tokio::test(start_paused = true)]
async fn the_call_beats_the_method_beats_the_peer() {
    struct Quick;
    impl Method for Quick {
        const NAME: &'static str = "quick";
        const TIMEOUT: Timeout = Timeout::After(Duration::from_secs(3));
        type Params = ();
        type Output = ();
    }
    let (peer, _wire) = peer_on_wire(config(|c| c.timeout = Some(7 * SECOND)), Arc::new(NoHandler), 4096);
    let begin = tokio::time::Instant::now();
    let took = |begin: tokio::time::Instant| begin.elapsed();
    peer.call::<Echo>(&String::new()).await.unwrap_err();
    assert_eq!(took(begin), 7 * SECOND);
    let begin = tokio::time::Instant::now();
    peer.call::<Quick>(&()).await.unwrap_err();
    assert_eq!(took(begin), 3 * SECOND);
    let begin = tokio::time::Instant::now();
    peer.call_with::<Quick>(&(), CallOptions::timeout(Timeout::After(SECOND))).await.unwrap_err();
    assert_eq!(took(begin), SECOND);
    let never = peer.call_with::<Quick>(&(), CallOptions::timeout(Timeout::Never));
    assert!(tokio::time::timeout(1_000_000 * SECOND, never).await.is_err());
}

// C-3: whatever a call says.
#[tokio::test(start_paused = true)]
async fn no_call_takes_longer_than_the_cap() {
    let capped = config(|c| (c.timeout, c.max_timeout) = (Some(7 * SECOND), Some(5 * SECOND)));
    let (peer, _wire) = peer_on_wire(capped, Arc::new(NoHandler), 4096);
    for (timeout, takes) in [
        (Timeout::Default, 5),
        (Timeout::Never, 5),
        (Timeout::After(9 * SECOND), 5),
        (Timeout::After(2 * SECOND), 2),
    ] {
        let begin = tokio::time::Instant::now();
        let late = peer.call_with::<Echo>(&String::new(), CallOptions::timeout(timeout)).await.unwrap_err();
        assert_eq!(begin.elapsed(), takes * SECOND, "{late}");
        assert!(matches!(late, CallError::Timeout { after, .. } if after == takes * SECOND));
    }
}

// C-3: one timer serves all; each call still times out at its own moment, whatever the order they came in.
#[tokio::test(start_paused = true)]
async fn every_call_times_out_at_its_own_moment() {
    let (peer, _wire) = plain();
    let mut calls = tokio::task::JoinSet::new();
    for seconds in [5, 2, 9, 1, 7, 2] {
        let peer = peer.clone();
        calls.spawn(async move {
            let begin = tokio::time::Instant::now();
            let after = CallOptions::timeout(Timeout::After(seconds * SECOND));
            peer.call_with::<Sleep>(&1, after).await.unwrap_err();
            assert_eq!(begin.elapsed(), seconds * SECOND);
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}

// C-5
#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_bounded_and_the_next_waits() {
    let (peer, mut wire) = peer_on_wire(config(|c| c.max_in_flight = 2), Arc::new(NoHandler), 4096);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move { peer.call::<Echo>(&String::new()).await })
        })
        .collect();
    let first = wire.line().await;
    wire.line().await;
    assert!(wire.is_silent().await);
    assert_eq!(peer.stats().in_flight, 2);
    // One that does not get a place in time was not sent.
    let after = CallOptions::timeout(Timeout::After(SECOND));
    let error = peer.call_with::<Echo>(&String::new(), after).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { effect: CallEffect::NotSent, .. }) && error.is_retryable());
    // An answer makes room.
    wire.send_json(serde_json::json!({"id": first["id"], "result": ""})).await;
    assert_eq!(wire.line().await["id"], 3);
    drop(calls);
}

// C-5, C-12
#[tokio::test(start_paused = true)]
async fn bytes_queued_are_bounded() {
    let config = config(|c| {
        c.max_queued_bytes = 1000;
        c.write_stall = None;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 64);
    let text = "x".repeat(400);
    let after = CallOptions::timeout(Timeout::After(SECOND));
    let (a, b, c) = tokio::join!(
        peer.call_with::<Echo>(&text, after),
        peer.call_with::<Echo>(&text, after),
        peer.call_with::<Echo>(&text, after),
    );
    let outcomes = [a, b, c].map(|r| r.unwrap_err().effect());
    assert_eq!(outcomes, [CallEffect::Unknown, CallEffect::Unknown, CallEffect::NotSent]);
    assert!(peer.stats().bytes_queued <= 1000, "{:?}", peer.stats());
    // C-5: droppable notifications are dropped and counted; others wait.
    for n in 0..100 {
        peer.try_notify::<Mark>(&n).unwrap();
    }
    let stats = peer.stats();
    assert!(stats.dropped_notifications > 90 && stats.bytes_queued <= 1000, "{stats:?}");
    let waiting = tokio::spawn({
        let peer = peer.clone();
        async move { peer.notify::<Mark>(&100).await }
    });
    for _ in 0..2 {
        assert_eq!(wire.line().await["method"], "echo");
    }
    let mut last = 0;
    while last != 100 {
        last = wire.line().await["params"].as_u64().unwrap();
    }
    waiting.await.unwrap().unwrap();
    assert_eq!(peer.stats().bytes_queued, 0);
}

/// Counts how often it is serialised.
struct Counted<'a>(&'a Counter, String);

impl serde::Serialize for Counted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.add();
        self.1.serialize(serializer)
    }
}

fn call_counted(peer: &Peer, made: &Counter, timeout: Timeout) -> JoinHandle<Result<(), CallError>> {
    let (peer, made) = (peer.clone(), made.clone());
    tokio::spawn(async move {
        let params = Counted(&made, "x".repeat(400));
        peer.call_value("echo", &params, timeout).await.map(drop)
    })
}

// C-5: what is queued is bounded, and so is what waits to be queued.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_room_hold_no_frames() {
    let config = config(|c| {
        c.max_queued_bytes = 1000;
        c.write_stall = None;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 64);
    let made = Counter::default();
    let calls: Vec<_> = (0..20).map(|_| call_counted(&peer, &made, Timeout::Never)).collect();
    tokio::time::sleep(SECOND).await;
    // Two are queued and one waits for room.
    assert_eq!(made.get(), 3);
    // All get their turn, in order.
    for id in 1..=20 {
        let request = wire.line().await;
        assert_eq!(request["id"], id);
        wire.send_json(serde_json::json!({"id": id, "result": ""})).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(made.get(), 20);
}

// C-3, C-12: one that gives up while it waits for its turn, or while it has it, keeps nobody from theirs.
#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_passes_its_turn_on() {
    let config = config(|c| {
        c.max_queued_bytes = 1000;
        c.write_stall = None;
    });
    let (peer, mut wire) = peer_on_wire(config, Arc::new(NoHandler), 64);
    let made = Counter::default();
    let timeouts = [0, 0, 2, 3, 0, 0].map(|seconds| match seconds {
        0 => Timeout::Never,
        seconds => Timeout::After(seconds * SECOND),
    });
    let calls = timeouts.map(|timeout| call_counted(&peer, &made, timeout));
    tokio::time::sleep(SECOND).await;
    calls[4].abort();
    let [first, second, has_turn, waits, _dropped, last] = calls;
    for call in [has_turn, waits] {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::Timeout { effect: CallEffect::NotSent, .. }), "{error}");
    }
    for call in [first, second, last] {
        let request = wire.line().await;
        wire.send_json(serde_json::json!({"id": request["id"], "result": ""})).await;
        call.await.unwrap().unwrap();
    }
}

// C-4, C-12: the end answers those whose turn has not come, and does not have them make frames for nobody.
#[tokio::test(start_paused = true)]
async fn the_end_answers_calls_that_wait_for_their_turn() {
    for hold in [false, true] {
        let config = config(|c| {
            c.max_queued_bytes = 1000;
            c.hold_pending = hold;
            c.write_stall = Some(SECOND);
        });
        let (peer, _wire) = peer_on_wire(config, Arc::new(NoHandler), 64);
        let made = Counter::default();
        let mut calls = vec![call_counted(&peer, &made, Timeout::Never)];
        // The writer takes the first alone, so that the end of the channel frees the room of the second.
        tokio::time::sleep(SECOND / 10).await;
        calls.extend((1..20).map(|_| call_counted(&peer, &made, Timeout::Never)));
        assert_eq!(peer.closed().await, CloseReason::WriteStalled { after: SECOND });
        tokio::time::sleep(SECOND).await;
        assert!(calls.iter().all(|call| call.is_finished() != hold));
        peer.close(CloseReason::Requested);
        for (n, call) in calls.into_iter().enumerate() {
            // The first was being written.
            let outcome = if n == 0 { CallEffect::Unknown } else { CallEffect::NotSent };
            assert_eq!(call.await.unwrap().unwrap_err().effect(), outcome, "call {n}");
        }
        assert!(made.get() <= 4, "{}", made.get());
    }
}

// C-5: a frame larger than all room is sent alone rather than never.
#[tokio::test(start_paused = true)]
async fn a_frame_larger_than_the_bound_still_goes_out() {
    let (peer, mut wire) = peer_on_wire(config(|c| c.max_queued_bytes = 100), Arc::new(NoHandler), 64);
    let call = tokio::spawn(async move { peer.call::<Echo>(&"x".repeat(10_000)).await });
    assert_eq!(wire.line().await["params"].as_str().unwrap().len(), 10_000);
    drop(call);
}

// C-11
#[tokio::test(start_paused = true)]
async fn a_write_without_progress_ends_the_channel() {
    let (peer, mut wire) =
        peer_on_wire(config(|c| c.write_stall = Some(10 * SECOND)), Arc::new(NoHandler), 64);
    let begin = tokio::time::Instant::now();
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call_with::<Echo>(&"x".repeat(1000), CallOptions::timeout(Timeout::Never)).await }
    });
    // Progress, however slow, is no stall.
    for _ in 0..5 {
        tokio::time::sleep(9 * SECOND).await;
        // All that the pipe holds.
        let mut some = [0; 64];
        wire.reader.read_exact(&mut some).await.unwrap();
    }
    assert_eq!(peer.closed().await, CloseReason::WriteStalled { after: 10 * SECOND });
    assert!(begin.elapsed() >= 55 * SECOND, "{:?}", begin.elapsed());
    assert_eq!(call.await.unwrap().unwrap_err().effect(), CallEffect::Unknown);
}

// C-11: only while somebody watches.
#[tokio::test(start_paused = true)]
async fn a_stall_that_nobody_watches_ends_nothing() {
    let (peer, _wire) = peer_on_wire(config(|c| c.write_stall = Some(SECOND)), Arc::new(NoHandler), 64);
    peer.watch_writes(false);
    peer.notify_value("n", &"x".repeat(1000)).await.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(peer.close_reason(), None);
    peer.watch_writes(true);
    assert_eq!(peer.closed().await, CloseReason::WriteStalled { after: SECOND });
}

// C-12: what cannot be serialised is misuse, and leaves no trace.
#[tokio::test(start_paused = true)]
async fn params_that_cannot_be_written_are_refused() {
    struct Bad;
    impl serde::Serialize for Bad {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    let (peer, mut wire) = plain();
    let error = peer.call_value("m", &Bad, Timeout::Default).await.unwrap_err();
    assert!(matches!(error, CallError::InvalidParams { .. }) && !error.is_retryable());
    assert!(peer.notify_value("m", &Bad).await.is_err());
    assert!(wire.is_silent().await);
    assert_eq!(peer.stats().in_flight, 0);
}
