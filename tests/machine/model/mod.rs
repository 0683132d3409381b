//! A naive supervisor, written from the rules: plain lists, a script of commands still to be
//! carried out, and everything else recomputed from a log. It says what the machine has to do at
//! every step.

mod definition;
mod judging;
mod past;
mod requests;
mod script;
mod second;

use std::{collections::BTreeSet, sync::Arc};

use procession::internals::machine::{DefinitionChange, IncarnationKey, NewChild, OperatorRequestId, Reply};
use procession::{
    clock::TreeInstant,
    event::StartReason,
    exit::Exit,
    id::ChildId,
    restart::RestartType,
    state::{ChildState, DownReason, SecondIncarnationRole},
    supervision::{ChildPolicy, RequestError, Shutdown, StartMode, SupervisorFlags},
};

use crate::rig::{Did, Reason, ReplyResult};
pub(crate) use past::ExitClass;
use past::Past;
use script::Script;
pub(crate) use second::Second;

/// Never reused, unlike a child's id.
type Uid = usize;

/// What a failed start means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Supervisor,
    Restart,
    /// By a reload: if it fails, the last good definition is started.
    Reload,
    Once,
    Provisional,
}

/// What follows a stop.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    Nothing,
    /// The script starts it.
    Script,
    Start(Why),
    Forget,
    /// It was idle.
    Rest,
    /// It had ended by itself.
    Leave(ChildState),
    /// Its start had found nothing to run.
    Ignored,
    /// It waits for its next start.
    Wait(ChildState),
}

