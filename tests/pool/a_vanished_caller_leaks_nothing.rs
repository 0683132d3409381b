//! A caller may be dropped at any await point and leaks neither a lease nor a place in the queue (L-6).

use std::{future::Future, pin::pin, task::Poll};

use procession::pool::PoolSpec;

use crate::support::*;

/// Polls a future at most this many times, then drops it.
async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn dropped_at_each_poll_of_a_start_it_leaves_no_lease_and_no_ticket() {
    for polls in 0..4 {
        let setup = start(|l| PoolSpec::keyed(1, worker(l, "slow"))).await;
        drop(drop_after(polls, setup.pool.acquire("a")).await);
        tokio::time::sleep(5 * SEC).await;
        let status = setup.pool.status().unwrap();
        assert_eq!((status.leases, status.waiting), (0, 0), "after {polls} polls");
        // The slot can be used again.
        drop(setup.pool.acquire("b").await.unwrap());
        setup.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_in_the_queue_it_gives_its_place_to_the_next() {
    let setup = keyed(1, |spec| spec.max_waiting(2)).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let gone = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("b").await.map(drop) }
    });
    let next = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("c").await.unwrap() }
    });
    settle().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(setup.pool.status().unwrap().waiting, 1);
    drop(lease);
    assert_eq!(next.await.unwrap().key().as_str(), "c");
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_granted_and_not_taken_is_released() {
    // The answer has been sent to the caller, which is never polled again.
    let setup = start(|l| PoolSpec::keyed(1, worker(l, "slow")).per_worker(1)).await;
    let mut first = Box::pin(setup.pool.acquire("a"));
    assert!(futures_poll(&mut first).await.is_none());
    let second = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("a").await.unwrap() }
    });
    tokio::time::sleep(2 * SEC).await;
    assert_eq!(setup.pool.status().unwrap().leases, 1, "granted to the first");
    assert!(!second.is_finished());
    drop(first);
    drop(second.await.unwrap());
    assert_eq!(setup.pool.status().unwrap().leases, 0);
    setup.end().await;
}

async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
        Poll::Ready(out) => Poll::Ready(Some(out)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_that_vanish_together_leave_the_pool_as_it_was() {
    let setup = keyed(2, |spec| spec.per_worker(1)).await;
    for _ in 0..20 {
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let pool = setup.pool.clone();
                tokio::spawn(async move {
                    let _lease = pool.acquire(key(n % 5)).await;
                    std::future::pending::<()>().await;
                })
            })
            .collect();
        settle().await;
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            let _ = task.await;
        }
        let status = setup.pool.status().unwrap();
        assert_eq!((status.leases, status.waiting), (0, 0));
    }
    drop(setup.pool.acquire("a").await.unwrap());
    setup.end().await;
}
