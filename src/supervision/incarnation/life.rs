//! An incarnation as its engine keeps it: [`Life`], and the actor that it has, [`Born`].
//!
//! Nothing here waits. A life is looked at when its bell rings, and says when nothing of it is left.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Waker},
};

use ractor::{ActorCell, ActorId, concurrency::JoinHandle};
use tokio::task::unconstrained;

use super::{Estate, Order, Orders};
use crate::{
    exit::Exit,
    id::Incarnation,
    supervision::{
        panics::discard,
        place::{Attachment, Live, Place},
        policy::Shutdown,
        remains::{Gone, Remains},
        start::{Scope, StopHandle, StopRequest},
    },
    time::At,
};

/// How an incarnation ended, as far as can be known without its actor's own cause.
#[derive(Debug)]
pub(crate) enum End {
    /// For this reason.
    Exit(Exit),
    /// The cause is in the supervision event of this actor, unless it was asked to end: then it is the exit.
    Actor(ActorId, Option<Exit>),
}

/// One life of a child.
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    order: Order,
    /// When it is killed, if it has not ended by then. The engine's timer is armed for that moment.
    patience: Option<At>,
    stage: Stage,
    /// The task of a start that goes on has it.
    gone: Option<Gone>,
}

enum Stage {
    /// Its start goes on in a task of its own.
    Starting(Orders),
    /// It has an actor, or has had one.
    Born(Born),
    /// It never had one.
    Failed(Box<Exit>),
}

impl Life {
    /// Of a start that goes on.
    pub(crate) fn starting(incarnation: Incarnation, orders: Orders) -> Life {
        let stage = Stage::Starting(orders);
        Life { incarnation, order: Order::Live, patience: None, stage, gone: None }
    }

    /// Of a start that is over.
    pub(crate) fn begun(incarnation: Incarnation, born: Result<Born, Exit>, gone: Gone) -> Life {
        let stage = match born {
            Ok(born) => Stage::Born(born),
            Err(exit) => Stage::Failed(Box::new(exit)),
        };
        Life { incarnation, order: Order::Live, patience: None, stage, gone: Some(gone) }
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.stage, Stage::Starting(_))
    }

    pub(crate) fn patience(&self) -> Option<At> {
        self.patience
    }

    /// Its start is over. What it has been told meanwhile it is told again.
    pub(crate) fn delivered(
        &mut self,
        born: Result<Born, Exit>,
        gone: Gone,
        place: &Place,
        now: At,
        deadline: Option<At>,
    ) {
        let order = self.order;
        *self = Life::begun(self.incarnation, born, gone);
        self.obey(order, place, now, deadline);
    }

    /// It is ready: from now on messages and calls reach it.
    pub(crate) fn admit(&mut self, place: &Place, now: At) {
        if let Stage::Born(born) = &mut self.stage
            && !born.has_ended()
        {
            let (incarnation, cell) = (self.incarnation, born.cell.clone());
            place.admit(Live { incarnation, cell, attachment: born.attachment.take() }, now);
        }
    }

    /// Gives an order, unless it has one that is as hard. It is told of the `deadline` of its supervisor's own stop, if there
    /// is one and its time to end is not over before.
    pub(crate) fn obey(&mut self, order: Order, place: &Place, now: At, deadline: Option<At>) {
        if !self.order.harden(order) {
            return;
        }
        self.patience = None;
        match &mut self.stage {
            Stage::Starting(orders) => orders.cancel(),
            // One that has ended by itself need not be asked, and its own cause counts: its bell rings.
            Stage::Born(born) if !born.has_ended() => {
                // From here on nobody reaches it.
                place.retract(self.incarnation);
                self.patience = born.obey(order, now, deadline);
            }
            Stage::Born(_) | Stage::Failed(_) => {}
        }
    }

    /// Tells one that is stopping of a nearer deadline.
    pub(crate) fn hasten(&mut self, deadline: At) {
        if let (Order::Stop(_), Stage::Born(born)) = (self.order, &mut self.stage)
            && !born.has_ended()
            && born.told.is_none_or(|told| deadline < told)
        {
            born.tell(Some(deadline));
        }
    }

    /// Its patience is over.
    pub(crate) fn lose_patience(&mut self) {
        self.patience = None;
        if let Stage::Born(born) = &mut self.stage
            && !born.has_ended()
        {
            born.asked = Some(Asked::Impatiently);
            born.kill();
        }
    }

    /// Its supervisor reads no events any more: its actor's state, which comes with one, is not to lie there.
    pub(crate) fn unlink(&self, supervisor: &ActorCell) {
        if let Stage::Born(born) = &self.stage {
            born.cell.unlink(supervisor.clone());
        }
    }

    /// Whether nothing of it is left. If there is, the bell rings when it is worth another look.
    pub(crate) fn is_gone(&mut self, place: &Place, bell: &Waker) -> bool {
        let cx = &mut Context::from_waker(bell);
        match &mut self.stage {
            Stage::Starting(_) => return false,
            Stage::Born(born) if born.joined => {}
            Stage::Born(born) => {
                // The budget of the supervisor's task is not to be spent here: it would ring the bell for nothing.
                if pin!(unconstrained(born.join())).poll(cx).is_pending() {
                    return false;
                }
                place.retract(self.incarnation);
            }
            Stage::Failed(_) => {}
        }
        self.gone.as_ref().is_none_or(|gone| gone.poll(cx).is_ready())
    }

    /// Whether its actor has been seen to end.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(&self.stage, Stage::Born(born) if born.joined)
    }

    /// How it ended, when it is gone.
    pub(crate) fn end(self) -> End {
        match self.stage {
            Stage::Born(Born { cell, asked, stop, attachment, .. }) => {
                discard(stop);
                discard(attachment);
                End::Actor(cell.get_id(), asked.map(Asked::exit))
            }
            Stage::Failed(exit) => End::Exit(*exit),
            Stage::Starting(_) => End::Exit(Exit::Requested),
        }
    }

    /// Its engine is gone.
    pub(crate) fn abandon(self, place: &Place, scope: &Scope, supervisor: &Remains) {
        let born = match self.stage {
            // The task of its start makes an end of it; it hears of this by the drop of its orders.
            Stage::Starting(_) => return,
            Stage::Born(born) => Some(born),
            Stage::Failed(_) => None,
        };
        let Some(gone) = self.gone else { return };
        let (place, scope, supervisor) = (place.clone(), scope.clone(), supervisor.clone());
        Estate { incarnation: self.incarnation, place, scope, gone, supervisor }.abandon(born);
    }
}

