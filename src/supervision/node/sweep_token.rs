//! [`SweepToken`]: what is swept of an incarnation behind its successor.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::Node;
use crate::supervision::incarnation_token::IncarnationToken;

/// Held by whatever is still swept of an incarnation that is gone as far as its successor is concerned. Answers to stops,
/// and the end of the supervisor, wait for its drop.
#[derive(Debug)]
pub(crate) struct SweepToken {
    _open: watch::Sender<()>,
    _supervisor: Option<IncarnationToken>,
}

/// The trails of a place that may be open. Empty nearly always.
#[derive(Debug, Default)]
pub(super) struct SweepTokens(Mutex<Vec<watch::Receiver<()>>>);

impl Node {
    /// A trail of an incarnation here. The supervisor's place knows it too: children may leave that before it is closed.
    pub(crate) fn leave_trail(&self, token: &IncarnationToken) -> SweepToken {
        let (open, closed) = watch::channel(());
        if let Some(parent) = self.0.parent.upgrade() {
            parent.trails.add(closed.clone());
        }
        self.0.trails.add(closed);
        SweepToken { _open: open, _supervisor: token.supervisor() }
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

impl SweepTokens {
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
