//! Changes of a definition (G-13, G-14): they wait at the child until its next start, which takes all of
//! them. A definition is *unconfirmed* until an incarnation that was started from it is ready; if its
//! start fails, the last confirmed one returns.

use std::sync::Arc;

use super::{
    Action, DefinitionChange, Machine, OperatorRequestId, Rank, ReloadWhen, Reply, RequestWaiter,
    action::ReplyResult,
    child::{AfterStop, Child, StartCause},
};
use crate::{
    clock::TreeInstant,
    event::StartReason,
    exit::Exit,
    state::{ChildState, SecondIncarnationRole},
    supervision::{child_policy::ChildPolicy, errors::RequestError},
};

impl Child {
    /// The policy of the newest definition that a start has taken.
    fn newest_policy(&self) -> &Arc<ChildPolicy> {
        self.reload.as_ref().and_then(|reload| reload.newest.as_ref()).unwrap_or(&self.policy)
    }

    /// The policy that the next start will have.
    pub(super) fn coming_policy(&self) -> &Arc<ChildPolicy> {
        let waiting = self.reload.as_ref().and_then(|reload| reload.policy.as_ref());
        waiting.unwrap_or_else(|| self.newest_policy())
    }

    /// The policy of the newest definition is in force now.
    pub(super) fn adopt_newest_policy(&mut self) {
        if let Some(newest) = self.reload.as_mut().and_then(|reload| reload.newest.take()) {
            self.policy = newest;
        }
    }

    /// Whether a spare may be started: neither the definition in force nor one that is coming forbids it.
    pub(super) fn wants_spare(&self) -> bool {
        let coming = self.coming_policy();
        self.policy.standby && coming.standby && coming.overlap
    }

    /// Some reload has not been answered yet.
    pub(super) fn is_being_reloaded(&self) -> bool {
        self.wants_reload() || self.waiters.iter().any(|w| matches!(w, RequestWaiter::Reload { .. }))
    }

    /// Why a reload that has not begun is wanted, or the last one was.
    pub(super) fn reload_reason(&self) -> StartReason {
        self.reload.as_ref().map_or(StartReason::Reload, |reload| reload.reason)
    }

    /// Some request waits for a reload that has not begun.
    pub(super) fn wants_reload(&self) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.wanted)
    }

    /// The cause of a restart by policy: it is also the reload that is wanted, if one is.
    pub(super) fn restart_cause(&self) -> StartCause {
        if self.wants_reload() { StartCause::Reload } else { StartCause::Supervisor }
    }

    /// A start is in flight that decides about an unconfirmed definition.
    pub(super) fn awaits_confirmation(&self) -> bool {
        let starts = self.state == ChildState::Starting
            || self.second.as_ref().is_some_and(|second| second.state == ChildState::Starting);
        starts && self.reload.as_ref().is_some_and(|reload| reload.confirmed.is_some())
    }

    /// Replaces every policy that is held for the child. Whether incarnations may overlap belongs to
    /// each definition and stays.
    pub(super) fn set_policy(&mut self, policy: &Arc<ChildPolicy>) {
        let replace = |held: &mut Arc<ChildPolicy>| {
            let (overlap, standby) = (held.overlap, held.standby);
            *held = if (policy.overlap, policy.standby) == (overlap, standby) {
                policy.clone()
            } else {
                Arc::new(ChildPolicy { overlap, standby, ..ChildPolicy::clone(policy) })
            };
        };
        replace(&mut self.policy);
        if let Some(reload) = &mut self.reload {
            let held = [&mut reload.policy, &mut reload.newest, &mut reload.confirmed];
            held.into_iter().flatten().for_each(replace);
        }
        if let Some(second) = &mut self.second {
            replace(&mut second.policy);
        }
    }
}

impl Machine {
    pub(super) fn reload(
        &mut self,
        now: TreeInstant,
        id: OperatorRequestId,
        rank: Rank,
        change: DefinitionChange,
        when: ReloadWhen,
    ) -> Option<ReplyResult> {
        let will_start = self.pass_will_start(rank);
        let child = self.children.get_mut(rank)?;
        if let Some(refusal) = refusal(child) {
            return Some(Err(refusal));
        }
        let reload = child.reload.get_or_insert_default();
        let is_recycling = matches!(change, DefinitionChange::None(_));
        reload.waiting |= !is_recycling;
        let reason = match change {
            DefinitionChange::None(reason) if !reload.waiting => reason,
            _ => StartReason::Reload,
        };
        if let DefinitionChange::ReplacePolicy(policy) = change {
            reload.policy = Some(policy);
        }
        if when == ReloadWhen::NextStart {
            if !child.wants_reload() {
                // The last change may have forbidden a spare that this one allows.
                self.follow_up(now, rank);
            }
            return Some(Ok(Reply::Done));
        }
        let stays_down = match (&child.state, child.after) {
            (ChildState::Stopping, AfterStop::Stay | AfterStop::Idle) => true,
            (ChildState::Stopping, AfterStop::Settle) => {
                child.settles_as.as_deref().is_none_or(ChildState::is_down)
            }
            (ChildState::Down { .. }, _) => !will_start,
            _ => false,
        };
        if stays_down {
            return Some(Ok(Reply::Done));
        }
        let starts = child.state == ChildState::Starting && child.awaits_confirmation()
            || child.second.as_ref().is_some_and(|second| {
                second.role == SecondIncarnationRole::Successor && second.state == ChildState::Starting
            });
        if is_recycling && starts {
            // The start under way is what it asks for.
            child.waiters.push(RequestWaiter::Reload { id, taken: true });
            return None;
        }
        child.waiters.push(RequestWaiter::Reload { id, taken: false });
        let reload = child.reload.get_or_insert_default();
        reload.wanted = true;
        reload.reason = reason;
        self.reload_if_possible(now, rank);
        None
    }

