//! A report shows everything about each key (L-8), and making one does not count as use (L-9).

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_report_says_everything_of_each_key() {
    let setup = keyed(1, |spec| spec.per_worker(1)).await;
    setup.pool.set_session("a", Some("s")).unwrap();
    let lease = setup.pool.acquire("a").await.unwrap();
    pid(&lease).await;
    let waiting: Vec<_> = ["a", "b"]
        .map(|k| {
            let pool = setup.pool.clone();
            tokio::spawn(async move { pool.acquire(k).await.map(drop) })
        })
        .into();
    tokio::time::sleep(3 * SEC).await;
    let report = setup.pool.status().unwrap();
    let worker = &report.workers[0];
    assert_eq!((worker.pid, worker.uptime), (lease.pid(), Some(3 * SEC)));
    assert_eq!((worker.calls, worker.status.served, worker.status.waiting), (1, 1, 1));
    assert_eq!(worker.status.session.as_deref(), Some("s"));
    assert_eq!((report.used, report.leases, report.waiting, report.idle), (1, 1, 2, 0));
    assert_eq!(report.wanted[0].key.as_str(), "b");
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<procession::pool::PoolReport>(&text).unwrap(), report);
    drop(lease);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    setup.end().await;
}

#[tokio::test(start_paused = true)]
async fn looking_keeps_nobody_alive() {
    // L-9
    let setup = keyed(2, |spec| spec.idle_ttl(10 * SEC)).await;
    drop(setup.pool.acquire("a").await.unwrap());
    let worker = setup.pool.worker(&"a".into()).unwrap();
    for _ in 0..9 {
        tokio::time::sleep(SEC).await;
        assert!(worker.diagnostics().worker.is_some());
        assert_eq!(setup.pool.status().unwrap().idle, 1);
        assert_eq!(setup.root.snapshot().root.walk().count(), 3);
        worker.call_value("pid", &(), procession::rpc::Timeout::After(SEC)).await.unwrap();
    }
    tokio::time::sleep(SEC + MS).await;
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}
