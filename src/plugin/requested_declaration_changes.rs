//! Changes of a plugin's declaration between their request and the first incarnation that has them:
//! [`RequestedDeclarationChanges`].
//!
//! The engine composes and applies them (rule G-13), and forgets them with the child. They are noted here
//! too, in the same order, so that a plugin that is stopped, or returns with its host, has what was accepted
//! for its next start.

use std::sync::Arc;

use super::prepared_plugin::PreparedPlugin;
use crate::process::CommandChange;

/// What is changed.
#[derive(Clone, Debug)]
pub(crate) enum DeclarationChange {
    /// It has this declaration.
    Replace(Arc<PreparedPlugin>),
    /// A part of its command.
    Command(CommandChange),
}

#[derive(Debug)]
struct RequestedDeclarationChange {
    number: u64,
    change: DeclarationChange,
    /// It waits for the next start, and its caller knows that.
    accepted: bool,
}

/// The changes of one plugin, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RequestedDeclarationChanges {
    changes: Vec<RequestedDeclarationChange>,
    /// The last change that was taken back, because an incarnation with it did not become ready.
    rejected: u64,
    /// The last of those that the plugin's users have been told of.
    reported: u64,
}

impl RequestedDeclarationChanges {
    pub(crate) fn add(&mut self, number: u64, change: DeclarationChange) {
        self.changes.push(RequestedDeclarationChange { number, change, accepted: false });
    }

    /// The engine has accepted this change for the next start.
    pub(crate) fn accept(&mut self, number: u64) {
        let found = self.changes.iter_mut().find(|change| change.number == number);
        found.into_iter().for_each(|change| change.accepted = true);
    }

    /// This change has been made, or has failed.
    pub(crate) fn remove(&mut self, number: u64) {
        self.changes.retain(|change| change.number != number);
    }

    /// An incarnation with all changes up to this one is ready.
    pub(crate) fn made(&mut self, up_to: u64) {
        self.changes.retain(|change| change.number > up_to);
    }

    /// An incarnation with all changes up to this one did not become ready: they are taken back.
    pub(crate) fn reject(&mut self, up_to: u64) {
        self.made(up_to);
        self.rejected = self.rejected.max(up_to);
    }

    /// Whether the users have not been told yet that this change was taken back. They are told once, however
    /// many changes were taken back with it.
    pub(crate) fn report_rejection_of(&mut self, number: u64) -> bool {
        let is_new = self.reported < number;
        self.reported = self.reported.max(self.rejected).max(number);
        is_new
    }

    /// Whether some change waits for the next start.
    pub(crate) fn any_accepted(&self) -> bool {
        self.changes.iter().any(|change| change.accepted)
    }

    /// Takes all changes; the declaration with those that were accepted.
    pub(crate) fn take_accepted(&mut self, before: &Arc<PreparedPlugin>) -> Arc<PreparedPlugin> {
        let changes = std::mem::take(&mut self.changes);
        let accepted = changes.into_iter().filter(|change| change.accepted);
        accepted.fold(
            before.clone(),
            |before, RequestedDeclarationChange { change, number, .. }| match change {
                DeclarationChange::Replace(prepared) => prepared,
                DeclarationChange::Command(change) => {
                    before.with_command_change(&change, number).unwrap_or(before)
                }
            },
        )
    }
}
