//! The second incarnation of a child: swaps (7 to 10) and spares (11).

use std::{sync::Arc, time::Duration};

use procession::internals::machine::{IncarnationKey, Reply};
use procession::{
    clock::TreeInstant,
    event::StartReason,
    exit::Exit,
    id::Incarnation,
    restart::Backoff,
    state::{ChildState, DownReason, SecondIncarnationRole},
    supervision::{ChildPolicy, RequestError},
};

use super::{Model, Next, Uid, Wants, Why, judging::before_ready, past::Would, past::delay};
use crate::{history::How, rig::Did};

#[derive(Clone, Debug)]
pub(crate) struct Second {
    pub(crate) incarnation: u64,
    pub(crate) role: SecondIncarnationRole,
    pub(crate) state: ChildState,
    /// In force when it is the primary one.
    pub(super) policy: Arc<ChildPolicy>,
    reason: StartReason,
    ready: Option<TreeInstant>,
    /// It has been told to stop.
    asked: bool,
}

impl Second {
    /// It is no spare that waits for its next start.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.state, ChildState::BackingOff { .. })
    }

    pub(super) fn is(&self, key: &IncarnationKey) -> bool {
        self.lives() && self.incarnation == key.incarnation.0
    }
}

impl Model {
    pub(super) fn start_second(&mut self, uid: Uid, role: SecondIncarnationRole) {
        self.take_changes(uid);
        let row = self.row_mut(uid);
        row.numbers += 1;
        let (incarnation, policy) = (row.numbers, row.newest.clone());
        let reason =
            if role == SecondIncarnationRole::Spare { StartReason::Standby } else { row.reload_reason };
        row.second = Some(Second {
            incarnation,
            role,
            state: ChildState::Starting,
            policy,
            reason,
            ready: None,
            asked: false,
        });
        let did = Did::Start(row.id.clone(), incarnation);
        self.did.push(did);
    }

    /// Nothing is sent for one that has been asked. One that is failing has not.
    pub(super) fn stop_second(&mut self, uid: Uid) {
        self.drop_waiting_spare(uid);
        let Some(second) = self.row(uid).second.clone() else { return };
        if !second.asked {
            let mode = self.mode(second.policy.shutdown);
            let row = self.row_mut(uid);
            row.spares_lost = 0;
            row.second = Some(Second { state: ChildState::Stopping, asked: true, ..second });
            let did = Did::Stop(row.id.clone(), second.incarnation, mode);
            self.did.push(did);
        }
    }

    pub(super) fn drop_waiting_spare(&mut self, uid: Uid) {
        let row = self.row_mut(uid);
        if row.second.take_if(|second| !second.lives()).is_some() {
            row.spares_lost = 0;
        }
    }

    /// It is the primary one now; returns the one that was.
    fn promote(&mut self, uid: Uid) -> (u64, Arc<ChildPolicy>) {
        let row = self.row_mut(uid);
        let second = row.second.take().unwrap();
        row.spares_lost = 0;
        let old = (row.incarnation, std::mem::replace(&mut row.policy, second.policy));
        row.incarnation = second.incarnation;
        row.state = second.state;
        row.alive = true;
        // One that is still starting is what the policy asks for.
        if row.state == ChildState::Ready {
            row.reason = second.reason;
            let did = Did::MakeLive(row.id.clone(), row.incarnation);
            self.did.push(did);
        }
        self.say_reason(uid);
        old
    }

    fn outgoing(
        &mut self,
        uid: Uid,
        role: SecondIncarnationRole,
        (incarnation, policy): (u64, Arc<ChildPolicy>),
    ) {
        let asked = role == SecondIncarnationRole::Leaving;
        let (state, reason) = (ChildState::Stopping, StartReason::Initial);
        let second = Second { incarnation, role, state, policy, reason, ready: None, asked };
        self.row_mut(uid).second = Some(second);
    }

    pub(super) fn second_ready(&mut self, uid: Uid) {
        self.confirm(uid);
        let now = self.now;
        let row = self.row_mut(uid);
        let second = row.second.as_mut().unwrap();
        second.state = ChildState::Ready;
        second.ready = Some(now);
        if second.role == SecondIncarnationRole::Spare {
            return;
        }
        // 7
        let old = self.promote(uid);
        let row = self.row_mut(uid);
        row.past.taken_down(now);
        row.past.started();
        row.past.ready(now);
        let (id, incarnation) = (row.id.clone(), row.incarnation);
        let mode = self.mode(old.1.shutdown);
        self.did.push(Did::Retire(id, old.0, mode));
        self.answer(uid, Wants::this_start, Ok(Reply::Ready(Incarnation(incarnation))));
        self.outgoing(uid, SecondIncarnationRole::Leaving, old);
    }

    pub(crate) fn failing(&mut self, key: &IncarnationKey) {
        let Some(uid) = self.uid(&key.child) else { return };
        let row = self.row(uid);
        let spare = row
            .second
            .as_ref()
            .is_some_and(|s| s.role == SecondIncarnationRole::Spare && s.state == ChildState::Ready);
        if self.primary(uid, key)
            && row.state == ChildState::Ready
            && spare
            && self.ending.is_none()
            && !self.tears_down(uid)
        {
            let old = self.promote(uid);
            self.outgoing(uid, SecondIncarnationRole::Failing, old);
        }
    }

