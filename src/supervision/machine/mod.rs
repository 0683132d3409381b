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
//! | `restart_pass` | the supervisor's own start and group restarts (S-7, S-11 to S-16) |
//! | `operator` | requests (S-22, R-8) |
//! | `reload` | changes of a definition, and how they are carried out (G-13, G-14) |
//! | `second` | the incarnation beside the primary one: swap and standby (S-27, W-6) |
//! | `stop` | giving up and shutting down (S-17, S-20, S-24) |
//!
//! `table` holds the children and `child` is one of them, with its `second_incarnation` and its
//! `reload_state`; `input` is what goes in, `action` what comes out.

mod action;
mod child;
mod input;
mod judge;
mod operator;
mod reload;
mod reload_state;
mod restart_pass;
mod second;
mod second_incarnation;
mod stop;
mod table;

use std::sync::Arc;

pub(super) use action::ReplyResult;
pub use action::{Action, Reply};
use child::{AfterStop, Child, RequestWaiter, StartCause};
pub use input::{
    DefinitionChange, IncarnationKey, Input, NewChild, OperatorRequestId, ReloadWhen, Request, Timer,
};
use restart_pass::RestartPass;
use second_incarnation::PrimaryOrSecond;
pub use second_incarnation::SecondView;
use stop::MachinePhase;
use table::{ChildTable, Rank};

