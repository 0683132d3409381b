//! A report shows everything about each key (L-8). Neither making one nor a ping counts as use (L-9, W-3).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use procession::{
    exit::Exit,
    protocol::{ChildIdentity, Protocol, SessionInfo, StdioUse},
    rpc::{CallError, CallOptions, Peer, Timeout},
    worker::Liveness,
};

use crate::support::*;

/// [`Lines`] with a ping, and the number of pings that were answered.
#[derive(Debug)]
struct Pinged(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Protocol for Pinged {
    fn name(&self) -> &str {
        "pinged"
    }
    fn stdio_use(&self) -> StdioUse {
        Lines.stdio_use()
    }
    async fn handshake(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
        Lines.handshake(peer, identity).await
    }
    fn has_ping(&self) -> bool {
        true
    }
    async fn ping(&self, peer: &Peer) -> Option<Result<(), CallError>> {
        let answer = peer.call_value("pid", &(), CallOptions::timeout(Timeout::Never)).await;
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(answer.map(drop))
    }
}

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

#[tokio::test(start_paused = true)]
async fn pings_keep_nobody_alive() {
    // L-9, W-3
    let pings = Arc::new(AtomicUsize::new(0));
    let liveness = Liveness { interval: SEC, timeout: SEC, ..Liveness::default() };
    let setup = start(|launcher| {
        let worker = worker(launcher, "worker").protocol(Pinged(pings.clone())).liveness(liveness);
        procession::pool::PoolSpec::keyed(1, worker).idle_ttl(10 * SEC)
    })
    .await;
    drop(setup.pool.acquire("a").await.unwrap());
    tokio::time::sleep(9 * SEC).await;
    assert_eq!(setup.alive(), 1);
    assert!(pings.load(Ordering::Relaxed) >= 8, "it is pinged");
    tokio::time::sleep(SEC + MS).await;
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}
