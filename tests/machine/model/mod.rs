//! A naive supervisor, written from the rules: plain lists, a script of orders still to be carried out, and everything
//! else worked out anew from a log. It says what the machine has to do at every step.

mod past;
mod requests;
mod script;

use std::{collections::BTreeSet, sync::Arc};

use procession::{
    exit::Exit,
    id::{ChildId, Incarnation},
    restart::{Budget, RestartType},
    supervision::{
        AutoShutdown, ChildPolicy, Flags, RequestError, Shutdown, StartMode,
        machine::{Answer, Key, NewChild, RequestId},
    },
    time::At,
    vocabulary::{Down, Limit, State, Strategy},
};

use crate::rig::{Did, Reply};
pub(crate) use past::Verdict;
use past::{Past, Would};
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
    pub(crate) state: State,
    pub(crate) incarnation: u64,
    why: Why,
    next: Next,
    held: bool,
    /// When its own timer is due.
    pub(crate) timer: Option<At>,
    proven: bool,
    past: Past,
    waiting: Vec<(RequestId, Wants)>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) flags: Flags,
    now: At,
    pub(crate) rows: Vec<Row>,
    uids: Uid,
    /// Every restart that the supervisor's intensity has paid for.
    pub(crate) counted: Vec<At>,
    script: Option<Script>,
    booting: bool,
    /// The exit to come, and whether nobody gets any more time.
    ending: Option<(Exit, bool)>,
    over: bool,
    pub(crate) did: Vec<Did>,
    pub(crate) replies: Vec<(RequestId, Reply)>,
}

