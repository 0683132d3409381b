//! [`SweepGuard`]: held while something of an incarnation is still being swept after its successor
//! has started.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::Node;
use crate::supervision::incarnation_guard::IncarnationGuard;

/// Held while something of an incarnation is still being swept that no longer stands in the way of
/// its successor. Replies to stops, and the end of the supervisor, wait until it is dropped.
#[derive(Debug)]
pub(crate) struct SweepGuard {
    _open: watch::Sender<()>,
    _supervisor: Option<IncarnationGuard>,
}

/// The sweep guards of a node that may be open. Nearly always empty.
#[derive(Debug, Default)]
pub(super) struct OpenSweeps(Mutex<Vec<watch::Receiver<()>>>);

impl Node {
    /// Creates a sweep guard for an incarnation here. The node of the supervisor records it too:
    /// the child may leave that node before the sweep is over.
    pub(crate) fn sweep_guard(&self, guard: &IncarnationGuard) -> SweepGuard {
        let (open, closed) = watch::channel(());
        if let Some(parent) = self.0.parent.upgrade() {
            parent.open_sweeps.add(closed.clone());
        }
        self.0.open_sweeps.add(closed);
        SweepGuard { _open: open, _supervisor: guard.supervisor() }
    }

    /// Whether all sweeps of earlier incarnations of this node, or of its children, are over.
    pub(crate) fn is_swept(&self) -> bool {
        self.0.open_sweeps.open().is_empty()
    }

    /// Returns when the sweeps that are open now are over.
    pub(crate) async fn swept(&self) {
        for mut sweep in self.0.open_sweeps.open() {
            while sweep.changed().await.is_ok() {}
        }
    }
}

impl OpenSweeps {
    fn add(&self, sweep: watch::Receiver<()>) {
        let mut open_sweeps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open_sweeps.retain(is_open);
        open_sweeps.push(sweep);
    }

    fn open(&self) -> Vec<watch::Receiver<()>> {
        let mut open_sweeps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open_sweeps.retain(is_open);
        open_sweeps.clone()
    }
}

/// Nothing is ever sent: an error means that the other end has been dropped.
fn is_open(sweep: &watch::Receiver<()>) -> bool {
    sweep.has_changed().is_ok()
}
