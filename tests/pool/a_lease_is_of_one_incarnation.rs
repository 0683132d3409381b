//! A lease is on exactly one incarnation: it ends with that incarnation, no call through it reaches
//! another one, and the next acquire gets the next incarnation (L-6, L-7).

use procession::{
    exit::Exit,
    pool::{LeaseCallError, PoolSpec, Revocation},
    process::Signal,
    protocol::{NoChannel, ReadyLine},
    rpc::{CallEffect, CallError, Timeout},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_death_is_told_at_once_and_the_next_acquire_gets_the_next_incarnation_of_the_key() {
    let setup = keyed(2, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!((lease.incarnation().0, lease.key().as_str()), (1, "a"));
    let bystander = setup.pool.acquire("b").await.unwrap();
    let began = tokio::time::Instant::now();
    setup.kill(&lease);
    let exit = Exit::Signalled { signal: Signal::KILL.as_raw(), core: false };
    assert_eq!(lease.revoked().await, Revocation::Lost { exit: exit.clone() });
    assert!(began.elapsed() < MS);
    let next = setup.pool.acquire("a").await.unwrap();
    assert_eq!(next.incarnation().0, 2);
    assert_eq!(pid(&next).await, next.pid().unwrap());
    // The old lease never reaches it.
    let error = lease.call_value("pid", &(), Timeout::Default).await.unwrap_err();
    assert!(matches!(&error, LeaseCallError::Revoked { effect: CallEffect::NotSent, .. }), "{error}");
    assert_eq!(error.exit(), Some(&exit));
    assert!(bystander.revocation().is_none());
    drop(lease);
    assert_eq!(setup.pool.status().unwrap().leases, 2, "the end of an old lease is not the end of a new one");
    drop((next, bystander));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_fails_with_the_exit_and_the_tail_of_stderr() {
    // C-4
    let setup = keyed(2, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let error = lease.call_value("die", &(), Timeout::Never).await.unwrap_err();
    let LeaseCallError::Call(CallError::WorkerLost { lost, .. }) = &error else { panic!("{error}") };
    assert_eq!(lost.stderr_tail.trim(), "out of luck");
    assert_eq!(error.exit(), Some(&Exit::Failed { code: 7 }));
    assert_eq!(lease.revoked().await, Revocation::Lost { exit: Exit::Failed { code: 7 } });
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_worker_whose_death_is_known_but_not_judged_yet() {
    // The grandchild cannot be killed for a second: the death is processed when the whole group is
    // gone.
    let setup = start(|l| {
        l.program("parent", |mut me: procession::testing::ScriptedProcess| async move {
            if me.launch() > 1 {
                return serve(me).await;
            }
            let hello: serde_json::Value = serde_json::from_str(&me.read_line().await.unwrap()).unwrap();
            let answer = serde_json::json!({ "jsonrpc": "2.0", "id": hello["id"], "result": null });
            me.write_line(&answer.to_string()).await.unwrap();
            me.sleep(SEC).await;
            me.set_uninterruptible(true);
            me.grandchild(&[], tokio::time::sleep(SEC));
            5
        });
        PoolSpec::keyed(2, worker(l, "parent"))
    })
    .await;
    let first = setup.pool.acquire("a").await.unwrap();
    tokio::time::sleep(SEC + 10 * MS).await;
    assert!(first.revocation().is_none());
    assert!(setup.pool.try_acquire(&"a".into()).is_none());
    assert!(first.revocation().is_none(), "it is not known yet how it ended");
    let second = setup.pool.acquire("a").await.unwrap();
    assert_eq!(second.incarnation().0, 2);
    assert_eq!(first.revoked().await, Revocation::Lost { exit: Exit::Failed { code: 5 } });
    drop((first, second));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_operators_restart_ends_the_leases_and_keeps_the_slot() {
    //
    let setup = keyed(1, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let worker = setup.pool.worker(lease.key()).unwrap();
    let (restarted, why) = tokio::join!(worker.restart("a test"), lease.revoked());
    assert_eq!((restarted.unwrap().0, why), (2, Revocation::Stopping));
    let next = setup.pool.acquire("a").await.unwrap();
    assert_eq!(next.incarnation().0, 2);
    assert_eq!(setup.pool.status().unwrap().used, 1);
    drop((lease, next));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_key_comes_back_on_demand() {
    let setup = keyed(1, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    // Once through the pool, and once by an operator who does not use the pool.
    let (stopped, why) = tokio::join!(setup.pool.stop_key("a"), lease.revoked());
    stopped.unwrap();
    assert_eq!((why, setup.alive()), (Revocation::Stopping, 0));
    assert!(setup.pool.stop_key("a").await.is_err());
    let lease = setup.pool.acquire("a").await.unwrap();
    lease.worker().stop().await.unwrap();
    settle().await;
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (0, 0));
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_channel_is_leased_and_not_called() {
    let setup = start(|l| PoolSpec::keyed(1, worker(l, "worker").protocol(NoChannel::default()))).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    assert!(lease.pid().is_some());
    let error = lease.call_value("pid", &(), Timeout::Default).await.unwrap_err();
    assert!(matches!(error, LeaseCallError::NoChannel { .. }) && !error.is_retryable());
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_actor_leaves_no_call_unanswered() {
    // C-4
    let setup = keyed(1, |spec| spec).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let worker = lease.worker();
    let began = tokio::time::Instant::now();
    let (by_lease, by_worker, ()) = tokio::join!(
        lease.call_value("hang", &(), Timeout::Never),
        worker.call_value("hang", &(), Timeout::After(60 * SEC)),
        async {
            settle().await;
            worker.node().live().as_ref().unwrap().cell.kill();
        }
    );
    let by_lease = by_lease.unwrap_err();
    assert_eq!(by_lease.exit(), Some(&Exit::ActorKilled), "{by_lease}");
    assert_eq!(by_worker.unwrap_err().exit(), Some(&Exit::ActorKilled));
    assert!(began.elapsed() < SEC);
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_address_that_a_worker_has_printed_is_of_the_lease_too() {
    // L-7, W-7
    let setup = start(|launcher| {
        launcher.program("server", |mut me| async move {
            me.write_line(&format!("\u{1b}[32mlistening on :{}\u{1b}[0m", me.pid())).await.unwrap();
            me.hang().await
        });
        PoolSpec::keyed(1, worker(launcher, "server").protocol(ReadyLine::new("listening on")))
    })
    .await;
    let first = setup.pool.acquire("a").await.unwrap();
    assert_eq!(first.ready_line(), Some("listening on :1000"));
    setup.kill(&first);
    first.revoked().await;
    let second = setup.pool.acquire("a").await.unwrap();
    assert_eq!(
        (first.ready_line(), second.ready_line()),
        (Some("listening on :1000"), Some("listening on :1001"))
    );
    drop((first, second));
    setup.end().await;
}
