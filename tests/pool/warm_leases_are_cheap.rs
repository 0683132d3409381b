//! Measures how long a warm acquire and the drop of its lease take. Run it alone and in release mode:
//! `cargo test --release --test pool warm_leases -- --ignored --nocapture`.

use std::time::Instant;

use procession::{id::ChildId, pool::PoolSpec, protocol::NoChannel};

use crate::support::*;

async fn measure(keys: usize) {
    let setup = start(|l| {
        l.program("idle", |me: procession::testing::ScriptedProcess| async move { me.hang().await });
        PoolSpec::keyed(keys, worker(l, "idle").protocol(NoChannel::default())).start_concurrency(256)
    })
    .await;
    let ids: Vec<ChildId> = (0..keys).map(key).collect();
    for id in &ids {
        drop(setup.pool.acquire(id).await.unwrap());
    }
    const ROUNDS: usize = 1_000_000;
    let mut best = f64::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        for n in 0..ROUNDS {
            drop(setup.pool.acquire(&ids[n * 7919 % keys]).await.unwrap());
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64);
    }
    eprintln!("{keys} keys: {best:.0} ns per acquire and drop");
    let _ = setup.root.kill().await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn warm_leases() {
    measure(1).await;
    measure(10_000).await;
}
