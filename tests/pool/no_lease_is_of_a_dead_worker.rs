//! Once a worker's channel has ended or its exit is known, the worker is not leased any further, long
//! before its end has been processed (L-7).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use procession::{
    id::{ChildId, Incarnation},
    pool::{Lease, PoolSpec, Revocation},
    process::Signal,
    protocol::NoChannel,
    rpc::Timeout,
    state::ChildState,
    testing::{ScriptedLauncher, ScriptedProcess},
};

use crate::support::*;

/// Serves until it is told to go mute: then it closes its output and lives on for a while. The host
/// gives it half a second to exit before that counts as a lost channel.
fn mutes(launcher: &ScriptedLauncher) {
    launcher.program("mute", |mut me: ScriptedProcess| async move {
        while let Some(line) = me.read_line().await {
            let message: serde_json::Value = serde_json::from_str(&line).unwrap();
            if message["method"] == "mute" {
                me.close_stdout();
                me.sleep(300 * MS).await;
                return 7;
            }
            let answer = serde_json::json!({ "jsonrpc": "2.0", "id": message["id"], "result": me.pid() });
            let _ = me.write_line(&answer.to_string()).await;
        }
        0
    });
}

async fn mute(lease: &Lease) {
    lease.notify_value("mute", &()).await.unwrap();
    lease.peer().unwrap().closed().await;
}

#[tokio::test(start_paused = true)]
async fn whose_channel_has_ended_is_not_lent_again_while_its_exit_is_waited_for() {
    let setup = start(|l| {
        mutes(l);
        PoolSpec::keyed(2, worker(l, "mute")).per_worker(None)
    })
    .await;
    let lease = setup.pool.acquire("a").await.unwrap();
    mute(&lease).await;
    // Its process is alive, and its end has not been processed.
    assert_eq!((setup.alive(), lease.revocation()), (1, None));
    assert!(setup.pool.try_acquire(&"a".into()).is_none());
    let status = setup.pool.status().unwrap();
    assert_eq!((status.ready, status.idle, status.leases), (0, 0, 0), "its leases are over");
    assert_eq!(status.workers[0].status.state, ChildState::Stopping);
    assert!(setup.pool.worker(&"a".into()).unwrap().peer().is_err(), "calls do not reach it either");
    let began = tokio::time::Instant::now();
    let next = setup.pool.acquire("a").await.unwrap();
    assert_eq!(next.incarnation(), Incarnation(2));
    assert!(began.elapsed() >= 299 * MS, "the key waits for its own worker");
    assert!(matches!(lease.revoked().await, Revocation::Lost { .. }), "the holder is told how it ended");
    drop((lease, next));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn those_in_line_are_not_given_it_when_its_holder_lets_go() {
    let setup = start(|l| {
        mutes(l);
        PoolSpec::anonymous(0, 2, worker(l, "mute")).per_worker(1)
    })
    .await;
    let (dying, other) = (setup.pool.acquire_any().await.unwrap(), setup.pool.acquire_any().await.unwrap());
    let (dead, alive) = (dying.key().clone(), other.key().clone());
    let pool = setup.pool.clone();
    let waits = tokio::spawn(async move { pool.acquire_any().await.unwrap() });
    settle().await;
    mute(&dying).await;
    drop(dying);
    settle().await;
    assert!(!waits.is_finished(), "`{dead}` was lent again");
    drop(other);
    let served = waits.await.unwrap();
    assert_eq!(*served.key(), alive);
    drop(served);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_channel_is_not_lent_when_its_exit_is_known() {
    // The grandchild cannot be killed: until it is gone the end is not processed.
    let setup = start(|l| {
        l.program("parent", |me: ScriptedProcess| async move {
            if me.launch() == 1 {
                me.grandchild(&[Signal::KILL, Signal::TERM], tokio::time::sleep(SEC));
                me.sleep(SEC).await;
                return 3;
            }
            me.hang().await;
            0
        });
        PoolSpec::keyed(1, worker(l, "parent").protocol(NoChannel::default())).per_worker(None)
    })
    .await;
    drop(setup.pool.acquire("a").await.unwrap());
    tokio::time::sleep(SEC + MS).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    assert_eq!(lease.incarnation(), Incarnation(2));
    drop(lease);
    setup.end().await;
}

/// Callers on several threads, and a killer. A worker whose end a caller has observed is not leased to
/// any later caller, and a kill costs no more calls than there were leases.
async fn storm(spec: impl FnOnce(&ScriptedLauncher) -> PoolSpec, leases_of_one: u64, keys: Option<usize>) {
    const CALLERS: usize = 12;
    let setup = start(|l| spec(l).intensity(1_000_000, SEC)).await;
    let dead: Arc<Mutex<HashMap<(ChildId, Incarnation), String>>> = Arc::default();
    let (lost, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let (pool, dead, lost, calls) = (setup.pool.clone(), dead.clone(), lost.clone(), calls.clone());
            let over = over.clone();
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let known = dead.lock().unwrap().clone();
                    let lease = match keys {
                        Some(keys) => pool.acquire(key(n % keys)).await.unwrap(),
                        None => pool.acquire_any().await.unwrap(),
                    };
                    let life = (lease.key().clone(), lease.incarnation());
                    let why = known.get(&life);
                    assert!(why.is_none(), "{life:?} is dead ({why:?}), and was lent");
                    match lease.call_value("pid", &(), Timeout::After(20 * SEC)).await {
                        Ok(_) => {
                            calls.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            lost.fetch_add(1, Ordering::Relaxed);
                            dead.lock().unwrap().insert(life, error.to_string());
                        }
                    }
                    // A caller that sees the end of the channel knows as much.
                    if let Ok(peer) = lease.peer()
                        && let Some(reason) = peer.close_reason()
                    {
                        dead.lock()
                            .unwrap()
                            .insert((lease.key().clone(), lease.incarnation()), reason.to_string());
                    }
                }
            })
        })
        .collect();
    let mut kills = 0;
    for round in 0..60 {
        tokio::time::sleep(Duration::from_millis(2 + round % 5)).await;
        let alive = setup.launcher.alive();
        if let Some(pid) = alive.get(round as usize % alive.len().max(1))
            && setup.launcher.kill(*pid, Signal::KILL).is_ok()
        {
            kills += 1;
        }
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let (lost, calls) = (lost.load(Ordering::Relaxed), calls.load(Ordering::Relaxed));
    assert!(kills > 20 && calls > 100, "{kills} kills, {calls} calls");
    assert!(lost <= kills * leases_of_one, "{lost} calls lost by {kills} kills");
    setup.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_costs_the_calls_under_way_and_no_others() {
    storm(|l| PoolSpec::anonymous(3, 3, worker(l, "worker")).per_worker(1), 1, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_leases_of_one_worker_end_together() {
    storm(|l| PoolSpec::keyed(3, worker(l, "worker")).per_worker(4), 4, Some(3)).await;
}
