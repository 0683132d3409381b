//! Operators' calls (S-22, R-8).

use procession::internals::machine::{
    DefinitionChange, NewChild, OperatorRequestId, ReloadWhen, Reply, Request,
};
use procession::{
    event::StartReason,
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason, SecondIncarnationRole, Strategy},
    supervision::{RequestError, StartMode},
};

use super::{Model, Next, Uid, Wants, Why};
use crate::rig::ReplyResult;

impl Model {
    pub(crate) fn ask(&mut self, id: OperatorRequestId, request: Request) {
        let reply = if self.is_stopping() {
            Some(Err(RequestError::ShuttingDown))
        } else if let Request::StartChild(new) = request {
            self.start_child(id, new)
        } else {
            let child = match &request {
                Request::TerminateChild(child)
                | Request::RestartChild(child)
                | Request::DeleteChild(child)
                | Request::RemoveChild(child)
                | Request::Restart(child)
                | Request::Demand(child)
                | Request::Reload(child, ..)
                | Request::StopIdle(child, _) => child.clone(),
                Request::StartChild(_) => unreachable!(),
            };
            match self.uid(&child) {
                Some(uid) => self.ask_child(id, uid, child, request),
                None => Some(Err(RequestError::NotFound(child))),
            }
        };
        if let Some(reply) = reply {
            self.replies.push((id, reply));
        }
    }

    fn start_child(&mut self, id: OperatorRequestId, new: NewChild) -> Option<ReplyResult> {
        if let Some(uid) = self.uid(&new.id) {
            let down = self.row(uid).state.is_down();
            return Some(Err(if down {
                RequestError::AlreadyPresent(new.id)
            } else {
                RequestError::AlreadyStarted(new.id)
            }));
        }
        if let Some(max) = self.flags.max_children.filter(|max| self.rows.len() >= *max) {
            return Some(Err(RequestError::MaxChildren(max)));
        }
        let uid = self.add(new);
        self.enlist(uid);
        if self.row(uid).policy.start == StartMode::OnDemand {
            return Some(Ok(Reply::Done));
        }
        if self.row(uid).policy.start == StartMode::Background {
            // S-7: the request does not wait for it, and its policy applies from the first start
            // on.
            self.start_in_turn(uid, Why::Supervisor);
            return Some(Ok(Reply::Done));
        }
        self.row_mut(uid).waiting.push((id, Wants::Verdict));
        self.start_in_turn(uid, Why::Provisional);
        None
    }

