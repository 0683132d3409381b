//! The whole of supervision as a pure state machine: inputs in, actions out.
//!
//! [`Machine`] decides which children are started and stopped, in which order, and when the
//! supervisor gives up. It owns the table of children and the restart window. It does no I/O, reads
//! no clock, draws no random numbers and knows neither actors nor processes: time comes in with
//! each input, and everything it wants done comes out as an [`Action`]. The engine performs the
//! actions and reports the results.
//!
//! | file | what it decides |
//! |---|---|
//! | `judge` | what an exit means (rules R-0, S-9, S-10) |
//! | `pass` | the supervisor's own start and group restarts (S-7, S-11 to S-16) |
//! | `operator` | requests (S-22, R-8) |
//! | `stop` | giving up and shutting down (S-17, S-20, S-24) |
//!
//! `table` holds the children and `child` is one of them; `input` is what goes in, `action` what
//! comes out.

mod action;
mod child;
mod input;
mod judge;
mod operator;
mod pass;
mod stop;
mod table;

use std::sync::Arc;

pub(super) use action::ReplyResult;
pub use action::{Action, Reply};
use child::{AfterStop, Child, RequestWaiter, StartCause};
pub use input::{IncarnationKey, Input, NewChild, OperatorRequestId, Request, Timer};
use pass::Pass;
use stop::MachinePhase;
use table::{ChildTable, Rank};

use super::{
    child_info::ChildCounts,
    errors::RequestError,
    policy::{ChildPolicy, SupervisorFlags},
};
use crate::{
    clock::TreeInstant,
    event::EventKind,
    exit::Exit,
    id::{ChildId, Incarnation},
    restart::{Tracker, Window},
    state::{ChildKind, ChildState, DownReason},
};

/// The decisions of one supervisor.
#[derive(Debug)]
pub struct Machine {
    flags: SupervisorFlags,
    window: Window,
    /// Restarts counted since the machine was created.
    counted: u64,
    children: ChildTable,
    phase: MachinePhase,
    pass: Option<Pass>,
    next_pass: u64,
    out: Vec<Action>,
}

/// One child, as [`Machine::children`] returns it.
#[derive(Clone, Copy, Debug)]
pub struct ChildView<'a> {
    /// Its id.
    pub id: &'a ChildId,
    /// Its policy.
    pub policy: &'a ChildPolicy,
    /// What it is doing.
    pub state: &'a ChildState,
    /// Its last incarnation.
    pub incarnation: Incarnation,
    /// Its failures and restarts.
    pub tracker: &'a Tracker,
}

impl Machine {
    /// A machine with these children, none of them started.
    ///
    /// The flags and policies must have been validated; an id that occurs twice is used once.
    pub fn new(flags: SupervisorFlags, children: impl IntoIterator<Item = NewChild>) -> Machine {
        let mut machine = Machine {
            flags,
            window: Window::new(),
            counted: 0,
            children: ChildTable::default(),
            phase: MachinePhase::Idle,
            pass: None,
            next_pass: 0,
            out: Vec::new(),
        };
        let children = children.into_iter();
        machine.children.reserve(children.size_hint().0);
        machine.children.fill(children);
        machine
    }

