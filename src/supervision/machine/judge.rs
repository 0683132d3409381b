//! What an exit means: rule R-0, in its order.

use std::time::Duration;

use super::{
    Action, IncarnationKey, Machine, Rank, Reply, child::Child, ended, left_as,
    second_incarnation::PrimaryOrSecond,
};
use crate::{
    clock::TreeInstant,
    event::{EventKind, ExitConsequence, StartReason},
    exit::Exit,
    restart::Decision,
    state::{ChildState, DownReason, GiveUpReason, Strategy},
    supervision::{
        child_policy::StartMode, errors::RequestError, exit_class::classify, machine::AfterStop,
        machine::StartCause,
    },
};

impl Machine {
    pub(super) fn ended(&mut self, now: TreeInstant, key: &IncarnationKey, exit: Exit) {
        let Some((rank, role)) = self.current(key) else { return };
        if role == PrimaryOrSecond::Second {
            return self.second_ended(now, rank, exit);
        }
        if !self.children.get(rank).is_some_and(|child| child.state.is_alive()) {
            // S-9: its end has been reported already.
            return;
        }
        self.primary_ended(now, rank, exit);
        // What the child waited with may be possible now.
        self.follow_up(now, rank);
    }

    fn primary_ended(&mut self, now: TreeInstant, rank: Rank, exit: Exit) {
        let Some(child) = self.children.get_mut(rank) else { return };
        // a success before *ready* is a failed start. (A start that is declared to complete becomes
        // ready by its success: its `Ready` comes before its end.)
        let exit = if child.state == ChildState::Starting { exit.before_ready() } else { exit };
        // Exits that are not judged leave the counters of the tracker alone, but each of them ends
        // the time of being healthy.
        if matches!(self.phase, super::stop::MachinePhase::Stopping { .. })
            || self.pass.as_ref().is_some_and(|p| p.consumes(rank))
        {
            child.tracker.stopped(now);
        }
        let Some(child) = self.children.get(rank) else { return };
        if child.state == ChildState::Starting && exit == Exit::Ignored {
            self.confirm(rank);
        }
        let Some(child) = self.children.get(rank) else { return };
        let restored = child.state == ChildState::Starting
            && exit != Exit::Ignored
            && !self.is_stopping()
            && self.restore(rank, &exit);
        let Some(child) = self.children.get(rank) else { return };
        match child.state {
            ChildState::Stopping => self.stopped(now, rank, exit),
            ChildState::Starting | ChildState::Ready if self.is_stopping() => {
                // The shutdown has not reached this child yet, and no longer needs to.
                self.publish_exit(rank, exit, ExitConsequence::Nothing);
                if !self.wait_for_second(rank, AfterStop::Stay) {
                    self.set_down(rank, ended());
                    self.advance_stop();
                }
            }
            ChildState::Starting
                if matches!(child.cause, StartCause::Provisional | StartCause::Once)
                    && exit != Exit::Ignored =>
            {
                self.start_failed(now, rank, exit);
            }
            ChildState::Starting | ChildState::Ready
                if self.pass.as_ref().is_some_and(|p| p.consumes(rank)) =>
            {
                // S-13: it ended before the group restart reached it.
                self.publish_exit(rank, exit, ExitConsequence::Nothing);
                if !self.wait_for_second(rank, AfterStop::Group) {
                    self.group_stopped(rank);
                }
                self.advance(now);
            }
            ChildState::Starting
                if restored
                    && (child.cause == StartCause::Reload
                        || self.is_booting() && child.is_required_for_boot()) =>
            {
                // G-13: the definition before returns, and this end was that of the new one.
                // S-7: a start that the boot requires keeps its meaning.
                let required = self.is_booting() && child.is_required_for_boot();
                let cause = if required { StartCause::Supervisor } else { child.restart_cause() };
                let waits = self.pass.as_ref().is_some_and(|pass| pass.restarts(rank));
                self.publish_exit(rank, exit, ExitConsequence::Restore);
                if waits {
                    // S-11: the group restart that has begun meanwhile starts it in its turn.
                    self.group_stopped(rank);
                } else {
                    self.set_reason(rank, StartReason::Restore);
                    self.note_reason(rank, cause);
                    self.set(rank, ChildState::down(DownReason::Stopped));
                    self.start(now, rank, cause);
                }
                self.advance(now);
            }
            ChildState::Starting if exit == Exit::Ignored => {
                self.publish_exit(rank, exit, ExitConsequence::Leave);
                self.confirm(rank);
                self.answer_start_waiters(rank, &Ok(Reply::Ignored));
                self.settle(now, rank, ChildState::down(DownReason::Ignored));
            }
            ChildState::Starting => self.start_failed(now, rank, exit),
            ChildState::Ready => self.decide(now, rank, exit),
            _ => {}
        }
    }