    fn ask_child(
        &mut self,
        id: OperatorRequestId,
        uid: Uid,
        child: ChildId,
        request: Request,
    ) -> Option<ReplyResult> {
        let state = self.row(uid).state.clone();
        let awaits_start = self.script_will_start(uid);
        let leaves = state == ChildState::Stopping && self.row(uid).next == Next::Forget;
        let next = self.row(uid).next.clone();
        let stopping = state == ChildState::Stopping;
        let waits = state.is_restarting() || stopping && matches!(next, Next::Wait(_));
        match request {
            Request::TerminateChild(_) => {
                if let Some(script) = &mut self.script {
                    script.excused.insert(uid);
                }
                self.row_mut(uid).stopped_by_operator = true;
                if self.row(uid).lives() {
                    self.answer(uid, Wants::start, Err(RequestError::Stopped(child)));
                    self.row_mut(uid).waiting.push((id, Wants::Gone));
                    if !leaves {
                        self.stop(uid, Next::Nothing);
                    }
                    if waits {
                        self.hurry(false);
                    }
                    return None;
                }
                let to = match &state {
                    ChildState::Down { why: DownReason::Ended | DownReason::Idle } => {
                        ChildState::down(DownReason::Stopped)
                    }
                    ChildState::Down { why } => ChildState::down(why.clone()),
                    _ => ChildState::down(DownReason::Stopped),
                };
                self.down(uid, to, None);
                if waits {
                    self.hurry(false);
                }
                if self.is_temporary(uid) {
                    self.remove(uid, None);
                }
                Some(Ok(Reply::Done))
            }
            Request::RestartChild(_) | Request::DeleteChild(_) if state.is_alive() => {
                Some(Err(RequestError::Running(child)))
            }
            Request::RestartChild(_) | Request::DeleteChild(_) if state.is_restarting() || awaits_start => {
                Some(Err(RequestError::Restarting(child)))
            }
            Request::DeleteChild(_) => {
                self.remove(uid, None);
                Some(Ok(Reply::Done))
            }
            Request::RestartChild(_) => {
                self.row_mut(uid).past.revived();
                self.row_mut(uid).waiting.push((id, Wants::Verdict));
                self.row_mut(uid).reason = StartReason::Operator;
                self.start_in_turn(uid, Why::Once);
                None
            }
            Request::RemoveChild(_) if self.row(uid).lives() => {
                self.answer(uid, Wants::start, Err(RequestError::Stopped(child)));
                self.row_mut(uid).waiting.push((id, Wants::Gone));
                self.stop(uid, Next::Forget);
                if waits {
                    self.hurry(false);
                }
                None
            }
            Request::RemoveChild(_) => {
                self.remove(uid, None);
                self.hurry(false);
                Some(Ok(Reply::Done))
            }
            Request::Restart(_) if leaves => Some(Err(RequestError::Stopped(child))),
            Request::Restart(_) => {
                let joins = self.row(uid).waiting.iter().any(|(_, wants)| *wants == Wants::Restart);
                if !joins {
                    //
                    let row = self.row(uid);
                    if let (Some(least), Some(last)) = (row.policy.restart.min_interval, row.restarted)
                        && self.now < last.after(least)
                    {
                        let retry_after = last.after(least).since(self.now);
                        return Some(Err(RequestError::TooSoon { child, retry_after }));
                    }
                    let now = self.now;
                    self.row_mut(uid).restarted = Some(now);
                }
                self.row_mut(uid).waiting.push((id, Wants::Restart));
                let leaves = matches!(
                    next,
                    Next::Leave(_) | Next::Ignored | Next::Wait(ChildState::CoolingOff { .. })
                );
                if matches!(state, ChildState::CoolingOff { .. }) || stopping && leaves {
                    self.row_mut(uid).past.revived();
                }
                if state.is_down() && !awaits_start {
                    self.row_mut(uid).past.revived();
                    self.row_mut(uid).reason = StartReason::Operator;
                    self.start_in_turn(uid, Why::Restart);
                    if self.script_will_start(uid) {
                        self.hurry(true);
                    }
                } else if !joins || awaits_start {
                    self.anew(uid, Why::Restart);
                }
                None
            }
            Request::Reload(_, change, when) => {
                // Recycling changes nothing.
                let recycles = matches!(change, DefinitionChange::None(_));
                let reason = match change {
                    DefinitionChange::None(reason) if self.row(uid).changes.is_empty() => reason,
                    _ => StartReason::Reload,
                };
                if leaves {
                    return Some(Err(RequestError::Stopped(child)));
                }
                if !recycles {
                    self.row_mut(uid).changes.push(change);
                }
                let stays = stopping && next.stays_down() || state.is_down() && !awaits_start;
                if when == ReloadWhen::NextStart || stays {
                    return Some(Ok(Reply::Done));
                }
                let row = self.row(uid);
                let successor = row.second.as_ref().is_some_and(|s| {
                    s.role == SecondIncarnationRole::Successor && s.state == ChildState::Starting
                });
                let taken = recycles && (successor || row.unconfirmed && state == ChildState::Starting);
                self.row_mut(uid).waiting.push((id, Wants::Reload { change: !recycles, taken }));
                if !taken {
                    self.row_mut(uid).reload_reason = reason;
                    self.reload(uid);
                }
                None
            }
            Request::StopIdle(_, incarnation) => {
                let row = self.row(uid);
                let reloads = row.waiting.iter().any(|(_, wants)| wants.reload());
                if row.incarnation != incarnation.0
                    || state != ChildState::Ready
                    || reloads
                    || self.tears_down(uid)
                {
                    return Some(Ok(Reply::Done));
                }
                self.row_mut(uid).waiting.push((id, Wants::Gone));
                self.stop(uid, Next::Rest);
                None
            }
            Request::Demand(_) => match state {
                ChildState::Ready => Some(Ok(Reply::Ready(Incarnation(self.row(uid).incarnation)))),
                ChildState::Stopping if leaves => Some(Err(RequestError::Stopped(child))),
                ChildState::Stopping | ChildState::Down { .. } if self.row(uid).stopped_by_operator => {
                    Some(Err(RequestError::StoppedByOperator(child)))
                }
                ChildState::Down { why: DownReason::GaveUp { why } } if !awaits_start => {
                    Some(Err(RequestError::GaveUp { child, why }))
                }
                ChildState::Stopping if next.stays_down() => {
                    if let Next::Leave(ChildState::Down { why: DownReason::GaveUp { why } }) = next {
                        return Some(Err(RequestError::GaveUp { child, why }));
                    }
                    self.row_mut(uid).waiting.push((id, Wants::Verdict));
                    self.wanted(uid);
                    self.row_mut(uid).reason = StartReason::Demand;
                    let tears = self.tears_down(uid);
                    self.row_mut(uid).next = if tears { Next::Script } else { Next::Start(Why::Restart) };
                    None
                }
                state => {
                    self.row_mut(uid).waiting.push((id, Wants::Verdict));
                    if state.is_down() && !awaits_start {
                        self.row_mut(uid).reason = StartReason::Demand;
                        self.start_in_turn(uid, Why::Restart);
                    }
                    None
                }
            },
            Request::StartChild(_) => unreachable!(),
        }
    }