impl Next {
    /// It will be down, and nothing starts it.
    fn stays_down(&self) -> bool {
        matches!(self, Next::Nothing | Next::Rest | Next::Leave(_) | Next::Ignored)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wants {
    Gone,
    Verdict,
    /// As a verdict, of a restart.
    Restart,
    /// As a verdict, of a start that was made after the request.
    Reload {
        /// It changes the definition.
        change: bool,
        /// Such a start has been made.
        taken: bool,
    },
}

impl Wants {
    fn gone(self) -> bool {
        self == Wants::Gone
    }

    fn start(self) -> bool {
        !self.gone()
    }

    /// The outcome of the current start is its answer.
    fn this_start(self) -> bool {
        !self.gone() && !matches!(self, Wants::Reload { taken: false, .. })
    }

    fn reload(self) -> bool {
        matches!(self, Wants::Reload { .. })
    }
}

#[derive(Debug)]
pub(crate) struct Row {
    uid: Uid,
    pub(crate) id: ChildId,
    /// The one in force.
    policy: Arc<ChildPolicy>,
    /// That of the newest definition that was good.
    good: Arc<ChildPolicy>,
    /// That of the newest definition.
    newest: Arc<ChildPolicy>,
    unconfirmed: bool,
    /// Those that wait for the next start.
    changes: Vec<DefinitionChange>,
    pub(crate) state: ChildState,
    pub(crate) incarnation: u64,
    /// The primary one lives.
    alive: bool,
    /// The last number that was given away.
    numbers: u64,
    pub(crate) second: Option<Second>,
    /// Ends of its spares in a row.
    spares_lost: u32,
    why: Why,
    /// Why it is started next, or was started last.
    reason: StartReason,
    /// Why it was last to be reloaded.
    reload_reason: StartReason,
    next: Next,
    stopped_by_operator: bool,
    /// When its own timer is due.
    pub(crate) timer: Option<TreeInstant>,
    has_been_ready: bool,
    past: Past,
    /// When an operator last restarted it.
    restarted: Option<TreeInstant>,
    waiting: Vec<(OperatorRequestId, Wants)>,
}

impl Row {
    /// The time for which it was to wait is over.
    fn is_due(&self, waits: &ChildState, now: TreeInstant) -> bool {
        matches!(waits, ChildState::BackingOff { until, .. } | ChildState::CoolingOff { until } if *until <= now)
    }

    /// Something of it lives.
    fn lives(&self) -> bool {
        self.alive || self.second.as_ref().is_some_and(Second::lives)
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) flags: SupervisorFlags,
    now: TreeInstant,
    pub(crate) rows: Vec<Row>,
    uids: Uid,
    /// Every restart that the supervisor's intensity has paid for.
    pub(crate) counted: Vec<TreeInstant>,
    script: Option<Script>,
    booting: bool,
    /// The exit to come, and whether children get no more time.
    ending: Option<(Exit, bool)>,
    over: bool,
    pub(crate) did: Vec<Did>,
    /// Why incarnations were started, said when they are the primary ones.
    pub(crate) reasons: Vec<Reason>,
    pub(crate) replies: Vec<(OperatorRequestId, ReplyResult)>,
}

impl Model {
    pub(crate) fn new(flags: SupervisorFlags, children: Vec<NewChild>) -> Model {
        let mut model = Model {
            flags,
            now: TreeInstant::EPOCH,
            rows: Vec::new(),
            uids: 0,
            counted: Vec::new(),
            script: None,
            booting: false,
            ending: None,
            over: false,
            did: Vec::new(),
            reasons: Vec::new(),
            replies: Vec::new(),
        };
        for child in children {
            model.add(child);
        }
        model
    }

    fn add(&mut self, new: NewChild) -> Uid {
        self.uids += 1;
        self.rows.push(Row {
            uid: self.uids,
            id: new.id,
            good: new.policy.clone(),
            newest: new.policy.clone(),
            policy: new.policy,
            unconfirmed: false,
            changes: Vec::new(),
            state: ChildState::down(if new.stopped_by_operator {
                DownReason::Stopped
            } else {
                DownReason::NeverStarted
            }),
            incarnation: new.last_incarnation.0,
            alive: false,
            numbers: new.last_incarnation.0,
            second: None,
            spares_lost: 0,
            why: Why::Supervisor,
            reason: StartReason::Initial,
            reload_reason: StartReason::Reload,
            next: Next::Nothing,
            stopped_by_operator: new.stopped_by_operator,
            timer: None,
            has_been_ready: false,
            past: Past::default(),
            restarted: None,
            waiting: Vec::new(),
        });
        self.uids
    }

    // ---- what happens ---------------------------------------------------------------------------

    pub(crate) fn step(&mut self, now: TreeInstant, what: impl FnOnce(&mut Model)) {
        self.now = now;
        self.did.clear();
        self.reasons.clear();
        self.replies.clear();
        what(self);
        for _ in 0..3 {
            let all: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
            for uid in all {
                self.settle(uid);
            }
            self.go_on();
        }
    }

    pub(crate) fn boot(&mut self) {
        self.booting = true;
        let all: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
        self.script = Some(Script::of_starts(&all, self.now));
    }

    pub(crate) fn ready(&mut self, key: &IncarnationKey) {
        let Some(uid) = self.uid(&key.child) else { return };
        if self.row(uid).second.as_ref().is_some_and(|s| s.is(key) && s.state == ChildState::Starting) {
            self.second_ready(uid);
            return self.follow(uid);
        }
        if !self.primary(uid, key) || self.row(uid).state != ChildState::Starting {
            return;
        }
        self.confirm(uid);
        let now = self.now;
        let row = self.row_mut(uid);
        row.state = ChildState::Ready;
        row.has_been_ready = true;
        row.why = Why::Supervisor;
        row.past.ready(now);
        self.did.push(Did::MakeLive(key.child.clone(), key.incarnation.0));
        self.answer(uid, Wants::this_start, Ok(Reply::Ready(key.incarnation)));
        self.follow(uid);
    }

    pub(crate) fn child_timer(&mut self, key: &IncarnationKey) {
        let Some(row) = self.rows.iter().find(|r| r.id == key.child && r.timer.is_some()) else { return };
        if row.incarnation == key.incarnation.0 {
            self.start_when_free(row.uid, Why::Supervisor, true);
        }
    }

    pub(crate) fn group_timer(&mut self) {
        if let Some(script) = &mut self.script {
            script.time_is_up();
        }
    }

    pub(crate) fn shutdown(&mut self, brutal: bool) {
        let already = self.ending.as_ref().is_some_and(|(_, was)| *was);
        if self.over || (brutal && already) {
            return;
        }
        if brutal {
            for row in &self.rows {
                let going = |s: &&Second| s.state == ChildState::Stopping;
                let second = row.second.as_ref().filter(going).map(|s| s.incarnation);
                let primary = (row.alive && row.state == ChildState::Stopping).then_some(row.incarnation);
                for incarnation in second.into_iter().chain(primary) {
                    self.did.push(Did::Stop(row.id.clone(), incarnation, Shutdown::BrutalKill));
                }
            }
        }
        match &mut self.ending {
            Some((_, was)) => *was |= brutal,
            None => self.finish(Exit::Requested, brutal),
        }
    }

    // ---- small things ---------------------------------------------------------------------------

    /// S-2: a restart of age ≤ period counts.
    pub(crate) fn used(&self) -> u32 {
        let period = self.flags.effective_intensity().period;
        self.counted.iter().filter(|at| self.now.since(**at) <= period).count() as u32
    }

    pub(crate) fn timers(&self) -> BTreeSet<TreeInstant> {
        let waits = self.script.as_ref().and_then(Script::waits_until);
        let spares = self.rows.iter().filter_map(|r| match r.second.as_ref()?.state {
            ChildState::BackingOff { until, .. } => Some(until),
            _ => None,
        });
        self.rows.iter().filter_map(|r| r.timer).chain(spares).chain(waits).collect()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.ending.is_some()
    }

    fn row(&self, uid: Uid) -> &Row {
        self.rows.iter().find(|r| r.uid == uid).unwrap()
    }

    fn row_mut(&mut self, uid: Uid) -> &mut Row {
        self.rows.iter_mut().find(|r| r.uid == uid).unwrap()
    }

    fn uid(&self, id: &ChildId) -> Option<Uid> {
        self.rows.iter().find(|r| r.id == *id).map(|r| r.uid)
    }

    /// This is its primary incarnation, and lives.
    fn primary(&self, uid: Uid, key: &IncarnationKey) -> bool {
        self.row(uid).alive && self.row(uid).incarnation == key.incarnation.0
    }

    fn is_temporary(&self, uid: Uid) -> bool {
        self.row(uid).policy.restart.restart == RestartType::Temporary
    }

    /// Whether the supervisor's start fails with this child's.
    fn must_start(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        self.booting && !row.has_been_ready && row.policy.start == StartMode::Required
    }

    fn tears_down(&self, uid: Uid) -> bool {
        self.script.as_ref().is_some_and(|s| s.tears_down(uid))
    }

    /// How something is stopped now.
    fn mode(&self, shutdown: Shutdown) -> Shutdown {
        match self.ending {
            Some((_, true)) => Shutdown::BrutalKill,
            _ => shutdown,
        }
    }

    fn start(&mut self, uid: Uid, why: Why) {
        self.take_changes(uid);
        let row = self.row_mut(uid);
        // What has failed to start and is started again at once is starting.
        let is_said = row.state != ChildState::Starting;
        row.state = ChildState::Starting;
        row.numbers += 1;
        row.incarnation = row.numbers;
        row.policy = row.newest.clone();
        row.alive = true;
        row.why = why;
        row.next = Next::Nothing;
        row.stopped_by_operator = false;
        row.timer = None;
        row.past.started();
        let did = Did::Start(row.id.clone(), row.incarnation);
        self.did.push(did);
        if is_said {
            self.say_reason(uid);
        }
        if let Some(script) = &mut self.script {
            script.excused.remove(&uid);
        }
    }

    fn say_reason(&mut self, uid: Uid) {
        let row = self.row(uid);
        let reason = (row.id.clone(), row.incarnation, row.reason);
        self.reasons.push(reason);
    }

    /// A restart is also the reload that is wanted, if one is.
    fn why_again(&self, uid: Uid) -> Why {
        if self.wants_reload(uid) { Why::Reload } else { Why::Supervisor }
    }

    /// Starts it as soon as nothing is left of it; with `overlap`, a restart by its policy does not wait
    /// for one that is leaving or failing (12).
    fn start_when_free(&mut self, uid: Uid, why: Why, by_policy: bool) {
        if self.must_wait(uid, by_policy) {
            self.stop(uid, Next::Start(why));
        } else {
            self.start(uid, why);
        }
    }

    fn must_wait(&self, uid: Uid, by_policy: bool) -> bool {
        let lives = self.row(uid).second.as_ref().is_some_and(Second::lives);
        lives && !(by_policy && !self.must_wait_to_wait(uid) && self.may_overlap(uid))
    }

    /// It does not even begin to back off. What the next start overlaps with is decided then.
    fn must_wait_to_wait(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        let outgoing =
            |s: &Second| matches!(s.role, SecondIncarnationRole::Leaving | SecondIncarnationRole::Failing);
        row.second.as_ref().is_some_and(|s| s.lives() && !(outgoing(s) && row.policy.overlap))
    }

    /// Stops what lives of it.
    fn stop(&mut self, uid: Uid, next: Next) {
        self.row_mut(uid).next = next;
        if self.row(uid).state == ChildState::Stopping {
            return;
        }
        self.stop_second(uid);
        let (mode, row) = (self.mode(self.row(uid).policy.shutdown), self.row_mut(uid));
        row.state = ChildState::Stopping;
        row.timer = None;
        if row.alive {
            let did = Did::Stop(row.id.clone(), row.incarnation, mode);
            self.did.push(did);
        }
    }

    /// 12: it is down only when nothing of it lives.
    fn take_down(&mut self, uid: Uid, next: Next) {
        self.stop(uid, next);
        self.when_free(uid);
    }

    fn when_free(&mut self, uid: Uid) {
        if self.row(uid).state != ChildState::Stopping || self.row(uid).lives() {
            return;
        }
        let next = self.row(uid).next.clone();
        if self.ending.is_some() {
            let forget = next == Next::Forget;
            let down = if forget { DownReason::Stopped } else { DownReason::Ended };
            self.down(uid, ChildState::down(down), None);
            if forget {
                self.rows.retain(|r| r.uid != uid);
            }
            return;
        }
        let next = match next {
            Next::Start(why) if self.tears_down(uid) => {
                self.row_mut(uid).why = why;
                Next::Script
            }
            next => next,
        };
        match next {
            Next::Forget => self.remove(uid, None),
            Next::Nothing if self.is_temporary(uid) => self.remove(uid, None),
            Next::Nothing => self.down(uid, ChildState::down(DownReason::Stopped), None),
            Next::Script => self.down_for_script(uid),
            Next::Start(why) => {
                self.row_mut(uid).state = ChildState::down(DownReason::Stopped);
                self.answer(uid, Wants::gone, Ok(Reply::Done));
                self.start(uid, why);
            }
            Next::Rest => self.down(uid, ChildState::down(DownReason::Idle), None),
            Next::Leave(state) => self.leave(uid, state),
            Next::Ignored if self.flags.dynamic || self.is_temporary(uid) => self.remove(uid, None),
            Next::Ignored => self.down(uid, ChildState::down(DownReason::Ignored), None),
            Next::Wait(state) if self.wants_reload(uid) => {
                // Its own time may have come, too.
                let row = self.row(uid);
                let reason =
                    if row.is_due(&state, self.now) { StartReason::Policy } else { row.reload_reason };
                self.row_mut(uid).reason = reason;
                self.start(uid, Why::Reload);
            }
            Next::Wait(state) => self.wait(uid, state),
        }
    }

    fn wait(&mut self, uid: Uid, state: ChildState) {
        let (ChildState::BackingOff { until, .. } | ChildState::CoolingOff { until }) = state else {
            unreachable!()
        };
        self.row_mut(uid).reason = StartReason::Policy;
        let alone = self.flags.strategy == procession::state::Strategy::OneForOne;
        if alone && until <= self.now {
            return self.start(uid, self.why_again(uid));
        }
        let row = self.row_mut(uid);
        row.state = state;
        row.timer = alone.then_some(until);
    }

    /// Sets it down and answers every request: those that wait for a start with this one, or with
    /// "stopped".
    fn down(&mut self, uid: Uid, state: ChildState, verdict: Option<ReplyResult>) {
        let stopped = RequestError::Stopped(self.row(uid).id.clone());
        let otherwise = if self.is_stopping() { RequestError::ShuttingDown } else { stopped };
        let row = self.row_mut(uid);
        row.state = state;
        row.why = Why::Supervisor;
        row.timer = None;
        self.answer(uid, Wants::gone, Ok(Reply::Done));
        if let Some(verdict) = verdict {
            self.answer(uid, Wants::this_start, verdict);
        }
        self.answer(uid, Wants::start, Err(otherwise));
        self.no_longer_owed(uid);
    }

    fn down_for_script(&mut self, uid: Uid) {
        if self.is_temporary(uid) {
            return self.remove(uid, None);
        }
        self.row_mut(uid).state = ChildState::down(DownReason::Stopped);
        self.answer(uid, Wants::gone, Ok(Reply::Done));
    }

    fn remove(&mut self, uid: Uid, verdict: Option<ReplyResult>) {
        self.down(uid, ChildState::down(DownReason::Stopped), verdict);
        self.rows.retain(|r| r.uid != uid);
    }

    fn answer(&mut self, uid: Uid, whom: impl Fn(Wants) -> bool, reply: ReplyResult) {
        let waiting = std::mem::take(&mut self.row_mut(uid).waiting);
        let (answered, rest) = waiting.into_iter().partition::<Vec<_>, _>(|(_, wants)| whom(*wants));
        self.row_mut(uid).waiting = rest;
        self.replies.extend(answered.into_iter().map(|(id, _)| (id, reply.clone())));
    }

    // ---- the end --------------------------------------------------------------------------------

    fn finish(&mut self, exit: Exit, brutal: bool) {
        self.script = None;
        self.ending = Some((exit, brutal));
        let all: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
        for uid in all {
            self.answer(uid, Wants::start, Err(RequestError::ShuttingDown));
            self.drop_waiting_spare(uid);
            let state = &self.row(uid).state;
            if state.is_restarting() {
                self.take_down(uid, Next::Nothing);
            } else if self.flags.dynamic && state.is_alive() && *state != ChildState::Stopping {
                self.stop(uid, Next::Nothing);
            }
        }
    }

    /// S-20: the newest live child, then the next.
    fn go_on_ending(&mut self) {
        let newest = self.rows.iter().rev().find(|r| r.state.is_alive());
        match newest.map(|r| (r.uid, r.state.clone())) {
            Some((_, ChildState::Stopping)) => {}
            Some((uid, _)) => self.stop(uid, Next::Nothing),
            None if self.over => {}
            None => {
                self.over = true;
                let exit = self.ending.as_ref().unwrap().0.clone();
                self.did.push(Did::Exit(exit));
            }
        }
    }

    fn go_on(&mut self) {
        if self.ending.is_some() {
            self.go_on_ending();
        } else {
            self.go_on_with_script();
        }
    }
}
