//! Time inside a tree: [`TreeInstant`], the duration since the tree's epoch, and the [`Clock`] that reads it.
//!
//! Nothing here reads a wall clock; only a snapshot contains one wall-clock time, which says when
//! it was taken. Every time that is stored, compared, published or serialised is a [`TreeInstant`],
//! read from tokio's clock, so a test under paused time sees the same times in every run.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A point in time within a tree: the time since its epoch, with nanosecond resolution.
///
/// Serialised as an integer number of nanoseconds. Arithmetic saturates (after 584 years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeInstant(u64);

impl TreeInstant {
    /// The tree's epoch.
    pub const EPOCH: TreeInstant = TreeInstant(0);
    /// Later than every other instant; a timer set to it never fires.
    pub const NEVER: TreeInstant = TreeInstant(u64::MAX);

    /// The moment `since_epoch` after the epoch.
    pub fn new(since_epoch: Duration) -> TreeInstant {
        TreeInstant(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time between the epoch and this moment.
    pub fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The time from `earlier` to this moment; zero if `earlier` is not earlier.
    pub fn since(self, earlier: TreeInstant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `later` after this one.
    #[must_use]
    pub fn after(self, later: Duration) -> TreeInstant {
        TreeInstant(self.0.saturating_add(TreeInstant::new(later).0))
    }
}

impl fmt::Display for TreeInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.since_epoch().as_secs_f64())
    }
}

/// Reads tokio's clock as a [`TreeInstant`]. Cheap to copy; all parts of one tree share one epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub fn start() -> Clock {
        Clock { epoch: Instant::now() }
    }

    /// The current moment.
    pub fn now(&self) -> TreeInstant {
        TreeInstant::new(self.epoch.elapsed())
    }

    /// The tokio instant of a moment, for timers. Moments too far away for the platform are cut at 30 years.
    pub fn instant(&self, at: TreeInstant) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
        self.epoch + at.since_epoch().min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(TreeInstant::EPOCH.since(TreeInstant::new(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(TreeInstant::NEVER.after(Duration::from_secs(1)), TreeInstant::NEVER);
        assert_eq!(TreeInstant::EPOCH.after(Duration::MAX), TreeInstant::NEVER);
    }
}
