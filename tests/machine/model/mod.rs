//! A naive supervisor, written from the rules: plain lists, a script of commands still to be
//! carried out, and everything else recomputed from a log. It says what the machine has to do at
//! every step.

mod judging;
mod past;
mod requests;
mod script;

use std::{collections::BTreeSet, sync::Arc};

use procession::internals::machine::{IncarnationKey, NewChild, OperatorRequestId, Reply};
use procession::{
    clock::TreeInstant,
    exit::Exit,
    id::ChildId,
    restart::RestartType,
    state::{ChildState, DownReason},
    supervision::{ChildPolicy, RequestError, Shutdown, StartMode, SupervisorFlags},
};

use crate::rig::{Did, ReplyResult};
pub(crate) use past::ExitClass;
use past::Past;
use script::Script;

/// Never reused, unlike a child's id.
type Uid = usize;

/// What a failed start means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Supervisor,
    Restart,
    Once,
    Provisional,
}

/// What follows a stop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Nothing,
    /// The script starts it.
    Script,
    Start(Why),
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wants {
    Gone,
    Verdict,
    /// As a verdict, of a restart.
    Restart,
}

#[derive(Debug)]
pub(crate) struct Row {
    uid: Uid,
    pub(crate) id: ChildId,
    pub(crate) policy: Arc<ChildPolicy>,
    pub(crate) state: ChildState,
    pub(crate) incarnation: u64,
    why: Why,
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
            policy: new.policy,
            state: ChildState::down(if new.stopped_by_operator {
                DownReason::Stopped
            } else {
                DownReason::NeverStarted
            }),
            incarnation: new.last_incarnation.0,
            why: Why::Supervisor,
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
        self.replies.clear();
        what(self);
        self.go_on();
    }

    pub(crate) fn boot(&mut self) {
        self.booting = true;
        let all: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
        self.script = Some(Script::of_starts(&all, self.now));
    }

    pub(crate) fn ready(&mut self, key: &IncarnationKey) {
        let Some(uid) = self.live(key).filter(|uid| self.row(*uid).state == ChildState::Starting) else {
            return;
        };
        let now = self.now;
        let row = self.row_mut(uid);
        row.state = ChildState::Ready;
        row.has_been_ready = true;
        row.why = Why::Supervisor;
        row.past.ready(now);
        self.answer(uid, &[Wants::Verdict, Wants::Restart], Ok(Reply::Ready(key.incarnation)));
    }

    pub(crate) fn child_timer(&mut self, key: &IncarnationKey) {
        let Some(row) = self.rows.iter().find(|r| r.id == key.child && r.timer.is_some()) else { return };
        if row.incarnation == key.incarnation.0 {
            self.start(row.uid, Why::Supervisor);
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
            let stopping = self.rows.iter().filter(|r| r.state == ChildState::Stopping);
            let stops: Vec<Did> =
                stops(stopping.map(|r| (r.id.clone(), r.incarnation, Shutdown::BrutalKill)));
            self.did.extend(stops);
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
        self.rows.iter().filter_map(|r| r.timer).chain(waits).collect()
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

    fn live(&self, key: &IncarnationKey) -> Option<Uid> {
        let row = self.rows.iter().find(|r| r.id == key.child)?;
        (row.incarnation == key.incarnation.0 && row.state.is_alive()).then_some(row.uid)
    }

    fn is_temporary(&self, uid: Uid) -> bool {
        self.row(uid).policy.restart.restart == RestartType::Temporary
    }

    /// Whether the supervisor's start fails with this child's.
    fn must_start(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        self.booting && !row.has_been_ready && row.policy.start == StartMode::Required
    }

    fn start(&mut self, uid: Uid, why: Why) {
        let row = self.row_mut(uid);
        row.state = ChildState::Starting;
        row.incarnation += 1;
        row.why = why;
        row.next = Next::Nothing;
        row.stopped_by_operator = false;
        row.timer = None;
        row.past.started();
        let did = Did::Start(row.id.clone(), row.incarnation);
        self.did.push(did);
        if let Some(script) = &mut self.script {
            script.excused.remove(&uid);
        }
    }

    fn stop(&mut self, uid: Uid, next: Next) {
        let brutal = self.ending.as_ref().is_some_and(|(_, brutal)| *brutal);
        let row = self.row_mut(uid);
        row.next = next;
        if row.state != ChildState::Stopping {
            row.state = ChildState::Stopping;
            let mode = if brutal { Shutdown::BrutalKill } else { row.policy.shutdown };
            let did = Did::Stop(row.id.clone(), row.incarnation, mode);
            self.did.push(did);
        }
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
        self.answer(uid, &[Wants::Gone], Ok(Reply::Done));
        self.answer(uid, &[Wants::Verdict, Wants::Restart], verdict.unwrap_or(Err(otherwise)));
        self.no_longer_owed(uid);
    }

    fn down_for_script(&mut self, uid: Uid) {
        if self.is_temporary(uid) {
            return self.remove(uid, None);
        }
        self.row_mut(uid).state = ChildState::down(DownReason::Stopped);
        self.answer(uid, &[Wants::Gone], Ok(Reply::Done));
    }

    fn remove(&mut self, uid: Uid, verdict: Option<ReplyResult>) {
        self.down(uid, ChildState::down(DownReason::Stopped), verdict);
        self.rows.retain(|r| r.uid != uid);
    }

    fn answer(&mut self, uid: Uid, whom: &[Wants], reply: ReplyResult) {
        let waiting = std::mem::take(&mut self.row_mut(uid).waiting);
        let (answered, rest) = waiting.into_iter().partition::<Vec<_>, _>(|(_, wants)| whom.contains(wants));
        self.row_mut(uid).waiting = rest;
        self.replies.extend(answered.into_iter().map(|(id, _)| (id, reply.clone())));
    }

    // ---- the end --------------------------------------------------------------------------------

    fn finish(&mut self, exit: Exit, brutal: bool) {
        self.script = None;
        self.ending = Some((exit, brutal));
        let all: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
        for uid in &all {
            self.answer(*uid, &[Wants::Verdict, Wants::Restart], Err(RequestError::ShuttingDown));
            if self.row(*uid).state.is_restarting() {
                self.down(*uid, ChildState::down(DownReason::Ended), None);
            }
        }
        if self.flags.dynamic {
            for uid in all {
                if self.row(uid).state.is_alive() && self.row(uid).state != ChildState::Stopping {
                    self.stop(uid, Next::Nothing);
                }
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

fn stops(whom: impl Iterator<Item = (ChildId, u64, Shutdown)>) -> Vec<Did> {
    whom.map(|(id, incarnation, mode)| Did::Stop(id, incarnation, mode)).collect()
}
