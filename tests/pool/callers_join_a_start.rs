//! Callers for a starting key join that start and get a worker that is ready, or the reason why it
//! failed (L-1).

use procession::{
    exit::Exit,
    pool::{AcquireError, PoolSpec, WorkerTemplate},
    restart::RestartPolicy,
    state::DownReason,
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn all_callers_of_a_starting_key_get_the_one_worker_when_it_is_ready() {
    let setup = start(|l| PoolSpec::keyed(4, worker(l, "slow"))).await;
    let began = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let pool = setup.pool.clone();
            tokio::spawn(async move { pool.acquire("a").await.unwrap() })
        })
        .collect();
    let mut leases = Vec::new();
    for task in tasks {
        leases.push(task.await.unwrap());
    }
    assert!(began.elapsed() >= SEC, "no caller got it before its handshake");
    assert_eq!(setup.launcher.launched().len(), 1);
    for lease in &leases {
        assert_eq!(Some(pid(lease).await), leases[0].pid());
    }
    drop(leases);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn starts_are_bounded() {
    // L-5
    let setup = start(|l| PoolSpec::keyed(6, worker(l, "slow")).start_concurrency(2)).await;
    let began = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let pool = setup.pool.clone();
            tokio::spawn(async move { drop(pool.acquire(key(n)).await.unwrap()) })
        })
        .collect();
    settle().await;
    assert_eq!(setup.alive(), 2);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(began.elapsed() >= 3 * SEC);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn callers_hear_of_a_start_that_has_failed_for_good_and_of_its_reason() {
    let setup = start(|l| PoolSpec::keyed(2, worker(l, "no-such-program"))).await;
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(matches!(&error, AcquireError::Failed { why: DownReason::GaveUp { .. }, .. }), "{error}");
    assert!(matches!(error.exit(), Some(Exit::NeverStarted { .. })), "{error}");
    assert!(!error.is_retryable(), "{error}");
    // The key is not stuck: it is started again for the next caller.
    assert!(matches!(setup.pool.acquire("a").await, Err(AcquireError::Failed { .. })));
    assert_eq!(setup.pool.status().unwrap().used, 0);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_not_restarted_frees_its_slot() {
    let setup = start(|l| PoolSpec::keyed(1, worker(l, "broken")).restart(RestartPolicy::temporary())).await;
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(
        matches!(&error, AcquireError::Failed { why: DownReason::Ended, .. })
            && error.exit() == Some(&Exit::Failed { code: 9 }),
        "{error}"
    );
    assert!(error.is_retryable());
    assert_eq!(setup.pool.status().unwrap().used, 0);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_template_is_asked_for_each_key_and_its_mistakes_are_that_keys_alone() {
    let setup = start(|l| {
        let l = l.clone();
        PoolSpec::keyed(
            3,
            WorkerTemplate::each(move |key| match key.as_str() {
                "panic" => std::panic::resume_unwind(Box::new("on purpose")),
                "invalid" => worker(&l, "worker").start_timeout(std::time::Duration::ZERO),
                program => worker(&l, program),
            }),
        )
    })
    .await;
    let lease = setup.pool.acquire("worker").await.unwrap();
    for bad in ["panic", "invalid"] {
        let error = setup.pool.acquire(bad).await.unwrap_err();
        assert!(matches!(error.exit(), Some(Exit::NeverStarted { .. })), "{bad}: {error}");
    }
    assert_eq!(setup.launcher.launched()[0].program, "worker");
    assert!(lease.revocation().is_none() && setup.pool.status().unwrap().used == 1);
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_under_the_key_is_no_worker_of_the_pool() {
    // A child was added to the pool's supervisor by hand.
    let setup = keyed(2, |spec| spec).await;
    let supervisor = setup.root.supervisor_at("/pool").unwrap();
    supervisor.start_child(worker(&setup.launcher, "worker").child("a")).await.unwrap();
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(matches!(&error, AcquireError::Failed { .. }), "{error}");
    assert_eq!(setup.pool.status().unwrap().used, 0);
    supervisor.remove_child("a").await.unwrap();
    drop(setup.pool.acquire("a").await.unwrap());
    setup.end().await;
}
