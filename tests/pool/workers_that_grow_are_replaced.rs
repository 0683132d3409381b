//! W-5: a worker whose processes use too much memory is replaced between two leases, one at a time.

use procession::{
    event::{EventKind, RecycleReason, StartReason},
    exit::Exit,
    pool::PoolSpec,
    process::Command,
    worker::WorkerSpec,
};
use tokio::time::sleep;

use crate::support::*;

const LIMIT: u64 = 1_000_000;

async fn grown(setup: &Setup, key: &str) -> u32 {
    let lease = setup.pool.acquire(key).await.unwrap();
    let pid = lease.pid().unwrap();
    setup.launcher.set_rss_bytes(pid, LIMIT + 1).unwrap();
    pid
}

#[tokio::test(start_paused = true)]
async fn when_it_is_idle_and_not_while_it_is_lent() {
    let setup = keyed(3, |spec| spec.recycle_above_rss(LIMIT)).await;
    let lease = setup.pool.acquire("a").await.unwrap();
    setup.launcher.set_rss_bytes(lease.pid().unwrap(), LIMIT + 1).unwrap();
    let small = setup.pool.acquire("b").await.unwrap();
    setup.launcher.set_rss_bytes(small.pid().unwrap(), LIMIT).unwrap();
    drop(small);
    sleep(60 * SEC).await;
    assert!(lease.revocation().is_none() && setup.alive() == 2);
    drop(setup.pool.try_acquire(&"a".into()).expect("no lease on it has ended"));
    drop(lease);
    sleep(6 * SEC).await;
    let status = setup.pool.status().unwrap();
    assert_eq!((status.used, status.workers[0].status.key.as_str()), (1, "b"));
    assert_eq!(status.totals.revoked, 0);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_idle_is_replaced_when_its_leases_have_ended() {
    let setup = keyed(3, |spec| spec.recycle_above_rss(LIMIT)).await;
    let first = setup.pool.acquire("a").await.unwrap();
    setup.launcher.set_rss_bytes(first.pid().unwrap(), LIMIT + 1).unwrap();
    let second = setup.pool.acquire("a").await.unwrap();
    drop(first);
    sleep(6 * SEC).await;
    assert!(second.revocation().is_none());
    assert!(setup.pool.try_acquire(&"a".into()).is_none(), "it gets no more leases");
    drop(second);
    settle().await;
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn not_all_at_once_and_by_a_swap_if_that_is_allowed() {
    let setup = keyed(9, |spec| spec.recycle_above_rss(LIMIT).overlap(true)).await;
    let mut events = setup.root.events();
    for n in 0..4 {
        grown(&setup, key(n).as_str()).await;
    }
    let mut launches = vec![setup.launcher.launched().len()];
    for _ in 0..6 {
        sleep(5 * SEC).await;
        launches.push(setup.launcher.launched().len());
    }
    assert_eq!((launches[0], launches[6], setup.alive()), (4, 8, 4));
    assert!(launches.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{launches:?}");
    let replaced = events.wait_for(|event| matches!(event.kind, EventKind::Replaced { .. })).await.unwrap();
    let EventKind::Replaced { reason, .. } = replaced.kind else { panic!() };
    assert_eq!(reason, StartReason::Recycle(RecycleReason::Memory));
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_replaced_is_tried_again_after_a_minute_though_nobody_uses_the_pool() {
    let setup = keyed(2, |spec| spec.recycle_above_rss(LIMIT).overlap(true)).await;
    let first = grown(&setup, "a").await;
    setup.launcher.fail_next("worker", Exit::Failed { code: 1 });
    sleep(60 * SEC).await;
    assert_eq!((setup.launcher.launched().len(), setup.alive()), (1, 1));
    sleep(12 * SEC).await;
    assert_eq!((setup.launcher.launched().len(), setup.alive()), (2, 1));
    assert_ne!(setup.launcher.alive()[0], first);
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_replaced_does_not_hold_up_the_others() {
    let setup = keyed(4, |spec| spec.recycle_above_rss(LIMIT).overlap(true)).await;
    let largest = grown(&setup, "a").await;
    setup.launcher.set_rss_bytes(largest, 2 * LIMIT).unwrap();
    let other = grown(&setup, "b").await;
    setup.launcher.fail_next("worker", Exit::Failed { code: 1 });
    sleep(11 * SEC).await;
    let alive = setup.launcher.alive();
    assert!(alive.contains(&largest) && !alive.contains(&other) && alive.len() == 2, "{alive:?}");
    setup.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_memory_of_a_real_process_is_read() {
    let command = Command::new("/bin/sh").arg("-c").arg("sleep 100; true");
    let worker = WorkerSpec::new(command).protocol(procession::protocol::NoChannel::default());
    let setup = start(|_| PoolSpec::keyed(2, worker).recycle_above_rss(100_000)).await;
    drop(setup.pool.acquire("a").await.unwrap());
    until(|| setup.pool.status().unwrap().used == 0).await;
    setup.end().await;
}

#[test]
fn a_limit_of_nothing_is_a_mistake() {
    let spec = PoolSpec::keyed(1, WorkerSpec::new(Command::new("x"))).recycle_above_rss(0);
    let mistakes = spec.validate().unwrap_err().to_string();
    assert!(mistakes.contains("recycle_above_rss") && mistakes.contains("zero"), "{mistakes}");
}
