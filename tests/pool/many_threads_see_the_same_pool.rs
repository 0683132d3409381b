//! The main guarantees of pools hold with callers, actors and processes on several threads (L-1, L-3,
//! L-4, L-6, L-7, S-17).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use procession::{
    pool::{AcquireError, LeaseCallError, PoolSpec, Revocation},
    rpc::Timeout,
};

use crate::{support::*, the_cap_holds::race};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cap_holds_under_racing_callers() {
    // L-3
    let setup = keyed(5, |spec| spec).await;
    assert!(race(&setup, 100, 4, 23).await <= 5);
    let status = setup.pool.status().unwrap();
    assert_eq!((status.totals.granted, status.leases, status.waiting), (400, 0, 0));
    setup.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_death_is_told_to_its_holder_and_nobody_reaches_a_successor() {
    // L-7
    let setup = keyed(4, |spec| spec.intensity(1_000_000, SEC)).await;
    let told = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (pool, launcher, told) = (setup.pool.clone(), setup.launcher.clone(), told.clone());
            tokio::spawn(async move {
                for round in 0..25 {
                    let lease = pool.acquire(key(n % 4)).await.unwrap();
                    if (n + round) % 3 == 0 {
                        // Another holder may have been faster.
                        let _ = launcher.kill(lease.pid().unwrap(), procession::process::Signal::KILL);
                        assert!(matches!(lease.revoked().await, Revocation::Lost { .. }));
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    match lease.call_value("pid", &(), Timeout::After(20 * SEC)).await {
                        Ok(pid) => assert_eq!(pid.get(), lease.pid().unwrap().to_string()),
                        Err(LeaseCallError::Revoked { .. } | LeaseCallError::Call(_)) => {
                            assert!(matches!(lease.revoked().await, Revocation::Lost { .. }));
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(told.load(Ordering::Relaxed) > 50);
    let status = setup.pool.status().unwrap();
    assert_eq!((status.leases, status.waiting, setup.alive() <= 4), (0, 0, true));
    setup.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_vanish_at_any_moment_leak_nothing() {
    // L-6
    let setup = keyed(3, |spec| spec.per_worker(1).max_waiting(20)).await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let pool = setup.pool.clone();
            tokio::spawn(async move {
                for round in 0..30_u32 {
                    let patience = std::time::Duration::from_micros(u64::from(round) * 37 % 1500);
                    match tokio::time::timeout(patience, pool.acquire(key(n % 7))).await {
                        Ok(Ok(lease)) => {
                            tokio::task::yield_now().await;
                            drop(lease);
                        }
                        Ok(Err(AcquireError::Exhausted { .. })) | Err(_) => {}
                        Ok(Err(other)) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let pool = setup.pool.clone();
    until(|| {
        let status = pool.status().unwrap();
        (status.leases, status.waiting) == (0, 0)
    })
    .await;
    assert!(setup.alive() <= 3);
    drop(setup.pool.acquire("x").await.unwrap());
    setup.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn busy_holders_are_told_while_keys_fight_for_one_slot() {
    // L-4
    let setup = keyed(1, |spec| spec.evict_busy(true)).await;
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let pool = setup.pool.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let lease = pool.acquire_within(key(n), 60 * SEC).await.unwrap();
                    let called = lease.call_value("pid", &(), Timeout::After(20 * SEC)).await;
                    if let Err(error) = called {
                        assert_eq!(error.revocation(), Some(&Revocation::Evicted), "{error}");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    setup.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pool_that_gives_up_again_and_again_never_leaves_a_caller_hanging() {
    // S-17
    let setup = start(|l| {
        let l = l.clone();
        PoolSpec::keyed(
            4,
            procession::pool::WorkerTemplate::each(move |key| match key.as_str() {
                "k0" => worker(&l, "broken"),
                _ => worker(&l, "worker"),
            }),
        )
        .intensity(1, SEC)
    })
    .await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let pool = setup.pool.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    let got = tokio::time::timeout(20 * SEC, pool.acquire(key(n % 4))).await;
                    match got.expect("no caller hangs") {
                        Ok(lease) => drop(lease),
                        Err(AcquireError::Unavailable(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                    tokio::time::sleep(MS).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let _ = setup.root.shutdown(20 * SEC).await;
    assert!(setup.launcher.alive().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_warm_worker_is_had_without_waiting_whatever_happens_to_others() {
    // L-1, L-7
    let setup = keyed(4, |spec| spec.intensity(1_000_000, SEC)).await;
    drop(setup.pool.acquire("warm").await.unwrap());
    let over = Arc::new(AtomicU64::new(0));
    let (pool, launcher, stop) = (setup.pool.clone(), setup.launcher.clone(), over.clone());
    let storm = tokio::spawn(async move {
        while stop.load(Ordering::Relaxed) == 0 {
            let lease = pool.acquire("stormy").await.unwrap();
            let _ = launcher.kill(lease.pid().unwrap(), procession::process::Signal::KILL);
            lease.revoked().await;
        }
    });
    let pool = setup.pool.clone();
    let warm = tokio::spawn(async move {
        for n in 0..20_000 {
            let lease = pool.try_acquire(&"warm".into());
            assert!(lease.is_some(), "attempt {n}");
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    warm.await.unwrap();
    over.store(1, Ordering::Relaxed);
    storm.await.unwrap();
    setup.end().await;
}
