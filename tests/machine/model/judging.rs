//! What an exit means (R-0, in its order).

use std::{sync::Arc, time::Duration};

use procession::internals::machine::{IncarnationKey, Reply};
use procession::{
    event::StartReason,
    exit::Exit,
    restart::BudgetScope,
    state::{ChildState, DownReason, GiveUpReason, Strategy},
    supervision::{AutoShutdown, ChildPolicy, RequestError, StartMode},
};

use super::{ExitClass, Model, Next, Second, Uid, Wants, Why, past::Would, second::left};
use crate::history::How;

///
pub(super) fn before_ready(how: How, starting: bool, policy: &Arc<ChildPolicy>) -> (Exit, ExitClass) {
    match how.exit() {
        exit @ (Exit::Clean { .. } | Exit::ActorStopped { .. }) if starting => {
            (Exit::EndedBeforeReady { how: exit.into(), printed: None }, ExitClass::Failure)
        }
        exit => (exit, how.verdict(policy.restart.restart)),
    }
}

impl Model {
    /// R-0, and S-9: an end counts once, and only for a live incarnation.
    pub(crate) fn ended(&mut self, key: &IncarnationKey, how: How) {
        let Some(uid) = self.uid(&key.child) else { return };
        if self.row(uid).second.as_ref().is_some_and(|s: &Second| s.is(key)) {
            self.second_ended(uid, how);
        } else if self.primary(uid, key) {
            let judged = self.primary_ended(uid, how);
            self.go_on();
            let here = self.rows.iter().any(|r| r.uid == uid);
            let waits = here && self.row(uid).state != ChildState::Stopping;
            if judged && waits && self.ending.is_none() && self.wants_reload(uid) {
                self.reload(uid);
            }
        }
    }

    /// Whether the exit was judged.
    fn primary_ended(&mut self, uid: Uid, how: How) -> bool {
        let was = self.row(uid).state.clone();
        let now = self.now;
        self.row_mut(uid).alive = false;
        if was == ChildState::Stopping {
            self.row_mut(uid).past.taken_down(now);
            self.when_free(uid);
            return false;
        }
        let (exit, _) = before_ready(how, was == ChildState::Starting, &self.row(uid).policy);
        let ignored = exit == Exit::Ignored && was == ChildState::Starting;
        let starting = was == ChildState::Starting && !ignored;
        let failed = RequestError::StartFailed {
            child: self.row(uid).id.clone(),
            exit: exit.clone(),
            stderr_tail: String::new(),
        };
        let restored = starting && self.row(uid).unconfirmed && self.ending.is_none();
        if restored {
            // 3
            self.restore(uid, &failed);
            let row = self.row_mut(uid);
            row.policy = row.good.clone();
        } else if ignored {
            self.confirm(uid);
        }
        if self.ending.is_some() {
            self.row_mut(uid).past.taken_down(now);
            self.take_down(uid, Next::Nothing);
            return false;
        }
        match self.row(uid).why {
            Why::Provisional if starting => {
                self.remove(uid, Some(Err(failed)));
                return false;
            }
            Why::Once if starting => {
                self.down(uid, ChildState::down(DownReason::Ended), Some(Err(failed)));
                return false;
            }
            why if restored && (why == Why::Reload || self.must_start(uid)) => {
                // 6
                if self.script.as_ref().is_some_and(|s| s.restarts(uid)) {
                    self.row_mut(uid).past.taken_down(now);
                    self.take_down(uid, Next::Script);
                    return false;
                }
                let again = !self.must_start(uid) && self.wants_change(uid);
                let why = if again { Why::Reload } else { Why::Supervisor };
                let wanted = !self.must_start(uid) && self.wants_reload(uid);
                let row = self.row_mut(uid);
                row.reason = if wanted { row.reload_reason } else { StartReason::Restore };
                row.state = ChildState::down(DownReason::Stopped);
                self.start_when_free(uid, why, true);
                return false;
            }
            _ => {}
        }
        if self.tears_down(uid) {
            // S-13
            self.row_mut(uid).past.taken_down(now);
            self.take_down(uid, Next::Script);
            return false;
        }
        if ignored {
            self.answer(uid, Wants::this_start, Ok(Reply::Ignored));
            self.take_down(uid, Next::Ignored);
            return false;
        }
        if starting {
            let required = self.row(uid).why == Why::Supervisor && self.must_start(uid);
            self.answer(uid, Wants::this_start, Err(failed));
            if required {
                // S-7
                let child = self.row(uid).id.clone();
                self.down(uid, ChildState::down(DownReason::Ended), None);
                self.finish(Exit::StartFailed { child, cause: exit.into() }, false);
                return false;
            }
        }
        self.judge(uid, exit, how, starting);
        true
    }

