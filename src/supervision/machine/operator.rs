//! Requests (rules S-22, R-8). They never touch siblings, never use the restart budget, and are answered
//! exactly once.

use super::{
    Action, Machine, NewChild, OperatorRequestId, Rank, Reply, Request, RequestWaiter,
    action::ReplyResult,
    child::{AfterStop, StartCause},
};
use crate::{
    clock::TreeInstant,
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason, Strategy},
    supervision::{child_policy::StartMode, errors::RequestError},
};

impl Machine {
    pub(super) fn request(&mut self, now: TreeInstant, id: OperatorRequestId, request: Request) {
        let reply = if self.is_stopping() {
            Some(Err(RequestError::ShuttingDown))
        } else {
            match request {
                Request::StartChild(new) => self.start_child(now, id, new),
                Request::TerminateChild(child) => {
                    self.with(child, |m, rank| m.terminate_child(now, id, rank))
                }
                Request::RestartChild(child) => self.with(child, |m, rank| m.restart_child(now, id, rank)),
                Request::DeleteChild(child) => self.with(child, |m, rank| m.delete_child(rank)),
                Request::RemoveChild(child) => self.with(child, |m, rank| m.remove_child(now, id, rank)),
                Request::Restart(child) => self.with(child, |m, rank| m.restart(now, id, rank)),
                Request::Demand(child) => self.with(child, |m, rank| m.demand(now, id, rank)),
                Request::StopIdle(child, incarnation) => {
                    self.with(child, |m, rank| m.stop_idle(id, rank, incarnation))
                }
                Request::Reload(child, change, when) => {
                    self.with(child, |m, rank| m.reload(now, id, rank, change, when))
                }
            }
        };
        if let Some(reply) = reply {
            self.out.push(Action::Reply(id, reply));
        }
    }

    fn with(
        &mut self,
        child: ChildId,
        f: impl FnOnce(&mut Self, Rank) -> Option<ReplyResult>,
    ) -> Option<ReplyResult> {
        match self.find(&child) {
            Some(rank) => f(self, rank),
            None => Some(Err(RequestError::NotFound(child))),
        }
    }

    fn start_child(&mut self, now: TreeInstant, id: OperatorRequestId, new: NewChild) -> Option<ReplyResult> {
        if let Some(child) = self.find(&new.id).and_then(|rank| self.children.get(rank)) {
            let present = child.state.is_down();
            return Some(Err(if present {
                RequestError::AlreadyPresent(new.id)
            } else {
                RequestError::AlreadyStarted(new.id)
            }));
        }
        if let Some(max) = self.flags.max_children
            && self.children.len() >= max
        {
            return Some(Err(RequestError::MaxChildren(max)));
        }
        let rank = self.insert(new)?;
        match self.children.get(rank)?.policy.start {
            StartMode::Required => {}
            StartMode::Background => {
                // The request does not wait for it, and a failed first start is a crash under its
                // policy (S-7).
                self.start_in_turn(now, rank, StartCause::Supervisor);
                return Some(Ok(Reply::Done));
            }
            StartMode::OnDemand => return Some(Ok(Reply::Done)),
        }
        self.wait_for(rank, RequestWaiter::Start(id));
        self.start_in_turn(now, rank, StartCause::Provisional);
        None
    }

    fn terminate_child(
        &mut self,
        now: TreeInstant,
        id: OperatorRequestId,
        rank: Rank,
    ) -> Option<ReplyResult> {
        let child = self.children.get_mut(rank)?;
        child.skip_pass = self.pass.is_some();
        if !std::mem::replace(&mut child.stopped_by_operator, true) {
            let child = child.id.clone();
            self.out.push(Action::SetStoppedByOperator(child, true));
        }
        let child = self.children.get(rank)?;
        if child.state.is_alive() {
            let stopped = RequestError::Stopped(child.id.clone());
            self.refuse_start_waiters(rank, &stopped);
            self.wait_for(rank, RequestWaiter::Stop(id));
            if self.children.get(rank)?.after != AfterStop::Forget
                || self.children.get(rank)?.state != ChildState::Stopping
            {
                self.stop(rank, AfterStop::Stay);
            }
            return None;
        }
        let temporary = child.is_temporary();
        if child.state.is_restarting() {
            self.disarm(rank);
            if self.stops_with_second(now, rank, id, AfterStop::Stay) {
                return None;
            }
            self.set_down(rank, ChildState::down(DownReason::Stopped));
            self.hurry_pass(now, false);
        } else {
            // Another request may wait for the start that a pass would have made.
            let state = match &child.state {
                ChildState::Down { why: DownReason::Ended | DownReason::Idle } => {
                    ChildState::down(DownReason::Stopped)
                }
                state => state.clone(),
            };
            self.set_down(rank, state);
        }
        if temporary {
            self.forget(rank);
        }
        self.advance(now);
        Some(Ok(Reply::Done))
    }

