//! [`Trail`]: what is swept of an incarnation behind its successor.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::Place;
use crate::supervision::remains::Remains;

/// Held by whatever is still swept of an incarnation that is gone as far as its successor is concerned. Answers to stops,
/// and the end of the supervisor, wait for its drop.
#[derive(Debug)]
pub(crate) struct Trail {
    _open: watch::Sender<()>,
    _supervisor: Option<Remains>,
}

/// The trails of a place that may be open. Empty nearly always.
#[derive(Debug, Default)]
pub(super) struct Trails(Mutex<Vec<watch::Receiver<()>>>);

impl Place {
    /// A trail of an incarnation here. The supervisor's place knows it too: children may leave that before it is closed.
    pub(crate) fn leave_trail(&self, remains: &Remains) -> Trail {
        let (open, closed) = watch::channel(());
        if let Some(parent) = self.0.parent.upgrade() {
            parent.trails.add(closed.clone());
        }
        self.0.trails.add(closed);
        Trail { _open: open, _supervisor: remains.supervisor() }
    }

    /// Whether the sweep is over of earlier incarnations here, or of the children here.
    pub(crate) fn is_swept(&self) -> bool {
        self.0.trails.open().is_empty()
    }

    /// Returns when that is so for those that have ended by now.
    pub(crate) async fn swept(&self) {
        for mut trail in self.0.trails.open() {
            while trail.changed().await.is_ok() {}
        }
    }
}

impl Trails {
    fn add(&self, trail: watch::Receiver<()>) {
        let mut trails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trails.retain(is_open);
        trails.push(trail);
    }

    fn open(&self) -> Vec<watch::Receiver<()>> {
        let mut trails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trails.retain(is_open);
        trails.clone()
    }
}

/// Nothing is ever sent: there is an error once the other end is gone.
fn is_open(trail: &watch::Receiver<()>) -> bool {
    trail.has_changed().is_ok()
}
