//! When a pool ends, for any reason, all callers and lease holders are told, and nothing of it is left
//! (S-17, S-18, S-20, S-21, S-23).

use procession::internals::{Root, RootOptions};
use procession::{
    event::EventKind,
    exit::Exit,
    pool::{AcquireError, Pool, PoolSpec, Revocation},
    process::Signal,
    rpc::Timeout,
    state::GiveUpReason,
    supervision::SupervisorSpec,
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_spent_intensity_goes_up_with_its_chain_and_the_restarted_pool_works() {
    // S-17
    let setup = keyed(3, |spec| spec.intensity(1, 60 * SEC)).await;
    let mut events = setup.root.events();
    setup.pool.set_session("bystander", Some("s")).unwrap();
    let bystander = setup.pool.acquire("bystander").await.unwrap();
    for incarnation in 1..=2 {
        let lease = setup.pool.acquire("a").await.unwrap();
        assert_eq!(lease.incarnation().0, incarnation);
        setup.kill(&lease);
        assert!(matches!(lease.revoked().await, Revocation::Lost { exit: Exit::Signalled { .. } }));
    }
    assert_eq!(bystander.revoked().await, Revocation::Stopping);
    let event = events
        .wait_for(|e| e.path.as_str() == "/pool" && matches!(e.kind, EventKind::Exited { .. }))
        .await
        .unwrap();
    let EventKind::Exited { exit, .. } = &event.kind else { panic!() };
    let Exit::IntensityExceeded { child, cause, limit } = exit else { panic!("{exit}") };
    assert_eq!(
        (child.as_str(), limit),
        ("a", &GiveUpReason::Intensity { max_restarts: 1, period: 60 * SEC })
    );
    assert_eq!(**cause, Exit::Signalled { signal: Signal::KILL.as_raw(), core: false });
    assert_eq!(setup.pool.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(setup.alive(), 0, "keys come back on demand");
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!(lease.incarnation().0, 3, "no path and incarnation are used twice");
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    assert_eq!(setup.pool.session(&"bystander".into()).as_deref(), Some("s"));
    drop((lease, bystander));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_told_when_the_pool_gives_up() {
    let setup = start(|l| PoolSpec::keyed(1, worker(l, "broken")).intensity(2, SEC)).await;
    let error = setup.pool.acquire("a").await.unwrap_err();
    assert!(matches!(error, AcquireError::Unavailable(_)) && error.is_retryable(), "{error}");
    assert_eq!(setup.launcher.launched().len(), 3);
    settle().await;
    assert_eq!(setup.pool.wait_ready(SEC).await.unwrap().0, 2);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_gives_up_still_says_what_is_left_of_it() {
    // S-18
    let setup = start(|l| {
        let l = l.clone();
        let template = procession::pool::WorkerTemplate::each(move |key| worker(&l, key.as_str()));
        PoolSpec::keyed(3, template).intensity(0, SEC)
    })
    .await;
    let stubborn = setup.pool.acquire("stubborn").await.unwrap();
    let mortal = setup.pool.acquire("worker").await.unwrap();
    setup.kill(&mortal);
    assert_eq!(stubborn.revoked().await, Revocation::Stopping);
    let status = setup.pool.status().unwrap();
    assert_eq!((status.used, status.workers[0].status.key.as_str()), (1, "stubborn"));
    // No more callers are admitted, and none waits for the end.
    let began = tokio::time::Instant::now();
    for name in ["stubborn", "worker"] {
        let error = setup.pool.acquire(name).await.unwrap_err();
        assert!(matches!(error, AcquireError::Unavailable(_)), "{error}");
    }
    assert_eq!(began.elapsed(), std::time::Duration::ZERO);
    let error = setup.pool.drain().await.unwrap_err();
    assert_eq!(error.state, procession::state::ChildState::Stopping);
    drop((stubborn, mortal));
    setup.pool.wait_ready(60 * SEC).await.unwrap();
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_exit_of_the_pool_reaches_the_root() {
    let l = launcher();
    let pool = PoolSpec::keyed(1, worker(&l, "broken")).intensity(0, SEC).child("pool");
    let root =
        Root::start(SupervisorSpec::one_for_one().intensity(0, SEC).child(pool), RootOptions::default());
    let root = root.await.unwrap();
    let pool = Pool::new(root.find("/pool").unwrap());
    assert!(pool.acquire("a").await.is_err());
    let exit = root.wait().await;
    assert_eq!(exit.culprits().map(|c| c.as_str()).collect::<Vec<_>>(), ["pool", "a"]);
    assert_eq!(exit.chain().last(), Some(&Exit::Failed { code: 9 }));
    let error = pool.acquire("a").await.unwrap_err();
    assert!(matches!(error, AcquireError::Unavailable(_)), "{error}");
    assert!(pool.status().is_err() && pool.resize(1).is_err() && pool.drain().await.is_err());
    assert!(pool.stop_key("a").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_tells_holders_and_those_who_wait_and_leaves_nothing() {
    // S-20
    let setup = start(|l| PoolSpec::keyed(2, worker(l, "slow"))).await;
    let held = setup.pool.acquire("a").await.unwrap();
    let starting = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("b").await.map(drop) }
    });
    let queued = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("c").await.map(drop) }
    });
    settle().await;
    assert_eq!(setup.alive(), 2);
    setup.root.stop(None);
    assert_eq!(held.revoked().await, Revocation::Stopping);
    for task in [starting, queued] {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, AcquireError::Unavailable(_)), "{error}");
    }
    // Neither while it stops nor afterwards are callers admitted.
    let pool = setup.pool.clone();
    assert!(matches!(pool.acquire("d").await, Err(AcquireError::Unavailable(_))));
    drop(held);
    setup.end().await;
    assert!(matches!(pool.acquire("d").await, Err(AcquireError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_worker_may_still_answer() {
    // C-4, P-9
    let setup = start(|l| {
        l.program("polite", |mut me: procession::testing::ScriptedProcess| async move {
            let mut open = Vec::new();
            while let Some(line) = me.read_line().await {
                let message: serde_json::Value = serde_json::from_str(&line).unwrap();
                let answer = serde_json::json!({ "jsonrpc": "2.0", "id": message["id"], "result": 1 });
                match message["method"].as_str() {
                    Some("hello") => me.write_line(&answer.to_string()).await.unwrap(),
                    _ => open.push(answer),
                }
            }
            me.sleep(100 * MS).await;
            for answer in open {
                me.write_line(&answer.to_string()).await.unwrap();
            }
            0
        });
        PoolSpec::keyed(1, worker(l, "polite"))
    })
    .await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let (answer, why) = tokio::join!(lease.call_value("late", &(), Timeout::Never), async {
        settle().await;
        setup.root.stop(None);
        lease.revoked().await
    });
    assert_eq!((answer.unwrap().get(), why), ("1", Revocation::Stopping));
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_pool_tells_everybody_and_comes_back() {
    // S-21, G-16
    let setup = keyed(1, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let waiting = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("b").await.map(drop) }
    });
    let draining = async {
        settle().await;
        setup.pool.node().live().as_ref().unwrap().cell.kill();
    };
    let (called, why, ()) =
        tokio::join!(lease.call_value("hang", &(), Timeout::Never), lease.revoked(), draining);
    assert_eq!(why, Revocation::PoolEnded);
    let error = called.unwrap_err();
    assert_eq!(error.revocation(), Some(&Revocation::PoolEnded), "{error}");
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Unavailable(_))));
    drop(lease);
    assert_eq!(setup.pool.wait_ready(10 * SEC).await.unwrap().0, 2);
    assert_eq!(setup.alive(), 0);
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_stopped_by_ractors_own_stop_ends_in_order() {
    let setup = start(|l| PoolSpec::keyed(2, worker(l, "slow"))).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let starting = tokio::spawn({
        let pool = setup.pool.clone();
        async move { pool.acquire("b").await.map(drop) }
    });
    settle().await;
    setup.pool.node().live().as_ref().unwrap().cell.stop(None);
    assert_eq!(lease.revoked().await, Revocation::Stopping);
    assert!(matches!(starting.await.unwrap(), Err(AcquireError::Unavailable(_))));
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_deaths_of_all_workers_at_once_are_survived() {
    let setup = keyed(10, |spec| spec).await;
    let mut leases = Vec::new();
    for n in 0..10 {
        leases.push(setup.pool.acquire(key(n)).await.unwrap());
    }
    for lease in &leases {
        setup.kill(lease);
    }
    for lease in &leases {
        lease.revoked().await;
    }
    for n in 0..10 {
        assert_eq!(setup.pool.acquire(key(n)).await.unwrap().incarnation().0, 2);
    }
    assert_eq!(setup.pool.node().incarnation().0, 1);
    drop(leases);
    setup.end().await;
}
