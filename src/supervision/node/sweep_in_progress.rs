//! [`SweepInProgress`]: held while something of an incarnation is still being swept after its successor
//! has started.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::Node;
use crate::supervision::incarnation_wait_group::IncarnationWaitGroup;

/// Held while something of an incarnation is still being swept that no longer stands in the way of
/// its successor. Replies to stops, and the end of the supervisor, wait until it is dropped.
#[derive(Debug)]
pub(crate) struct SweepInProgress {
    _open: watch::Sender<()>,
    _supervisor: Option<IncarnationWaitGroup>,
}

/// The sweeps of a node that may still be in progress. Nearly always empty.
#[derive(Debug, Default)]
pub(super) struct SweepsInProgress(Mutex<Vec<watch::Receiver<()>>>);

impl Node {
    /// Begins a sweep of an incarnation here. The node of the supervisor records it too:
    /// the child may leave that node before the sweep is over.
    pub(crate) fn begin_sweep(&self, wait_group: &IncarnationWaitGroup) -> SweepInProgress {
        let (open, closed) = watch::channel(());
        if let Some(parent) = self.0.parent.upgrade() {
            parent.sweeps_in_progress.add(closed.clone());
        }
        self.0.sweeps_in_progress.add(closed);
        SweepInProgress { _open: open, _supervisor: wait_group.supervisor() }
    }

    /// Whether all sweeps of earlier incarnations of this node, or of its children, are over.
    pub(crate) fn is_swept(&self) -> bool {
        self.0.sweeps_in_progress.open().is_empty()
    }

    /// Returns when the sweeps that are open now are over.
    pub(crate) async fn swept(&self) {
        for mut sweep in self.0.sweeps_in_progress.open() {
            while sweep.changed().await.is_ok() {}
        }
    }
}

impl SweepsInProgress {
    fn add(&self, sweep: watch::Receiver<()>) {
        let mut sweeps_in_progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sweeps_in_progress.retain(is_open);
        sweeps_in_progress.push(sweep);
    }

    fn open(&self) -> Vec<watch::Receiver<()>> {
        let mut sweeps_in_progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sweeps_in_progress.retain(is_open);
        sweeps_in_progress.clone()
    }
}

/// Nothing is ever sent: an error means that the other end has been dropped.
fn is_open(sweep: &watch::Receiver<()>) -> bool {
    sweep.has_changed().is_ok()
}
