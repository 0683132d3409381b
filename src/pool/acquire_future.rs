//! [`Waiting`]: a caller's place in line.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{core::PoolCore, errors::AcquireError, lease::Lease, ledger::Ticket};
use crate::id::ChildId;

/// What a caller gets.
pub(super) type AcquireResult = Result<Lease, AcquireError>;

/// A caller's place in line. Dropping it gives the place to the next (rule L-6).
#[derive(Debug)]
pub(super) struct Waiting {
    core: Arc<PoolCore>,
    ticket: Ticket,
    key: Option<ChildId>,
    answer: oneshot::Receiver<AcquireResult>,
}

impl Waiting {
    pub(super) fn new(
        core: Arc<PoolCore>,
        ticket: Ticket,
        key: Option<ChildId>,
        answer: oneshot::Receiver<AcquireResult>,
    ) -> Waiting {
        Waiting { core, ticket, key, answer }
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

impl Drop for Waiting {
    /// Before the receiver goes: what was granted already is in it, and ends with it.
    fn drop(&mut self) {
        self.core.cancel(self.ticket);
    }
}
