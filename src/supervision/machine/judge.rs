//! What an exit means: rule R-0, in its order.

use super::{Action, Answer, Key, Machine, Rank, ended};
use crate::{
    event::{Consequence, EventKind},
    exit::Exit,
    restart::Decision,
    supervision::{
        errors::RequestError, machine::After, machine::Cause, policy::StartMode, verdict::verdict,
    },
    time::At,
    vocabulary::{Down, Limit, State, Strategy},
};

impl Machine {
    pub(super) fn ended(&mut self, now: At, key: &Key, exit: Exit) {
        let Some(rank) = self.current(key) else { return };
        let Some(child) = self.children.get_mut(rank) else { return };
        // a success before *ready* is a failed start. (A start that is declared to complete is ready by its success:
        // its `Ready` comes before its end.)
        let exit = if child.state == State::Starting { exit.before_ready() } else { exit };
        // Exits that are not judged leave the tracker's counters alone, but the time of being healthy ends with each.
        if matches!(self.phase, super::stop::Phase::Stopping { .. })
            || self.pass.as_ref().is_some_and(|p| p.consumes(rank))
        {
            child.tracker.stopped(now);
        }
        let Some(child) = self.children.get(rank) else { return };
        match child.state {
            State::Stopping => self.stopped(now, rank, exit),
            State::Starting | State::Ready if self.is_stopping() => {
                // The shutdown has not come to this child yet; it need not any more.
                self.publish_exit(rank, exit, Consequence::Nothing);
                self.settle(rank, ended());
                self.advance_stop();
            }
            State::Starting
                if matches!(child.cause, Cause::Provisional | Cause::Once) && exit != Exit::Ignored =>
            {
                self.start_failed(now, rank, exit);
            }
            State::Starting | State::Ready if self.pass.as_ref().is_some_and(|p| p.consumes(rank)) => {
                // S-13: it ended before the group restart came to stop it.
                self.publish_exit(rank, exit, Consequence::Nothing);
                self.group_stopped(rank);
                self.advance(now);
            }
            State::Starting if exit == Exit::Ignored => {
                self.publish_exit(rank, exit, Consequence::Leave);
                self.answer_verdict(rank, &Ok(Answer::Ignored));
                self.settle(rank, State::down(Down::Ignored));
                if self.flags.dynamic || self.children.get(rank).is_some_and(|c| c.is_temporary()) {
                    self.forget(rank);
                }
                self.advance(now);
            }
            State::Starting => self.start_failed(now, rank, exit),
            State::Ready => self.decide(now, rank, exit),
            // S-9: it is not alive, its end has been told.
            _ => {}
        }
    }

    /// A start did not end in readiness.
    fn start_failed(&mut self, now: At, rank: Rank, exit: Exit) {
        let Some(child) = self.children.get(rank) else { return };
        // What its process wrote is for those to add who know of processes.
        let (id, stderr_tail) = (child.id.clone(), String::new());
        let failed = RequestError::StartFailed { child: id, exit: exit.clone(), stderr_tail };
        match child.cause {
            Cause::Provisional => {
                self.publish_exit(rank, exit, Consequence::Leave);
                self.set(rank, ended());
                self.answer_verdict(rank, &Err(failed));
                self.forget(rank);
                self.advance(now);
            }
            Cause::Once => {
                self.publish_exit(rank, exit, Consequence::Leave);
                self.answer_verdict(rank, &Err(failed));
                self.settle(rank, ended());
                self.advance(now);
            }
            Cause::Supervisor if self.is_booting() && child.is_required_for_boot() => {
                // S-7: no retry; what has started is stopped and the supervisor's start fails.
                let child = child.id.clone();
                self.answer_verdict(rank, &Err(failed));
                self.publish_exit(rank, exit.clone(), Consequence::Leave);
                self.settle(rank, ended());
                self.begin_stop(Exit::StartFailed { child, cause: Box::new(exit) });
            }
            Cause::Supervisor | Cause::Restart => {
                self.answer_verdict(rank, &Err(failed));
                self.decide(now, rank, exit);
            }
        }
    }

