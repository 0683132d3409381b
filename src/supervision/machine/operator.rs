//! Requests (rules S-22, R-8). They never touch siblings, never use the restart budget, and are answered exactly once.

use std::sync::Arc;

use super::{
    Action, Answer, Machine, NewChild, Ord, Request, RequestId, Waiter,
    child::{After, Cause},
};
use crate::{
    id::ChildId,
    supervision::{
        errors::RequestError,
        policy::{ChildPolicy, StartMode},
    },
    time::At,
    vocabulary::{Down, State},
};

type Reply = Result<Answer, RequestError>;

impl Machine {
    pub(super) fn request(&mut self, now: At, id: RequestId, request: Request) {
        let reply = if self.is_stopping() {
            Some(Err(RequestError::ShuttingDown))
        } else {
            match request {
                Request::StartChild(new) => self.start_child(now, id, new),
                Request::TerminateChild(child) => self.with(child, |m, ord| m.terminate_child(now, id, ord)),
                Request::RestartChild(child) => self.with(child, |m, ord| m.restart_child(now, id, ord)),
                Request::DeleteChild(child) => self.with(child, |m, ord| m.delete_child(ord)),
                Request::RemoveChild(child) => self.with(child, |m, ord| m.remove_child(now, id, ord)),
                Request::Restart(child) => self.with(child, |m, ord| m.restart(now, id, ord)),
                Request::Reload(child, policy) => self.with(child, |m, ord| m.reload(now, id, ord, policy)),
            }
        };
        if let Some(reply) = reply {
            self.out.push(Action::Reply(id, reply));
        }
    }

    fn with(&mut self, child: ChildId, f: impl FnOnce(&mut Self, Ord) -> Option<Reply>) -> Option<Reply> {
        match self.find(&child) {
            Some(ord) => f(self, ord),
            None => Some(Err(RequestError::NotFound(child))),
        }
    }

