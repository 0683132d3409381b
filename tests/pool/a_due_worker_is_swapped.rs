//! W-5: with an overlap, a worker that is due goes when a successor of the same key is ready, callers wait
//! for that, and the cap holds (L-3).

use procession::{
    event::EventKind,
    exit::Exit,
    pool::{AcquireError, Lease, PoolSpec, Revocation},
    process::Signal,
    state::ChildState,
    supervision::EventReceiver,
    testing::ScriptedProcess,
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{support::*, the_cap_holds::race};

/// A pool whose workers take a second to start and are due after one call.
async fn slow(max: usize) -> Setup {
    start(|l| PoolSpec::keyed(max, worker(l, "slow")).overlap(true).recycle_after_calls(1)).await
}

/// Uses the worker of a key, so that it is due.
async fn use_up(setup: &Setup, key: &str) -> u32 {
    let lease = setup.pool.acquire(key).await.unwrap();
    let first = pid(&lease).await;
    drop(lease);
    settle().await;
    first
}

fn acquiring(setup: &Setup, key: &'static str) -> JoinHandle<Result<Lease, AcquireError>> {
    let pool = setup.pool.clone();
    tokio::spawn(async move { pool.acquire(key).await })
}

async fn swaps(events: &mut EventReceiver) -> (usize, usize) {
    let (mut replaced, mut failures) = (0, 0);
    while let Ok(Ok(event)) = tokio::time::timeout(SEC, events.next()).await {
        replaced += usize::from(matches!(event.kind, EventKind::Replaced { .. }));
        failures += usize::from(matches!(
            event.kind,
            EventKind::State { to: ChildState::BackingOff { .. } | ChildState::Stopping, .. }
        ));
    }
    (replaced, failures)
}

#[tokio::test(start_paused = true)]
async fn the_successor_has_the_same_key_and_session_and_is_no_restart() {
    let setup = slow(2).await;
    let mut events = setup.root.events();
    setup.pool.set_session("a", Some("s-1")).unwrap();
    let (held, used) = (setup.pool.acquire("a").await.unwrap(), setup.pool.acquire("a").await.unwrap());
    let first = pid(&used).await;
    drop(used);
    sleep(2 * SEC).await;
    assert!(setup.alive() == 1 && held.revocation().is_none(), "leases end first");
    drop(held);
    settle().await;
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (2, 2));
    let began = tokio::time::Instant::now();
    assert!(setup.pool.try_acquire(&"a".into()).is_none());
    let lease = setup.pool.acquire("a").await.unwrap();
    assert!(began.elapsed() >= SEC / 2 && began.elapsed() <= SEC, "it waits for the successor");
    assert_eq!((lease.key().as_str(), lease.incarnation().0), ("a", 2));
    assert!(pid(&lease).await == lease.pid().unwrap() && lease.pid() != Some(first));
    sleep(100 * MS).await;
    let status = setup.pool.status().unwrap();
    assert_eq!((setup.alive(), status.used, status.totals.started, status.totals.revoked), (1, 1, 1, 0));
    let report = &status.workers[0];
    assert_eq!((report.failures, report.status.session.as_deref()), (0, Some("s-1")));
    assert_eq!((report.status.served, report.status.incarnation.0), (3, 2));
    assert_eq!(lease.worker().diagnostics().total_restarts, 0);
    assert_eq!(swaps(&mut events).await, (1, 0));
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_overlap_it_is_stopped_first() {
    let setup = start(|l| PoolSpec::keyed(2, worker(l, "slow")).recycle_after_calls(1)).await;
    use_up(&setup, "a").await;
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_cannot_be_started_leaves_the_old_one_which_is_leased_again() {
    let setup = keyed(2, |spec| spec.overlap(true).recycle_after_calls(1)).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let first = pid(&lease).await;
    setup.launcher.fail_next("worker", Exit::Failed { code: 1 });
    drop(lease);
    for _ in 0..5 {
        let again = setup.pool.acquire("a").await.unwrap();
        assert_eq!((again.incarnation().0, pid(&again).await), (1, first));
        drop(again);
        sleep(10 * SEC).await;
    }
    assert_eq!(setup.launcher.launched().len(), 1, "not before a minute");
    sleep(11 * SEC).await;
    assert_eq!(use_up(&setup, "a").await, first);
    let next = setup.pool.acquire("a").await.unwrap();
    assert_eq!((next.incarnation().0, setup.launcher.launched().len()), (3, 2));
    assert_eq!(setup.pool.status().unwrap().workers[0].failures, 0);
    drop(next);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_a_successor_with_their_own_deadlines() {
    // The second launch never becomes ready.
    let setup = start(|l| {
        l.program("worker", |mut me: ScriptedProcess| async move {
            let handshake = if me.launch() == 2 { 600 * SEC } else { MS };
            serve_after(&mut me, handshake).await
        });
        let worker = worker(l, "worker").start_timeout(20 * SEC);
        PoolSpec::keyed(2, worker).overlap(true).recycle_after_calls(1).max_waiting(0)
    })
    .await;
    let first = use_up(&setup, "a").await;
    let patient = acquiring(&setup, "a");
    let error = setup.pool.acquire_within("a", 5 * SEC).await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { .. }), "{error}");
    let lease = patient.await.unwrap().unwrap();
    assert_eq!((lease.incarnation().0, pid(&lease).await), (1, first));
    drop(lease);
    sleep(5 * SEC).await;
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (1, 1));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn racing_callers_never_have_more_processes_than_the_cap() {
    // L-3
    for keys in [4, 5, 9] {
        let setup = start(|l| {
            l.program("unhurried", |mut me: ScriptedProcess| async move {
                let code = serve_after(&mut me, 3 * MS).await;
                me.sleep(2 * MS).await;
                code
            });
            PoolSpec::keyed(5, worker(l, "unhurried")).overlap(true).recycle_after_calls(3)
        })
        .await;
        let mut events = setup.root.events();
        let most = race(&setup, 60, 10, keys).await;
        assert_eq!(most, 5, "{keys} keys: the cap, and all of it");
        sleep(10 * SEC).await;
        let status = setup.pool.status().unwrap();
        assert_eq!((status.totals.granted, status.totals.revoked, status.waiting), (600, 0, 0));
        assert_eq!((status.used, status.leases), (setup.alive(), 0));
        if keys == 4 {
            let swaps = swaps(&mut events).await.0;
            assert!(swaps > 5, "there is room for one: {swaps}");
        }
        setup.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_it_is_stopped_and_comes_back_on_demand() {
    let setup = slow(1).await;
    let first = use_up(&setup, "a").await;
    assert_eq!(setup.alive(), 0);
    assert_ne!(use_up(&setup, "a").await, first);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_for_a_slot_is_served_during_and_after_a_swap() {
    // L-4
    let setup = slow(2).await;
    use_up(&setup, "a").await;
    assert_eq!(setup.alive(), 2);
    // No caller waits for `a`, so it makes room.
    let began = tokio::time::Instant::now();
    let b = setup.pool.acquire("b").await.unwrap();
    assert!(began.elapsed() < 2 * SEC);
    drop(b);
    setup.pool.stop_key("b").await.unwrap();
    use_up(&setup, "c").await;
    // Somebody waits for `c`: its swap ends first.
    let (c, b) = (acquiring(&setup, "c"), acquiring(&setup, "b"));
    let (c, b) = (c.await.unwrap().unwrap(), b.await.unwrap().unwrap());
    assert_eq!((c.incarnation().0 > 1, b.key().as_str(), setup.alive()), (true, "b", 2));
    drop((b, c));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_by_an_operator_never_exceeds_the_cap() {
    // L-3
    let setup = slow(3).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    let worker = lease.worker();
    let (replaced, ()) = tokio::join!(worker.recycle(), async {
        sleep(SEC / 2).await;
        assert_eq!(setup.alive(), 1, "the pool does not know of a second one");
    });
    replaced.unwrap();
    assert_eq!(lease.revocation(), Some(&Revocation::Stopping));
    drop(lease);
    // The pool does.
    setup.pool.recycle("a").unwrap();
    settle().await;
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (2, 2));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_old_one_makes_the_successor_its_restart() {
    // G-14
    let setup = slow(2).await;
    let first = use_up(&setup, "a").await;
    let waiting = acquiring(&setup, "a");
    settle().await;
    setup.launcher.kill(first, Signal::KILL).unwrap();
    settle().await;
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (1, 1));
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!((lease.incarnation().0, setup.launcher.launched().len()), (2, 2));
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_successor_leaves_the_old_one() {
    let setup = slow(2).await;
    let first = use_up(&setup, "a").await;
    let waiting = acquiring(&setup, "a");
    settle().await;
    setup.launcher.kill(setup.launcher.alive()[1], Signal::KILL).unwrap();
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!((lease.incarnation().0, pid(&lease).await), (1, first));
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (1, 1));
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_successor_beside_one_that_is_leaving_stays_within_the_cap() {
    // L-3. The old one takes two seconds to stop.
    let setup =
        start(|l| PoolSpec::keyed(2, worker(l, "stubborn")).overlap(true).recycle_after(60 * SEC)).await;
    drop(setup.pool.acquire("a").await.unwrap());
    sleep(61 * SEC).await;
    drop(setup.pool.acquire("a").await.unwrap());
    let second = setup.pool.acquire("a").await.unwrap();
    assert_eq!((second.incarnation().0, setup.alive()), (2, 2));
    setup.kill(&second);
    second.revoked().await;
    let third = setup.pool.acquire("a").await.unwrap();
    assert_eq!((third.incarnation().0, setup.alive(), setup.pool.status().unwrap().used), (3, 2, 2));
    // Another key gets the slot when the old one has gone.
    let b = setup.pool.acquire("b").await.unwrap();
    assert_eq!((setup.alive(), third.revocation()), (2, None));
    drop((second, third, b));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_stops_both_and_refuses_who_waits() {
    // L-5
    let setup = slow(2).await;
    use_up(&setup, "a").await;
    let waiting = acquiring(&setup, "a");
    settle().await;
    assert_eq!(setup.alive(), 2);
    setup.pool.drain().await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Draining { .. })));
    assert_eq!((setup.alive(), setup.pool.status().unwrap().used), (0, 0));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lower_cap_a_stopped_key_and_an_idle_ttl_end_a_swap() {
    // L-5
    let setup = slow(2).await;
    use_up(&setup, "a").await;
    setup.pool.resize(1).unwrap();
    settle().await;
    assert_eq!(setup.alive(), 0);
    setup.pool.resize(2).unwrap();
    use_up(&setup, "a").await;
    let waiting = acquiring(&setup, "a");
    settle().await;
    // What waits is served by another start.
    setup.pool.stop_key("a").await.unwrap();
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!(setup.alive(), 1);
    drop(lease);
    settle().await;
    assert_eq!(setup.alive(), 1, "it has had no call");
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_neither() {
    // S-20
    for delay in [MS, 1001 * MS] {
        let setup = slow(2).await;
        use_up(&setup, "a").await;
        let waiting = acquiring(&setup, "a");
        sleep(delay).await;
        setup.root.stop(None);
        if let Ok(lease) = waiting.await.unwrap() {
            assert_eq!(lease.revoked().await, Revocation::Stopping);
        }
        setup.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_killed_leaves_neither() {
    // S-21
    let setup = slow(2).await;
    use_up(&setup, "a").await;
    let waiting = acquiring(&setup, "a");
    settle().await;
    setup.pool.node().live().as_ref().unwrap().cell.kill();
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Unavailable(_))));
    assert_eq!(setup.pool.wait_ready(10 * SEC).await.unwrap().0, 2);
    assert_eq!(setup.alive(), 0);
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    drop(lease);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_during_a_swap_joins_it() {
    let setup = slow(3).await;
    drop(setup.pool.acquire("a").await.unwrap());
    for _ in 0..3 {
        setup.pool.recycle("a").unwrap();
        settle().await;
        assert_eq!(setup.alive(), 2);
    }
    sleep(3 * SEC).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!((lease.incarnation().0, setup.launcher.launched().len()), (2, 2));
    drop(lease);
    setup.end().await;
}

#[test]
fn an_overlap_without_keys_is_a_mistake() {
    let worker = procession::worker::WorkerSpec::new(procession::process::Command::new("x"));
    let errors = PoolSpec::anonymous(0, 2, worker).overlap(true).validate().unwrap_err();
    assert!(errors.to_string().contains("`overlap`") || errors.to_string().contains("overlap"), "{errors}");
}
