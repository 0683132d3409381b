//! Which workers are stopped to make room, or because they are idle, and when (L-4, L-5, L-7, W-5).

use procession::{
    pool::PoolSpec,
    restart::{Backoff, RestartPolicy},
    state::ChildState,
};

use crate::support::*;

fn keys(setup: &Setup) -> Vec<String> {
    setup.pool.status().unwrap().workers.iter().map(|w| w.status.key.as_str().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_idle_worker_makes_room_and_not_a_busy_one() {
    // L-4
    let setup = keyed(3, |spec| spec).await;
    let a = setup.pool.acquire("a").await.unwrap();
    for name in ["b", "c", "b"] {
        drop(setup.pool.acquire(name).await.unwrap());
        settle().await;
    }
    let d = setup.pool.acquire("d").await.unwrap();
    assert_eq!(keys(&setup), ["a", "b", "d"], "a is busy, b was used after c");
    assert!(a.revocation().is_none());
    drop((a, d));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_nobody_uses_is_stopped_after_the_ttl() {
    // L-5
    let setup = keyed(3, |spec| spec.idle_ttl(10 * SEC)).await;
    drop(setup.pool.acquire("a").await.unwrap());
    let b = setup.pool.acquire("b").await.unwrap();
    tokio::time::sleep(9 * SEC).await;
    assert_eq!(keys(&setup), ["a", "b"]);
    tokio::time::sleep(2 * SEC).await;
    assert_eq!(keys(&setup), ["b"], "a busy one is not idle");
    assert_eq!(setup.alive(), 1);
    drop(b);
    tokio::time::sleep(11 * SEC).await;
    assert_eq!((keys(&setup).len(), setup.alive()), (0, 0));
    assert_eq!(setup.pool.status().unwrap().totals.expired, 2);
    drop(setup.pool.acquire("a").await.unwrap());
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_backs_off_counts_and_is_evicted_first() {
    // L-7
    let setup = keyed(2, |spec| {
        spec.restart(RestartPolicy::actor().with_backoff(Backoff::Fixed { delay: 60 * SEC }))
    })
    .await;
    drop(setup.pool.acquire("idle").await.unwrap());
    settle().await;
    let lease = setup.pool.acquire("crashed").await.unwrap();
    setup.kill(&lease);
    lease.revoked().await;
    drop(lease);
    settle().await;
    let status = setup.pool.status().unwrap();
    assert!(matches!(status.workers[0].status.state, ChildState::BackingOff { attempt: 1, .. }));
    assert_eq!(status.used, 2, "it counts against the cap");
    // `idle` has not been used for longer, but it is alive.
    let next = setup.pool.acquire("next").await.unwrap();
    assert_eq!(keys(&setup), ["idle", "next"]);
    drop(next);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_replaced_after_its_calls_or_its_age_when_it_is_idle() {
    // W-5
    let setup = keyed(2, |spec| spec.recycle_after_calls(3).recycle_after(60 * SEC)).await;
    let (a, b) = (setup.pool.acquire("a").await.unwrap(), setup.pool.acquire("a").await.unwrap());
    for _ in 0..3 {
        pid(&a).await;
    }
    drop(a);
    settle().await;
    assert!(b.revocation().is_none() && setup.alive() == 1, "it is still in use");
    drop(b);
    settle().await;
    assert_eq!(setup.alive(), 0);
    let young = setup.pool.acquire("a").await.unwrap();
    let first = young.pid();
    drop(young);
    tokio::time::sleep(61 * SEC).await;
    drop(setup.pool.acquire("a").await.unwrap());
    settle().await;
    let third = setup.pool.acquire("a").await.unwrap();
    assert_ne!(third.pid(), first);
    assert_eq!(setup.pool.status().unwrap().workers[0].failures, 0, "that is no crash");
    drop(third);
    setup.pool.recycle("a").unwrap();
    settle().await;
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_drained_pool_has_no_worker_left_and_takes_no_work() {
    // L-5
    let setup = keyed(3, |spec| spec).await;
    let busy = setup.pool.acquire("a").await.unwrap();
    drop(setup.pool.acquire("b").await.unwrap());
    let drained = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.drain().await }
    });
    settle().await;
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(matches!(error, procession::pool::AcquireError::Draining { .. }), "{error}");
    assert!(!drained.is_finished() && setup.alive() == 1 && busy.revocation().is_none());
    drop(busy);
    drained.await.unwrap().unwrap();
    assert_eq!(setup.alive(), 0);
    setup.pool.drain().await.unwrap();
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_ordered_in_one_breath_is_done_in_that_order() {
    // The start and the stop of one worker are requested before the pool's actor has seen either.
    let setup = keyed(3, |spec| spec).await;
    let caller = setup.pool.acquire("a");
    let drained = setup.pool.drain();
    let (refused, drained) = tokio::join!(biased; caller, drained);
    assert!(matches!(refused, Err(procession::pool::AcquireError::Draining { .. })));
    drained.unwrap();
    settle().await;
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (0, 0));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_broken_programs_is_not_started_in_a_tight_loop() {
    let setup =
        start(|l| PoolSpec::anonymous(1, 2, worker(l, "broken")).restart(RestartPolicy::temporary())).await;
    tokio::time::sleep(10 * SEC).await;
    assert!(setup.launcher.launched().len() <= 12, "{}", setup.launcher.launched().len());
    setup.end().await;
}
