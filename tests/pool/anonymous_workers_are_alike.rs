//! The workers of an anonymous pool are interchangeable: the least loaded one is leased, and the
//! minimum and the spares are kept warm (L-2, L-5).

use std::collections::BTreeSet;

use procession::pool::{AcquireError, PoolSpec};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn the_least_loaded_worker_is_leased_and_new_ones_are_started_up_to_the_cap() {
    let setup = start(|l| PoolSpec::anonymous(0, 3, worker(l, "worker")).per_worker(2)).await;
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(setup.pool.acquire_any().await.unwrap());
    }
    assert_eq!(setup.alive(), 3);
    let keys: BTreeSet<_> = leases.iter().map(|lease| lease.key().clone()).collect();
    assert_eq!(keys.len(), 3);
    assert!(setup.pool.status().unwrap().workers.iter().all(|w| w.status.leases == 2));
    let error = setup.pool.acquire_any_within(SEC).await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { key: None, .. }), "{error}");
    // The worker with fewer leases gets the next one.
    let free = leases.remove(3).key().clone();
    let lease = setup.pool.acquire_any().await.unwrap();
    assert_eq!(*lease.key(), free);
    drop((lease, leases));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_minimum_is_warm_before_anybody_asks_and_stays() {
    let setup =
        start(|l| PoolSpec::anonymous(2, 4, worker(l, "worker")).min_idle(1).idle_ttl(10 * SEC)).await;
    settle().await;
    assert_eq!(setup.alive(), 2);
    let began = tokio::time::Instant::now();
    let leases = [setup.pool.acquire_any().await.unwrap(), setup.pool.acquire_any().await.unwrap()];
    assert_eq!(began.elapsed(), std::time::Duration::ZERO, "warm");
    settle().await;
    assert_eq!(setup.alive(), 3, "and a spare one is being kept");
    drop(leases);
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(setup.alive(), 2);
    // One that dies is replaced.
    setup.launcher.kill(setup.launcher.alive()[0], procession::process::Signal::KILL).unwrap();
    tokio::time::sleep(5 * SEC).await;
    assert_eq!(setup.alive(), 2);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_misuse_here_and_its_lack_is_misuse_there() {
    let setup = start(|l| PoolSpec::anonymous(0, 1, worker(l, "worker"))).await;
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(matches!(error, AcquireError::WrongKind { .. }) && error.is_misuse(), "{error}");
    setup.end().await;
    let setup = keyed(1, |spec| spec).await;
    let error = setup.pool.acquire_any().await.unwrap_err();
    assert!(matches!(error, AcquireError::WrongKind { .. }), "{error}");
    let error = setup.pool.acquire("").await.unwrap_err();
    assert!(matches!(error, AcquireError::EmptyKey { .. }) && error.is_misuse(), "{error}");
    setup.end().await;
}
