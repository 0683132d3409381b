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
    pub(crate) fn sweep_token(&self, token: &IncarnationToken) -> SweepToken {
        let (open, closed) = watch::channel(());
        if let Some(parent) = self.0.parent.upgrade() {
            parent.sweep_tokens.add(closed.clone());
        }
        self.0.sweep_tokens.add(closed);
        SweepToken { _open: open, _supervisor: token.supervisor() }
    }

    /// Whether the sweep is over of earlier incarnations here, or of the children here.
    pub(crate) fn is_swept(&self) -> bool {
        self.0.sweep_tokens.open().is_empty()
    }

    /// Returns when that is so for those that have ended by now.
    pub(crate) async fn swept(&self) {
        for mut sweep in self.0.sweep_tokens.open() {
            while sweep.changed().await.is_ok() {}
        }
    }
}

impl SweepTokens {
    fn add(&self, sweep: watch::Receiver<()>) {
        let mut sweep_tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sweep_tokens.retain(is_open);
        sweep_tokens.push(sweep);
    }

    fn open(&self) -> Vec<watch::Receiver<()>> {
        let mut sweep_tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sweep_tokens.retain(is_open);
        sweep_tokens.clone()
    }
}

/// Nothing is ever sent: there is an error once the other end is gone.
fn is_open(sweep: &watch::Receiver<()>) -> bool {
    sweep.has_changed().is_ok()
}
