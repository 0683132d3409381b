//! C-6: the bytes that a peer keeps for requests of the other side are bounded, while they run and until
//! their batch is sent.

use std::{sync::Arc, time::Duration};

use procession::rpc::{CloseReason, MethodRouter, RpcError};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{config, peer_on_wire, router};

const MS: Duration = Duration::from_millis(1);

/// Takes 100 ms, however large its params are.
fn slow() -> Arc<MethodRouter> {
    Arc::new(MethodRouter::new().method_value("slow", |_, _| async {
        tokio::time::sleep(100 * MS).await;
        serde_json::value::to_raw_value(&()).map_err(RpcError::internal)
    }))
}

fn request(id: u64, bytes: usize) -> Value {
    json!({"id": id, "method": "slow", "params": "x".repeat(bytes)})
}

// C-6
#[tokio::test(start_paused = true)]
async fn a_request_waits_until_there_is_room_for_its_params() {
    let config = config(|c| c.max_handler_bytes = 1000);
    let (peer, mut wire) = peer_on_wire(config, slow(), 1 << 16);
    let begin = Instant::now();
    // The second does not fit beside the first; the small ones have come after it, and run together with it.
    for (id, bytes) in [(1, 700), (2, 700), (3, 50), (4, 50)] {
        wire.send_json(request(id, bytes)).await;
    }
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push((wire.line().await["id"].as_u64().unwrap(), begin.elapsed().as_millis()));
    }
    assert_eq!(answers, [(1, 100), (2, 200), (3, 200), (4, 200)]);
    peer.requests_answered().await;
    // A single one that is larger than the bound runs alone.
    wire.send_json(request(5, 5000)).await;
    wire.send_json(request(6, 1)).await;
    assert_eq!((&wire.line().await["id"], begin.elapsed()), (&json!(5), 300 * MS));
    assert_eq!((&wire.line().await["id"], begin.elapsed()), (&json!(6), 400 * MS));
}

// C-6
#[tokio::test(start_paused = true)]
async fn params_of_running_requests_are_refused_past_all_bounds() {
    let config = config(|c| {
        c.max_handler_bytes = 2000;
        c.max_queued_request_bytes = 1000;
    });
    let (peer, mut wire) = peer_on_wire(config, slow(), 1 << 16);
    for id in 0..5 {
        wire.send_json(request(id, 900)).await;
    }
    // Two run, one waits.
    for id in [3, 4] {
        let refused = wire.line().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(id), &json!(-32000)));
    }
    for id in 0..3 {
        assert_eq!(wire.line().await["id"], id);
    }
    assert_eq!(peer.stats().overloaded, 2);
}

// C-6, C-2: each request of a batch is answered once, some of them with an error.
#[tokio::test(start_paused = true)]
async fn the_answers_of_a_batch_are_bounded() {
    let (peer, mut wire) = peer_on_wire(config(|c| c.max_queued_bytes = 1500), Arc::new(router()), 1 << 16);
    for round in 0..3 {
        let batch: Vec<Value> = (0..8)
            .map(|id| json!({"id": id, "method": "echo", "params": "x".repeat(300)}))
            .chain([json!({"id": 8, "method": "sleep", "params": 10})])
            .collect();
        wire.send_json(batch.into()).await;
        let answers = wire.line().await;
        let mut ids: Vec<u64> =
            answers.as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..9).collect::<Vec<_>>());
        let right = answers.as_array().unwrap().iter().filter(|one| one["result"].is_string()).count();
        assert!((1..8).contains(&right), "{right}");
        for refused in answers.as_array().unwrap().iter().filter(|one| one.get("error").is_some()) {
            assert_eq!(refused["error"]["code"], -32000);
        }
        peer.requests_answered().await;
        tokio::time::sleep(MS).await;
        assert_eq!(peer.stats().bytes_queued, 0, "all is given back, round {round}");
    }
    assert_eq!(peer.close_reason(), None);
}

// C-6: batches that are kept open by one slow request do not add up without end.
#[tokio::test(start_paused = true)]
async fn many_open_batches_are_bounded_together() {
    let config = config(|c| {
        c.max_queued_bytes = 20_000;
        (c.max_handlers, c.max_queued_requests) = (1, 10);
    });
    let (peer, mut wire) = peer_on_wire(config, slow(), 1 << 16);
    // One of each runs or waits, all others are refused at once.
    let batch = vec![request(1, 1); 100];
    for _ in 0..10 {
        wire.send_json(batch.clone().into()).await;
    }
    let end = tokio::time::timeout(10 * MS, peer.closed()).await.unwrap();
    assert_eq!(end, CloseReason::LimitExceeded { which: "queued replies" });
}
