//! In a keyed pool without an intensity each key pays for its own crashes: a broken key is given up,
//! its callers get the reason, and other keys are not affected (R-0, L-1).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use procession::{
    exit::Exit,
    pool::{AcquireError, PoolSpec, WorkerTemplate},
    protocol::NoChannel,
    restart::{Backoff, RestartPolicy},
    state::{ChildState, DownReason},
    testing::ScriptedProcess,
};

use crate::support::*;

/// Exits with 0 at once. (Not endlessly: a loop without a pause would stop the clock.)
async fn quits(me: ScriptedProcess) -> i32 {
    if me.launch() > 1000 {
        me.hang().await;
    }
    0
}

/// The keys `bad…` have workers that fail at once.
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
        assert!(matches!(error, AcquireError::Failed { why: DownReason::GaveUp { .. }, .. }), "{error}");
        assert_eq!(error.exit(), Some(&Exit::Failed { code: 9 }), "the caller learns of the cause");
        assert!(!error.is_retryable());
    }
    assert!(good.revocation().is_none());
    assert_eq!(setup.root.find("/pool").unwrap().incarnation().0, 1);
    assert_eq!(setup.pool.status().unwrap().workers.len(), 1, "nothing of them is left");
    drop(good);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn however_often_callers_ask_a_broken_key_is_started_a_few_times_a_minute() {
    let setup = some_are_broken(|spec| spec).await;
    let begin = tokio::time::Instant::now();
    let mut refused = 0;
    while begin.elapsed() < 60 * SEC {
        let error = setup.pool.acquire("bad").await.unwrap_err();
        assert!(matches!(error.exit(), Some(Exit::Failed { code: 9 })), "{error}");
        let rest = error.retry_after().unwrap();
        assert!(rest <= 30 * SEC && rest + begin.elapsed() >= 30 * SEC, "{rest:?}");
        refused += 1;
        tokio::time::sleep(100 * MS).await;
    }
    assert!(refused > 500, "{refused}: callers do not wait");
    assert_eq!(setup.launcher.launched().len(), 10, "five at the beginning, five after the pause");
    // An operator has repaired it and does not want to wait.
    setup.pool.reset_failed().unwrap();
    setup.pool.acquire("bad").await.unwrap_err();
    assert_eq!(setup.launcher.launched().len(), 15);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_exits_with_0_before_it_is_ready_is_broken() {
    //
    let how = || Box::new(Exit::Clean { code: 0 });
    for policy in [RestartPolicy::actor(), RestartPolicy::transient()] {
        let setup = start(|launcher| {
            launcher.program("quits", quits);
            PoolSpec::keyed(3, worker(launcher, "quits")).restart(policy)
        })
        .await;
        let begin = tokio::time::Instant::now();
        let error = setup.pool.acquire("a").await.unwrap_err();
        assert!(matches!(error, AcquireError::Failed { why: DownReason::GaveUp { .. }, .. }), "{error}");
        assert_eq!(error.exit(), Some(&Exit::EndedBeforeReady { how: how(), printed: None }));
        assert!(begin.elapsed() < 5 * SEC, "its callers do not wait for their time-out");
        tokio::time::sleep(3600 * SEC).await;
        assert_eq!(setup.launcher.launched().len(), 5);
        setup.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_ready_and_done_at_once_is_not_started_without_end() {
    // whether or not callers come back for it.
    for asks in [1, 50] {
        let setup = start(|launcher| {
            launcher.program("quits", quits);
            PoolSpec::keyed(3, worker(launcher, "quits").protocol(NoChannel::default()))
        })
        .await;
        for _ in 0..asks {
            drop(setup.pool.acquire_within("a", SEC).await);
        }
        let launches = setup.launcher.launched().len();
        tokio::time::sleep(25 * SEC).await;
        assert_eq!((launches.min(5), setup.launcher.launched().len()), (launches, 5), "{asks} asked");
        let rests = setup.pool.acquire("a").await.unwrap_err();
        assert!(matches!(rests.exit(), Some(Exit::Clean { code: 0 })), "{rests}");
        setup.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_template_is_not_asked_each_time_either() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let setup = start(|launcher| {
        let launcher = launcher.clone();
        PoolSpec::keyed(
            3,
            WorkerTemplate::each(move |_| {
                assert!(count.fetch_add(1, Ordering::Relaxed) > 0, "only the first time");
                worker(&launcher, "worker")
            }),
        )
    })
    .await;
    for _ in 0..3 {
        let error = setup.pool.acquire("a").await.unwrap_err();
        assert!(error.to_string().contains("the template panicked for `a`"), "{error}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tokio::time::sleep(30 * SEC).await;
    drop(setup.pool.acquire("a").await.unwrap());
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
async fn another_policy_of_restarts_is_no_intensity() {
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(10 * MS)).with_crash_loop(None);
    let setup = some_are_broken(|spec| spec.restart(policy)).await;
    let good = setup.pool.acquire("good").await.unwrap();
    for n in 0..10 {
        let error = setup.pool.acquire(format!("bad{n}")).await.unwrap_err();
        assert!(matches!(error, AcquireError::Failed { why: DownReason::GaveUp { .. }, .. }), "{error}");
    }
    assert!(good.revocation().is_none());
    assert_eq!(setup.root.find("/pool").unwrap().incarnation().0, 1);
    drop(good);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_an_intensity_its_crashes_are_the_pools() {
    let setup = some_are_broken(|spec| spec.intensity(2, SEC)).await;
    let good = setup.pool.acquire("good").await.unwrap();
    setup.pool.acquire("bad").await.unwrap_err();
    good.revoked().await;
    let place = setup.root.find("/pool").unwrap();
    place.wait_state(|state| *state == ChildState::Ready && place.incarnation().0 == 2).await;
    setup.end().await;
}
