//! A pool's actor takes the same requests as messages, for code that holds only its `ActorRef`.

use procession::pool::{AcquireError, PoolSupervisorMessage};
use ractor::{ActorRef, RpcReplyPort};
use tokio::sync::oneshot;

use crate::support::*;

fn port<T: Send + 'static>() -> (RpcReplyPort<T>, oneshot::Receiver<T>) {
    let (tx, rx) = ractor::concurrency::oneshot();
    (tx.into(), rx)
}

#[tokio::test(start_paused = true)]
async fn leases_status_resize_and_drain_come_by_message() {
    let setup = keyed(1, |spec| spec).await;
    let live = setup.pool.node().live().as_ref().unwrap().clone();
    let actor: ActorRef<PoolSupervisorMessage> = live.cell.clone().into();
    let (reply, lease) = port();
    actor.cast(PoolSupervisorMessage::Acquire { key: Some("a".into()), within: None, reply }).unwrap();
    let lease = lease.await.unwrap().unwrap();
    assert_eq!(pid(&lease).await, lease.pid().unwrap());
    let (reply, refused) = port();
    actor.cast(PoolSupervisorMessage::Acquire { key: Some("b".into()), within: Some(SEC), reply }).unwrap();
    assert!(matches!(refused.await.unwrap(), Err(AcquireError::Timeout { .. })));
    actor.cast(PoolSupervisorMessage::Resize(2)).unwrap();
    // A lease that is not received ends.
    let (reply, lost) = port();
    actor.cast(PoolSupervisorMessage::Acquire { key: Some("b".into()), within: None, reply }).unwrap();
    drop(lost);
    settle().await;
    let (reply, status) = port();
    actor.cast(PoolSupervisorMessage::Status(reply)).unwrap();
    let status = status.await.unwrap();
    assert_eq!((status.max, status.leases, status.used), (2, 1, 2));
    let (reply, drained) = port();
    actor.cast(PoolSupervisorMessage::Drain(reply)).unwrap();
    drop(lease);
    drained.await.unwrap().unwrap();
    assert_eq!(setup.alive(), 0);
    setup.end().await;
}
