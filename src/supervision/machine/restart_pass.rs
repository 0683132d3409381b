//! The supervisor's own start and group restarts: ordered work over a range of the children.
//!
//! A pass stops what is alive in its range, newest first, waits for its delay, and starts the
//! range, oldest first. The supervisor's own start is a pass over all children with nothing to
//! stop. There is at most one pass; a failure that asks for a wider one replaces it (S-13, S-14),
//! so that two retries never run together.

use std::time::Duration;

use super::{
    Action, Machine, Rank, Timer,
    child::{AfterStop, Child, StartCause},
    stop::MachinePhase,
};
use crate::{
    clock::TreeInstant,
    event::{EventKind, StartReason},
    state::{ChildState, DownReason, Strategy},
    supervision::child_policy::StartMode,
};

#[derive(Debug)]
pub(super) struct RestartPass {
    /// Identifies the timer of the pass.
    pub(super) serial: u64,
    /// The first child to be stopped; all after it are stopped too.
    from: Rank,
    /// The first child that may have to be started. It is before `from` if an earlier pass has not
    /// reached it yet.
    start_from: Rank,
    /// The child that must be ready before the next one is started.
    awaited: Option<Rank>,
    until: TreeInstant,
    stage: RestartPassStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestartPassStage {
    /// Children at and above the cursor have ended.
    Stop { cursor: Rank },
    /// Waits until the delay is over. With `restop`, what is alive in the range is stopped then.
    Wait { restop: bool, armed: bool },
    /// Children below the cursor have been started.
    Start { cursor: Rank },
}

impl RestartPass {
    /// Whether the exit of this child belongs to the pass, which was about to stop it (S-13).
    pub(super) fn consumes(&self, rank: Rank) -> bool {
        matches!(self.stage, RestartPassStage::Stop { .. }) && rank >= self.from
    }

    /// Whether the pass stops this child, or has stopped it, before starting it.
    pub(super) fn restarts(&self, rank: Rank) -> bool {
        self.is_pending() && rank >= self.from
    }

    /// Whether the pass has not begun to start children.
    fn is_pending(&self) -> bool {
        !matches!(self.stage, RestartPassStage::Start { .. })
    }

    /// Children below this position have been started by this pass, or do not concern it.
    fn unfinished(&self) -> Rank {
        match self.stage {
            RestartPassStage::Start { cursor } => cursor,
            _ => self.start_from,
        }
    }
}

impl Machine {
    /// Starts the children for the first time.
    pub(super) fn boot(&mut self, now: TreeInstant) {
        if !matches!(self.phase, MachinePhase::Idle) {
            return;
        }
        self.phase = MachinePhase::Starting;
        let serial = self.next_serial();
        let stage = RestartPassStage::Start { cursor: Rank::FIRST };
        self.pass = Some(RestartPass {
            serial,
            from: Rank::FIRST,
            start_from: Rank::FIRST,
            awaited: None,
            until: now,
            stage,
        });
        self.advance(now);
    }

