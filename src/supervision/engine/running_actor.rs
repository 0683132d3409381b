//! The actor of an incarnation: [`RunningActor`].

use std::{pin::Pin, sync::Arc};

use ractor::{ActorCell, concurrency::JoinHandle};

use super::cancel::StopLevel;
use crate::{
    clock::TreeInstant,
    exit::Exit,
    supervision::{
        child_policy::Shutdown,
        node::LiveAttachment,
        start::{StopHandle, StopRequest},
    },
};

/// An incarnation's actor.
pub(crate) struct RunningActor {
    pub(super) cell: ActorCell,
    join: JoinHandle<()>,
    pub(super) joined: bool,
    pub(super) stop: StopHandle,
    /// `None` once the incarnation is live.
    pub(super) attachment: Option<Arc<dyn LiveAttachment>>,
    pub(super) stop_cause: Option<StopCause>,
    /// The deadline of the stop, as the actor was told.
    pub(super) told_deadline: Option<TreeInstant>,
}

/// Why the actor has to stop. If there is such a reason, the cause that the actor reports does not
/// count.
pub(super) enum StopCause {
    /// It was asked to.
    Requested,
    /// It was asked to, and took too long.
    TimedOut,
    /// It did not become ready.
    StartFailed(Box<Exit>),
}

impl StopCause {
    pub(super) fn exit(self) -> Exit {
        match self {
            StopCause::Requested => Exit::Requested,
            StopCause::TimedOut => Exit::ActorKilled,
            StopCause::StartFailed(exit) => *exit,
        }
    }
}

impl RunningActor {
    pub(crate) fn new(
        cell: ActorCell,
        join: JoinHandle<()>,
        stop: StopHandle,
        attachment: Option<Arc<dyn LiveAttachment>>,
    ) -> RunningActor {
        RunningActor { cell, join, joined: false, stop, attachment, stop_cause: None, told_deadline: None }
    }

    pub(crate) fn kill(&self) {
        self.cell.kill();
    }

    pub(crate) fn kill_because(&mut self, exit: Exit) {
        self.stop_cause = Some(StopCause::StartFailed(Box::new(exit)));
        self.kill();
    }

    /// Returns when the state of the actor has been dropped. May be called again afterwards.
    pub(crate) async fn join(&mut self) {
        if !self.joined {
            // An error says that the task of the actor was aborted or panicked; the cause arrives
            // elsewhere.
            let _ = Pin::new(&mut self.join).await;
            self.joined = true;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.joined || self.join.is_finished()
    }

    pub(super) fn ask_to_stop(&mut self, deadline: Option<TreeInstant>) {
        self.told_deadline = deadline;
        self.stop.ask(&self.cell, StopRequest { deadline });
    }

    /// Stops the actor at this level. Returns when it is to be killed.
    pub(super) fn stop(
        &mut self,
        level: StopLevel,
        now: TreeInstant,
        deadline: Option<TreeInstant>,
    ) -> Option<TreeInstant> {
        let mode = match level {
            StopLevel::Live => return None,
            StopLevel::Kill => {
                self.stop_cause.get_or_insert(StopCause::Requested);
                self.kill();
                return None;
            }
            StopLevel::Stop(mode) => mode,
        };
        self.stop_cause.get_or_insert(StopCause::Requested);
        let stop_deadline = match mode {
            Shutdown::Timeout(time) => Some(now.after(time)),
            _ => None,
        };
        self.ask_to_stop(stop_deadline.into_iter().chain(deadline).min());
        stop_deadline
    }
}
