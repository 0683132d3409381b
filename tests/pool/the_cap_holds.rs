//! The cap is never exceeded, however many callers race (L-3).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::support::*;

/// Callers lease random keys for a while, and the processes are counted all the time. Returns the
/// largest count.
pub(crate) async fn race(setup: &Setup, callers: usize, rounds: usize, keys: usize) -> usize {
    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let counter = {
        let (launcher, over, most) = (setup.launcher.clone(), over.clone(), most.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(launcher.alive().len(), Ordering::Relaxed);
                tokio::time::sleep(MS / 4).await;
            }
        })
    };
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let pool = setup.pool.clone();
            tokio::spawn(async move {
                for round in 0..rounds {
                    let lease = pool.acquire_within(key((caller * 7 + round * 13) % keys), 600 * SEC).await;
                    let lease = lease.unwrap();
                    assert_eq!(Some(pid(&lease).await), lease.pid());
                    tokio::time::sleep(MS).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    counter.await.unwrap();
    most.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_racing_callers_never_have_more_workers_than_the_cap() {
    let setup = keyed(5, |spec| spec).await;
    let most = race(&setup, 100, 4, 23).await;
    assert_eq!(most, 5, "the cap, and all of it");
    let status = setup.pool.status().unwrap();
    assert_eq!((status.totals.granted, status.leases, status.waiting), (400, 0, 0));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_holds_its_slot() {
    // Starting, ready and stopping workers all count: the victim takes two seconds to stop.
    let setup = start(|l| procession::pool::PoolSpec::keyed(1, worker(l, "stubborn"))).await;
    drop(setup.pool.acquire("a").await.unwrap());
    let began = tokio::time::Instant::now();
    let second = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("b").await.unwrap() }
    });
    settle().await;
    assert_eq!(setup.launcher.launched().len(), 1, "the slot is not free yet");
    let lease = second.await.unwrap();
    assert!(began.elapsed() >= SEC && setup.alive() == 1);
    assert_eq!(lease.key().as_str(), "b");
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_resize_takes_effect_as_workers_become_idle() {
    // L-5
    let setup = keyed(3, |spec| spec).await;
    let a = setup.pool.acquire("a").await.unwrap();
    drop(setup.pool.acquire("b").await.unwrap());
    let c = setup.pool.acquire("c").await.unwrap();
    setup.pool.resize(1).unwrap();
    settle().await;
    assert_eq!(setup.alive(), 2, "the idle one went, the busy ones are not touched");
    assert!(a.revocation().is_none() && c.revocation().is_none());
    drop(a);
    settle().await;
    assert_eq!(setup.alive(), 1);
    assert_eq!(pid(&c).await, c.pid().unwrap());
    setup.pool.resize(2).unwrap();
    let d = setup.pool.acquire("d").await.unwrap();
    assert_eq!(setup.alive(), 2);
    drop((c, d));
    setup.end().await;
}
