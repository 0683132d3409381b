//! Reports the engine's events about the pool's children to the ledger.
//!
//! A child that is down may be restarted at once (by an operator), may leave the engine's table, or may
//! stay in it for good (its policy has given up). For the ledger, `Down` means that the worker is
//! *closed*. So the ledger is told only when the child has left the table, and the actor removes the
//! children that stay.

use std::sync::Arc;

use super::{
    core::{CalledFrom, PoolCore},
    errors::Revocation,
    lease::LeasedIncarnation,
    ledger::{LedgerInput, SWAP_PAUSE},
};
use crate::{
    event::{EventKind, ExitConsequence},
    exit::{Exit, ExitReport},
    id::{ChildId, Incarnation},
    log_event_macro::log_event,
    state::{ChildState, DownReason},
    supervision::machine::IncarnationKey,
};

impl PoolCore {
    /// The engine's observer. Called inside the pool's actor, in the order of the events.
    pub(super) fn observe(self: &Arc<Self>, key: &IncarnationKey, kind: &EventKind) {
        self.lock().unpublished = true;
        match kind {
            EventKind::Added => self.lock().last_added = Some(key.child.clone()),
            EventKind::Exited { exit, then } => self.exited(key, exit, then),
            EventKind::State { to: ChildState::Down { why }, .. } => {
                let mut inner = self.lock();
                if !inner.downs.iter().any(|(child, ..)| *child == key.child) {
                    inner.downs.push((key.child.clone(), key.incarnation, why.clone()));
                }
            }
            EventKind::State { to, .. } => self.changed_to(key, to.clone()),
            // W-5: the successor has taken over.
            EventKind::Replaced { .. } => self.changed_to(key, ChildState::Ready),
            EventKind::Removed => {
                if let Some((child, incarnation, why)) = self.take_down(&key.child) {
                    self.removed(child, incarnation, why);
                }
            }
            _ => {}
        }
    }

    fn exited(&self, key: &IncarnationKey, exit: &Exit, then: &ExitConsequence) {
        let node = self.node.child(&key.child);
        if let Some(node) = node.as_ref().filter(|node| node.incarnation() != key.incarnation) {
            // It says nothing of the worker that is leased: it is a successor that did not become ready, or
            // has been replaced.
            if matches!(then, ExitConsequence::Leave | ExitConsequence::Restore) {
                log_event!(
                    warn,
                    node.path(),
                    node.incarnation(),
                    "could not be replaced, next try in {SWAP_PAUSE:?} at the earliest: {exit}"
                );
            }
            return;
        }
        let stderr_tail = node.map(|node| node.stderr_tail_of(exit));
        let exit_report = ExitReport { exit: exit.clone(), stderr_tail: stderr_tail.unwrap_or_default() };
        let mut inner = self.lock();
        inner.exits.insert(key.child.clone(), exit_report);
        if let Some(leased) = inner.leased_of_key(&key.child)
            && leased.incarnation == key.incarnation
        {
            leased.end(Revocation::Lost { exit: exit.clone() });
        }
    }

    fn changed_to(self: &Arc<Self>, key: &IncarnationKey, state: ChildState) {
        let IncarnationKey { child, incarnation } = key.clone();
        let exit_report = {
            let mut inner = self.lock();
            inner.downs.retain(|(down, ..)| *down != child);
            match state {
                ChildState::Ready => {
                    inner.newly_ready.push(child.clone());
                    inner.exits.remove(&child)
                }
                _ => inner.exits.get(&child).cloned(),
            }
        };
        let leased = match state {
            ChildState::Ready => {
                let calls = self.lock().leased_of_key(&child).map(|i| i.calls.clone()).unwrap_or_default();
                let live = self
                    .node
                    .child(&child)
                    .and_then(|node| LeasedIncarnation::live(self, &child, incarnation, node, calls));
                // It has died already, which will be reported next; it must not be leased.
                if live.is_none() {
                    return;
                }
                live
            }
            _ => None,
        };
        self.update(CalledFrom::Actor, exit_report, |inner, now| {
            if let Some(leased) = leased {
                // Its end may have been noted since it was watched, and reported by another caller to a
                // ledger that did not know of it yet.
                if !leased.is_live() {
                    return;
                }
                inner.set_ready(Arc::new(leased));
            }
            inner.feed(now, LedgerInput::Child { key: child, incarnation, state });
        });
    }

    fn take_down(&self, child: &ChildId) -> Option<(ChildId, Incarnation, DownReason)> {
        let mut inner = self.lock();
        let ix = inner.downs.iter().position(|(down, ..)| down == child)?;
        Some(inner.downs.remove(ix))
    }

    fn removed(self: &Arc<Self>, key: ChildId, incarnation: Incarnation, why: DownReason) {
        let exit_report = self.lock().exits.remove(&key);
        self.update(CalledFrom::Actor, exit_report.clone(), |inner, now| {
            inner.clear_ready(&key);
            inner.feed(
                now,
                LedgerInput::Child { key: key.clone(), incarnation, state: ChildState::down(why) },
            );
            if let Some(exit_report) = exit_report {
                inner.remember_exit(&key, exit_report);
            }
        });
    }

    /// Children that are down and still in the engine's table.
    pub(super) fn still_listed(&self) -> Vec<ChildId> {
        self.lock().downs.iter().map(|(child, ..)| child.clone()).collect()
    }

    /// Reports all remaining children that are down: the engine is stopping and will not remove them.
    pub(super) fn report_downs(self: &Arc<Self>) {
        let downs = std::mem::take(&mut self.lock().downs);
        for (child, incarnation, why) in downs {
            self.removed(child, incarnation, why);
        }
    }

    /// Whether the engine has just added this child.
    pub(super) fn was_added(&self, child: &ChildId) -> bool {
        self.lock().last_added.take().as_ref() == Some(child)
    }

    /// A start that failed before the engine knew of it.
    pub(super) fn not_startable(self: &Arc<Self>, key: ChildId, why: DownReason, exit: Exit) {
        let exit_report = ExitReport { exit, stderr_tail: String::new() };
        self.update(CalledFrom::Actor, Some(exit_report.clone()), |inner, now| {
            let state = ChildState::down(why);
            inner.feed(now, LedgerInput::Child { key: key.clone(), incarnation: Incarnation::NONE, state });
            inner.remember_exit(&key, exit_report);
        });
    }
}
