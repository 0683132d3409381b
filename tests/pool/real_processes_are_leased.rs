//! Leases on real processes: a killed worker ends its leases and its key returns (D-2, L-7).

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    pool::{Pool, PoolSpec, Revocation},
    process::Command,
    rpc::Timeout,
    supervision::SupervisorSpec,
    worker::WorkerSpec,
};

use crate::support::*;

/// Answers every request with its own pid.
const SCRIPT: &str = r#"
while read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$$"
done
"#;

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_from_outside_is_told_and_the_key_comes_back() {
    // L-7
    let worker = WorkerSpec::new(Command::new("/bin/sh").args(["-c", SCRIPT])).protocol(Lines);
    let spec = SupervisorSpec::one_for_one().child(PoolSpec::keyed(2, worker).child("pool"));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let pool = Pool::new(root.find("/pool").unwrap());
    let lease = pool.acquire("a").await.unwrap();
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    let old = lease.pid().unwrap();
    let victim = rustix::process::Pid::from_raw(i32::try_from(old).unwrap()).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    let why = tokio::time::timeout(10 * SEC, lease.revoked()).await.unwrap();
    assert_eq!(why, Revocation::Lost { exit: Exit::Signalled { signal: 9, core: false } });
    assert!(!is_there(old));
    assert!(lease.call_value("pid", &(), Timeout::Default).await.is_err());
    let next = pool.acquire("a").await.unwrap();
    assert_eq!((next.incarnation().0, pid(&next).await), (2, next.pid().unwrap()));
    let other = pool.acquire("b").await.unwrap();
    let pids = [next.pid().unwrap(), other.pid().unwrap()];
    drop((lease, next, other));
    let _ = root.shutdown(20 * SEC).await;
    assert!(!pids.into_iter().any(is_there));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_without_a_channel_are_leased_too() {
    let worker = WorkerSpec::new(Command::new("/bin/cat"));
    let pool = PoolSpec::anonymous(1, 2, worker).child("pool");
    let root = Root::start(SupervisorSpec::one_for_one().child(pool), RootOptions::default()).await.unwrap();
    let pool = Pool::new(root.find("/pool").unwrap());
    let (a, b) = (pool.acquire_any().await.unwrap(), pool.acquire_any().await.unwrap());
    assert_ne!(a.pid(), b.pid());
    assert!(is_there(a.pid().unwrap()) && is_there(b.pid().unwrap()));
    let gone = a.pid().unwrap();
    pool.stop_key(a.key()).await.unwrap();
    assert!(!is_there(gone), "it returns when the process is gone");
    assert_eq!(a.revoked().await, Revocation::Stopping);
    drop((a, b));
    let _ = root.shutdown(20 * SEC).await;
}