    /// A start did not end in readiness.
    fn start_failed(&mut self, now: TreeInstant, rank: Rank, exit: Exit) {
        let Some(child) = self.children.get(rank) else { return };
        // The machine does not know processes; the engine adds the end of stderr.
        let (id, stderr_tail) = (child.id.clone(), String::new());
        let failed = RequestError::StartFailed { child: id, exit: exit.clone(), stderr_tail };
        match child.cause {
            StartCause::Provisional => {
                self.publish_exit(rank, exit, ExitConsequence::Leave);
                self.answer_start_waiters(rank, &Err(failed));
                self.set_down(rank, ended());
                self.forget(rank);
                self.advance(now);
            }
            StartCause::Once => {
                self.publish_exit(rank, exit, ExitConsequence::Leave);
                self.answer_start_waiters(rank, &Err(failed));
                self.set_down(rank, ended());
                self.advance(now);
            }
            StartCause::Supervisor if self.is_booting() && child.is_required_for_boot() => {
                // S-7: no retry; what has started is stopped and the supervisor's start fails.
                let child = child.id.clone();
                self.answer_start_waiters(rank, &Err(failed));
                self.publish_exit(rank, exit.clone(), ExitConsequence::Leave);
                self.set_down(rank, ended());
                self.begin_stop(Exit::StartFailed { child, cause: Box::new(exit) });
            }
            StartCause::Supervisor | StartCause::Restart | StartCause::Demand | StartCause::Reload => {
                self.answer_start_waiters(rank, &Err(failed));
                self.decide(now, rank, exit);
            }
        }
    }

    /// An exit that was not requested, of a child in normal operation.
    fn decide(&mut self, now: TreeInstant, rank: Rank, exit: Exit) {
        let grouped = self.flags.strategy != Strategy::OneForOne;
        let Some(child) = self.children.get_mut(rank) else { return };
        let policy = child.policy.clone();
        // S-14 is about starts that are awaited. A failed start of a background child is a crash
        // like any other (S-7): its group has gone on without it, and is stopped with it.
        let failed_start = child.state == ChildState::Starting && policy.start == StartMode::Required;
        let class = classify(&exit, policy.restart.restart);
        // Delays count from the end of the process, whose exit may have waited to be judged.
        let process_ended_at =
            child.process_ended_at.map_or(now, |process_ended_at| process_ended_at.min(now));
        match child.tracker.exited(process_ended_at, class, &policy.restart) {
            Decision::Leave => {
                let state = left_as(&exit);
                self.publish_exit(rank, exit, ExitConsequence::Leave);
                self.settle(now, rank, state);
            }
            Decision::Escalate { why } => self.give_up(rank, exit, why),
            Decision::GiveUp { why } if grouped => self.give_up(rank, exit, why),
            Decision::GiveUp { why } => {
                self.publish_exit(rank, exit, ExitConsequence::GiveUp { why: why.clone() });
                self.settle(now, rank, ChildState::down(DownReason::GaveUp { why }));
            }
            Decision::CoolOff { delay } => {
                self.publish_exit(rank, exit, ExitConsequence::CoolOff { delay });
                let until = process_ended_at.after(delay).max(now);
                self.settle(now, rank, ChildState::CoolingOff { until });
            }
            Decision::Restart { delay, attempt } => {
                let (shared, intensity) = (policy.restart.is_shared(), self.flags.effective_intensity());
                if shared && !self.window.try_restart(now, &intensity) {
                    return self.give_up(rank, exit, intensity.limit());
                }
                self.counted += u64::from(shared);
                self.restart_after(now, rank, exit, (process_ended_at, delay), attempt, failed_start);
            }
            Decision::AwaitProgram { delay } => {
                let attempt = child.tracker.failures();
                self.restart_after(now, rank, exit, (process_ended_at, delay), attempt, failed_start);
            }
        }
    }

