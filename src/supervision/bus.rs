//! The event stream of a tree: [`EventBus`] numbers and distributes, [`Events`] receives.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::{
    event::{Consequence, Event, EventKind},
    id::{Incarnation, Path},
    time::Clock,
};

/// Where every supervisor of a tree publishes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventBus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    tx: broadcast::Sender<Arc<Event>>,
    /// Held while an event is numbered *and* sent, so that the order of the stream is the order of the numbers.
    seq: Mutex<u64>,
}

/// A subscription to a tree's events.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Arc<Event>>);

/// Why a subscription has no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The subscriber was too slow; this many events were dropped for it, and the next one it gets is the oldest that
    /// is left.
    #[error("{0} events were lost because this subscriber was too slow")]
    Lost(u64),
    /// The tree is gone and all its events have been received.
    #[error("the tree is gone")]
    Closed,
}

impl EventBus {
    /// How many events a subscriber may be behind by default before it loses some.
    pub const DEFAULT_CAPACITY: usize = 4096;

    pub(crate) fn new(clock: Clock, capacity: usize) -> EventBus {
        let (tx, _) = broadcast::channel(capacity.max(1));
        EventBus(Arc::new(Inner { clock, tx, seq: Mutex::new(0) }))
    }

    /// A subscription to everything published from now on.
    pub fn subscribe(&self) -> Events {
        Events(self.0.tx.subscribe())
    }

    pub(crate) fn publish(&self, path: &Path, incarnation: Incarnation, kind: EventKind) {
        log(path, incarnation, &kind);
        let mut seq = self.0.seq.lock().unwrap_or_else(PoisonError::into_inner);
        *seq += 1;
        if self.0.tx.receiver_count() > 0 {
            let event = Event { seq: *seq, at: self.0.clock.now(), path: path.clone(), incarnation, kind };
            // An error says that the last subscriber has just gone.
            let _ = self.0.tx.send(Arc::new(event));
        }
    }
}

impl Events {
    /// The next event. Cancel safe.
    ///
    /// # Errors
    /// [`EventsError::Lost`] once after events were lost, then the stream goes on; [`EventsError::Closed`] at the end.
    pub async fn next(&mut self) -> Result<Arc<Event>, EventsError> {
        self.0.recv().await.map_err(|e| match e {
            broadcast::error::RecvError::Lagged(n) => EventsError::Lost(n),
            broadcast::error::RecvError::Closed => EventsError::Closed,
        })
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, EventsError> {
        match self.0.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(broadcast::error::TryRecvError::Empty) => Ok(None),
            Err(broadcast::error::TryRecvError::Lagged(n)) => Err(EventsError::Lost(n)),
            Err(broadcast::error::TryRecvError::Closed) => Err(EventsError::Closed),
        }
    }

    /// Waits until an event matches, and returns it.
    ///
    /// # Errors
    /// [`EventsError::Closed`] if none does. Lost events are skipped.
    pub async fn wait_for(
        &mut self,
        mut matches: impl FnMut(&Event) -> bool,
    ) -> Result<Arc<Event>, EventsError> {
        loop {
            match self.next().await {
                Ok(event) if matches(&event) => return Ok(event),
                Ok(_) | Err(EventsError::Lost(_)) => {}
                Err(closed) => return Err(closed),
            }
        }
    }
}

/// The same for those who read logs.
fn log(path: &Path, incarnation: Incarnation, kind: &EventKind) {
    let (path, incarnation) = (path.as_str(), incarnation.0);
    match kind {
        EventKind::Exited { then: Consequence::GiveUp { .. } | Consequence::Escalate { .. }, .. } => {
            tracing::error!(target: "procession", path, incarnation, "{kind}");
        }
        EventKind::Exited { exit: crate::exit::Exit::IntensityExceeded { .. }, .. } => {
            tracing::error!(target: "procession", path, incarnation, "{kind}");
        }
        EventKind::Exited { then: Consequence::Restart { .. } | Consequence::CoolOff { .. }, .. }
        | EventKind::GroupRestart { .. } => tracing::warn!(target: "procession", path, incarnation, "{kind}"),
        EventKind::Exited { .. } | EventKind::Started | EventKind::Stopping { .. } => {
            tracing::info!(target: "procession", path, incarnation, "{kind}");
        }
        EventKind::Added | EventKind::Removed | EventKind::State { .. } => {
            tracing::debug!(target: "procession", path, incarnation, "{kind}");
        }
    }
}