    /// An exit that nobody had asked for, of a child in its normal life.
    fn decide(&mut self, now: At, rank: Rank, exit: Exit) {
        let grouped = self.flags.strategy != Strategy::OneForOne;
        let Some(child) = self.children.get_mut(rank) else { return };
        let policy = child.policy.clone();
        // S-14 is about starts that are awaited. That of a background child is a crash like any other (S-7): its group
        // has gone on without it, and is taken down with it.
        let failed_start = child.state == State::Starting && policy.start == StartMode::Required;
        let verdict = verdict(&exit, policy.restart.restart);
        // Delays count from the end, and its exit may have waited to be judged.
        let died = child.died.map_or(now, |died| died.min(now));
        match child.tracker.exited(died, verdict, &policy.restart) {
            Decision::Leave => {
                // S-17: a transient supervisor that gave up stays down, and it shows.
                let state = match &exit {
                    Exit::IntensityExceeded { limit, .. } => State::down(Down::GaveUp { why: limit.clone() }),
                    _ => ended(),
                };
                self.publish_exit(rank, exit, Consequence::Leave);
                self.leave(now, rank, state);
            }
            Decision::Escalate { why } => self.give_up(rank, exit, why),
            Decision::GiveUp { why } if grouped => self.give_up(rank, exit, why),
            Decision::GiveUp { why } => {
                self.publish_exit(rank, exit, Consequence::GiveUp { why: why.clone() });
                self.leave(now, rank, State::down(Down::GaveUp { why }));
            }
            Decision::CoolOff { delay } => {
                self.publish_exit(rank, exit, Consequence::CoolOff { delay });
                self.wait(now, rank, State::CoolingOff { until: died.after(delay).max(now) });
            }
            Decision::Restart { delay, attempt } => {
                let (shared, intensity) = (policy.restart.is_shared(), self.flags.effective_intensity());
                if shared && !self.window.try_restart(now, &intensity) {
                    return self.give_up(rank, exit, intensity.limit());
                }
                self.counted += u64::from(shared);
                self.publish_exit(rank, exit, Consequence::Restart { delay, attempt });
                self.restart_at(now, rank, died.after(delay), attempt, failed_start);
            }
            Decision::AwaitProgram { delay } => {
                let attempt = child.tracker.failures();
                self.publish_exit(rank, exit, Consequence::Restart { delay, attempt });
                self.restart_at(now, rank, died.after(delay), attempt, failed_start);
            }
        }
    }

    /// The child, or its group, is started again at that time, or now if it is past.
    fn restart_at(&mut self, now: At, rank: Rank, until: At, attempt: u32, failed_start: bool) {
        if self.flags.strategy != Strategy::OneForOne {
            self.restart_group(now, rank, until.since(now), attempt, failed_start);
        } else if until <= now {
            self.start(now, rank, Cause::Supervisor);
            self.advance(now);
        } else {
            self.wait(now, rank, State::BackingOff { until, attempt });
        }
    }

    /// The state that this exit leads to, if that is to wait for a restart of the child alone.
    pub(super) fn foresee(&self, rank: Rank, at: At, exit: &Exit) -> Option<State> {
        let child = self.children.get(rank)?;
        if self.flags.strategy != Strategy::OneForOne
            || matches!(child.cause, Cause::Provisional | Cause::Once)
            || self.is_booting() && child.is_required_for_boot()
        {
            return None;
        }
        let policy = &child.policy.restart;
        let early = (child.state == State::Starting).then(|| exit.clone().before_ready());
        let verdict = verdict(early.as_ref().unwrap_or(exit), policy.restart);
        match child.tracker.clone().exited(at, verdict, policy) {
            Decision::AwaitProgram { delay } => {
                Some(State::BackingOff { until: at.after(delay), attempt: child.tracker.failures() })
            }
            Decision::Restart { delay, attempt } if !delay.is_zero() => {
                Some(State::BackingOff { until: at.after(delay), attempt })
            }
            Decision::CoolOff { delay } => Some(State::CoolingOff { until: at.after(delay) }),
            _ => None,
        }
    }