    /// Down, and an operator wants it up: members of a group that is being restarted wait for their turn.
    fn start_in_turn(&mut self, uid: Uid, why: Why) {
        if self.flags.strategy == Strategy::OneForOne || !self.script_comes_to(uid) {
            return self.start(uid, why);
        }
        self.wanted(uid);
        let row = self.row_mut(uid);
        row.why = why;
        if let ChildState::Down { why: DownReason::GaveUp { .. } } = row.state {
            row.state = ChildState::down(DownReason::Stopped);
        }
    }

    /// A new incarnation of what is alive, or waits.
    fn anew(&mut self, uid: Uid, why: Why) {
        let state = self.row(uid).state.clone();
        self.row_mut(uid).reason = StartReason::Operator;
        if self.row(uid).timer.is_some() {
            return self.start_when_free(uid, why, false);
        }
        if !state.is_alive() || self.tears_down(uid) {
            if state == ChildState::Stopping && self.row(uid).next.stays_down() {
                self.row_mut(uid).next = Next::Script;
            }
            self.wanted(uid);
            return self.hurry(true);
        }
        let why = self.meaning(uid, why);
        self.wanted(uid);
        self.stop(uid, Next::Start(why));
    }

    /// What a start in flight was to mean, its successor means.
    pub(super) fn meaning(&self, uid: Uid, why: Why) -> Why {
        let row = self.row(uid);
        let first = match (&row.state, &row.next) {
            (ChildState::Starting, _) => Some(row.why),
            (ChildState::Stopping, Next::Start(why)) => Some(*why),
            _ => None,
        };
        match first {
            Some(Why::Provisional) => Why::Provisional,
            Some(Why::Supervisor) if self.must_start(uid) => Why::Supervisor,
            _ => why,
        }
    }

    pub(super) fn wanted(&mut self, uid: Uid) {
        self.row_mut(uid).stopped_by_operator = false;
        if let Some(script) = &mut self.script {
            script.excused.remove(&uid);
        }
    }
}
