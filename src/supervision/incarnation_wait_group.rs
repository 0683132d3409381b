//! [`IncarnationWaitGroup`]: open as long as anything of an incarnation is left.
//!
//! A killed actor's join handle completes while its process still exists. So everything that an
//! incarnation starts (reaper, group sweep, background kill, child incarnations) holds a clone of
//! its wait group. An incarnation is *closed* when its actor is joined *and* its wait group is closed. Only
//! then is a child down, does a stop return, does a successor start.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

/// Held by everything that belongs to an incarnation. The incarnation is not closed before the last
/// clone is dropped.
///
/// Wait groups nest: the wait group of a child holds that of its supervisor, so a supervisor is not closed
/// before its children are.
#[derive(Clone, Debug)]
pub struct IncarnationWaitGroup(Arc<IncarnationWaitGroupInner>);

#[derive(Debug)]
struct IncarnationWaitGroupInner {
    /// Woken when this incarnation is closed. This happens before the wait group of the supervisor is
    /// dropped.
    waiter: Mutex<Option<Waker>>,
    supervisor: Option<IncarnationWaitGroup>,
}

/// Resolves when every clone of an [`IncarnationWaitGroup`] has been dropped.
#[derive(Debug)]
pub(crate) struct IncarnationClosedFuture(Weak<IncarnationWaitGroupInner>);

impl IncarnationWaitGroup {
    /// Creates a wait group, and the only handle on which its end can be awaited.
    pub(crate) fn new(
        supervisor: Option<IncarnationWaitGroup>,
    ) -> (IncarnationWaitGroup, IncarnationClosedFuture) {
        let open = Arc::new(IncarnationWaitGroupInner { waiter: Mutex::new(None), supervisor });
        let closed = IncarnationClosedFuture(Arc::downgrade(&open));
        (IncarnationWaitGroup(open), closed)
    }

    /// The wait group of the supervisor, for whatever may outlive the incarnation but not its
    /// supervisor.
    pub(crate) fn supervisor(&self) -> Option<IncarnationWaitGroup> {
        self.0.supervisor.clone()
    }
}

impl Drop for IncarnationWaitGroupInner {
    fn drop(&mut self) {
        let waiter = self.waiter.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl IncarnationClosedFuture {
    /// Returns when every clone of the wait group has been dropped.
    pub(crate) async fn wait(self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Whether every clone has been dropped; if not, the waker given last is woken when they are.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // While it is held here, no other clone is the last one: the drop below wakes the waiter
        // then.
        let Some(open) = self.0.upgrade() else { return Poll::Ready(()) };
        *open.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_is_not_gone_before_its_children_are() {
        // S-21
        let (parent, parent_closed) = IncarnationWaitGroup::new(None);
        let (child, child_closed) = IncarnationWaitGroup::new(Some(parent.clone()));
        let extra = child.clone();
        drop((parent, child));
        let mut parent_closed = std::pin::pin!(parent_closed.wait());
        tokio::select! { biased; () = &mut parent_closed => panic!("gone too early"), () = std::future::ready(()) => {} }
        drop(extra);
        child_closed.wait().await;
        parent_closed.await;
    }

    #[test]
    fn a_waiter_on_another_thread_is_woken() {
        // The last clone is dropped while it is being polled.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            for _ in 0..1000 {
                let (wait_group, closed) = IncarnationWaitGroup::new(None);
                let waits = tokio::spawn(closed.wait());
                let drops = tokio::spawn(async move { drop(wait_group) });
                waits.await.unwrap();
                drops.await.unwrap();
            }
        });
    }
}