    fn judge(&mut self, uid: Uid, exit: Exit, how: How, starting: bool) {
        let grouped = self.flags.strategy != Strategy::OneForOne;
        let policy = self.row(uid).policy.clone();
        let (_, verdict) = before_ready(how, starting, &policy);
        let now = self.now;
        match self.row_mut(uid).past.judge(now, verdict, &policy.restart) {
            Would::Leave => self.take_down(uid, Next::Leave(left(&exit))),
            Would::GiveUp(why) if !grouped => {
                self.take_down(uid, Next::Leave(ChildState::down(DownReason::GaveUp { why })));
            }
            Would::GiveUp(why) | Would::Escalate(why) => self.give_up(uid, exit, why),
            Would::CoolOff(delay) => {
                self.take_down(uid, Next::Wait(ChildState::CoolingOff { until: now.after(delay) }));
            }
            Would::Restart(delay, attempt) => {
                if self.pays(uid, &exit) {
                    self.again(uid, delay, attempt, starting);
                }
            }
            Would::Await(delay, attempt) => self.again(uid, delay, attempt, starting),
        }
    }

    /// S-2: the restart is counted, unless it is one too many.
    pub(super) fn pays(&mut self, uid: Uid, exit: &Exit) -> bool {
        if matches!(self.row(uid).policy.restart.budget, Some(BudgetScope::Own(_))) {
            return true;
        }
        let intensity = self.flags.effective_intensity();
        if self.used() >= intensity.max_restarts {
            self.give_up(uid, exit.clone(), intensity.limit());
            return false;
        }
        self.counted.push(self.now);
        true
    }

    fn again(&mut self, uid: Uid, delay: Duration, attempt: u32, starting: bool) {
        let until = self.now.after(delay);
        let waits = ChildState::BackingOff { until, attempt };
        self.row_mut(uid).reason = StartReason::Policy;
        if self.flags.strategy != Strategy::OneForOne {
            let failed_start = starting && self.row(uid).policy.start == StartMode::Required;
            self.restart_group(uid, delay, attempt, failed_start);
        } else if self.second_takes_place(uid, delay, attempt) {
        } else if delay.is_zero() {
            self.start_when_free(uid, self.why_again(uid), true);
        } else if self.must_wait_to_wait(uid) {
            self.stop(uid, Next::Wait(waits));
        } else {
            self.wait(uid, waits);
        }
    }

    pub(super) fn give_up(&mut self, uid: Uid, exit: Exit, why: GiveUpReason) {
        let child = self.row(uid).id.clone();
        // The child's own policy has not given up: when this supervisor is restarted, the child
        // starts again. If the exit was that of one that had been replaced, the primary one is stopped in
        // its turn.
        self.drop_waiting_spare(uid);
        let waits = self.row(uid).state.is_restarting();
        if !self.row(uid).alive && self.row(uid).lives() {
            self.stop(uid, Next::Nothing);
        } else if !self.row(uid).alive && !waits {
            self.down(uid, ChildState::down(DownReason::Ended), None);
        }
        self.finish(Exit::IntensityExceeded { child, cause: exit.into(), limit: why }, false);
    }

    /// S-5, S-24
    pub(super) fn leave(&mut self, uid: Uid, state: ChildState) {
        let (id, significant) = (self.row(uid).id.clone(), self.row(uid).policy.significant);
        let goes =
            self.is_temporary(uid) || self.flags.dynamic && state == ChildState::down(DownReason::Ended);
        self.down(uid, state, None);
        if goes {
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
        match &row.state {
            ChildState::Stopping => match &row.next {
                Next::Forget | Next::Leave(ChildState::Down { why: DownReason::GaveUp { .. } }) => false,
                Next::Nothing | Next::Leave(_) | Next::Ignored => {
                    self.script_comes_to(uid) && self.script_may_start(uid) && !self.is_temporary(uid)
                }
                _ => true,
            },
            // It rests.
            ChildState::Down { why: DownReason::Idle } => true,
            ChildState::Down { .. } => self.script_will_start(uid),
            _ => true,
        }
    }
}
