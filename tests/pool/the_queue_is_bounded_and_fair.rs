//! Waiting callers form a bounded FIFO queue with deadlines (L-4, L-6).

use std::sync::{Arc, Mutex};

use procession::pool::AcquireError;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_the_order_of_their_coming() {
    let setup = keyed(1, |spec| spec.per_worker(1)).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..6 {
        let (pool, order) = (setup.pool.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            // Some want the worker that is ready, some want its slot.
            let lease = pool.acquire_within(key(n % 2), 600 * SEC).await.unwrap();
            order.lock().unwrap().push(n);
            tokio::time::sleep(10 * MS).await;
            drop(lease);
        }));
        settle().await;
    }
    drop(lease);
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock().unwrap().clone();
    // The callers of each key are in order, and the first caller is served first.
    assert_eq!(order[0], 0);
    for parity in 0..2 {
        let of_key: Vec<_> = order.iter().filter(|n| *n % 2 == parity).collect();
        assert!(of_key.is_sorted(), "{order:?}");
    }
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_and_gives_the_place_to_the_next() {
    // L-6
    let setup = keyed(1, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let began = tokio::time::Instant::now();
    let next = tokio::spawn({
        let pool = setup.pool.clone();
        async move {
            tokio::time::sleep(SEC).await;
            pool.acquire_within("c", 60 * SEC).await.unwrap()
        }
    });
    let error = setup.pool.acquire_within("b", 5 * SEC).await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { .. }), "{error}");
    assert_eq!(began.elapsed(), 5 * SEC);
    drop(lease);
    assert_eq!(next.await.unwrap().key().as_str(), "c");
    assert_eq!(setup.pool.status().unwrap().totals.cancelled, 1);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_refused_at_once() {
    let setup = keyed(1, |spec| spec.max_waiting(2)).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|n| {
            let pool = setup.pool.clone();
            tokio::spawn(async move { pool.acquire(key(n)).await.map(drop) })
        })
        .collect();
    settle().await;
    let began = tokio::time::Instant::now();
    let error = setup.pool.acquire("c").await.unwrap_err();
    assert!(matches!(error, AcquireError::Exhausted { .. }) && error.is_retryable(), "{error}");
    assert_eq!(began.elapsed(), std::time::Duration::ZERO);
    // A lease on the ready worker needs no place in the queue.
    drop(setup.pool.acquire("a").await.unwrap());
    drop(lease);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_zero_takes_what_is_ready() {
    let setup = keyed(1, |spec| spec).await;
    assert!(setup.pool.acquire_within("a", std::time::Duration::ZERO).await.is_err());
    assert!(setup.pool.try_acquire(&"b".into()).is_none());
    settle().await;
    let lease = setup.pool.acquire_within("a", std::time::Duration::ZERO).await.unwrap();
    assert!(setup.pool.try_acquire(&"a".into()).is_some());
    drop(lease);
    setup.end().await;
}