impl Model {
    pub(crate) fn new(flags: Flags, children: Vec<NewChild>) -> Model {
        let mut model = Model {
            flags,
            now: At::EPOCH,
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
            state: State::down(if new.held { Down::Stopped } else { Down::NeverStarted }),
            incarnation: new.last_incarnation.0,
            why: Why::Supervisor,
            next: Next::Nothing,
            held: new.held,
            timer: None,
            proven: false,
            past: Past::default(),
            waiting: Vec::new(),
        });
        self.uids
    }

    // ---- what happens -------------------------------------------------------------------------------------------

    pub(crate) fn step(&mut self, now: At, what: impl FnOnce(&mut Model)) {
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

    pub(crate) fn ready(&mut self, key: &Key) {
        let Some(uid) = self.live(key).filter(|uid| self.row(*uid).state == State::Starting) else { return };
        let now = self.now;
        let row = self.row_mut(uid);
        row.state = State::Ready;
        row.proven = true;
        row.why = Why::Supervisor;
        row.past.ready(now);
        self.answer(uid, &[Wants::Verdict, Wants::Restart], Ok(Answer::Ready(key.incarnation)));
    }

    pub(crate) fn child_timer(&mut self, key: &Key) {
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
            let stopping = self.rows.iter().filter(|r| r.state == State::Stopping);
            let stops: Vec<Did> =
                stops(stopping.map(|r| (r.id.clone(), r.incarnation, Shutdown::BrutalKill)));
            self.did.extend(stops);
        }
        match &mut self.ending {
            Some((_, was)) => *was |= brutal,
            None => self.finish(Exit::Requested, brutal),
        }
    }

    /// R-0, and S-9: an end is news once, of the incarnation that lives.
    pub(crate) fn ended(&mut self, key: &Key, exit: Exit, verdict: Verdict) {
        let Some(uid) = self.live(key) else { return };
        let was = self.row(uid).state.clone();
        if self.ending.is_some() {
            let forget = was == State::Stopping && self.row(uid).next == Next::Forget;
            let now = self.now;
            self.row_mut(uid).past.taken_down(now);
            let down = if forget { Down::Stopped } else { Down::Ended };
            self.down(uid, State::down(down), None);
            if forget {
                self.rows.retain(|r| r.uid != uid);
            }
            return;
        }
        let tears = self.script.as_ref().is_some_and(|s| s.tears_down(uid));
        if was == State::Stopping {
            let now = self.now;
            self.row_mut(uid).past.taken_down(now);
            let next = match self.row(uid).next {
                Next::Start(why) if tears => {
                    self.row_mut(uid).why = why;
                    Next::Script
                }
                next => next,
            };
            return match next {
                Next::Forget => self.remove(uid, None),
                Next::Nothing if self.is_temporary(uid) => self.remove(uid, None),
                Next::Nothing => self.down(uid, State::down(Down::Stopped), None),
                Next::Script => self.down_for_script(uid),
                Next::Start(why) => {
                    self.row_mut(uid).state = State::down(Down::Stopped);
                    self.answer(uid, &[Wants::Gone], Ok(Answer::Done));
                    self.start(uid, why);
                }
            };
        }
        let ignored = exit == Exit::Ignored && was == State::Starting;
        let failed = RequestError::StartFailed { child: key.child.clone(), exit: exit.clone() };
        let starting = was == State::Starting && !ignored;
        match self.row(uid).why {
            Why::Provisional if starting => return self.remove(uid, Some(Err(failed))),
            Why::Once if starting => return self.down(uid, State::down(Down::Ended), Some(Err(failed))),
            _ => {}
        }
        if tears {
            // S-13
            let now = self.now;
            self.row_mut(uid).past.taken_down(now);
            return self.down_for_script(uid);
        }
        if ignored {
            let reply = Some(Ok(Answer::Ignored));
            if self.is_temporary(uid) {
                return self.remove(uid, reply);
            }
            return self.down(uid, State::down(Down::Ignored), reply);
        }
        if starting {
            self.answer(uid, &[Wants::Verdict, Wants::Restart], Err(failed));
            if self.row(uid).why == Why::Supervisor && self.must_start(uid) {
                // S-7
                self.down(uid, State::down(Down::Ended), None);
                return self
                    .finish(Exit::StartFailed { child: key.child.clone(), cause: exit.into() }, false);
            }
        }
        self.judge(uid, exit, verdict, starting);
    }

    fn judge(&mut self, uid: Uid, exit: Exit, verdict: Verdict, starting: bool) {
        let grouped = self.flags.strategy != Strategy::OneForOne;
        let policy = self.row(uid).policy.clone();
        let now = self.now;
        let id = self.row(uid).id.clone();
        match self.row_mut(uid).past.judge(now, verdict, &policy.restart) {
            Would::Leave => {
                let why = match &exit {
                    Exit::IntensityExceeded { limit, .. } => Down::GaveUp { why: limit.clone() },
                    _ => Down::Ended,
                };
                self.leave(uid, State::down(why));
            }
            Would::GiveUp(why) if !grouped => self.leave(uid, State::down(Down::GaveUp { why })),
            Would::GiveUp(why) | Would::Escalate(why) => self.give_up(uid, id, exit, why),
            Would::CoolOff(delay) => {
                let until = now.after(delay);
                let row = self.row_mut(uid);
                row.state = State::CoolingOff { until };
                row.timer = Some(until);
            }
            Would::Restart(delay, attempt) => {
                if policy.restart.budget == Budget::Shared {
                    // S-2
                    let intensity = self.flags.intensity;
                    if self.used() >= intensity.max_restarts {
                        return self.give_up(uid, id, exit, intensity.limit());
                    }
                    self.counted.push(now);
                }
                if grouped {
                    let failed_start = starting && policy.start == StartMode::Required;
                    self.restart_group(uid, delay, attempt, failed_start);
                } else if delay.is_zero() {
                    self.start(uid, Why::Supervisor);
                } else {
                    let until = now.after(delay);
                    let row = self.row_mut(uid);
                    row.state = State::BackingOff { until, attempt };
                    row.timer = Some(until);
                }
            }
        }
    }

    fn give_up(&mut self, uid: Uid, id: ChildId, exit: Exit, why: Limit) {
        // The child's own policy has not given up: whoever restarts this supervisor starts it again.
        self.down(uid, State::down(Down::Ended), None);
        self.finish(Exit::IntensityExceeded { child: id, cause: exit.into(), limit: why }, false);
    }

    /// S-5, S-24
    fn leave(&mut self, uid: Uid, state: State) {
        let (id, significant) = (self.row(uid).id.clone(), self.row(uid).policy.significant);
        let temporary = self.is_temporary(uid);
        self.down(uid, state, None);
        if temporary {
            self.remove(uid, None);
        }
        let others: Vec<Uid> =
            self.rows.iter().filter(|r| r.uid != uid && r.policy.significant).map(|r| r.uid).collect();
        let end = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !others.into_iter().any(|other| self.will_live(other)),
        };
        if significant && end {
            self.finish(Exit::AutoShutdown { child: id }, false);
        }
    }

    fn will_live(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        match row.state {
            State::Stopping => match row.next {
                Next::Forget => false,
                Next::Nothing => self.script_may_start(uid) && !self.is_temporary(uid),
                _ => true,
            },
            State::Down { .. } => self.script_will_start(uid),
            _ => true,
        }
    }

    // ---- small things -------------------------------------------------------------------------------------------

    /// S-2: a restart of age ≤ period counts.
    pub(crate) fn used(&self) -> u32 {
        let period = self.flags.intensity.period;
        self.counted.iter().filter(|at| self.now.since(**at) <= period).count() as u32
    }

    pub(crate) fn timers(&self) -> BTreeSet<At> {
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

    fn live(&self, key: &Key) -> Option<Uid> {
        let row = self.rows.iter().find(|r| r.id == key.child)?;
        (row.incarnation == key.incarnation.0 && row.state.is_alive()).then_some(row.uid)
    }

    fn is_temporary(&self, uid: Uid) -> bool {
        self.row(uid).policy.restart.restart == RestartType::Temporary
    }

    /// Whether the supervisor's start fails with this child's.
    fn must_start(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        self.booting && !row.proven && row.policy.start == StartMode::Required
    }

    fn start(&mut self, uid: Uid, why: Why) {
        let row = self.row_mut(uid);
        row.state = State::Starting;
        row.incarnation += 1;
        row.why = why;
        row.next = Next::Nothing;
        row.held = false;
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
        if row.state != State::Stopping {
            row.state = State::Stopping;
            let mode = if brutal { Shutdown::BrutalKill } else { row.policy.shutdown };
            let did = Did::Stop(row.id.clone(), row.incarnation, mode);
            self.did.push(did);
        }
    }

    /// Down, with everybody answered: those who wait for a verdict with this one, or with "stopped".
    fn down(&mut self, uid: Uid, state: State, verdict: Option<Reply>) {
        let stopped = RequestError::Stopped(self.row(uid).id.clone());
        let otherwise = if self.is_stopping() { RequestError::ShuttingDown } else { stopped };
        let row = self.row_mut(uid);
        row.state = state;
        row.why = Why::Supervisor;
        row.timer = None;
        self.answer(uid, &[Wants::Gone], Ok(Answer::Done));
        self.answer(uid, &[Wants::Verdict, Wants::Restart], verdict.unwrap_or(Err(otherwise)));
        self.no_longer_owed(uid);
    }

    fn down_for_script(&mut self, uid: Uid) {
        if self.is_temporary(uid) {
            return self.remove(uid, None);
        }
        self.row_mut(uid).state = State::down(Down::Stopped);
        self.answer(uid, &[Wants::Gone], Ok(Answer::Done));
    }

    fn remove(&mut self, uid: Uid, verdict: Option<Reply>) {
        self.down(uid, State::down(Down::Stopped), verdict);
        self.rows.retain(|r| r.uid != uid);
    }

    fn answer(&mut self, uid: Uid, whom: &[Wants], reply: Reply) {
        let waiting = std::mem::take(&mut self.row_mut(uid).waiting);
        let (answered, rest) = waiting.into_iter().partition::<Vec<_>, _>(|(_, wants)| whom.contains(wants));
        self.row_mut(uid).waiting = rest;
        self.replies.extend(answered.into_iter().map(|(id, _)| (id, reply.clone())));
    }

    // ---- the end ------------------------------------------------------------------------------------------------

    fn finish(&mut self, exit: Exit, brutal: bool) {
        self.script = None;
        self.ending = Some((exit, brutal));
        let all: Vec<Uid> = self.rows.iter().map(|r| r.uid).collect();
        for uid in &all {
            self.answer(*uid, &[Wants::Verdict, Wants::Restart], Err(RequestError::ShuttingDown));
            if self.row(*uid).state.is_restarting() {
                self.down(*uid, State::down(Down::Ended), None);
            }
        }
        if self.flags.dynamic {
            for uid in all {
                if self.row(uid).state.is_alive() && self.row(uid).state != State::Stopping {
                    self.stop(uid, Next::Nothing);
                }
            }
        }
    }

    /// S-20: the newest that lives, then the next.
    fn go_on_ending(&mut self) {
        let newest = self.rows.iter().rev().find(|r| r.state.is_alive());
        match newest.map(|r| (r.uid, r.state.clone())) {
            Some((_, State::Stopping)) => {}
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

/// The incarnation of a row, as a key.
pub(crate) fn key(row: &Row) -> Key {
    Key { child: row.id.clone(), incarnation: Incarnation(row.incarnation) }
}
