//! An incarnation as its engine keeps it: [`SupervisedIncarnation`].
//!
//! Nothing here waits. A life is looked at when its bell rings, and says when nothing of it is left.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use ractor::{ActorCell, ActorId};
use tokio::task::unconstrained;

use super::{
    abandoned::AbandonedIncarnation,
    cancel::{StartCancel, StopLevel},
    running_actor::{RunningActor, StopCause},
};
use crate::{
    exit::Exit,
    id::Incarnation,
    supervision::{
        incarnation_token::{IncarnationClosed, IncarnationToken},
        node::{LiveIncarnation, Node},
        panics::discard,
        tree_context::TreeContext,
    },
    time::Timestamp,
};

/// How an incarnation ended, as far as can be known without its actor's own cause.
#[derive(Debug)]
pub(crate) enum IncarnationEnd {
    /// For this reason.
    Exit(Exit),
    /// The cause is in the supervision event of this actor, unless it was asked to end: then it is the exit.
    Actor(ActorId, Option<Exit>),
}

/// One life of a child.
pub(crate) struct SupervisedIncarnation {
    pub(crate) incarnation: Incarnation,
    order: StopLevel,
    /// When it is killed, if it has not ended by then. The engine's timer is armed for that moment.
    patience: Option<Timestamp>,
    stage: IncarnationStage,
    /// The task of a start that goes on has it.
    gone: Option<IncarnationClosed>,
}

enum IncarnationStage {
    /// Its start goes on in a task of its own.
    Starting(StartCancel),
    /// It has an actor, or has had one.
    Born(RunningActor),
    /// It never had one.
    Failed(Box<Exit>),
}

impl SupervisedIncarnation {
    /// Of a start that goes on.
    pub(crate) fn starting(incarnation: Incarnation, orders: StartCancel) -> SupervisedIncarnation {
        let stage = IncarnationStage::Starting(orders);
        SupervisedIncarnation { incarnation, order: StopLevel::Live, patience: None, stage, gone: None }
    }

    /// Of a start that is over.
    pub(crate) fn begun(
        incarnation: Incarnation,
        running: Result<RunningActor, Exit>,
        gone: IncarnationClosed,
    ) -> SupervisedIncarnation {
        let stage = match running {
            Ok(running) => IncarnationStage::Born(running),
            Err(exit) => IncarnationStage::Failed(Box::new(exit)),
        };
        SupervisedIncarnation { incarnation, order: StopLevel::Live, patience: None, stage, gone: Some(gone) }
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.stage, IncarnationStage::Starting(_))
    }

    pub(crate) fn patience(&self) -> Option<Timestamp> {
        self.patience
    }

    /// Its start is over. What it has been told meanwhile it is told again.
    pub(crate) fn delivered(
        &mut self,
        running: Result<RunningActor, Exit>,
        gone: IncarnationClosed,
        node: &Node,
        now: Timestamp,
        deadline: Option<Timestamp>,
    ) {
        let order = self.order;
        *self = SupervisedIncarnation::begun(self.incarnation, running, gone);
        self.obey(order, node, now, deadline);
    }

    /// It is ready: from now on messages and calls reach it.
    pub(crate) fn admit(&mut self, node: &Node, now: Timestamp) {
        if let IncarnationStage::Born(running) = &mut self.stage
            && !running.has_ended()
        {
            let (incarnation, cell) = (self.incarnation, running.cell.clone());
            node.admit(LiveIncarnation { incarnation, cell, attachment: running.attachment.take() }, now);
        }
    }

    /// Gives an order, unless it has one that is as hard. It is told of the `deadline` of its supervisor's own stop, if there
    /// is one and its time to end is not over before.
    pub(crate) fn obey(
        &mut self,
        order: StopLevel,
        node: &Node,
        now: Timestamp,
        deadline: Option<Timestamp>,
    ) {
        if !self.order.harden(order) {
            return;
        }
        self.patience = None;
        match &mut self.stage {
            IncarnationStage::Starting(orders) => orders.cancel(),
            // One that has ended by itself need not be asked, and its own cause counts: its bell rings.
            IncarnationStage::Born(running) if !running.has_ended() => {
                // From here on nobody reaches it.
                node.retract(self.incarnation);
                self.patience = running.obey(order, now, deadline);
            }
            IncarnationStage::Born(_) | IncarnationStage::Failed(_) => {}
        }
    }

    /// Tells one that is stopping of a nearer deadline.
    pub(crate) fn hasten(&mut self, deadline: Timestamp) {
        if let (StopLevel::Stop(_), IncarnationStage::Born(running)) = (self.order, &mut self.stage)
            && !running.has_ended()
            && running.told.is_none_or(|told| deadline < told)
        {
            running.tell(Some(deadline));
        }
    }

    /// Its patience is over.
    pub(crate) fn enforce_stop_deadline(&mut self) {
        self.patience = None;
        if let IncarnationStage::Born(running) = &mut self.stage
            && !running.has_ended()
        {
            running.asked = Some(StopCause::Impatiently);
            running.kill();
        }
    }

    /// Its supervisor reads no events any more: its actor's state, which comes with one, is not to lie there.
    pub(crate) fn unlink(&self, supervisor: &ActorCell) {
        if let IncarnationStage::Born(running) = &self.stage {
            running.cell.unlink(supervisor.clone());
        }
    }

    /// Whether nothing of it is left. If there is, the bell rings when it is worth another look.
    pub(crate) fn is_gone(&mut self, node: &Node, waker: &Waker) -> bool {
        let cx = &mut Context::from_waker(waker);
        match &mut self.stage {
            IncarnationStage::Starting(_) => return false,
            IncarnationStage::Born(running) if running.joined => {}
            IncarnationStage::Born(running) => {
                // The budget of the supervisor's task is not to be spent here: it would ring the bell for nothing.
                if pin!(unconstrained(running.join())).poll(cx).is_pending() {
                    return false;
                }
                node.retract(self.incarnation);
            }
            IncarnationStage::Failed(_) => {}
        }
        self.gone.as_ref().is_none_or(|gone| gone.poll(cx).is_ready())
    }

    /// Whether its actor has been seen to end.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(&self.stage, IncarnationStage::Born(running) if running.joined)
    }

    /// How it ended, when it is gone.
    pub(crate) fn end(self) -> IncarnationEnd {
        match self.stage {
            IncarnationStage::Born(RunningActor { cell, asked, stop, attachment, .. }) => {
                discard(stop);
                discard(attachment);
                IncarnationEnd::Actor(cell.get_id(), asked.map(StopCause::exit))
            }
            IncarnationStage::Failed(exit) => IncarnationEnd::Exit(*exit),
            IncarnationStage::Starting(_) => IncarnationEnd::Exit(Exit::Requested),
        }
    }

    /// Its engine is gone.
    pub(crate) fn abandon(self, node: &Node, scope: &TreeContext, supervisor: &IncarnationToken) {
        let running = match self.stage {
            // The task of its start makes an end of it; it hears of this by the drop of its orders.
            IncarnationStage::Starting(_) => return,
            IncarnationStage::Born(running) => Some(running),
            IncarnationStage::Failed(_) => None,
        };
        let Some(gone) = self.gone else { return };
        let (node, scope, supervisor) = (node.clone(), scope.clone(), supervisor.clone());
        AbandonedIncarnation { incarnation: self.incarnation, node, scope, gone, supervisor }
            .abandon(running);
    }
}