    fn restart_child(&mut self, now: TreeInstant, id: OperatorRequestId, rank: Rank) -> Option<ReplyResult> {
        let child = self.children.get_mut(rank)?;
        if child.state.is_alive() {
            return Some(Err(RequestError::Running(child.id.clone())));
        }
        if child.state.is_restarting() || self.pass_will_start(rank) {
            return Some(Err(RequestError::Restarting(self.children.get(rank)?.id.clone())));
        }
        self.revive(rank);
        self.wait_for(rank, RequestWaiter::Start(id));
        self.start_in_turn(now, rank, StartCause::Once);
        None
    }

    fn delete_child(&mut self, rank: Rank) -> Option<ReplyResult> {
        let child = self.children.get(rank)?;
        if child.state.is_alive() {
            return Some(Err(RequestError::Running(child.id.clone())));
        }
        if child.state.is_restarting() || self.pass_will_start(rank) {
            return Some(Err(RequestError::Restarting(child.id.clone())));
        }
        self.forget(rank);
        Some(Ok(Reply::Done))
    }

    fn remove_child(&mut self, now: TreeInstant, id: OperatorRequestId, rank: Rank) -> Option<ReplyResult> {
        let child = self.children.get(rank)?;
        if child.state.is_alive() {
            let stopped = RequestError::Stopped(child.id.clone());
            self.refuse_start_waiters(rank, &stopped);
            self.wait_for(rank, RequestWaiter::Stop(id));
            self.stop(rank, AfterStop::Forget);
            return None;
        }
        self.disarm(rank);
        if self.stops_with_second(now, rank, id, AfterStop::Forget) {
            return None;
        }
        self.set_down(rank, ChildState::down(DownReason::Stopped));
        self.forget(rank);
        self.hurry_pass(now, false);
        self.advance(now);
        Some(Ok(Reply::Done))
    }

    /// A request stops a child whose primary incarnation is not alive. If the second one is, the request
    /// waits for its end. Returns whether it does.
    fn stops_with_second(
        &mut self,
        now: TreeInstant,
        rank: Rank,
        id: OperatorRequestId,
        after: AfterStop,
    ) -> bool {
        if !self.wait_for_second(rank, after) {
            return false;
        }
        if let Some(child) = self.children.get(rank) {
            let stopped = RequestError::Stopped(child.id.clone());
            self.refuse_start_waiters(rank, &stopped);
        }
        self.wait_for(rank, RequestWaiter::Stop(id));
        self.hurry_pass(now, false);
        self.advance(now);
        true
    }

    fn restart(&mut self, now: TreeInstant, id: OperatorRequestId, rank: Rank) -> Option<ReplyResult> {
        let child = self.children.get_mut(rank)?;
        if child.state == ChildState::Stopping && child.after == AfterStop::Forget {
            return Some(Err(RequestError::Stopped(child.id.clone())));
        }
        let joins = child.waiters.iter().any(|waiter| matches!(waiter, RequestWaiter::Restart(_)));
        if !joins {
            if let Some(retry_after) = child.too_soon(now) {
                return Some(Err(RequestError::TooSoon { child: child.id.clone(), retry_after }));
            }
            child.restarted_by_operator = Some(now);
        }
        let settles_as = match child.after {
            AfterStop::Settle if child.state == ChildState::Stopping => child.settles_as.as_deref(),
            _ => None,
        };
        let is_over = |state: &ChildState| state.is_down() || matches!(state, ChildState::CoolingOff { .. });
        let cools_off =
            matches!(child.state, ChildState::CoolingOff { .. }) || settles_as.is_some_and(is_over);
        let revives = child.state.is_down() && !self.pass_will_start(rank);
        if revives || cools_off {
            self.revive(rank);
        }
        self.wait_for(rank, RequestWaiter::Restart(id));
        if revives {
            self.start_in_turn(now, rank, StartCause::Restart);
        }
        if !revives && !joins || self.pass_will_start(rank) {
            self.renew(now, rank, StartCause::Restart);
        }
        None
    }

