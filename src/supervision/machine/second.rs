//! The incarnation beside the primary one (S-27): the successor of a swap (G-14), a spare (W-6), or one
//! that has been replaced and is ending. A child has at most one.

use std::time::Duration;

use super::{
    Action, IncarnationKey, Machine, Rank, Reply, Timer,
    child::{AfterStop, Child, StartCause},
    left_as,
    second_incarnation::{PrimaryOrSecond, Second},
};
use crate::{
    clock::TreeInstant,
    event::{EventKind, ExitConsequence, ReplacementCause, StartReason},
    exit::Exit,
    id::Incarnation,
    restart::{Backoff, Decision},
    state::{ChildState, DownReason, GiveUpReason, SecondIncarnationRole},
    supervision::exit_class::classify,
};

/// The shortest pause before a spare that ended is started again.
const SHORTEST_SPARE_DELAY: Duration = Duration::from_millis(1);

impl Child {
    pub(super) fn key_of(&self, second: &Second) -> IncarnationKey {
        IncarnationKey { child: self.id.clone(), incarnation: second.incarnation }
    }
}

impl Machine {
    // ---- starts ---------------------------------------------------------------------------------

    /// Starts an incarnation beside the primary one. There must be no second one.
    pub(super) fn start_second(&mut self, rank: Rank, role: SecondIncarnationRole) {
        self.start_second_after(rank, role, 0);
    }

    fn start_second_after(&mut self, rank: Rank, role: SecondIncarnationRole, failures: u32) {
        self.take_changes(rank);
        let Some(child) = self.children.get_mut(rank) else { return };
        child.last = child.last.next();
        let reason = match role {
            SecondIncarnationRole::Successor => child.reload_reason(),
            _ => StartReason::Standby,
        };
        let second = Second {
            incarnation: child.last,
            role,
            reason,
            state: ChildState::Starting,
            policy: child.coming_policy().clone(),
            outlives_primary: false,
            failing_asked: false,
            failures,
            ready_since: None,
        };
        let key = child.key_of(&second);
        child.second = Some(Box::new(second));
        self.out.push(Action::Publish(
            Some(key.clone()),
            EventKind::Second { role, state: ChildState::Starting },
        ));
        self.out.push(Action::Start(key));
    }

