//! An incarnation as its engine keeps it: [`IncarnationEntry`].
//!
//! Nothing here waits. The engine polls an incarnation when its child waker fires, and learns when
//! nothing of it is left.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use ractor::{ActorCell, ActorId};
use tokio::task::unconstrained;

use super::{
    cancel::{StartCancel, StopLevel},
    incarnation_cleanup::IncarnationCleanup,
    running_actor::{RunningActor, StopCause},
};
use crate::{
    clock::TreeInstant,
    exit::Exit,
    id::Incarnation,
    supervision::{
        incarnation_wait_group::{IncarnationClosedFuture, IncarnationWaitGroup},
        node::{LiveIncarnation, Node},
        panics::discard,
        tree_context::TreeContext,
    },
};

/// How an incarnation ended, as far as is known without the cause that its actor reports.
#[derive(Debug)]
pub(crate) enum IncarnationEnd {
    /// With this exit.
    Exit(Exit),
    /// The cause arrives as the supervision event of this actor. If the actor was asked to stop,
    /// the exit is already known.
    Actor(ActorId, Option<Exit>),
}

/// One incarnation of a child.
pub(crate) struct IncarnationEntry {
    pub(crate) incarnation: Incarnation,
    stop_level: StopLevel,
    /// When it is killed if it has not ended by then. The engine sets its timer task for that time.
    stop_deadline: Option<TreeInstant>,
    stage: IncarnationStage,
    /// `None` while the task of its start has it.
    closed: Option<IncarnationClosedFuture>,
}

enum IncarnationStage {
    /// Its start goes on in a task of its own.
    Starting(StartCancel),
    /// It has an actor, or has had one.
    Running(RunningActor),
    /// It never had an actor.
    Failed(Box<Exit>),
}

impl IncarnationEntry {
    /// For a start that goes on in a task of its own.
    pub(crate) fn starting(incarnation: Incarnation, cancel: StartCancel) -> IncarnationEntry {
        let stage = IncarnationStage::Starting(cancel);
        IncarnationEntry {
            incarnation,
            stop_level: StopLevel::Live,
            stop_deadline: None,
            stage,
            closed: None,
        }
    }