use super::{
    child_info::ChildCounts,
    child_policy::{ChildPolicy, Shutdown},
    errors::RequestError,
    supervisor_flags::SupervisorFlags,
};
use crate::{
    clock::TreeInstant,
    event::EventKind,
    exit::Exit,
    id::{ChildId, Incarnation},
    restart::{RestartTracker, Window},
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
    pass: Option<RestartPass>,
    next_pass: u64,
    /// Whether a swap may begin now; otherwise the old incarnation is stopped first.
    may_swap: bool,
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
    pub tracker: &'a RestartTracker,
    /// The incarnation beside it, if there is one, or the spare that waits for its next start.
    pub second: Option<SecondView<'a>>,
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
            may_swap: true,
            out: Vec::new(),
        };
        let children = children.into_iter();
        machine.children.reserve(children.size_hint().0);
        machine.children.fill(children);
        machine
    }

    /// Whether swaps may begin from now on. Without it, a reload stops the old incarnation first, whatever
    /// the policies allow. For a pool, whose cap has no room for two of a child unless it says so.
    pub(crate) fn set_may_swap(&mut self, may_swap: bool) {
        self.may_swap = may_swap;
    }

    /// Processes one input and appends the actions that follow from it.
    ///
    /// `now` must not go backwards from call to call.
    pub fn handle(&mut self, now: TreeInstant, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Boot => self.boot(now),
            Input::Ready(key) => self.ready(now, &key),
            Input::Failing(key) => self.failing(&key),
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
    /// has validated it. Whether incarnations may overlap, and whether there is a spare, stays as it
    /// was declared: only a reload changes that.
    ///
    /// # Errors
    /// [`RequestError::NotFound`].
    pub fn set_policy(&mut self, id: &ChildId, policy: Arc<ChildPolicy>) -> Result<(), RequestError> {
        let child = self.find(id).and_then(|rank| self.children.get_mut(rank));
        child.map(|child| child.set_policy(&policy)).ok_or_else(|| RequestError::NotFound(id.clone()))
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
        let (rank, PrimaryOrSecond::Primary) = self.current(key)? else { return None };
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

    /// The child, if `key` names its primary or its second incarnation; anything about an old one is
    /// dropped (R-0 (1)).
    fn current(&self, key: &IncarnationKey) -> Option<(Rank, PrimaryOrSecond)> {
        let rank = self.find(&key.child)?;
        let child = self.children.get(rank)?;
        if child.incarnation == key.incarnation {
            // Its own end may have come before that of the second one, which the child waits for.
            let is_over = child.second.as_ref().is_some_and(|second| second.outlives_primary);
            return (!is_over).then_some((rank, PrimaryOrSecond::Primary));
        }
        let second = child.second.as_ref()?;
        (second.is_alive() && second.incarnation == key.incarnation)
            .then_some((rank, PrimaryOrSecond::Second))
    }

    /// Changes the state of a child and publishes the change.
    fn set(&mut self, rank: Rank, to: ChildState) {
        let Some(child) = self.children.get_mut(rank) else { return };
        if child.state != to {
            let from = std::mem::replace(&mut child.state, to.clone());
            let reason = (to == ChildState::Starting).then_some(child.reason);
            let key = child.key();
            self.out.push(Action::Publish(Some(key), EventKind::State { from, to, reason }));
        }
    }

    /// Notes why a child is started next.
    fn note_reason(&mut self, rank: Rank, cause: StartCause) {
        if let Some(child) = self.children.get_mut(rank) {
            child.note_reason(cause);
        }
    }

    /// Starts the next incarnation of a child whose primary one is not alive. It waits for the second
    /// one if the two may not overlap.
    fn start(&mut self, now: TreeInstant, rank: Rank, cause: StartCause) {
        self.disarm(rank);
        let overlaps = self.children.get(rank).is_some_and(|child| child.coming_policy().overlap);
        if overlaps || !self.wait_for_second(rank, AfterStop::Start(cause)) {
            self.start_now(now, rank, cause);
        }
    }

    fn start_now(&mut self, now: TreeInstant, rank: Rank, cause: StartCause) {
        self.disarm(rank);
        self.take_changes(rank);
        let Some(child) = self.children.get_mut(rank) else { return };
        child.adopt_newest_policy();
        child.last = child.last.next();
        child.incarnation = child.last;
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

    /// Asks a live child to stop. If it is stopping already, only what follows changes. A child that
    /// waits for its next start waits for its second incarnation instead, if it has one.
    fn stop(&mut self, rank: Rank, after: AfterStop) {
        self.stop_primary(rank, after, Action::Stop);
    }

    /// As `stop`, but the incarnation finishes the calls that it has.
    fn retire(&mut self, rank: Rank, after: AfterStop) {
        self.stop_primary(rank, after, Action::Retire);
    }

    fn stop_primary(
        &mut self,
        rank: Rank,
        after: AfterStop,
        action: impl FnOnce(IncarnationKey, Shutdown) -> Action,
    ) {
        let Some(child) = self.children.get_mut(rank) else { return };
        child.after = after;
        match child.state {
            ChildState::Starting | ChildState::Ready => {
                self.stop_second(rank);
                let Some(child) = self.children.get(rank) else { return };
                let mode = self.phase.harden(child.policy.shutdown);
                let key = child.key();
                self.set(rank, ChildState::Stopping);
                self.out.push(action(key, mode));
            }
            ChildState::Stopping => {}
            _ => {
                self.disarm(rank);
                self.wait_for_second(rank, after);
            }
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
            RequestWaiter::Start(id)
            | RequestWaiter::Restart(id)
            | RequestWaiter::Reload { id, taken: true } => {
                out.push(Action::Reply(*id, answer.clone()));
                false
            }
            RequestWaiter::Stop(_) | RequestWaiter::Reload { .. } => true,
        });
    }

    /// Answers the requests that wait for a start of any kind: there will be none.
    fn refuse_start_waiters(&mut self, rank: Rank, refusal: &RequestError) {
        let Some(child) = self.children.get_mut(rank) else { return };
        for waiter in &mut child.waiters {
            if let RequestWaiter::Reload { taken, .. } = waiter {
                *taken = true;
            }
        }
        if let Some(reload) = &mut child.reload {
            reload.wanted = false;
        }
        self.answer_start_waiters(rank, &Err(refusal.clone()));
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
            RequestWaiter::Start(_) | RequestWaiter::Restart(_) | RequestWaiter::Reload { .. } => true,
        });
    }

    fn ready(&mut self, now: TreeInstant, key: &IncarnationKey) {
        let Some((rank, role)) = self.current(key) else { return };
        if role == PrimaryOrSecond::Second {
            return self.second_ready(now, rank);
        }
        let Some(child) = self.children.get_mut(rank) else { return };
        if child.state != ChildState::Starting {
            return;
        }
        child.tracker.ready(now);
        child.has_been_ready = true;
        child.cause = StartCause::Supervisor;
        self.confirm(rank);
        self.out.push(Action::MakeLive(key.clone()));
        self.set(rank, ChildState::Ready);
        self.answer_start_waiters(rank, &Ok(Reply::Ready(key.incarnation)));
        self.follow_up(now, rank);
        self.advance(now);
    }

    fn fired(&mut self, now: TreeInstant, timer: &Timer) {
        match timer {
            Timer::Child(key) => {
                let Some((rank, PrimaryOrSecond::Primary)) = self.current(key) else { return };
                if let Some(child) = self.children.get_mut(rank)
                    && std::mem::replace(&mut child.armed, false)
                {
                    self.start(now, rank, StartCause::Supervisor);
                }
            }
            Timer::Spare(key) => self.spare_fired(now, key),
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
        second: child.second.as_deref().map(second_incarnation::view),
    }
}

/// The state of a child that has nothing more to do.
fn ended() -> ChildState {
    ChildState::down(DownReason::Ended)
}

/// The state of a child whose exit leads to no restart. S-17: a transient supervisor that gave up stays
/// down, and its state says so.
fn left_as(exit: &Exit) -> ChildState {
    match exit {
        Exit::IntensityExceeded { limit, .. } => ChildState::down(DownReason::GaveUp { why: limit.clone() }),
        _ => ended(),
    }
}