/// An incarnation's actor.
pub(crate) struct Born {
    cell: ActorCell,
    join: JoinHandle<()>,
    joined: bool,
    stop: StopHandle,
    /// Until it is admitted.
    attachment: Option<Arc<dyn Attachment>>,
    asked: Option<Asked>,
    /// The deadline of its stop that it knows of.
    told: Option<At>,
}

/// Why it has to end: then its own cause does not count.
enum Asked {
    /// Somebody wants it.
    Kindly,
    /// It was asked kindly, and took too long.
    Impatiently,
    /// It did not become ready.
    Because(Box<Exit>),
}

impl Asked {
    fn exit(self) -> Exit {
        match self {
            Asked::Kindly => Exit::Requested,
            Asked::Impatiently => Exit::ActorKilled,
            Asked::Because(exit) => *exit,
        }
    }
}

impl Born {
    pub(crate) fn new(
        cell: ActorCell,
        join: JoinHandle<()>,
        stop: StopHandle,
        attachment: Option<Arc<dyn Attachment>>,
    ) -> Born {
        Born { cell, join, joined: false, stop, attachment, asked: None, told: None }
    }

    pub(crate) fn kill(&self) {
        self.cell.kill();
    }

    pub(crate) fn kill_because(&mut self, exit: Exit) {
        self.asked = Some(Asked::Because(Box::new(exit)));
        self.kill();
    }

    /// Returns when the actor's state has been dropped. May be called again afterwards.
    pub(crate) async fn join(&mut self) {
        if !self.joined {
            // An error says that the actor's task was aborted or has panicked; its cause is told elsewhere.
            let _ = Pin::new(&mut self.join).await;
            self.joined = true;
        }
    }

    fn has_ended(&self) -> bool {
        self.joined || self.join.is_finished()
    }

    fn tell(&mut self, deadline: Option<At>) {
        self.told = deadline;
        self.stop.ask(&self.cell, StopRequest { deadline });
    }

    /// Does what is ordered, and says when patience ends.
    fn obey(&mut self, order: Order, now: At, deadline: Option<At>) -> Option<At> {
        let mode = match order {
            Order::Live => return None,
            Order::Kill => {
                self.asked.get_or_insert(Asked::Kindly);
                self.kill();
                return None;
            }
            Order::Stop(mode) => mode,
        };
        self.asked.get_or_insert(Asked::Kindly);
        let patience = match mode {
            Shutdown::Timeout(time) => Some(now.after(time)),
            _ => None,
        };
        self.tell(patience.into_iter().chain(deadline).min());
        patience
    }
}