    /// One-for-one: the next start is due later.
    fn wait(&mut self, now: At, rank: Rank, state: State) {
        let (State::BackingOff { until, .. } | State::CoolingOff { until }) = state else { return };
        self.set(rank, state);
        if let Some(child) = self.children.get_mut(rank) {
            child.armed = true;
            self.out.push(Action::Arm(child.timer(), until));
        }
        self.advance(now);
    }

    /// The child ended by itself and does not come back (S-5, S-24).
    fn leave(&mut self, now: At, rank: Rank, state: State) {
        let Some(child) = self.children.get(rank) else { return };
        let (significant, temporary, id) = (child.policy.significant, child.is_temporary(), child.id.clone());
        let over = temporary || self.flags.dynamic && state == ended();
        self.settle(rank, state);
        if over {
            self.forget(rank);
        }
        if !(significant && self.auto_shutdown(id)) {
            self.advance(now);
        }
    }

    /// S-17: this exit was one too many.
    fn give_up(&mut self, rank: Rank, exit: Exit, why: Limit) {
        let Some(child) = self.children.get(rank) else { return };
        let id = child.id.clone();
        self.publish_exit(rank, exit.clone(), Consequence::Escalate { why: why.clone() });
        // It is not the child that is given up for good: whoever restarts this supervisor starts it again.
        self.settle(rank, ended());
        self.begin_stop(Exit::IntensityExceeded { child: id, cause: Box::new(exit), limit: why });
    }

    /// A child that had been asked to stop has ended.
    fn stopped(&mut self, now: At, rank: Rank, exit: Exit) {
        let stopping = self.is_stopping();
        let Some(child) = self.children.get_mut(rank) else { return };
        child.tracker.stopped(now);
        let (mut after, temporary) = (child.after, child.is_temporary());
        if stopping && after != After::Forget {
            after = After::Stay;
        }
        if let After::Start(cause) = after
            && self.pass.as_ref().is_some_and(|p| p.consumes(rank))
        {
            // S-11: a group restart that stops its members has begun meanwhile; it starts this one in its turn.
            child.cause = cause;
            after = After::Group;
        }
        self.publish_exit(rank, exit, Consequence::Nothing);
        match after {
            After::Stay => {
                let state = if stopping { ended() } else { State::down(Down::Stopped) };
                self.settle(rank, state);
                if temporary && !stopping {
                    self.forget(rank);
                }
            }
            After::Group => self.group_stopped(rank),
            After::Start(cause) => {
                self.set(rank, State::down(Down::Stopped));
                self.answer_gone(rank);
                self.start(now, rank, cause);
            }
            After::Forget => {
                self.settle(rank, State::down(Down::Stopped));
                self.forget(rank);
            }
        }
        self.advance(now);
    }

    /// Down until the group restart starts it; temporary ones go for good (S-12). Whoever waits for a verdict still
    /// gets it.
    fn group_stopped(&mut self, rank: Rank) {
        if self.children.get(rank).is_some_and(|child| child.is_temporary()) {
            self.settle(rank, State::down(Down::Stopped));
            return self.forget(rank);
        }
        self.set(rank, State::down(Down::Stopped));
        self.answer_gone(rank);
    }

    /// Down, and everybody who waited for this child is answered.
    pub(super) fn settle(&mut self, rank: Rank, state: State) {
        self.set(rank, state);
        // What ends while a pass is starting others stays as it is, even if the pass has not come to its position yet:
        // it was running, so the pass owes it nothing.
        let restarts = self.pass.as_ref().is_some_and(|pass| pass.restarts(rank));
        let Some(child) = self.children.get_mut(rank) else { return };
        child.skip_pass |= !restarts;
        child.cause = Cause::Supervisor;
        let stopped = RequestError::Stopped(child.id.clone());
        let verdict = if self.is_stopping() { RequestError::ShuttingDown } else { stopped };
        self.answer_gone(rank);
        self.answer_verdict(rank, &Err(verdict));
    }

    pub(super) fn publish_exit(&mut self, rank: Rank, exit: Exit, then: Consequence) {
        if let Some(child) = self.children.get(rank) {
            let key = child.key();
            self.out.push(Action::Publish(Some(key), EventKind::Exited { exit, then }));
        }
    }
}
