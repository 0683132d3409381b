//! The incarnation that can be reached at a node: [`LiveIncarnation`], what a start attaches to it,
//! and what it contributes to a snapshot.

use std::{
    any::Any,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use ractor::ActorCell;

use super::Node;
use crate::{
    clock::TreeInstant,
    id::Incarnation,
    log_event_macro::log_event,
    snapshot::{SecondSnapshot, WorkerSnapshot},
    state::{ChildState, SecondIncarnationRole},
    supervision::{
        machine::IncarnationKey,
        panics::{catch_panic, discard},
    },
};

/// The live incarnation of a child.
#[derive(Debug)]
pub struct LiveIncarnation {
    /// Its number.
    pub incarnation: Incarnation,
    /// Its actor.
    pub cell: ActorCell,
    /// What the start attached to it, such as the channel of a worker.
    pub attachment: Option<Arc<dyn LiveAttachment>>,
}

/// Something that a start publishes together with the live incarnation.
pub trait LiveAttachment: Any + Send + Sync + fmt::Debug {
    /// For downcasts.
    fn as_any(&self) -> &(dyn Any + Send + Sync);

    /// Called when nothing reaches the incarnation from now on, on the thread that noticed it
    /// first. It must not block.
    fn retracted(&self) {}
}

/// What a worker contributes to a snapshot.
pub(crate) trait WorkerSnapshotSource: Any + Send + Sync + fmt::Debug {
    /// For downcasts.
    fn as_any(&self) -> &(dyn Any + Send + Sync);

    /// The current figures. Must not block; reading a file that the kernel provides is the most
    /// that is acceptable.
    fn worker(&self, now: TreeInstant) -> WorkerSnapshot;

    /// The last lines that the process of the newest ended incarnation wrote to stderr; empty if it
    /// wrote none.
    fn stderr_tail(&self) -> String {
        String::new()
    }
}

impl Node {
    /// Makes this incarnation live: from now on messages and calls reach it, and the state is
    /// *ready*. Does nothing if it has begun to end meanwhile.
    pub(crate) fn make_live(&self, live: LiveIncarnation, at: TreeInstant) {
        let before = {
            let mut status = self.status();
            if status.retracted >= live.incarnation {
                return;
            }
            self.0.unannounced.store(true, Ordering::Release);
            status.set_state(ChildState::Ready, at);
            self.0.live.swap(Some(Arc::new(live)))
        };
        // The one that it takes the place of, in a swap or as a spare.
        if let Some(before) = before {
            self.tell_retracted(before);
        }
    }

    /// The live incarnation begins to end by itself: it still answers, but callers that wait for
    /// readiness from now on wait for the next one.
    pub(crate) fn mark_closing(&self, incarnation: Incarnation) {
        self.0.closing.store(incarnation.0, Ordering::Release);
    }

    /// The process or the channel of this incarnation has ended: from now on nothing reaches it. If it
    /// was live and has a spare, its supervisor is told, so that the spare takes its place (W-6).
    pub(crate) fn retract_failing(&self, incarnation: Incarnation) {
        let is_spare = |second: &SecondSnapshot| second.role == SecondIncarnationRole::Spare;
        let has_spare = self.status().second.as_deref().is_some_and(is_spare);
        if self.retract(incarnation)
            && has_spare
            && let Ok((child, engine)) = self.child_and_controller()
        {
            engine.failing(IncarnationKey { child, incarnation });
        }
    }

    /// From now on nothing reaches this incarnation. Returns whether it was live.
    pub(crate) fn retract(&self, incarnation: Incarnation) -> bool {
        let live = {
            let mut status = self.status();
            // Several threads may notice an end, and the last of them may be late.
            status.retracted = status.retracted.max(incarnation);
            let is_live = self.load_live().as_ref().is_some_and(|live| live.incarnation == incarnation);
            if is_live { self.0.live.swap(None) } else { None }
        };
        let Some(live) = live else { return false };
        self.tell_retracted(live);
        true
    }

    /// Nothing reaches this incarnation any longer.
    fn tell_retracted(&self, live: Arc<LiveIncarnation>) {
        // It may hold an attachment that is code of the user.
        let told = catch_panic("`LiveAttachment::retracted`", || {
            live.attachment.iter().for_each(|attachment| attachment.retracted());
        });
        if let Err(panicked) = told {
            log_event!(warn, self.path(), live.incarnation, "{panicked}");
        }
        discard(live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, state::DownReason};

    struct Idle;

    #[cfg_attr(feature = "async-trait", ractor::async_trait)]
    impl ractor::Actor for Idle {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_to_end_is_not_admitted() {
        // E-5: its end may be known before its supervisor has heard that it was ready.
        let node = Node::root(Clock::start());
        let (actor, join) = ractor::Actor::spawn(None, Idle, ()).await.unwrap();
        let live =
            |n| LiveIncarnation { incarnation: Incarnation(n), cell: actor.get_cell(), attachment: None };
        node.retract(Incarnation(1));
        node.make_live(live(1), TreeInstant::EPOCH);
        assert!(node.live().is_none());
        assert_eq!(node.state(), ChildState::down(DownReason::NeverStarted));
        // The next one has nothing to do with that.
        node.make_live(live(2), TreeInstant::EPOCH);
        node.retract(Incarnation(1));
        assert_eq!(node.live().map(|live| live.incarnation), Some(Incarnation(2)));
        assert_eq!(node.state(), ChildState::Ready);
        node.retract(Incarnation(2));
        assert!(node.live().is_none());
        // A late notice of an earlier end does not hide that of the present one.
        node.retract(Incarnation(3));
        node.retract(Incarnation(2));
        node.make_live(live(3), TreeInstant::EPOCH);
        assert!(node.live().is_none());
        actor.stop(None);
        join.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_seen_by_waiters_only_after_its_event() {
        // E-5
        let node = Node::root(Clock::start());
        node.set_state(ChildState::Ready, TreeInstant::EPOCH);
        let waits = node.wait_state(|state| *state == ChildState::Ready);
        let mut waits = std::pin::pin!(waits);
        assert!(at_once(waits.as_mut()).await.is_none(), "its event is not out");
        node.notify_waiters();
        assert_eq!(waits.await, ChildState::Ready);
    }

    /// The result, if it is there already.
    async fn at_once<F: Future>(future: F) -> Option<F::Output> {
        tokio::time::timeout(std::time::Duration::ZERO, future).await.ok()
    }
}