    /// The failure of `rank` restarts its group after `delay`.
    pub(super) fn restart_group(
        &mut self,
        now: TreeInstant,
        rank: Rank,
        delay: Duration,
        attempt: u32,
        failed_start: bool,
    ) {
        let mut from = if self.flags.strategy == Strategy::OneForAll { Rank::FIRST } else { rank };
        let mut until = now.after(delay);
        let mut start_from = from;
        let mut awaited = None;
        if let Some(old) = self.take_pass() {
            if old.is_pending() {
                // S-16: members that still wait contribute the rest of their delay.
                from = from.min(old.from);
                until = until.max(old.until);
            }
            // If a child that was added while the old pass was starting others fails first, those
            // others must not be forgotten: this pass starts them, still after the one that was
            // being awaited.
            start_from = from.min(old.unfinished());
            awaited = old.awaited.filter(|rank| *rank < from);
        }
        let range: Vec<Rank> = self.children.range(from..).map(|(rank, _)| rank).collect();
        for &member in &range {
            let Some(child) = self.children.get_mut(member) else { continue };
            child.skip_pass = false;
            let waits = matches!(child.state, ChildState::BackingOff { .. });
            if member != rank && !waits {
                child.reason = StartReason::Group;
            }
            if let ChildState::BackingOff { attempt, .. } = child.state {
                self.set(member, ChildState::BackingOff { until, attempt });
            }
        }
        self.set(rank, ChildState::BackingOff { until, attempt });
        if let Some(child) = self.children.get(rank) {
            let (strategy, child) = (self.flags.strategy, child.id.clone());
            let delay = until.since(now);
            self.out.push(Action::Publish(None, EventKind::GroupRestart { strategy, child, delay }));
        }
        let serial = self.next_serial();
        // S-14: what has started keeps running while a child whose start failed waits for its
        // retry.
        let stage = if failed_start {
            RestartPassStage::Wait { restop: true, armed: false }
        } else {
            RestartPassStage::Stop { cursor: Rank::END }
        };
        self.pass = Some(RestartPass { serial, from, start_from, awaited, until, stage });
        self.advance(now);
        if failed_start {
            // A pass that this one has replaced may have been about to stop children whose reloads waited for
            // that. Now they go on running, perhaps for long.
            for member in range {
                let state = self.children.get(member).map(|child| &child.state);
                let runs = matches!(state, Some(ChildState::Starting | ChildState::Ready));
                // Without a delay, the new pass is stopping them already.
                if runs && !self.pass.as_ref().is_some_and(|pass| pass.consumes(member)) {
                    self.follow_up(now, member);
                }
            }
        }
    }

    /// Ends the pass, whatever its stage.
    pub(super) fn take_pass(&mut self) -> Option<RestartPass> {
        let pass = self.pass.take()?;
        if matches!(pass.stage, RestartPassStage::Wait { armed: true, .. }) {
            self.out.push(Action::Disarm(Timer::Pass(pass.serial)));
        }
        Some(pass)
    }

    /// The delay of a pass is over.
    pub(super) fn pass_fired(&mut self, now: TreeInstant, serial: u64) {
        if let Some(pass) = &mut self.pass
            && pass.serial == serial
            && let RestartPassStage::Wait { armed, .. } = &mut pass.stage
        {
            *armed = false;
            self.advance(now);
        }
    }

    pub(super) fn advance_pass(&mut self, now: TreeInstant) {
        while let Some(pass) = &self.pass {
            let again = match pass.stage {
                RestartPassStage::Stop { cursor } => self.pass_stop(cursor),
                RestartPassStage::Wait { restop, armed } => self.pass_wait(now, restop, armed),
                RestartPassStage::Start { cursor } => self.pass_start(now, cursor),
            };
            if !again {
                return;
            }
        }
    }

    fn pass_stop(&mut self, cursor: Rank) -> bool {
        let Some(pass) = &mut self.pass else { return false };
        let from = pass.from;
        let next = if cursor > from { self.children.range(from..cursor).next_back() } else { None };
        let Some((rank, child)) = next else {
            pass.stage = RestartPassStage::Wait { restop: false, armed: false };
            return true;
        };
        match child.state {
            ChildState::Stopping => false,
            ChildState::Starting | ChildState::Ready => {
                self.stop(rank, AfterStop::Group);
                false
            }
            _ if child.second.is_some() => {
                // It waits for its next start, while one that it has replaced is ending.
                self.stop(rank, AfterStop::Group);
                self.children.get(rank).is_none_or(|child| child.state != ChildState::Stopping)
            }
            _ => {
                pass.stage = RestartPassStage::Stop { cursor: rank };
                let waits = matches!(
                    child.state,
                    ChildState::Down { why: DownReason::NeverStarted | DownReason::Idle }
                );
                if child.is_temporary() && !waits {
                    // S-12: a group restart removes temporary children for good, except those whose first
                    // start it delays, and those that are idle.
                    self.set_down(rank, ChildState::down(DownReason::Stopped));
                    self.forget(rank);
                }
                true
            }
        }
    }

