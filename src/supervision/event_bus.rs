//! The event stream of a tree: [`EventBus`] numbers and distributes events, [`EventReceiver`]
//! receives them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::{
    clock::Clock,
    event::{Event, EventKind, ExitConsequence},
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    state::{ChildState, SecondIncarnationRole},
};

/// The stream to which all supervisors of a tree publish. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EventBus(Arc<EventBusInner>);

#[derive(Debug)]
struct EventBusInner {
    clock: Clock,
    /// Held while an event is numbered *and* sent, so that the order of the stream is the order of the
    /// numbers.
    stream: Mutex<EventSender>,
}

#[derive(Debug)]
struct EventSender {
    seq: u64,
    /// `None` once the tree has ended.
    tx: Option<broadcast::Sender<Arc<Event>>>,
}

/// A subscription to the events of a tree. It ends when the tree has ended: see
/// [`RecvError::Closed`].
#[derive(Debug)]
pub struct EventReceiver(broadcast::Receiver<Arc<Event>>);

/// Why a subscription has no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The subscriber was too slow: this many events were dropped for it. The next event it
    /// receives is the oldest one still there.
    #[error(
        "{0} events were lost because this subscriber was too slow; read events sooner or raise the capacity of the stream"
    )]
    Lost(u64),
    /// The tree has ended and all its events have been received.
    #[error("the tree has ended")]
    Closed,
}

impl RecvError {
    /// Whether the subscription goes on: the next call may return an event.
    pub fn is_retryable(&self) -> bool {
        matches!(self, RecvError::Lost(_))
    }
}

impl EventBus {
    /// How many events a subscriber may be behind, by default, before it loses some.
    pub(crate) const DEFAULT_CAPACITY: usize = 4096;

    pub(crate) fn new(clock: Clock, capacity: usize) -> EventBus {
        let (tx, _) = broadcast::channel(capacity.max(1));
        EventBus(Arc::new(EventBusInner { clock, stream: Mutex::new(EventSender { seq: 0, tx: Some(tx) }) }))
    }

    /// A subscription to everything published from now on, until the tree has ended.
    pub(crate) fn subscribe(&self) -> EventReceiver {
        match &self.stream().tx {
            Some(tx) => EventReceiver(tx.subscribe()),
            // The tree has ended: return a subscription that has ended too.
            None => EventReceiver(broadcast::channel(1).1),
        }
    }

    /// The tree has ended: every subscription ends once it has received what was published.
    pub(crate) fn close(&self) {
        self.stream().tx = None;
    }

    fn stream(&self) -> std::sync::MutexGuard<'_, EventSender> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, path: &TreePath, incarnation: Incarnation, kind: EventKind) {
        log(path, incarnation, &kind);
        let mut stream = self.stream();
        stream.seq += 1;
        let seq = stream.seq;
        if let Some(tx) = stream.tx.as_ref().filter(|tx| tx.receiver_count() > 0) {
            let event = Event { seq, at: self.0.clock.now(), path: path.clone(), incarnation, kind };
            // A failed send means that the last subscriber has just gone.
            let _ = tx.send(Arc::new(event));
        }
    }
}

impl EventReceiver {
    /// The next event. Cancel safe.
    ///
    /// # Errors
    /// [`RecvError::Lost`] once after events were lost, then the stream goes on; [`RecvError::Closed`] at the
    /// end.
    pub async fn next(&mut self) -> Result<Arc<Event>, RecvError> {
        self.0.recv().await.map_err(|e| match e {
            broadcast::error::RecvError::Lagged(n) => RecvError::Lost(n),
            broadcast::error::RecvError::Closed => RecvError::Closed,
        })
    }

    /// The next event, if there is one already.
    ///
    /// # Errors
    /// As [`EventReceiver::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, RecvError> {
        match self.0.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(broadcast::error::TryRecvError::Empty) => Ok(None),
            Err(broadcast::error::TryRecvError::Lagged(n)) => Err(RecvError::Lost(n)),
            Err(broadcast::error::TryRecvError::Closed) => Err(RecvError::Closed),
        }
    }

    /// Waits for an event that matches, and returns it.
    ///
    /// # Errors
    /// [`RecvError::Closed`] if none does. Lost events are skipped.
    pub async fn wait_for(
        &mut self,
        mut matches: impl FnMut(&Event) -> bool,
    ) -> Result<Arc<Event>, RecvError> {
        loop {
            match self.next().await {
                Ok(event) if matches(&event) => return Ok(event),
                Ok(_) | Err(RecvError::Lost(_)) => {}
                Err(closed) => return Err(closed),
            }
        }
    }
}

/// Logs the event.
fn log(path: &TreePath, incarnation: Incarnation, kind: &EventKind) {
    match kind {
        EventKind::Exited {
            then: ExitConsequence::GiveUp { .. } | ExitConsequence::Escalate { .. }, ..
        } => {
            log_event!(error, path, incarnation, "{kind}");
        }
        EventKind::Exited { exit: crate::exit::Exit::IntensityExceeded { .. }, .. } => {
            log_event!(error, path, incarnation, "{kind}");
        }
        EventKind::Exited {
            then: ExitConsequence::Restart { .. } | ExitConsequence::CoolOff { .. }, ..
        }
        | EventKind::GroupRestart { .. } => log_event!(warn, path, incarnation, "{kind}"),
        // A crash without a restart deserves a warning as well.
        kind if kind.is_crash() => log_event!(warn, path, incarnation, "{kind}"),
        EventKind::Exited { .. } | EventKind::Started | EventKind::Stopping { .. } => {
            log_event!(info, path, incarnation, "{kind}");
        }
        EventKind::State { to: ChildState::Ready, .. }
        | EventKind::Second { role: SecondIncarnationRole::Spare, state: ChildState::Ready }
        | EventKind::Replaced { .. } => {
            log_event!(info, path, incarnation, "{kind}");
        }
        EventKind::Added | EventKind::Removed | EventKind::State { .. } | EventKind::Second { .. } => {
            log_event!(debug, path, incarnation, "{kind}");
        }
    }
}
