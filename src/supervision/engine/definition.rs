//! How a child is started now, with the changes that wait for its next start (G-13):
//! [`ChildDefinition`]. When they are taken, confirmed or taken back is the machine's decision.

use std::sync::Arc;

use crate::supervision::start::{Start, StartModification};

/// A change of how a child is started.
#[derive(Clone, Debug)]
pub(crate) enum StartChange {
    /// It is started by this from now on.
    Replace(Arc<dyn Start>),
    /// Its start is changed in part, if it is of a kind that knows such changes.
    Modify(Arc<dyn StartModification>),
}

impl StartChange {
    /// The start after the change; `None` if it cannot be changed like this.
    fn apply(&self, before: &Arc<dyn Start>) -> Option<Arc<dyn Start>> {
        match self {
            StartChange::Replace(start) => Some(start.clone()),
            StartChange::Modify(change) => before.changed(&**change),
        }
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

    /// The start as it will be with all changes that wait and this one; `None` if it cannot be changed like
    /// this.
    pub(super) fn preview(&self, change: &StartChange) -> Option<Arc<dyn Start>> {
        let waiting = self.changes.iter().flat_map(|changes| &changes.waiting);
        let coming = waiting.fold(self.start.clone(), |start, change| change.apply(&start).unwrap_or(start));
        change.apply(&coming)
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
            // What fails now has been possible when it was requested, on a definition that was taken back.
            if let Some(start) = change.apply(&self.start) {
                self.start = start;
            }
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