    /// Why a reload of this child would be refused now.
    pub(crate) fn refuses_reload(&self, id: &crate::id::ChildId) -> Option<RequestError> {
        if self.is_stopping() {
            return Some(RequestError::ShuttingDown);
        }
        match self.find(id).and_then(|rank| self.children.get(rank)) {
            Some(child) => refusal(child),
            None => Some(RequestError::NotFound(id.clone())),
        }
    }

    /// Carries out a reload that is wanted, unless something has to come to its end first.
    pub(super) fn reload_if_possible(&mut self, now: TreeInstant, rank: Rank) {
        let Some(child) = self.children.get(rank) else { return };
        if self.pass.as_ref().is_some_and(|pass| pass.consumes(rank)) {
            return self.renew(now, rank, StartCause::Reload);
        }
        // Otherwise a storm of reloads would keep a child from ever becoming ready.
        if child.awaits_confirmation() {
            return;
        }
        match (&child.state, child.after) {
            (ChildState::Ready, _) => {}
            // The start that follows takes the change.
            (ChildState::Stopping, AfterStop::Start(_)) => return self.note_reason(rank, StartCause::Reload),
            _ => return self.renew(now, rank, StartCause::Reload),
        }
        if let Some(second) = &child.second {
            if matches!(second.role, SecondIncarnationRole::Spare | SecondIncarnationRole::Successor) {
                self.stop_second(rank);
            }
            if self.children.get(rank).is_some_and(|child| child.second.is_some()) {
                return;
            }
        }
        self.clear_operator_stop(rank);
        let Some(child) = self.children.get(rank) else { return };
        if self.may_swap && child.policy.overlap && child.coming_policy().overlap {
            self.start_second(rank, SecondIncarnationRole::Successor);
        } else {
            self.note_reason(rank, StartCause::Reload);
            self.retire(rank, AfterStop::Start(StartCause::Reload));
        }
    }

    /// The start that follows takes all changes that wait.
    pub(super) fn take_changes(&mut self, rank: Rank) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let Some(reload) = &mut child.reload else { return };
        if std::mem::take(&mut reload.waiting) {
            let before = reload.newest.take().unwrap_or_else(|| child.policy.clone());
            reload.newest = Some(reload.policy.take().unwrap_or_else(|| before.clone()));
            reload.confirmed.get_or_insert(before);
            self.out.push(Action::Define(child.id.clone()));
        }
        reload.wanted = false;
        for waiter in &mut child.waiters {
            if let RequestWaiter::Reload { taken, .. } = waiter {
                *taken = true;
            }
        }
    }

    /// An incarnation that was started from the newest definition is ready.
    pub(super) fn confirm(&mut self, rank: Rank) {
        let Some(child) = self.children.get_mut(rank) else { return };
        if child.reload.as_mut().is_some_and(|reload| reload.confirmed.take().is_some()) {
            self.out.push(Action::Confirm(child.id.clone()));
        }
    }

    /// The start of the newest definition has failed: if that was unconfirmed, the one before returns,
    /// and those who changed it learn how.
    pub(super) fn restore(&mut self, rank: Rank, exit: &Exit) -> bool {
        let Some(child) = self.children.get_mut(rank) else { return false };
        let Some(reload) = &mut child.reload else { return false };
        let Some(confirmed) = reload.confirmed.take() else { return false };
        reload.newest = None;
        if child.state == ChildState::Starting {
            child.policy = confirmed;
        } else if !Arc::ptr_eq(&child.policy, &confirmed) {
            reload.newest = Some(confirmed);
        }
        self.out.push(Action::Restore(child.id.clone()));
        self.answer_reloads(rank, exit);
        true
    }

    /// Answers the reloads whose changes a failed start has taken.
    pub(super) fn answer_reloads(&mut self, rank: Rank, exit: &Exit) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let (out, name) = (&mut self.out, &child.id);
        child.waiters.retain(|waiter| {
            let RequestWaiter::Reload { id, taken: true } = waiter else { return true };
            // The machine does not know processes; the engine adds the end of stderr.
            let stderr_tail = String::new();
            let failed = RequestError::StartFailed { child: name.clone(), exit: exit.clone(), stderr_tail };
            out.push(Action::Reply(*id, Err(failed)));
            false
        });
    }

    /// Whatever waits for something of this child to come to its end goes on now: a reload, or the start
    /// of a spare.
    pub(super) fn follow_up(&mut self, now: TreeInstant, rank: Rank) {
        let Some(child) = self.children.get(rank) else { return };
        if self.is_stopping() || child.state == ChildState::Stopping || child.state.is_down() {
            return;
        }
        if child.wants_reload() {
            self.reload_if_possible(now, rank);
        } else if child.state == ChildState::Ready && child.wants_spare() && child.second.is_none() {
            let consumed = self.pass.as_ref().is_some_and(|pass| pass.consumes(rank));
            if !consumed {
                self.start_second(rank, SecondIncarnationRole::Spare);
            }
        }
    }
}

/// Why a child is not reloaded: it is being removed.
fn refusal(child: &Child) -> Option<RequestError> {
    let is_forgotten = child.state == ChildState::Stopping && child.after == AfterStop::Forget;
    is_forgotten.then(|| RequestError::Stopped(child.id.clone()))
}
