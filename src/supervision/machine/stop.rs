//! Giving up and shutting down: children in reverse order, each awaited; all at once if the supervisor is dynamic.

use super::{Action, Machine, Ord, RequestError, Waiter, child::After, ended};
use crate::{
    event::EventKind,
    exit::Exit,
    id::ChildId,
    supervision::policy::{AutoShutdown, Shutdown},
    time::At,
    vocabulary::{Down, State},
};

/// What the supervisor as a whole is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not booted.
    Idle,
    /// Its own start is under way.
    Starting,
    /// Its own start is over.
    Running,
    /// It stops its children and will exit.
    Stopping {
        exit: Exit,
        /// Children above this position have ended.
        cursor: Ord,
        /// Children get no more time.
        brutal: bool,
    },
    /// It has no live child and has said so.
    Exited,
}

impl Phase {
    /// The way in which a child is stopped in this phase.
    pub(super) fn harden(&self, shutdown: Shutdown) -> Shutdown {
        match self {
            Phase::Stopping { brutal: true, .. } => Shutdown::BrutalKill,
            _ => shutdown,
        }
    }
}

impl Machine {
    pub(super) fn is_booting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    pub(super) fn shutdown(&mut self, _now: At) {
        if !self.is_stopping() {
            self.begin_stop(Exit::Requested);
        }
    }

    pub(super) fn kill(&mut self, now: At) {
        self.shutdown(now);
        let Phase::Stopping { brutal, .. } = &mut self.phase else { return };
        if !std::mem::replace(brutal, true) {
            for child in self.children.values().filter(|c| c.state == State::Stopping) {
                self.out.push(Action::Stop(child.key(), Shutdown::BrutalKill));
            }
        }
    }

    /// From here on nothing is started.
    pub(super) fn begin_stop(&mut self, exit: Exit) {
        if self.is_stopping() {
            return;
        }
        self.drop_pass();
        self.out.push(Action::Publish(None, EventKind::Stopping { exit: exit.clone() }));
        self.phase = Phase::Stopping { exit, cursor: Ord::MAX, brutal: false };
        let waiting: Vec<Ord> =
            self.children.iter().filter(|(_, c)| c.state.is_restarting()).map(|(ord, _)| *ord).collect();
        for ord in waiting {
            self.disarm(ord);
            self.settle(ord, ended());
        }
        // Whoever waits for a start learns now that there will be none; whoever waits for a stop gets it.
        for child in self.children.values_mut() {
            let out = &mut self.out;
            child.waiters.retain(|waiter| match waiter {
                Waiter::Verdict(id) => {
                    out.push(Action::Reply(*id, Err(RequestError::ShuttingDown)));
                    false
                }
                Waiter::Gone(_) => true,
            });
        }
        if self.flags.dynamic {
            let alive: Vec<Ord> =
                self.children.iter().filter(|(_, c)| c.state.is_alive()).map(|(o, _)| *o).collect();
            for ord in alive {
                self.stop(ord, After::Stay);
            }
        }
        self.advance_stop();
    }

    pub(super) fn advance_stop(&mut self) {
        loop {
            let Phase::Stopping { cursor, .. } = &mut self.phase else { return };
            let Some((&ord, child)) = self.children.range(..*cursor).next_back() else { break };
            match child.state {
                State::Stopping => return,
                State::Starting | State::Ready => return self.stop(ord, After::Stay),
                _ => *cursor = ord,
            }
        }
        if let Phase::Stopping { exit, .. } = std::mem::replace(&mut self.phase, Phase::Exited) {
            self.out.push(Action::Exit(exit));
        }
    }

    /// S-24: a significant child has ended by itself. Whether the supervisor ends with it.
    pub(super) fn auto_shutdown(&mut self, child: ChildId) -> bool {
        let end = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self.children.values().filter(|c| c.id != child).any(|c| {
                // What a group restart is about to bring back is not gone.
                let coming =
                    c.state == State::down(Down::NeverStarted) || (self.pass.is_some() && c.joins_pass());
                let gone = c.state.is_down() && !coming;
                c.policy.significant && !gone
            }),
        };
        if end {
            self.begin_stop(Exit::AutoShutdown { child });
        }
        end
    }
}