    fn start_child(&mut self, now: At, id: RequestId, new: NewChild) -> Option<Reply> {
        if let Some(child) = self.find(&new.id).and_then(|ord| self.children.get(&ord)) {
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
        let ord = self.insert(new)?;
        if self.children.get(&ord)?.policy.start == StartMode::Background {
            // Nobody waits for it, and a failed first start is a crash under its policy (S-7).
            self.start(now, ord, Cause::Supervisor);
            return Some(Ok(Answer::Done));
        }
        self.wait_for(ord, Waiter::Verdict(id));
        self.start(now, ord, Cause::Provisional);
        None
    }

    fn terminate_child(&mut self, now: At, id: RequestId, ord: Ord) -> Option<Reply> {
        let in_pass = self.pass.is_some();
        let child = self.children.get_mut(&ord)?;
        child.skip_pass = in_pass;
        if !std::mem::replace(&mut child.held, true) {
            let child = child.id.clone();
            self.out.push(Action::Hold(child, true));
        }
        let child = self.children.get(&ord)?;
        if child.state.is_alive() {
            let stopped = RequestError::Stopped(child.id.clone());
            self.answer_verdict(ord, &Err(stopped));
            self.wait_for(ord, Waiter::Gone(id));
            if self.children.get(&ord)?.after != After::Forget
                || self.children.get(&ord)?.state != State::Stopping
            {
                self.stop(ord, After::Stay);
            }
            return None;
        }
        let temporary = child.is_temporary();
        if child.state.is_restarting() {
            self.disarm(ord);
            self.settle(ord, State::down(Down::Stopped));
            self.hurry_pass(now, false);
        } else if child.state == State::down(Down::Ended) {
            self.set(ord, State::down(Down::Stopped));
        }
        if temporary {
            self.forget(ord);
        }
        self.advance(now);
        Some(Ok(Answer::Done))
    }

    fn restart_child(&mut self, now: At, id: RequestId, ord: Ord) -> Option<Reply> {
        let child = self.children.get_mut(&ord)?;
        if child.state.is_alive() {
            return Some(Err(RequestError::Running(child.id.clone())));
        }
        if child.state.is_restarting() || self.pass_will_start(ord) {
            return Some(Err(RequestError::Restarting(self.children.get(&ord)?.id.clone())));
        }
        self.start_fresh(now, id, ord, Cause::Once);
        None
    }

    fn delete_child(&mut self, ord: Ord) -> Option<Reply> {
        let child = self.children.get(&ord)?;
        if child.state.is_alive() {
            return Some(Err(RequestError::Running(child.id.clone())));
        }
        if child.state.is_restarting() || self.pass_will_start(ord) {
            return Some(Err(RequestError::Restarting(child.id.clone())));
        }
        self.forget(ord);
        Some(Ok(Answer::Done))
    }

    fn remove_child(&mut self, now: At, id: RequestId, ord: Ord) -> Option<Reply> {
        let child = self.children.get(&ord)?;
        if child.state.is_alive() {
            let stopped = RequestError::Stopped(child.id.clone());
            self.answer_verdict(ord, &Err(stopped));
            self.wait_for(ord, Waiter::Gone(id));
            self.stop(ord, After::Forget);
            return None;
        }
        self.disarm(ord);
        self.settle(ord, State::down(Down::Stopped));
        self.forget(ord);
        self.hurry_pass(now, false);
        self.advance(now);
        Some(Ok(Answer::Done))
    }

    fn restart(&mut self, now: At, id: RequestId, ord: Ord) -> Option<Reply> {
        let child = self.children.get(&ord)?;
        let will_start = self.pass_will_start(ord);
        match child.state {
            State::Starting if child.cause == Cause::Restart => self.wait_for(ord, Waiter::Verdict(id)),
            State::Stopping if child.after == After::Forget => {
                return Some(Err(RequestError::Stopped(child.id.clone())));
            }
            State::Stopping if matches!(child.after, After::Start(_) | After::Group) => {
                self.wait_for(ord, Waiter::Verdict(id));
            }
            State::Starting | State::Ready | State::Stopping => {
                self.unhold(ord);
                self.wait_for(ord, Waiter::Verdict(id));
                self.stop(ord, After::Start(Cause::Restart));
            }
            _ if will_start => {
                self.wait_for(ord, Waiter::Verdict(id));
                self.hurry_pass(now, true);
                self.advance(now);
            }
            State::BackingOff { .. } | State::CoolingOff { .. } => {
                self.wait_for(ord, Waiter::Verdict(id));
                self.start(now, ord, Cause::Restart);
            }
            _ => self.start_fresh(now, id, ord, Cause::Restart),
        }
        None
    }

    fn reload(&mut self, now: At, id: RequestId, ord: Ord, policy: Arc<ChildPolicy>) -> Option<Reply> {
        let will_start = self.pass_will_start(ord);
        let child = self.children.get_mut(&ord)?;
        child.policy = policy;
        match child.state {
            State::Stopping if child.after == After::Forget => {
                return Some(Err(RequestError::Stopped(child.id.clone())));
            }
            State::Stopping if child.after == After::Group => self.wait_for(ord, Waiter::Verdict(id)),
            State::Stopping if child.after == After::Stay => return Some(Ok(Answer::Done)),
            State::Starting | State::Ready | State::Stopping => {
                self.wait_for(ord, Waiter::Verdict(id));
                self.stop(ord, After::Start(Cause::Once));
            }
            _ if will_start => self.wait_for(ord, Waiter::Verdict(id)),
            State::BackingOff { .. } | State::CoolingOff { .. } => {
                self.wait_for(ord, Waiter::Verdict(id));
                self.start(now, ord, Cause::Once);
            }
            _ => return Some(Ok(Answer::Done)),
        }
        None
    }

    /// Starts a child that is down by an operator's will: its counters begin anew.
    fn start_fresh(&mut self, now: At, id: RequestId, ord: Ord, cause: Cause) {
        if let Some(child) = self.children.get_mut(&ord) {
            child.tracker.revived();
            child.waiters.push(Waiter::Verdict(id));
        }
        self.start(now, ord, cause);
    }

    fn wait_for(&mut self, ord: Ord, waiter: Waiter) {
        if let Some(child) = self.children.get_mut(&ord) {
            child.waiters.push(waiter);
        }
    }

    fn unhold(&mut self, ord: Ord) {
        if let Some(child) = self.children.get_mut(&ord)
            && std::mem::replace(&mut child.held, false)
        {
            let id = child.id.clone();
            self.out.push(Action::Hold(id, false));
        }
    }
}
