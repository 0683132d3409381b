//! What an exit means (R-0, in its order).

use std::time::Duration;

use procession::internals::machine::{IncarnationKey, Reply};
use procession::{
    exit::Exit,
    id::ChildId,
    restart::BudgetScope,
    state::{ChildState, DownReason, RestartLimit, Strategy},
    supervision::{AutoShutdown, RequestError, StartMode},
};

use super::{ExitClass, Model, Next, Uid, Wants, Why, past::Would};

impl Model {
    /// R-0, and S-9: an end counts once, and only for the live incarnation.
    pub(crate) fn ended(&mut self, key: &IncarnationKey, exit: Exit, verdict: ExitClass) {
        let Some(uid) = self.live(key) else { return };
        let was = self.row(uid).state.clone();
        //
        let (exit, verdict) = match exit {
            Exit::Clean { .. } | Exit::ActorStopped { .. } if was == ChildState::Starting => {
                (Exit::EndedBeforeReady { how: exit.into(), printed: None }, ExitClass::Failure)
            }
            exit => (exit, verdict),
        };
        if self.ending.is_some() {
            let forget = was == ChildState::Stopping && self.row(uid).next == Next::Forget;
            let now = self.now;
            self.row_mut(uid).past.taken_down(now);
            let down = if forget { DownReason::Stopped } else { DownReason::Ended };
            self.down(uid, ChildState::down(down), None);
            if forget {
                self.rows.retain(|r| r.uid != uid);
            }
            return;
        }
        let tears = self.script.as_ref().is_some_and(|s| s.tears_down(uid));
        if was == ChildState::Stopping {
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
                Next::Nothing => self.down(uid, ChildState::down(DownReason::Stopped), None),
                Next::Script => self.down_for_script(uid),
                Next::Start(why) => {
                    self.row_mut(uid).state = ChildState::down(DownReason::Stopped);
                    self.answer(uid, &[Wants::Gone], Ok(Reply::Done));
                    self.start(uid, why);
                }
            };
        }
        let ignored = exit == Exit::Ignored && was == ChildState::Starting;
        let failed = RequestError::StartFailed {
            child: key.child.clone(),
            exit: exit.clone(),
            stderr_tail: String::new(),
        };
        let starting = was == ChildState::Starting && !ignored;
        match self.row(uid).why {
            Why::Provisional if starting => return self.remove(uid, Some(Err(failed))),
            Why::Once if starting => {
                return self.down(uid, ChildState::down(DownReason::Ended), Some(Err(failed)));
            }
            _ => {}
        }
        if tears {
            // S-13
            let now = self.now;
            self.row_mut(uid).past.taken_down(now);
            return self.down_for_script(uid);
        }
        if ignored {
            let reply = Some(Ok(Reply::Ignored));
            if self.flags.dynamic || self.is_temporary(uid) {
                return self.remove(uid, reply);
            }
            return self.down(uid, ChildState::down(DownReason::Ignored), reply);
        }
        if starting {
            self.answer(uid, &[Wants::Verdict, Wants::Restart], Err(failed));
            if self.row(uid).why == Why::Supervisor && self.must_start(uid) {
                // S-7
                self.down(uid, ChildState::down(DownReason::Ended), None);
                return self
                    .finish(Exit::StartFailed { child: key.child.clone(), cause: exit.into() }, false);
            }
        }
        self.judge(uid, exit, verdict, starting);
    }

    fn judge(&mut self, uid: Uid, exit: Exit, verdict: ExitClass, starting: bool) {
        let grouped = self.flags.strategy != Strategy::OneForOne;
        let policy = self.row(uid).policy.clone();
        let now = self.now;
        let id = self.row(uid).id.clone();
        match self.row_mut(uid).past.judge(now, verdict, &policy.restart) {
            Would::Leave => {
                let why = match &exit {
                    Exit::IntensityExceeded { limit, .. } => DownReason::GaveUp { why: limit.clone() },
                    _ => DownReason::Ended,
                };
                self.leave(uid, ChildState::down(why));
            }
            Would::GiveUp(why) if !grouped => self.leave(uid, ChildState::down(DownReason::GaveUp { why })),
            Would::GiveUp(why) | Would::Escalate(why) => self.give_up(uid, id, exit, why),
            Would::CoolOff(delay) => {
                let until = now.after(delay);
                let row = self.row_mut(uid);
                row.state = ChildState::CoolingOff { until };
                row.timer = Some(until);
            }
            Would::Restart(delay, attempt) => {
                if !matches!(policy.restart.budget, Some(BudgetScope::Own(_))) {
                    // S-2
                    let intensity = self.flags.effective_intensity();
                    if self.used() >= intensity.max_restarts {
                        return self.give_up(uid, id, exit, intensity.limit());
                    }
                    self.counted.push(now);
                }
                self.again(uid, delay, attempt, starting);
            }
            Would::Await(delay, attempt) => self.again(uid, delay, attempt, starting),
        }
    }

    fn again(&mut self, uid: Uid, delay: Duration, attempt: u32, starting: bool) {
        if self.flags.strategy != Strategy::OneForOne {
            let failed_start = starting && self.row(uid).policy.start == StartMode::Required;
            self.restart_group(uid, delay, attempt, failed_start);
        } else if delay.is_zero() {
            self.start(uid, Why::Supervisor);
        } else {
            let until = self.now.after(delay);
            let row = self.row_mut(uid);
            row.state = ChildState::BackingOff { until, attempt };
            row.timer = Some(until);
        }
    }

    fn give_up(&mut self, uid: Uid, id: ChildId, exit: Exit, why: RestartLimit) {
        // The child's own policy has not given up: when this supervisor is restarted, the child
        // starts again.
        self.down(uid, ChildState::down(DownReason::Ended), None);
        self.finish(Exit::IntensityExceeded { child: id, cause: exit.into(), limit: why }, false);
    }

    /// S-5, S-24
    fn leave(&mut self, uid: Uid, state: ChildState) {
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
        match row.state {
            ChildState::Stopping => match row.next {
                Next::Forget => false,
                Next::Nothing => {
                    self.script_comes_to(uid) && self.script_may_start(uid) && !self.is_temporary(uid)
                }
                _ => true,
            },
            ChildState::Down { .. } => self.script_will_start(uid),
            _ => true,
        }
    }
}