    /// Restarts the child, or its group, `delay` after its process ended; at once if a successor or a
    /// spare is there to take its place.
    fn restart_after(
        &mut self,
        now: TreeInstant,
        rank: Rank,
        exit: Exit,
        (ended_at, delay): (TreeInstant, Duration),
        attempt: u32,
        failed_start: bool,
    ) {
        let until = ended_at.after(delay);
        self.set_reason(rank, StartReason::Policy);
        if self.flags.strategy == Strategy::OneForOne {
            let replaced = ExitConsequence::Restart { delay: Duration::ZERO, attempt };
            if self.second_may_take_over(rank) {
                self.publish_exit(rank, exit, replaced);
                return self.take_over(now, rank, until, attempt);
            }
            if self.second_is_being_dropped(rank) {
                self.publish_exit(rank, exit, ExitConsequence::Restart { delay, attempt });
                return self.settle(now, rank, ChildState::BackingOff { until, attempt });
            }
            self.drop_waiting_spare(rank);
        } else {
            self.stop_second(rank);
        }
        self.publish_exit(rank, exit, ExitConsequence::Restart { delay, attempt });
        self.restart_at(now, rank, until, attempt, failed_start);
    }

    /// Starts the child or its group again at that time, or now if it has passed.
    fn restart_at(
        &mut self,
        now: TreeInstant,
        rank: Rank,
        until: TreeInstant,
        attempt: u32,
        failed_start: bool,
    ) {
        if self.flags.strategy != Strategy::OneForOne {
            self.restart_group(now, rank, until.since(now), attempt, failed_start);
        } else if until <= now {
            let cause = self.children.get(rank).map_or(StartCause::Supervisor, Child::restart_cause);
            self.start(now, rank, cause);
            self.advance(now);
        } else {
            self.wait_for_restart(now, rank, ChildState::BackingOff { until, attempt });
        }
    }

    /// The state that this exit leads to, if it is to wait for a restart of this child alone.
    pub(super) fn foresee(&self, rank: Rank, at: TreeInstant, exit: &Exit) -> Option<ChildState> {
        let child = self.children.get(rank)?;
        if self.flags.strategy != Strategy::OneForOne
            || matches!(child.cause, StartCause::Provisional | StartCause::Once)
            || self.is_booting() && child.is_required_for_boot()
            || self.second_may_take_over(rank)
            || child.awaits_confirmation()
        {
            return None;
        }
        let policy = &child.policy.restart;
        let early = (child.state == ChildState::Starting).then(|| exit.clone().before_ready());
        let class = classify(early.as_ref().unwrap_or(exit), policy.restart);
        match child.tracker.clone().exited(at, class, policy) {
            Decision::AwaitProgram { delay } => {
                Some(ChildState::BackingOff { until: at.after(delay), attempt: child.tracker.failures() })
            }
            Decision::Restart { delay, attempt } if !delay.is_zero() => {
                Some(ChildState::BackingOff { until: at.after(delay), attempt })
            }
            Decision::CoolOff { delay } => Some(ChildState::CoolingOff { until: at.after(delay) }),
            _ => None,
        }
    }

    /// The child ended, is not started now, and goes into this state: down or cooling off. If it has a
    /// second incarnation, that is stopped first.
    pub(super) fn settle(&mut self, now: TreeInstant, rank: Rank, state: ChildState) {
        if self.wait_for_second(rank, AfterStop::Settle) {
            if let Some(child) = self.children.get_mut(rank) {
                child.settles_as = Some(Box::new(state));
            }
            return self.advance(now);
        }
        if let ChildState::BackingOff { until, .. } | ChildState::CoolingOff { until } = state {
            self.set_reason(rank, StartReason::Policy);
            if until > now {
                return self.wait_for_restart(now, rank, state);
            }
            let cause = self.children.get(rank).map_or(StartCause::Supervisor, Child::restart_cause);
            self.start(now, rank, cause);
            return self.advance(now);
        }
        self.leave(now, rank, state);
    }

    /// One-for-one: the next start is due later.
    pub(super) fn wait_for_restart(&mut self, now: TreeInstant, rank: Rank, state: ChildState) {
        let (ChildState::BackingOff { until, .. } | ChildState::CoolingOff { until }) = state else { return };
        self.set(rank, state);
        if let Some(child) = self.children.get_mut(rank) {
            child.armed = true;
            self.out.push(Action::Arm(child.timer(), until));
        }
        self.advance(now);
    }

    /// The child ended by itself and is not restarted (S-5, S-24).
    fn leave(&mut self, now: TreeInstant, rank: Rank, state: ChildState) {
        let Some(child) = self.children.get(rank) else { return };
        let ignored = state == ChildState::down(DownReason::Ignored);
        let significant = child.policy.significant && !ignored;
        let (temporary, id) = (child.is_temporary(), child.id.clone());
        let over = temporary || self.flags.dynamic && (ignored || state == ended());
        self.set_down(rank, state);
        if over {
            self.forget(rank);
        }
        if !(significant && self.auto_shutdown(id)) {
            self.advance(now);
        }
    }

