//! How a child is started now, with the changes that wait for its next start (G-13):
//! [`ChildDefinition`]. When they are taken, confirmed or taken back is the machine's decision.

use std::{fmt, sync::Arc};

use crate::supervision::start::Start;

/// A change of how a child is started.
pub(crate) enum StartChange {
    /// It is started by this from now on.
    Replace(Arc<dyn Start>),
    /// It is started by what this makes of the start before.
    #[expect(dead_code, reason = "changes of a part of a definition come with the plugins'")]
    Modify(Box<dyn FnOnce(&Arc<dyn Start>) -> Arc<dyn Start> + Send>),
}

impl StartChange {
    fn apply(self, before: &Arc<dyn Start>) -> Arc<dyn Start> {
        match self {
            StartChange::Replace(start) => start,
            StartChange::Modify(modify) => modify(before),
        }
    }
}

impl fmt::Debug for StartChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartChange::Replace(_) => "Replace",
            StartChange::Modify(_) => "Modify",
        })
    }
}

/// How a child is started.
pub(super) struct ChildDefinition {
    start: Arc<dyn Start>,
    /// `None` while nothing waits and nothing is unconfirmed.
    changes: Option<Box<StartChanges>>,
}

#[derive(Default)]
struct StartChanges {
    waiting: Vec<StartChange>,
    /// The last confirmed start, while a newer one is unconfirmed.
    confirmed: Option<Arc<dyn Start>>,
}

impl ChildDefinition {
    pub(super) fn new(start: Arc<dyn Start>) -> ChildDefinition {
        ChildDefinition { start, changes: None }
    }

    /// What starts the next incarnation, unless changes are taken before.
    pub(super) fn start(&self) -> &Arc<dyn Start> {
        &self.start
    }

    /// Adds a change that waits for the next start.
    pub(super) fn change(&mut self, change: StartChange) {
        self.changes.get_or_insert_default().waiting.push(change);
    }

    /// Takes all changes that wait, in the order in which they were requested.
    pub(super) fn take_changes(&mut self) {
        let Some(changes) = &mut self.changes else { return };
        let before = self.start.clone();
        for change in changes.waiting.drain(..) {
            self.start = change.apply(&self.start);
        }
        changes.confirmed.get_or_insert(before);
    }

    /// The newest start is good.
    pub(super) fn confirm(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.confirmed = None;
            if changes.waiting.is_empty() {
                self.changes = None;
            }
        }
    }

    /// The last confirmed start returns. Changes that wait are kept.
    pub(super) fn restore(&mut self) {
        if let Some(confirmed) = self.changes.as_mut().and_then(|changes| changes.confirmed.take()) {
            self.start = confirmed;
        }
        self.confirm();
    }
}
