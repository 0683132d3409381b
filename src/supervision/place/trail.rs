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
    /// A trail of an incarnation here.
    pub(crate) fn leave_trail(&self, remains: &Remains) -> Trail {
        let (open, closed) = watch::channel(());
        let mut trails = self.0.trails.0.lock().unwrap_or_else(PoisonError::into_inner);
        trails.retain(is_open);
        trails.push(closed);
        Trail { _open: open, _supervisor: remains.supervisor() }
    }

    /// The trails of the incarnations here that are still open.
    pub(crate) fn open_trails(&self) -> Vec<watch::Receiver<()>> {
        let mut trails = self.0.trails.0.lock().unwrap_or_else(PoisonError::into_inner);
        trails.retain(is_open);
        trails.clone()
    }
}

/// Nothing is ever sent: there is an error once the other end is gone.
fn is_open(trail: &watch::Receiver<()>) -> bool {
    trail.has_changed().is_ok()
}

/// Returns when all of them are closed.
pub(crate) async fn closed(trails: Vec<watch::Receiver<()>>) {
    for mut trail in trails {
        while trail.changed().await.is_ok() {}
    }
}
