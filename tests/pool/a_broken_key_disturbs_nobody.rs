//! R-0, L-1: in a keyed pool that was given no intensity, each key pays for its own crashes.

use procession::{
    exit::Exit,
    pool::{AcquireError, PoolSpec, WorkerTemplate},
    vocabulary::{Down, State},
};

use crate::support::*;

/// `bad…` are keys of workers that fail at once.
async fn some_are_broken(rules: impl FnOnce(PoolSpec) -> PoolSpec) -> Setup {
    start(|launcher| {
        let launcher = launcher.clone();
        let template = WorkerTemplate::each(move |key| {
            worker(&launcher, if key.as_str().starts_with("bad") { "broken" } else { "worker" })
        });
        rules(PoolSpec::keyed(3, template))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_over_and_over_is_given_up_alone() {
    let setup = some_are_broken(|spec| spec).await;
    let good = setup.pool.acquire("good").await.unwrap();
    for n in 0..20 {
        let error = setup.pool.acquire(format!("bad{}", n % 2)).await.unwrap_err();
        let AcquireError::Failed { why: Down::GaveUp { .. }, exit, .. } = &error else { panic!("{error}") };
        assert_eq!(exit, &Some(Exit::Failed { code: 9 }), "the caller learns of the cause");
        assert!(!error.is_retryable());
    }
    assert!(good.revocation().is_none());
    assert_eq!(setup.root.find("/pool").unwrap().incarnation().0, 1);
    assert_eq!(setup.pool.status().unwrap().workers.len(), 1, "nothing of them is left");
    drop(good);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_comes_back_from_some_crashes() {
    let setup = keyed(2, |spec| spec).await;
    for n in 1..=4 {
        let lease = setup.pool.acquire("a").await.unwrap();
        assert_eq!(lease.incarnation().0, n);
        setup.kill(&lease);
        lease.revoked().await;
    }
    assert_eq!(setup.pool.acquire("a").await.unwrap().incarnation().0, 5);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_an_intensity_its_crashes_are_the_pools() {
    let setup = some_are_broken(|spec| spec.intensity(2, SEC)).await;
    let good = setup.pool.acquire("good").await.unwrap();
    setup.pool.acquire("bad").await.unwrap_err();
    good.revoked().await;
    let place = setup.root.find("/pool").unwrap();
    place.wait_state(|state| *state == State::Ready && place.incarnation().0 == 2).await;
    setup.end().await;
}
