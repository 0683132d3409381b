//! What all parts of one tree share: [`TreeContext`].

use std::sync::Arc;

use super::{
    event_bus::{EventBus, EventReceiver},
    tree_stop_state::TreeStopState,
};
use crate::{clock::Clock, id::TreePath};

/// What all parts of a tree share. Cheap to clone and small, because every incarnation has one.
#[derive(Clone, Debug)]
pub struct TreeContext(Arc<TreeShared>);

#[derive(Debug)]
struct TreeShared {
    bus: EventBus,
    clock: Clock,
    seed: u64,
    stop_notice: TreeStopState,
}

impl TreeContext {
    /// For a new tree, whose epoch is now.
    pub(crate) fn new(seed: u64, event_capacity: usize) -> TreeContext {
        let clock = Clock::start();
        let bus = EventBus::new(clock, event_capacity);
        TreeContext(Arc::new(TreeShared { bus, clock, seed, stop_notice: TreeStopState::new() }))
    }

    /// The tree's clock.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// A subscription to all events of the tree from now on.
    pub fn events(&self) -> EventReceiver {
        self.0.bus.subscribe()
    }

    /// The tree's event stream.
    pub(crate) fn bus(&self) -> &EventBus {
        &self.0.bus
    }

    /// What is known about the end of the tree.
    pub(crate) fn stop_notice(&self) -> &TreeStopState {
        &self.0.stop_notice
    }

    /// A seed for the node at `path`. It is the same in every run with the same configuration
    /// (FNV-1a over the seed of the tree and the path).
    pub fn seed(&self, path: &TreePath) -> u64 {
        let bytes = self.0.seed.to_le_bytes();
        bytes.iter().chain(path.as_str().as_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}
