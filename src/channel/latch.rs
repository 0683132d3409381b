//! A flag that is set once and can be awaited: [`Latch`].
//!
//! Used for "the reader has ended", "the channel has ended" and the cancellation of a handler. It knows nothing of
//! what it stands for.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set once, awaited by anybody, never reset.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    set: AtomicBool,
    notify: Notify,
}

impl Latch {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Returns when the latch is set, at once if it already is.
    pub(crate) async fn wait(&self) {
        // A `Notified` counts from its creation, so one made before the check misses nothing.
        let notified = self.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }
}