    /// For a start that has finished.
    pub(crate) fn started(
        incarnation: Incarnation,
        running: Result<RunningActor, Exit>,
        closed: IncarnationClosedFuture,
    ) -> IncarnationEntry {
        let stage = match running {
            Ok(running) => IncarnationStage::Running(running),
            Err(exit) => IncarnationStage::Failed(Box::new(exit)),
        };
        IncarnationEntry {
            incarnation,
            stop_level: StopLevel::Live,
            stop_deadline: None,
            stage,
            closed: Some(closed),
        }
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.stage, IncarnationStage::Starting(_))
    }

    pub(crate) fn stop_deadline(&self) -> Option<TreeInstant> {
        self.stop_deadline
    }

    /// Its start has finished. If it has been told to stop meanwhile, the actor is told now.
    pub(crate) fn start_finished(
        &mut self,
        running: Result<RunningActor, Exit>,
        closed: IncarnationClosedFuture,
        node: &Node,
        now: TreeInstant,
        deadline: Option<TreeInstant>,
    ) {
        let level = self.stop_level;
        *self = IncarnationEntry::started(self.incarnation, running, closed);
        self.raise_stop_level(level, node, now, deadline);
    }

    /// It is ready: from now on messages and calls reach it.
    pub(crate) fn make_live(&mut self, node: &Node, now: TreeInstant) {
        if let IncarnationStage::Running(running) = &mut self.stage
            && !running.has_ended()
        {
            let (incarnation, cell) = (self.incarnation, running.cell.clone());
            node.make_live(LiveIncarnation { incarnation, cell, attachment: running.attachment.take() }, now);
        }
    }

    /// Tells it to stop, unless it has been told to stop as firmly before. It is told the
    /// `deadline` of its supervisor's own stop if that comes before its own.
    pub(crate) fn raise_stop_level(
        &mut self,
        level: StopLevel,
        node: &Node,
        now: TreeInstant,
        deadline: Option<TreeInstant>,
    ) {
        if !self.stop_level.harden(level) {
            return;
        }
        self.stop_deadline = None;
        match &mut self.stage {
            IncarnationStage::Starting(cancel) => cancel.cancel(),
            // One that has ended by itself is not asked, and its own cause counts. Its waker fires.
            IncarnationStage::Running(running) if !running.has_ended() => {
                // From here on nothing reaches it.
                node.retract(self.incarnation);
                self.stop_deadline = running.stop(level, now, deadline);
            }
            IncarnationStage::Running(_) | IncarnationStage::Failed(_) => {}
        }
    }

    /// Tells an incarnation that is stopping of an earlier deadline.
    pub(crate) fn shorten_stop(&mut self, deadline: TreeInstant) {
        if let (StopLevel::Stop(_), IncarnationStage::Running(running)) = (self.stop_level, &mut self.stage)
            && !running.has_ended()
            && running.told_deadline.is_none_or(|told| deadline < told)
        {
            running.ask_to_stop(Some(deadline));
        }
    }

    /// Its time to stop is over.
    pub(crate) fn enforce_stop_deadline(&mut self) {
        self.stop_deadline = None;
        if let IncarnationStage::Running(running) = &mut self.stage
            && !running.has_ended()
        {
            running.stop_cause = Some(StopCause::TimedOut);
            running.kill();
        }
    }

    /// Its supervisor no longer reads events. An event holds the state of its actor, which must not
    /// stay in the mailbox.
    pub(crate) fn unlink(&self, supervisor: &ActorCell) {
        if let IncarnationStage::Running(running) = &self.stage {
            running.cell.unlink(supervisor.clone());
        }
    }

    /// Whether nothing of it is left. If something is, the waker fires when it is worth checking
    /// again.
    pub(crate) fn is_closed(&mut self, node: &Node, waker: &Waker) -> bool {
        let cx = &mut Context::from_waker(waker);
        match &mut self.stage {
            IncarnationStage::Starting(_) => return false,
            IncarnationStage::Running(running) if running.joined => {}
            IncarnationStage::Running(running) => {
                // This must not use up the tokio budget of the supervisor's task, or the waker
                // would fire without reason.
                if pin!(unconstrained(running.join())).poll(cx).is_pending() {
                    return false;
                }
                node.retract(self.incarnation);
            }
            IncarnationStage::Failed(_) => {}
        }
        self.closed.as_ref().is_none_or(|closed| closed.poll(cx).is_ready())
    }

    /// Whether its actor is known to have ended.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(&self.stage, IncarnationStage::Running(running) if running.joined)
    }

    /// How it ended, once it is closed.
    pub(crate) fn end(self) -> IncarnationEnd {
        match self.stage {
            IncarnationStage::Running(RunningActor { cell, stop_cause, stop, attachment, .. }) => {
                discard(stop);
                discard(attachment);
                IncarnationEnd::Actor(cell.get_id(), stop_cause.map(StopCause::exit))
            }
            IncarnationStage::Failed(exit) => IncarnationEnd::Exit(*exit),
            IncarnationStage::Starting(_) => IncarnationEnd::Exit(Exit::Requested),
        }
    }

    /// Ends it without its engine.
    pub(crate) fn abandon(self, node: &Node, tree: &TreeContext, supervisor: &IncarnationWaitGroup) {
        let running = match self.stage {
            // The task of its start ends it; dropping the [`StartCancel`] tells that task.
            IncarnationStage::Starting(_) => return,
            IncarnationStage::Running(running) => Some(running),
            IncarnationStage::Failed(_) => None,
        };
        let Some(closed) = self.closed else { return };
        let (node, tree, supervisor) = (node.clone(), tree.clone(), supervisor.clone());
        IncarnationCleanup { incarnation: self.incarnation, node, tree, closed, supervisor }.end(running);
    }
}