    fn demand(&mut self, now: TreeInstant, id: OperatorRequestId, rank: Rank) -> Option<ReplyResult> {
        let child = self.children.get(rank)?;
        let name = || child.id.clone();
        match &child.state {
            ChildState::Ready => return Some(Ok(Reply::Ready(child.incarnation))),
            ChildState::Stopping if child.after == AfterStop::Forget => {
                return Some(Err(RequestError::Stopped(name())));
            }
            ChildState::Stopping | ChildState::Down { .. } if child.stopped_by_operator => {
                return Some(Err(RequestError::StoppedByOperator(name())));
            }
            ChildState::Down { why: DownReason::GaveUp { why } } if !self.pass_will_start(rank) => {
                return Some(Err(RequestError::GaveUp { child: name(), why: why.clone() }));
            }
            ChildState::Stopping if child.after == AfterStop::Settle => {
                if let Some(ChildState::Down { why: DownReason::GaveUp { why } }) =
                    child.settles_as.as_deref()
                {
                    return Some(Err(RequestError::GaveUp { child: name(), why: why.clone() }));
                }
            }
            _ => {}
        }
        let starts = child.state.is_down() && !self.pass_will_start(rank);
        self.wait_for(rank, RequestWaiter::Start(id));
        let child = self.children.get_mut(rank)?;
        let stays_down = match child.after {
            AfterStop::Idle => true,
            AfterStop::Settle => child.settles_as.as_deref().is_some_and(ChildState::is_down),
            _ => false,
        };
        if child.state == ChildState::Stopping && stays_down {
            child.after = AfterStop::Start(StartCause::Demand);
            child.note_reason(StartCause::Demand);
        }
        if starts {
            self.start_in_turn(now, rank, StartCause::Demand);
        }
        None
    }

    /// The child has not been used for a while: if that still holds, it stops until it is demanded.
    fn stop_idle(
        &mut self,
        id: OperatorRequestId,
        rank: Rank,
        incarnation: Incarnation,
    ) -> Option<ReplyResult> {
        let child = self.children.get(rank)?;
        let consumed = self.pass.as_ref().is_some_and(|pass| pass.consumes(rank));
        let idle = child.state == ChildState::Ready && child.incarnation == incarnation;
        if !idle || consumed || child.is_being_reloaded() {
            return Some(Ok(Reply::Done));
        }
        self.wait_for(rank, RequestWaiter::Stop(id));
        self.stop(rank, AfterStop::Idle);
        None
    }

    /// Starts a new incarnation of a child that is alive, is waiting, or is about to be started by
    /// a pass.
    pub(super) fn renew(&mut self, now: TreeInstant, rank: Rank, cause: StartCause) {
        let restarts = self.pass.as_ref().is_some_and(|pass| pass.consumes(rank));
        let booting = self.is_booting();
        let Some(child) = self.children.get_mut(rank) else { return };
        child.note_reason(cause);
        if !child.state.is_alive() && child.armed {
            self.disarm(rank);
            if !self.wait_for_second(rank, AfterStop::Start(cause)) {
                self.start(now, rank, cause);
            }
        } else if !child.state.is_alive() || restarts {
            // The pass stops and starts it, in its turn and with its own meaning: now, if the pass
            // was waiting.
            if matches!(child.after, AfterStop::Stay | AfterStop::Idle | AfterStop::Settle) {
                child.after = AfterStop::Group;
            }
            self.clear_operator_stop(rank);
            self.hurry_pass(now, true);
            self.advance(now);
        } else {
            // A start in flight whose failure means more than that of an operator's restart keeps
            // its meaning. These are a start by `start_child`, which leaves nothing if it fails,
            // and one by the supervisor's own start.
            let cause = match child.start_in_flight() {
                Some(StartCause::Provisional) => StartCause::Provisional,
                Some(StartCause::Supervisor) if booting && child.is_required_for_boot() => {
                    StartCause::Supervisor
                }
                _ => cause,
            };
            self.clear_operator_stop(rank);
            self.stop(rank, AfterStop::Start(cause));
        }
    }

    /// Starts a child that is down, at the request of an operator: at once, or in its turn if
    /// children before it in its group are being restarted. (Where no child depends on its
    /// siblings, none waits for them, not even at boot.)
    fn start_in_turn(&mut self, now: TreeInstant, rank: Rank, cause: StartCause) {
        self.note_reason(rank, cause);
        if self.flags.strategy == Strategy::OneForOne || !self.pass_comes_to(rank) {
            return self.start(now, rank, cause);
        }
        self.clear_operator_stop(rank);
        let Some(child) = self.children.get_mut(rank) else { return };
        child.cause = cause;
        if child.state.is_given_up() {
            self.set(rank, ChildState::down(DownReason::Stopped));
        }
    }

    /// An operator starts it although it was stopped, given up or cooling off: its counters begin
    /// at zero.
    fn revive(&mut self, rank: Rank) {
        if let Some(child) = self.children.get_mut(rank) {
            child.tracker.revived();
        }
    }

    fn wait_for(&mut self, rank: Rank, waiter: RequestWaiter) {
        if let Some(child) = self.children.get_mut(rank) {
            child.waiters.push(waiter);
        }
    }

    /// An operator wants it to run: earlier stops by hand no longer apply.
    pub(super) fn clear_operator_stop(&mut self, rank: Rank) {
        let Some(child) = self.children.get_mut(rank) else { return };
        child.skip_pass = false;
        if std::mem::replace(&mut child.stopped_by_operator, false) {
            self.out.push(Action::SetStoppedByOperator(child.id.clone(), false));
        }
    }
}
