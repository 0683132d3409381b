//! What a channel counts: [`ChannelCounters`].

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one channel; they only grow.
#[derive(Debug, Default)]
pub(crate) struct ChannelCounters {
    pub(crate) frames_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) noise_lines: Counter,
    /// How often the reader let other tasks run while it handled what it had read.
    pub(crate) yields: Counter,
}

/// A number that only grows, shared by several tasks.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
