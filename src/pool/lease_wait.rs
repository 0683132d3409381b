//! [`LeaseWait`]: a caller in the queue of a pool.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{core::PoolCore, errors::AcquireError, lease::Lease, ledger::Ticket};
use crate::id::ChildId;

/// What a waiting caller is answered with.
pub(super) type AcquireResult = Result<Lease, AcquireError>;

/// A caller in the queue. Dropping it lets the next caller move up (rule L-6).
#[derive(Debug)]
pub(super) struct LeaseWait {
    core: Arc<PoolCore>,
    ticket: Ticket,
    key: Option<ChildId>,
    answer: oneshot::Receiver<AcquireResult>,
}

impl LeaseWait {
    pub(super) fn new(
        core: Arc<PoolCore>,
        ticket: Ticket,
        key: Option<ChildId>,
        answer: oneshot::Receiver<AcquireResult>,
    ) -> LeaseWait {
        LeaseWait { core, ticket, key, answer }
    }

    pub(super) async fn wait(mut self, after: Duration) -> Result<Lease, AcquireError> {
        if let Ok(answer) = tokio::time::timeout(after, &mut self.answer).await {
            return answer.unwrap_or_else(|_| Err(self.core.gone()));
        }
        self.core.cancel(self.ticket);
        // The answer may have come between the deadline and the cancellation.
        self.answer.try_recv().unwrap_or_else(|_| {
            let path = self.core.node.path().clone();
            Err(AcquireError::Timeout { path, key: self.key.clone(), after })
        })
    }
}

impl Drop for LeaseWait {
    /// Runs before the receiver is dropped: a lease that was granted meanwhile is still in it, and ends
    /// with it.
    fn drop(&mut self) {
        self.core.cancel(self.ticket);
    }
}
