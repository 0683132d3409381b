//! Waiting for a node: a state is seen only once its event has been published (rule E-5).

use std::sync::{Arc, atomic::Ordering};

use super::{LiveIncarnation, Node};
use crate::{
    id::Incarnation,
    state::{ChildState, DownReason},
    supervision::errors::Unavailable,
};

impl Node {
    /// Waits until the child is ready, and returns its live incarnation. By then the state is
    /// *ready* and its event has been published.
    ///
    /// Without a deadline this may wait for ever, so bound it. It returns early when waiting is
    /// pointless: an operator has stopped the child, its policy has given up, or it has left the
    /// tree.
    ///
    /// # Errors
    /// [`Unavailable`] when waiting is pointless.
    pub async fn wait_ready(&self) -> Result<Arc<LiveIncarnation>, Unavailable> {
        self.wait_ready_after(None).await
    }

    /// As [`wait_ready`](Node::wait_ready), for an incarnation other than `old`.
    pub(crate) async fn wait_ready_after(
        &self,
        old: Option<Incarnation>,
    ) -> Result<Arc<LiveIncarnation>, Unavailable> {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let state = self.announced_state();
            if state == Some(ChildState::Ready)
                && let Some(live) = &*self.load_live()
                && live.incarnation.0 != self.0.closing.load(Ordering::Acquire)
                && Some(live.incarnation) != old
            {
                return Ok(live.clone());
            }
            let pointless = match state {
                Some(ChildState::Down { why: DownReason::GaveUp { .. } }) => true,
                Some(ChildState::Down { .. }) => self.stopped_by_operator(),
                _ => false,
            };
            if pointless || self.0.removed.load(Ordering::Acquire) {
                return Err(self.unavailable());
            }
            let dormant = match &state {
                Some(ChildState::Down { why: DownReason::Idle }) => true,
                Some(ChildState::Down { .. } | ChildState::Stopping) => self.is_on_demand(),
                _ => false,
            };
            if dormant {
                // Nothing else would start it (S-28).
                let started = self.demand().await;
                if !matches!(started, Ok(Some(_))) {
                    // Its policy starts it again, or nothing does. A start that was ignored would be
                    // ignored the next time too.
                    if self.state().is_down() {
                        return Err(self.unavailable());
                    }
                    changed.await;
                }
                continue;
            }
            changed.await;
        }
    }

    /// Waits until the state satisfies `until`, and returns it. Its event has been published by
    /// then.
    pub async fn wait_state(&self, mut until: impl FnMut(&ChildState) -> bool) -> ChildState {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(state) = self.announced_state()
                && until(&state)
            {
                return state;
            }
            changed.await;
        }
    }

    /// What the child is doing, unless the event about it has not been published yet.
    fn announced_state(&self) -> Option<ChildState> {
        let status = self.status();
        (!self.0.unannounced.load(Ordering::Acquire)).then(|| status.state.clone())
    }
}