    /// Processes one input and appends the actions that follow from it.
    ///
    /// `now` must not go backwards from call to call.
    pub fn handle(&mut self, now: TreeInstant, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Boot => self.boot(now),
            Input::Ready(key) => self.ready(now, &key),
            Input::Ended(key, exit) => self.ended(now, &key, exit),
            Input::Fired(timer) => self.fired(now, &timer),
            Input::Request(id, request) => self.request(now, id, request),
            Input::Shutdown => self.shutdown(),
            Input::Kill => self.kill(),
        }
        actions.append(&mut self.out);
    }

    /// The supervisor's settings.
    pub fn flags(&self) -> &SupervisorFlags {
        &self.flags
    }

    /// Restarts counted in the period that ends now.
    pub fn restarts_used(&mut self, now: TreeInstant) -> u32 {
        self.window.used(now, &self.flags.effective_intensity())
    }

    /// Restarts counted since the beginning.
    pub fn restarts_counted(&self) -> u64 {
        self.counted
    }

    /// Whether the supervisor is stopping or has stopped.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, MachinePhase::Stopping { .. } | MachinePhase::Exited)
    }

    /// The children in start order.
    pub fn children(&self) -> impl Iterator<Item = ChildView<'_>> {
        self.children.iter().map(|(_, child)| view(child))
    }

    /// One child.
    pub fn child(&self, id: &ChildId) -> Option<ChildView<'_>> {
        self.children.get(self.find(id)?).map(view)
    }

    /// How many children there are.
    pub fn count(&self) -> ChildCounts {
        let mut count = ChildCounts { specs: self.children.len(), ..ChildCounts::default() };
        for (_, child) in self.children.iter() {
            count.active += usize::from(child.state.is_alive());
            match child.policy.kind {
                ChildKind::Supervisor => count.supervisors += 1,
                ChildKind::Worker => count.workers += 1,
            }
        }
        count
    }

    /// Changes the policy of a child; it takes effect at the next decision (rule R-7). The caller
    /// has validated it.
    ///
    /// # Errors
    /// [`RequestError::NotFound`].
    pub fn set_policy(&mut self, id: &ChildId, policy: Arc<ChildPolicy>) -> Result<(), RequestError> {
        let child = self.find(id).and_then(|rank| self.children.get_mut(rank));
        child.map(|child| child.policy = policy).ok_or_else(|| RequestError::NotFound(id.clone()))
    }

    /// The process of an incarnation ended at `at` with this exit, as far as is known, and its end
    /// follows as an input. Its back-off, and the time for which it has been ready, count from `at`
    /// (rule R-1). Returns the state that will follow if that is to wait for a restart.
    pub fn process_ended(
        &mut self,
        key: &IncarnationKey,
        at: TreeInstant,
        exit: &Exit,
    ) -> Option<ChildState> {
        let rank = self.current(key)?;
        let stops = self.is_stopping() || self.pass.as_ref().is_some_and(|pass| pass.consumes(rank));
        let child = self.children.get_mut(rank)?;
        if !matches!(child.state, ChildState::Starting | ChildState::Ready) {
            return None;
        }
        child.process_ended_at = Some(at);
        if stops { None } else { self.foresee(rank, at, exit) }
    }

    // ---- small steps that all parts share -------------------------------------------------------

    fn insert(&mut self, new: NewChild) -> Option<Rank> {
        let (rank, child) = self.children.insert(new)?;
        self.out.push(Action::Publish(Some(child.key()), EventKind::Added));
        Some(rank)
    }

    /// Removes a child from the table. It must not be alive.
    fn forget(&mut self, rank: Rank) {
        if let Some(child) = self.children.remove(rank) {
            self.out.push(Action::Publish(Some(child.key()), EventKind::Removed));
            self.out.push(Action::Forget(child.id));
        }
    }

    fn find(&self, id: &ChildId) -> Option<Rank> {
        self.children.find(id)
    }

    /// The child, if `key` names its current incarnation; anything about an old one is dropped (R-0
    /// (1)).
    fn current(&self, key: &IncarnationKey) -> Option<Rank> {
        let rank = self.find(&key.child)?;
        (self.children.get(rank)?.incarnation == key.incarnation).then_some(rank)
    }

    /// Changes the state of a child and publishes the change.
    fn set(&mut self, rank: Rank, to: ChildState) {
        let Some(child) = self.children.get_mut(rank) else { return };
        if child.state != to {
            let from = std::mem::replace(&mut child.state, to.clone());
            let key = child.key();
            self.out.push(Action::Publish(Some(key), EventKind::State { from, to }));
        }
    }

    /// Starts the next incarnation of a child that is not alive.
    fn start(&mut self, now: TreeInstant, rank: Rank, cause: StartCause) {
        self.disarm(rank);
        let Some(child) = self.children.get_mut(rank) else { return };
        child.incarnation = child.incarnation.next();
        child.cause = cause;
        child.after = AfterStop::Stay;
        child.process_ended_at = None;
        child.tracker.started(now);
        if child.stopped_by_operator {
            child.stopped_by_operator = false;
            let id = child.id.clone();
            self.out.push(Action::SetStoppedByOperator(id, false));
        }
        self.set(rank, ChildState::Starting);
        if let Some(child) = self.children.get(rank) {
            self.out.push(Action::Start(child.key()));
        }
    }

    /// Asks a live child to stop. If it is stopping already, only what follows changes.
    fn stop(&mut self, rank: Rank, after: AfterStop) {
        let Some(child) = self.children.get_mut(rank) else { return };
        child.after = after;
        if matches!(child.state, ChildState::Starting | ChildState::Ready) {
            let mode = self.phase.harden(child.policy.shutdown);
            let key = child.key();
            self.set(rank, ChildState::Stopping);
            self.out.push(Action::Stop(key, mode));
        }
    }

    /// Disarms the timer of a child that waits for its next start.
    fn disarm(&mut self, rank: Rank) {
        if let Some(child) = self.children.get_mut(rank)
            && std::mem::replace(&mut child.armed, false)
        {
            self.out.push(Action::Disarm(child.timer()));
        }
    }

    /// Answers the requests that wait for the outcome of a start.
    fn answer_start_waiters(&mut self, rank: Rank, answer: &Result<Reply, RequestError>) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let out = &mut self.out;
        child.waiters.retain(|waiter| match waiter {
            RequestWaiter::Start(id) | RequestWaiter::Restart(id) => {
                out.push(Action::Reply(*id, answer.clone()));
                false
            }
            RequestWaiter::Stop(_) => true,
        });
    }

    /// Answers the requests that wait for the child to be down.
    fn answer_stop_waiters(&mut self, rank: Rank) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let out = &mut self.out;
        child.waiters.retain(|waiter| match waiter {
            RequestWaiter::Stop(id) => {
                out.push(Action::Reply(*id, Ok(Reply::Done)));
                false
            }
            RequestWaiter::Start(_) | RequestWaiter::Restart(_) => true,
        });
    }

    fn ready(&mut self, now: TreeInstant, key: &IncarnationKey) {
        let Some(rank) = self.current(key) else { return };
        let Some(child) = self.children.get_mut(rank) else { return };
        if child.state != ChildState::Starting {
            return;
        }
        child.tracker.ready(now);
        child.has_been_ready = true;
        child.cause = StartCause::Supervisor;
        self.out.push(Action::MakeLive(key.clone()));
        self.set(rank, ChildState::Ready);
        self.answer_start_waiters(rank, &Ok(Reply::Ready(key.incarnation)));
        self.advance(now);
    }

    fn fired(&mut self, now: TreeInstant, timer: &Timer) {
        match timer {
            Timer::Child(key) => {
                let Some(rank) = self.current(key) else { return };
                if let Some(child) = self.children.get_mut(rank)
                    && std::mem::replace(&mut child.armed, false)
                {
                    self.start(now, rank, StartCause::Supervisor);
                }
            }
            Timer::Pass(serial) => self.pass_fired(now, *serial),
        }
    }

    /// Continues whatever can continue: a pass, or the stop of everything.
    fn advance(&mut self, now: TreeInstant) {
        match self.phase {
            MachinePhase::Stopping { .. } => self.advance_stop(),
            MachinePhase::Starting | MachinePhase::Running => self.advance_pass(now),
            MachinePhase::Idle | MachinePhase::Exited => {}
        }
    }
}

fn view(child: &Child) -> ChildView<'_> {
    ChildView {
        id: &child.id,
        policy: &child.policy,
        state: &child.state,
        incarnation: child.incarnation,
        tracker: &child.tracker,
    }
}

/// The state of a child that has nothing more to do.
fn ended() -> ChildState {
    ChildState::down(DownReason::Ended)
}