    /// S-17: this exit was one too many.
    fn give_up(&mut self, rank: Rank, exit: Exit, why: GiveUpReason) {
        let Some(child) = self.children.get(rank) else { return };
        let id = child.id.clone();
        self.publish_exit(rank, exit.clone(), ExitConsequence::Escalate { why: why.clone() });
        // The child itself is not given up for good: when this supervisor is restarted, the child
        // starts again.
        if !self.wait_for_second(rank, AfterStop::Stay) {
            self.set_down(rank, ended());
        }
        self.begin_stop(Exit::IntensityExceeded { child: id, cause: Box::new(exit), limit: why });
    }

    /// A child that had been asked to stop has ended.
    fn stopped(&mut self, now: TreeInstant, rank: Rank, exit: Exit) {
        if let Some(child) = self.children.get_mut(rank) {
            child.tracker.stopped(now);
        }
        self.publish_exit(rank, exit, ExitConsequence::Nothing);
        if !self.second_outlives_primary(rank) {
            self.finish_stop(now, rank);
        }
    }

    /// Nothing of a child that had been asked to stop is left.
    pub(super) fn finish_stop(&mut self, now: TreeInstant, rank: Rank) {
        let stopping = self.is_stopping();
        let Some(child) = self.children.get_mut(rank) else { return };
        let (mut after, temporary) = (child.after, child.is_temporary());
        if stopping && after != AfterStop::Forget {
            after = AfterStop::Stay;
        }
        if let AfterStop::Start(cause) = after
            && self.pass.as_ref().is_some_and(|p| p.consumes(rank))
        {
            // S-11: a group restart that stops its members has begun meanwhile; it starts this
            // child in its turn.
            child.cause = cause;
            after = AfterStop::Group;
        }
        match after {
            AfterStop::Stay => {
                let state = if stopping { ended() } else { ChildState::down(DownReason::Stopped) };
                self.set_down(rank, state);
                if temporary && !stopping {
                    self.forget(rank);
                }
            }
            AfterStop::Group => self.group_stopped(rank),
            AfterStop::Idle => self.set_down(rank, ChildState::down(DownReason::Idle)),
            AfterStop::Settle => {
                let state = self.children.get_mut(rank).and_then(|child| child.settles_as.take());
                return self.settle(now, rank, state.map_or_else(ended, |state| *state));
            }
            AfterStop::Start(cause) => {
                self.set(rank, ChildState::down(DownReason::Stopped));
                self.answer_stop_waiters(rank);
                self.start(now, rank, cause);
            }
            AfterStop::Forget => {
                self.set_down(rank, ChildState::down(DownReason::Stopped));
                self.forget(rank);
            }
        }
        self.advance(now);
    }

    /// Down until the group restart starts it. Temporary children leave for good (S-12). Requests
    /// that wait for its start are still answered.
    fn group_stopped(&mut self, rank: Rank) {
        if self.children.get(rank).is_some_and(|child| child.is_temporary()) {
            self.set_down(rank, ChildState::down(DownReason::Stopped));
            return self.forget(rank);
        }
        self.set(rank, ChildState::down(DownReason::Stopped));
        self.answer_stop_waiters(rank);
    }

    /// Sets the child down and answers every request that waits for it.
    pub(super) fn set_down(&mut self, rank: Rank, state: ChildState) {
        self.set(rank, state);
        // A child that ends while a pass is starting others stays down, even if the pass has not
        // reached its position yet: it was running, so the pass owes it nothing.
        let restarts = self.pass.as_ref().is_some_and(|pass| pass.restarts(rank));
        let Some(child) = self.children.get_mut(rank) else { return };
        child.skip_pass |= !restarts;
        child.cause = StartCause::Supervisor;
        let stopped = RequestError::Stopped(child.id.clone());
        let reason = if self.is_stopping() { RequestError::ShuttingDown } else { stopped };
        self.answer_stop_waiters(rank);
        self.refuse_start_waiters(rank, &reason);
    }

    pub(super) fn set_reason(&mut self, rank: Rank, reason: StartReason) {
        if let Some(child) = self.children.get_mut(rank) {
            child.reason = reason;
        }
    }

    pub(super) fn publish_exit(&mut self, rank: Rank, exit: Exit, then: ExitConsequence) {
        if let Some(child) = self.children.get(rank) {
            let key = child.key();
            self.out.push(Action::Publish(Some(key), EventKind::Exited { exit, then }));
        }
    }
}