    pub(super) fn second_ended(&mut self, uid: Uid, how: How) {
        let row = self.row_mut(uid);
        let second = row.second.take().unwrap();
        let (exit, _) = before_ready(how, second.state == ChildState::Starting, &row.policy);
        let child = row.id.clone();
        let failed = RequestError::StartFailed { child, exit: exit.clone(), stderr_tail: String::new() };
        let starting = second.state == ChildState::Starting;
        if starting && row.unconfirmed && !self.is_stopping() {
            // 3
            self.restore(uid, &failed);
        }
        match second.role {
            SecondIncarnationRole::Failing
                if self.row(uid).state != ChildState::Stopping && self.ending.is_none() =>
            {
                return self.judge_failing(uid, how, second.incarnation);
            }
            SecondIncarnationRole::Successor if starting => {
                // 8
                self.answer(uid, |w| w.reload() && w.this_start(), Err(failed));
            }
            SecondIncarnationRole::Spare if second.state != ChildState::Stopping => {
                let now = self.now;
                let row = self.row_mut(uid);
                let was_ready = second.ready.map_or(Duration::ZERO, |at| now.since(at));
                if !was_ready.is_zero() && was_ready >= row.policy.restart.healthy_after {
                    row.spares_lost = 0;
                }
                row.spares_lost += 1;
                let backoff = match row.policy.restart.backoff {
                    Backoff::None => Backoff::default(),
                    other => other,
                };
                let attempt = row.spares_lost;
                self.next_spare(uid, delay(&backoff, attempt), attempt, second.incarnation);
                if self.row(uid).second.is_none() {
                    self.row_mut(uid).spares_lost = 0;
                }
            }
            _ => {}
        }
        self.when_free(uid);
        if self.rows.iter().any(|r| r.uid == uid) && !self.row(uid).state.is_down() {
            self.follow(uid);
        }
    }

    /// 11: the exit of one whose place the spare had taken.
    fn judge_failing(&mut self, uid: Uid, how: How, incarnation: u64) {
        let now = self.now;
        let row = self.row_mut(uid);
        let policy = row.policy.clone();
        let (exit, class) = before_ready(how, false, &policy);
        let would = row.past.judge(now, class, &policy.restart);
        row.past.started();
        if row.state == ChildState::Ready {
            row.past.ready(now);
        }
        match would {
            Would::Leave => self.take_down(uid, Next::Leave(left(&exit))),
            Would::GiveUp(why) => {
                self.take_down(uid, Next::Leave(ChildState::down(DownReason::GaveUp { why })));
            }
            Would::Escalate(why) => self.give_up(uid, exit, why),
            Would::CoolOff(delay) => {
                self.take_down(uid, Next::Wait(ChildState::CoolingOff { until: now.after(delay) }));
            }
            Would::Restart(delay, attempt) => {
                if self.pays(uid, &exit) {
                    self.next_spare(uid, delay, attempt, incarnation);
                }
            }
            Would::Await(delay, attempt) => self.next_spare(uid, delay, attempt, incarnation),
        }
    }

    /// The next spare is started after this delay.
    fn next_spare(&mut self, uid: Uid, delay: Duration, attempt: u32, incarnation: u64) {
        if !delay.is_zero() && self.may_have_spare(uid) {
            let until = self.now.after(delay);
            let state = ChildState::BackingOff { until, attempt };
            let policy = self.row(uid).policy.clone();
            self.row_mut(uid).second = Some(Second {
                incarnation,
                role: SecondIncarnationRole::Spare,
                state,
                policy,
                reason: StartReason::Standby,
                ready: None,
                asked: false,
            });
        }
    }

    fn may_have_spare(&self, uid: Uid) -> bool {
        let row = self.row(uid);
        row.policy.standby
            && self.coming(uid).standby
            && self.may_overlap(uid)
            && row.state == ChildState::Ready
            && row.second.is_none()
            && self.ending.is_none()
            && !self.tears_down(uid)
            && !self.wants_reload(uid)
    }

    pub(super) fn start_spare(&mut self, uid: Uid) {
        if self.may_have_spare(uid) {
            self.start_second(uid, SecondIncarnationRole::Spare);
        }
    }

    pub(crate) fn spare_timer(&mut self, key: &IncarnationKey) {
        let Some(uid) = self.uid(&key.child) else { return };
        let waits = |s: &mut Second| !s.lives() && s.incarnation == key.incarnation.0;
        if self.row_mut(uid).second.take_if(waits).is_some() && !self.may_have_spare(uid) {
            self.row_mut(uid).spares_lost = 0;
        }
    }

    /// The primary one has ended and is to be restarted: the second one takes its place, if it can.
    pub(super) fn second_takes_place(&mut self, uid: Uid, delay: Duration, attempt: u32) -> bool {
        self.drop_waiting_spare(uid);
        let now = self.now;
        let Some(second) = &self.row(uid).second else { return false };
        match (second.role, &second.state) {
            (SecondIncarnationRole::Spare, ChildState::Ready) => {
                let (incarnation, _) = self.promote(uid);
                let row = self.row_mut(uid);
                row.past.started();
                row.past.ready(now);
                self.next_spare(uid, delay, attempt, incarnation);
                true
            }
            (SecondIncarnationRole::Successor | SecondIncarnationRole::Spare, ChildState::Starting) => {
                self.promote(uid);
                let row = self.row_mut(uid);
                row.past.started();
                row.why = Why::Supervisor;
                row.next = Next::Nothing;
                true
            }
            _ => false,
        }
    }
}

/// S-17: a supervisor that gave up stays down, and its state says so.
pub(super) fn left(exit: &Exit) -> ChildState {
    ChildState::down(match exit {
        Exit::IntensityExceeded { limit, .. } => DownReason::GaveUp { why: limit.clone() },
        _ => DownReason::Ended,
    })
}