    /// A spare waits for its next start, after the end of `incarnation`.
    fn wait_with_spare(
        &mut self,
        rank: Rank,
        incarnation: Incarnation,
        until: TreeInstant,
        attempt: u32,
        failures: u32,
    ) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let state = ChildState::BackingOff { until, attempt };
        let second = Second {
            incarnation,
            role: SecondIncarnationRole::Spare,
            reason: StartReason::Standby,
            state: state.clone(),
            policy: child.coming_policy().clone(),
            outlives_primary: false,
            failing_asked: false,
            failures,
            ready_since: None,
        };
        let key = child.key_of(&second);
        child.second = Some(Box::new(second));
        self.out.push(Action::Publish(
            Some(key.clone()),
            EventKind::Second { role: SecondIncarnationRole::Spare, state },
        ));
        self.out.push(Action::Arm(Timer::Spare(key), until));
    }

    pub(super) fn spare_fired(&mut self, now: TreeInstant, key: &IncarnationKey) {
        let Some(rank) = self.find(&key.child) else { return };
        let Some(child) = self.children.get_mut(rank) else { return };
        let waits = |second: &Second| !second.is_alive() && second.incarnation == key.incarnation;
        let Some(second) = child.second.take_if(|second| waits(second)) else { return };
        if child.wants_reload() || child.state != ChildState::Ready || !child.wants_spare() {
            let down = ChildState::down(DownReason::Stopped);
            let dropped = EventKind::Second { role: SecondIncarnationRole::Spare, state: down };
            self.out.push(Action::Publish(Some(key.clone()), dropped));
            self.follow_up(now, rank);
        } else {
            self.start_second_after(rank, SecondIncarnationRole::Spare, second.failures);
        }
    }

    pub(super) fn second_ready(&mut self, now: TreeInstant, rank: Rank) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let Some(second) = &mut child.second else { return };
        if second.state != ChildState::Starting {
            return;
        }
        second.ready_since = Some(now);
        match second.role {
            SecondIncarnationRole::Successor => {
                self.confirm(rank);
                self.swap(now, rank);
            }
            SecondIncarnationRole::Spare => {
                self.set_second(rank, ChildState::Ready);
                self.confirm(rank);
            }
            SecondIncarnationRole::Leaving | SecondIncarnationRole::Failing => {}
        }
        self.follow_up(now, rank);
        self.advance(now);
    }

    // ---- the second becomes the primary ---------------------------------------------------------

    /// G-14: the successor is ready. The one before gets no new calls, finishes those that it has, and
    /// stops.
    fn swap(&mut self, now: TreeInstant, rank: Rank) {
        let Some(child) = self.children.get(rank) else { return };
        let (policy, reason) = (child.policy.clone(), child.reason);
        let Some(old) = self.promote(rank, ReplacementCause::Swap) else { return };
        let Some(child) = self.children.get_mut(rank) else { return };
        child.tracker.stopped(now);
        child.tracker.started(now);
        child.tracker.ready(now);
        child.second = Some(Box::new(Second {
            incarnation: old,
            role: SecondIncarnationRole::Leaving,
            reason,
            state: ChildState::Stopping,
            policy: policy.clone(),
            outlives_primary: false,
            failing_asked: false,
            failures: 0,
            ready_since: None,
        }));
        let (live, old) = (child.incarnation, IncarnationKey { child: child.id.clone(), incarnation: old });
        let leaving = EventKind::Second { role: SecondIncarnationRole::Leaving, state: ChildState::Stopping };
        self.out.push(Action::Publish(Some(old.clone()), leaving));
        self.out.push(Action::Retire(old, self.phase.harden(policy.shutdown)));
        self.answer_start_waiters(rank, &Ok(Reply::Ready(live)));
    }

    /// W-6: the process or the channel of the primary one has ended. A spare that is ready takes its
    /// place at once; the exit is judged when it comes.
    pub(super) fn failing(&mut self, key: &IncarnationKey) {
        let Some((rank, PrimaryOrSecond::Primary)) = self.current(key) else { return };
        let stops = self.is_stopping() || self.pass.as_ref().is_some_and(|pass| pass.consumes(rank));
        let Some(child) = self.children.get(rank) else { return };
        let (policy, reason) = (child.policy.clone(), child.reason);
        let spare = |second: &Second| {
            second.role == SecondIncarnationRole::Spare && second.state == ChildState::Ready
        };
        if stops || child.state != ChildState::Ready || !child.second.as_deref().is_some_and(spare) {
            return;
        }
        let Some(old) = self.promote(rank, ReplacementCause::Standby) else { return };
        let Some(child) = self.children.get_mut(rank) else { return };
        child.process_ended_at = None;
        child.second = Some(Box::new(Second {
            incarnation: old,
            role: SecondIncarnationRole::Failing,
            reason,
            state: ChildState::Stopping,
            policy,
            outlives_primary: false,
            failing_asked: false,
            failures: 0,
            ready_since: None,
        }));
        let key = IncarnationKey { child: child.id.clone(), incarnation: old };
        let failing = EventKind::Second { role: SecondIncarnationRole::Failing, state: ChildState::Stopping };
        self.out.push(Action::Publish(Some(key), failing));
    }

    /// The second incarnation, which is ready, is the primary one now, and calls reach it. Returns the
    /// one before.
    fn promote(&mut self, rank: Rank, why: ReplacementCause) -> Option<Incarnation> {
        let child = self.children.get_mut(rank)?;
        let second = child.second.take()?;
        let old = std::mem::replace(&mut child.incarnation, second.incarnation);
        child.adopt_newest_policy();
        child.policy = second.policy;
        child.reason = second.reason;
        child.has_been_ready = true;
        let (key, reason) = (child.key(), second.reason);
        self.out.push(Action::MakeLive(key.clone()));
        self.out.push(Action::Publish(Some(key), EventKind::Replaced { from: old, why, reason }));
        Some(old)
    }

    /// Whether there is a second incarnation that can replace the primary one, which has ended.
    pub(super) fn second_may_take_over(&self, rank: Rank) -> bool {
        let may = |second: &Second| {
            matches!(second.role, SecondIncarnationRole::Successor | SecondIncarnationRole::Spare)
                && matches!(second.state, ChildState::Starting | ChildState::Ready)
        };
        self.children.get(rank).and_then(|child| child.second.as_deref()).is_some_and(may)
    }

    /// Whether a spare or a successor has been asked to stop and has not ended.
    pub(super) fn second_is_being_dropped(&self, rank: Rank) -> bool {
        let dropped = |second: &Second| {
            matches!(second.role, SecondIncarnationRole::Successor | SecondIncarnationRole::Spare)
                && second.state == ChildState::Stopping
        };
        self.children.get(rank).and_then(|child| child.second.as_deref()).is_some_and(dropped)
    }

    /// The primary one has ended, and this has been judged to be a restart: the second one is the restart.
    /// The next spare does not start before `until`.
    pub(super) fn take_over(&mut self, now: TreeInstant, rank: Rank, until: TreeInstant, attempt: u32) {
        let Some(child) = self.children.get_mut(rank) else { return };
        child.process_ended_at = None;
        child.cause = StartCause::Supervisor;
        child.tracker.started(now);
        let ready = child.second.as_ref().is_some_and(|second| second.state == ChildState::Ready);
        if ready {
            child.tracker.ready(now);
            let old = self.promote(rank, ReplacementCause::Standby).unwrap_or_default();
            self.next_spare(now, rank, old, until, attempt);
        } else if let Some(second) = child.second.take() {
            child.incarnation = second.incarnation;
            child.adopt_newest_policy();
            child.policy = second.policy;
            self.set(rank, ChildState::Starting);
        }
        self.advance(now);
    }

    /// Prepares the next spare behind one that has been promoted.
    fn next_spare(
        &mut self,
        now: TreeInstant,
        rank: Rank,
        old: Incarnation,
        until: TreeInstant,
        attempt: u32,
    ) {
        let Some(child) = self.children.get(rank) else { return };
        let waits = child.state == ChildState::Ready
            && child.wants_spare()
            && child.second.is_none()
            && !child.wants_reload();
        if waits && until > now {
            self.wait_with_spare(rank, old, until, attempt, 0);
        } else {
            self.follow_up(now, rank);
        }
    }

    // ---- ends -----------------------------------------------------------------------------------

    pub(super) fn second_ended(&mut self, now: TreeInstant, rank: Rank, exit: Exit) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let Some(second) = child.second.take() else { return };
        let key = child.key_of(&second);
        let exit = if second.state == ChildState::Starting { exit.before_ready() } else { exit };
        let goes_on = child.state != ChildState::Stopping && !self.is_stopping();
        match (second.role, &second.state) {
            (SecondIncarnationRole::Failing, _) if goes_on => self.judge_failing(now, rank, key, exit),
            (SecondIncarnationRole::Successor, ChildState::Starting) if goes_on => {
                let restored = self.restore_second(rank, &second, &exit);
                self.answer_reloads(rank, &exit);
                let then = if restored { ExitConsequence::Restore } else { ExitConsequence::Leave };
                self.out.push(Action::Publish(Some(key), EventKind::Exited { exit, then }));
            }
            (SecondIncarnationRole::Spare, ChildState::Starting | ChildState::Ready) if goes_on => {
                self.spare_ended(now, rank, &second, key, exit);
            }
            _ => {
                let then = ExitConsequence::Nothing;
                self.out.push(Action::Publish(Some(key), EventKind::Exited { exit, then }));
            }
        }
        if second.outlives_primary {
            self.finish_stop(now, rank);
            return self.follow_up(now, rank);
        }
        self.follow_up(now, rank);
        self.advance(now);
    }

    fn restore_second(&mut self, rank: Rank, second: &Second, exit: &Exit) -> bool {
        second.state == ChildState::Starting && self.restore(rank, exit)
    }

    /// A spare that ends counts nothing; the next one waits.
    fn spare_ended(
        &mut self,
        now: TreeInstant,
        rank: Rank,
        second: &Second,
        key: IncarnationKey,
        exit: Exit,
    ) {
        self.restore_second(rank, second, &exit);
        let Some(child) = self.children.get_mut(rank) else { return };
        let restart = &child.policy.restart;
        let healthy = second.ready_since.is_some_and(|since| now.since(since) >= restart.healthy_after);
        let failures = if healthy { 1 } else { second.failures.saturating_add(1) };
        let curve = if restart.backoff.is_none() { Backoff::default() } else { restart.backoff };
        let delay = child.tracker.spread(curve.delay(failures), restart).max(SHORTEST_SPARE_DELAY);
        let waits = child.state == ChildState::Ready && child.wants_spare() && !child.wants_reload();
        let then = ExitConsequence::Restart { delay, attempt: failures };
        self.out.push(Action::Publish(Some(key), EventKind::Exited { exit, then }));
        if waits {
            self.wait_with_spare(rank, second.incarnation, now.after(delay), failures, failures);
        }
    }

    /// The exit of an incarnation whose place the spare has taken.
    fn judge_failing(&mut self, now: TreeInstant, rank: Rank, key: IncarnationKey, exit: Exit) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let policy = child.policy.clone();
        let class = classify(&exit, policy.restart.restart);
        let decision = child.tracker.exited(now, class, &policy.restart);
        child.tracker.started(now);
        if child.state == ChildState::Ready {
            child.tracker.ready(now);
        }
        let failures = child.tracker.failures();
        let mut publish = |exit: Exit, then: ExitConsequence| {
            self.out.push(Action::Publish(Some(key.clone()), EventKind::Exited { exit, then }));
        };
        match decision {
            Decision::Leave => {
                let state = left_as(&exit);
                publish(exit, ExitConsequence::Leave);
                self.overrule(now, rank, state);
            }
            Decision::GiveUp { why } => {
                publish(exit, ExitConsequence::GiveUp { why: why.clone() });
                self.overrule(now, rank, ChildState::down(DownReason::GaveUp { why }));
            }
            Decision::CoolOff { delay } => {
                publish(exit, ExitConsequence::CoolOff { delay });
                self.overrule(now, rank, ChildState::CoolingOff { until: now.after(delay) });
            }
            Decision::Escalate { why } => {
                publish(exit.clone(), ExitConsequence::Escalate { why: why.clone() });
                self.give_up_because_of(rank, exit, why);
            }
            Decision::AwaitProgram { delay } => {
                publish(exit, ExitConsequence::Restart { delay: Duration::ZERO, attempt: failures });
                self.next_spare(now, rank, key.incarnation, now.after(delay), failures);
            }
            Decision::Restart { delay, attempt } => {
                let (shared, intensity) = (policy.restart.is_shared(), self.flags.effective_intensity());
                if shared && !self.window.try_restart(now, &intensity) {
                    let why = intensity.limit();
                    publish(exit.clone(), ExitConsequence::Escalate { why: why.clone() });
                    return self.give_up_because_of(rank, exit, why);
                }
                publish(exit, ExitConsequence::Restart { delay: Duration::ZERO, attempt });
                self.counted += u64::from(shared);
                self.next_spare(now, rank, key.incarnation, now.after(delay), attempt);
            }
        }
    }

    fn give_up_because_of(&mut self, rank: Rank, exit: Exit, limit: GiveUpReason) {
        let Some(child) = self.children.get(rank) else { return };
        let child = child.id.clone();
        self.begin_stop(Exit::IntensityExceeded { child, cause: Box::new(exit), limit });
    }

    /// The primary one took a place that its predecessor's exit does not leave to it.
    fn overrule(&mut self, now: TreeInstant, rank: Rank, state: ChildState) {
        let Some(child) = self.children.get_mut(rank) else { return };
        if matches!(child.state, ChildState::Starting | ChildState::Ready) {
            child.settles_as = Some(Box::new(state));
            self.stop(rank, AfterStop::Settle);
        } else {
            self.disarm(rank);
            self.settle(now, rank, state);
        }
    }

    // ---- stops ----------------------------------------------------------------------------------

    /// Stops what may be stopped of the second incarnation. One that has been asked is not asked again; one
    /// that is failing has not been asked, and may wait for that: its end may belong to the stop of
    /// everything.
    pub(super) fn stop_second(&mut self, rank: Rank) {
        self.drop_waiting_spare(rank);
        let Some(child) = self.children.get_mut(rank) else { return };
        let Some(second) = &mut child.second else { return };
        let key = IncarnationKey { child: child.id.clone(), incarnation: second.incarnation };
        let shutdown = second.policy.shutdown;
        if second.state != ChildState::Stopping {
            self.set_second(rank, ChildState::Stopping);
            self.out.push(Action::Stop(key, self.phase.harden(shutdown)));
        } else if second.role == SecondIncarnationRole::Failing
            && !std::mem::replace(&mut second.failing_asked, true)
        {
            self.out.push(Action::Stop(key, self.phase.harden(shutdown)));
        }
    }

    /// The primary one is not alive. If the second one is, it is stopped and the child waits for it;
    /// what follows then is `after`. Returns whether the child waits.
    pub(super) fn wait_for_second(&mut self, rank: Rank, after: AfterStop) -> bool {
        self.stop_second(rank);
        let Some(child) = self.children.get_mut(rank) else { return false };
        let Some(second) = &mut child.second else { return false };
        second.outlives_primary = true;
        child.after = after;
        self.set(rank, ChildState::Stopping);
        true
    }

    /// The primary one of a child that is being stopped has ended. Returns whether the child waits for the
    /// second one.
    pub(super) fn second_outlives_primary(&mut self, rank: Rank) -> bool {
        let Some(child) = self.children.get_mut(rank) else { return false };
        let Some(second) = &mut child.second else { return false };
        second.outlives_primary = true;
        true
    }

    /// Forgets a spare that waits for its next start.
    pub(super) fn drop_waiting_spare(&mut self, rank: Rank) {
        let Some(child) = self.children.get_mut(rank) else { return };
        if let Some(second) = child.second.take_if(|second| !second.is_alive()) {
            let key = child.key_of(&second);
            let down = ChildState::down(DownReason::Stopped);
            self.out.push(Action::Disarm(Timer::Spare(key.clone())));
            let dropped = EventKind::Second { role: SecondIncarnationRole::Spare, state: down };
            self.out.push(Action::Publish(Some(key), dropped));
        }
    }

    fn set_second(&mut self, rank: Rank, state: ChildState) {
        let Some(child) = self.children.get_mut(rank) else { return };
        let Some(second) = &mut child.second else { return };
        second.state = state.clone();
        let role = second.role;
        let key = IncarnationKey { child: child.id.clone(), incarnation: second.incarnation };
        self.out.push(Action::Publish(Some(key), EventKind::Second { role, state }));
    }
}
