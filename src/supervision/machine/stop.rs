//! Giving up and shutting down: children stop in reverse order, each awaited, or all at once if the
//! supervisor is dynamic.

use super::{
    Action, Machine, Rank, RequestError,
    child::{AfterStop, Child},
    ended,
};
use crate::{
    event::EventKind,
    exit::Exit,
    id::ChildId,
    state::{ChildState, DownReason},
    supervision::{child_policy::Shutdown, supervisor_flags::AutoShutdown},
};

/// What the supervisor as a whole is doing.
#[derive(Debug)]
pub(super) enum MachinePhase {
    /// Not started.
    Idle,
    /// Its own start is under way.
    Starting,
    /// Its own start is over.
    Running,
    /// It stops its children and will exit.
    Stopping {
        exit: Exit,
        /// Children above this position have ended.
        cursor: Rank,
        /// Children get no more time.
        brutal: bool,
    },
    /// It has no live child and has reported its exit.
    Exited,
}

impl MachinePhase {
    /// How a child is stopped in this phase.
    pub(super) fn harden(&self, shutdown: Shutdown) -> Shutdown {
        match self {
            MachinePhase::Stopping { brutal: true, .. } => Shutdown::BrutalKill,
            _ => shutdown,
        }
    }
}

impl Machine {
    pub(super) fn is_booting(&self) -> bool {
        matches!(self.phase, MachinePhase::Starting)
    }

    pub(super) fn shutdown(&mut self) {
        self.begin_stop(Exit::Requested);
    }

    pub(super) fn kill(&mut self) {
        if let MachinePhase::Exited | MachinePhase::Stopping { brutal: true, .. } = self.phase {
            return;
        }
        // Children that are stopping already get no more time either.
        for (_, child) in self.children.iter() {
            let second = child.second.as_ref().filter(|second| second.state == ChildState::Stopping);
            if let Some(second) = second {
                self.out.push(Action::Stop(child.key_of(second), Shutdown::BrutalKill));
            }
            if child.state == ChildState::Stopping && !second.is_some_and(|second| second.outlives_primary) {
                self.out.push(Action::Stop(child.key(), Shutdown::BrutalKill));
            }
        }
        match &mut self.phase {
            MachinePhase::Stopping { brutal, .. } => *brutal = true,
            _ => self.stop_all(Exit::Requested, true),
        }
    }

    /// From here on nothing is started.
    pub(super) fn begin_stop(&mut self, exit: Exit) {
        if !self.is_stopping() {
            self.stop_all(exit, false);
        }
    }

    fn stop_all(&mut self, exit: Exit, brutal: bool) {
        self.take_pass();
        self.out.push(Action::Publish(None, EventKind::Stopping { exit: exit.clone() }));
        self.phase = MachinePhase::Stopping { exit, cursor: Rank::END, brutal };
        let all: Vec<Rank> = self.children.iter().map(|(rank, _)| rank).collect();
        for rank in all {
            // Requests that wait for a start learn now that there will be none; those that wait for
            // a stop get it.
            self.refuse_start_waiters(rank, &RequestError::ShuttingDown);
            self.drop_waiting_spare(rank);
            match self.children.get(rank).map(|child| &child.state) {
                Some(ChildState::BackingOff { .. } | ChildState::CoolingOff { .. }) => {
                    self.disarm(rank);
                    if !self.wait_for_second(rank, AfterStop::Stay) {
                        self.set_down(rank, ended());
                    }
                }
                // Children that are stopping already keep what follows for them.
                Some(ChildState::Starting | ChildState::Ready) if self.flags.dynamic => {
                    self.stop(rank, AfterStop::Stay)
                }
                _ => {}
            }
        }
        self.advance_stop();
    }

    pub(super) fn advance_stop(&mut self) {
        loop {
            let MachinePhase::Stopping { cursor, .. } = &mut self.phase else { return };
            let Some((rank, child)) = self.children.range(..*cursor).next_back() else { break };
            match child.state {
                ChildState::Stopping => return,
                ChildState::Starting | ChildState::Ready => return self.stop(rank, AfterStop::Stay),
                _ => *cursor = rank,
            }
        }
        if let MachinePhase::Stopping { exit, .. } = std::mem::replace(&mut self.phase, MachinePhase::Exited)
        {
            self.out.push(Action::Exit(exit));
        }
    }

    /// S-24: a significant child has ended by itself. Whether the supervisor ends with it.
    pub(super) fn auto_shutdown(&mut self, child: ChildId) -> bool {
        let end = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                let mut others = self.children.iter().filter(|(_, c)| c.policy.significant && c.id != child);
                !others.any(|(rank, c)| self.is_here_to_stay(rank, c))
            }
        };
        if end {
            self.begin_stop(Exit::AutoShutdown { child });
        }
        end
    }

    /// S-24: a restarting child counts as alive; one stopped by hand counts as gone, even before it
    /// is down.
    fn is_here_to_stay(&self, rank: Rank, child: &Child) -> bool {
        match (&child.state, child.after) {
            (ChildState::Stopping, AfterStop::Forget) => false,
            (ChildState::Stopping, AfterStop::Settle) => {
                !child.settles_as.as_deref().is_some_and(ChildState::is_down)
            }
            (ChildState::Down { why: DownReason::Idle }, _) => true,
            (ChildState::Stopping, AfterStop::Stay) => {
                // The group restart that waits for its end starts it again.
                self.pass_comes_to(rank) && !child.is_temporary() && !child.is_left_alone()
            }
            (ChildState::Down { .. }, _) => self.pass_will_start(rank),
            _ => true,
        }
    }
}