    /// The timer, not the clock, decides when the delay is over: otherwise a late timer and another
    /// input would race.
    fn pass_wait(&mut self, now: TreeInstant, restop: bool, armed: bool) -> bool {
        let Some(pass) = &mut self.pass else { return false };
        if !armed && now < pass.until {
            pass.stage = RestartPassStage::Wait { restop, armed: true };
            self.out.push(Action::Arm(Timer::Pass(pass.serial), pass.until));
        } else if !armed {
            pass.stage = if restop {
                RestartPassStage::Stop { cursor: Rank::END }
            } else {
                RestartPassStage::Start { cursor: pass.start_from }
            };
        }
        !armed
    }

    fn pass_start(&mut self, now: TreeInstant, cursor: Rank) -> bool {
        if let Some(rank) = self.pass.as_ref().and_then(|pass| pass.awaited)
            && self
                .children
                .get(rank)
                .is_some_and(|c| matches!(c.state, ChildState::Starting | ChildState::Stopping))
        {
            return false;
        }
        let Some((rank, child)) = self.children.range(cursor..).next() else {
            self.pass = None;
            if self.is_booting() {
                self.phase = MachinePhase::Running;
                self.out.push(Action::Publish(None, EventKind::Started));
                self.out.push(Action::Started);
            }
            return false;
        };
        let joins = child.joins_pass();
        // Its start takes the changes that wait.
        let policy = if joins { child.coming_policy() } else { &child.policy };
        let required = policy.start == StartMode::Required;
        // Members of a group are started one after the other, also after one that an operator is
        // restarting.
        let busy = self.flags.strategy != Strategy::OneForOne
            && matches!(child.state, ChildState::Starting | ChildState::Stopping);
        // If an operator still waits for the outcome of the first start, that start keeps its
        // meaning.
        let cause = if child.waiters.is_empty() { StartCause::Supervisor } else { child.cause };
        if let Some(pass) = &mut self.pass {
            pass.stage = RestartPassStage::Start { cursor: rank.next() };
            pass.awaited = (required && (joins || busy)).then_some(rank);
        }
        if joins {
            self.start(now, rank, cause);
        } else if let Some(child) = self.children.get_mut(rank)
            && child.state == ChildState::Stopping
            && child.after == AfterStop::Group
            && !child.is_temporary()
            && !child.is_left_alone()
        {
            // An earlier pass is still stopping it, and this one does not wait for that, since an
            // operator has ended the delay.
            child.after = AfterStop::Start(cause);
        }
        true
    }

    /// Whether the current pass is going to start this child.
    pub(super) fn pass_will_start(&self, rank: Rank) -> bool {
        self.pass_comes_to(rank) && self.children.get(rank).is_some_and(Child::joins_pass)
    }

    /// Whether the current pass has not reached this child yet.
    pub(super) fn pass_comes_to(&self, rank: Rank) -> bool {
        self.pass.as_ref().is_some_and(|pass| rank >= pass.unfinished())
    }

    /// Ends the delay of the pass: because an operator wants it (`force`), or because the children
    /// whose back-off it was no longer wait. Children that have not been stopped by then are left
    /// alone (S-22: a call of an operator touches no siblings); the pass goes on to start those
    /// that are down.
    pub(super) fn hurry_pass(&mut self, now: TreeInstant, force: bool) {
        let Some(pass) = &mut self.pass else { return };
        let waits = |c: &Child| matches!(c.state, ChildState::BackingOff { .. });
        if pass.is_pending() && (force || !self.children.range(pass.from..).any(|(_, c)| waits(c))) {
            pass.until = pass.until.min(now);
            if let RestartPassStage::Wait { restop, armed } = &mut pass.stage {
                *restop = false;
                if std::mem::replace(armed, false) {
                    self.out.push(Action::Disarm(Timer::Pass(pass.serial)));
                }
            }
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.next_pass += 1;
        self.next_pass
    }
}
