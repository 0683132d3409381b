//! Changes of the definition of a child, and reloads (1 to 6).

use std::sync::Arc;

use procession::internals::machine::DefinitionChange;
use procession::{
    id::ChildId,
    state::{ChildState, SecondIncarnationRole},
    supervision::{ChildPolicy, RequestError},
};

use super::{Model, Next, Uid, Wants, Why};
use crate::rig::Did;

impl Model {
    /// What was declared of two incarnations stays as it was.
    pub(crate) fn set_policy(&mut self, id: &ChildId, new: &ChildPolicy) {
        let set = |policy: &mut Arc<ChildPolicy>| {
            let (overlap, standby) = (policy.overlap, policy.standby);
            *policy = Arc::new(ChildPolicy { overlap, standby, ..new.clone() });
        };
        let uid = self.uid(id).unwrap();
        let row = self.row_mut(uid);
        set(&mut row.policy);
        set(&mut row.good);
        set(&mut row.newest);
        if let Some(second) = &mut row.second {
            set(&mut second.policy);
        }
        for change in &mut row.changes {
            if let DefinitionChange::ReplacePolicy(policy) = change {
                set(policy);
            }
        }
    }

    /// Some definition of it asks for a spare.
    pub(crate) fn knows_standby(&self, id: &ChildId) -> bool {
        let row = self.row(self.uid(id).unwrap());
        let second = row.second.as_ref().map(|s| &s.policy);
        let coming = row.changes.iter().filter_map(|change| match change {
            DefinitionChange::ReplacePolicy(policy) => Some(policy),
            _ => None,
        });
        let all = [&row.policy, &row.good, &row.newest].into_iter().chain(second).chain(coming);
        all.into_iter().any(|p| p.standby)
    }

    /// That of the next start.
    pub(super) fn coming(&self, uid: Uid) -> &ChildPolicy {
        let row = self.row(uid);
        let last = row.changes.iter().rev().find_map(|change| match change {
            DefinitionChange::ReplacePolicy(policy) => Some(policy),
            _ => None,
        });
        last.unwrap_or(&row.newest)
    }

    /// Two incarnations may live together, also if the next one does.
    pub(super) fn may_overlap(&self, uid: Uid) -> bool {
        self.row(uid).policy.overlap && self.coming(uid).overlap
    }

    /// 1: a start takes all of them.
    pub(super) fn take_changes(&mut self, uid: Uid) {
        let newest = Arc::new(self.coming(uid).clone());
        let row = self.row_mut(uid);
        for (_, wants) in &mut row.waiting {
            if let Wants::Reload { taken, .. } = wants {
                *taken = true;
            }
        }
        if !row.changes.is_empty() {
            row.changes.clear();
            row.newest = newest;
            row.unconfirmed = true;
            let did = Did::Define(row.id.clone());
            self.did.push(did);
        }
    }

    pub(super) fn confirm(&mut self, uid: Uid) {
        let row = self.row_mut(uid);
        if std::mem::replace(&mut row.unconfirmed, false) {
            row.good = row.newest.clone();
            let did = Did::Confirm(row.id.clone());
            self.did.push(did);
        }
    }

    pub(super) fn restore(&mut self, uid: Uid, failed: &RequestError) {
        let row = self.row_mut(uid);
        row.unconfirmed = false;
        row.newest = row.good.clone();
        let did = Did::Restore(row.id.clone());
        self.did.push(did);
        self.answer(uid, |w| w.reload() && w.this_start(), Err(failed.clone()));
    }

    /// A request for a reload waits for a start that is still to be made.
    pub(super) fn wants_reload(&self, uid: Uid) -> bool {
        self.row(uid).waiting.iter().any(|(_, w)| matches!(w, Wants::Reload { taken: false, .. }))
    }

    pub(super) fn wants_change(&self, uid: Uid) -> bool {
        self.row(uid).waiting.iter().any(|(_, w)| *w == Wants::Reload { change: true, taken: false })
    }

    /// 5a: the outcome of a start from an unconfirmed definition is open.
    pub(super) fn is_being_tried(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        let second = row.second.as_ref().is_some_and(|s| s.state == ChildState::Starting);
        row.unconfirmed && (second || row.state == ChildState::Starting)
    }

    /// 5, at the request.
    pub(super) fn reload(&mut self, uid: Uid) {
        let reason = self.row(uid).reload_reason;
        if self.row(uid).timer.is_some() {
            self.row_mut(uid).reason = reason;
            return self.start_when_free(uid, Why::Reload, false);
        }
        if !self.row(uid).state.is_alive() || self.tears_down(uid) {
            self.row_mut(uid).reason = reason;
            self.wanted(uid);
            return self.hurry(true);
        }
        if self.is_being_tried(uid) {
            return;
        }
        match self.row(uid).state {
            ChildState::Stopping if self.row(uid).next == Next::Script => {
                self.wanted(uid);
                self.row_mut(uid).reason = reason;
                self.row_mut(uid).next = Next::Start(Why::Reload);
            }
            // Its start takes the change, which is the last reason for it.
            ChildState::Stopping if matches!(self.row(uid).next, Next::Start(_)) => {
                self.row_mut(uid).reason = reason;
            }
            ChildState::Stopping if matches!(self.row(uid).next, Next::Wait(_)) => {
                self.row_mut(uid).reason = reason;
                self.row_mut(uid).next = Next::Start(Why::Reload);
            }
            ChildState::Starting => {
                self.row_mut(uid).reason = reason;
                let why = self.meaning(uid, Why::Reload);
                self.wanted(uid);
                self.stop(uid, Next::Start(why));
            }
            ChildState::Ready => self.replace(uid),
            _ => {}
        }
    }

    /// 5d, 5e
    fn replace(&mut self, uid: Uid) {
        self.drop_waiting_spare(uid);
        if self.row(uid).second.is_some() {
            // One that is failing ends by itself, and is judged.
            if self
                .row(uid)
                .second
                .as_ref()
                .is_some_and(|second| second.role != SecondIncarnationRole::Failing)
            {
                self.stop_second(uid);
            }
            return;
        }
        if self.may_overlap(uid) {
            return self.start_second(uid, SecondIncarnationRole::Successor);
        }
        self.wanted(uid);
        let (mode, row) = (self.mode(self.row(uid).policy.shutdown), self.row_mut(uid));
        row.state = ChildState::Stopping;
        row.reason = row.reload_reason;
        row.next = Next::Start(Why::Reload);
        let did = Did::Retire(row.id.clone(), row.incarnation, mode);
        self.did.push(did);
    }

    /// Something that a reload may have waited for is over. If a pass is going to stop the child, that is
    /// as a request.
    pub(super) fn follow(&mut self, uid: Uid) {
        if self.tears_down(uid) && self.row(uid).state != ChildState::Stopping && self.wants_reload(uid) {
            self.reload(uid);
        }
    }

    /// Whatever it was waiting for may be over.
    pub(super) fn settle(&mut self, uid: Uid) {
        if self.ending.is_some() || !self.rows.iter().any(|r| r.uid == uid) {
            return;
        }
        if !self.wants_reload(uid) {
            return self.start_spare(uid);
        }
        let runs = matches!(self.row(uid).state, ChildState::Ready | ChildState::Starting);
        if self.row(uid).timer.is_some() || runs && !self.tears_down(uid) {
            self.reload(uid);
        }
    }
}
