//! [`PoolIssue`]: what is wrong with a pool that none of its children shows, for the tree's health.
//!
//! A given-up key, and a worker that an anonymous pool should have but has not, have no node status of
//! their own.

use super::{core::PoolCore, ledger::GivenUpKey};
use crate::{exit::ExitReport, human_duration::brief, id::TreePath, state::ChildState};

#[derive(Debug)]
pub(crate) struct PoolIssue {
    pub(crate) path: TreePath,
    pub(crate) state: ChildState,
    pub(crate) detail: String,
}

impl PoolCore {
    pub(super) fn issues(&self) -> Vec<PoolIssue> {
        let inner = self.lock();
        let status = inner.ledger.status();
        if status.draining {
            return Vec::new();
        }
        let mut issues = Vec::new();
        let (ready, min, path) = (status.ready, status.min, self.node.path());
        if ready < min {
            let detail =
                format!("{ready} of at least {min} workers ready{}", ended(inner.last_exit_of(None)));
            issues.push(PoolIssue { path: path.clone(), state: self.node.state(), detail });
        }
        let now = self.clock.now();
        issues.extend(status.given_up.into_iter().filter(|pending| pending.until > now).map(|pending| {
            let GivenUpKey { key, until, why } = pending;
            let detail = format!(
                "not retried for {:?}{}",
                brief(until.since(now)),
                ended(inner.last_exit_of(Some(&key)))
            );
            PoolIssue { path: path.join(&key), state: ChildState::down(why), detail }
        }));
        issues
    }
}

fn ended(last: Option<&ExitReport>) -> String {
    last.map(|lost| format!("; last exit: {lost}")).unwrap_or_default()
}
