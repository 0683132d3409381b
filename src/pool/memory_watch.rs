//! Replaces workers that use too much memory (rule W-5): [`watch_memory`].

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use super::{core::PoolCore, lease::LeasedIncarnation, ledger::LedgerInput};
use crate::{event::RecycleReason, log_event_macro::log_event};

/// How often memory is looked at, and at most one worker is found to use too much of it: workers that grow
/// together are not replaced together.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Returns when the pool has closed.
pub(super) async fn watch_memory(core: Weak<PoolCore>, max_rss_bytes: u64) {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        let Some(candidates) = core.upgrade().and_then(|core| core.between_leases()) else { return };
        if candidates.is_empty() {
            continue;
        }
        // Reads a file for each process of each group.
        let read = tokio::task::spawn_blocking(move || largest(candidates)).await;
        let Ok(Some((rss, leased))) = read else { continue };
        let Some(core) = core.upgrade().filter(|_| rss > max_rss_bytes) else { continue };
        log_event!(
            info,
            leased.node.path(),
            leased.incarnation,
            "is replaced when it is idle: its processes use {rss} bytes of memory, more than {max_rss_bytes}"
        );
        let (key, incarnation) = (leased.key.clone(), leased.incarnation);
        core.submit(LedgerInput::Recycle { key, incarnation, why: RecycleReason::Memory });
    }
}

fn largest(candidates: Vec<Arc<LeasedIncarnation>>) -> Option<(u64, Arc<LeasedIncarnation>)> {
    let read = |leased: Arc<LeasedIncarnation>| {
        let rss = leased.usage_probe.as_ref()?.read_group_rss()?;
        Some((rss, leased))
    };
    candidates.into_iter().filter_map(read).max_by_key(|(rss, _)| *rss)
}

impl PoolCore {
    /// The workers that are idle or of which a lease has ended since the last call, without those that are
    /// being replaced. `None` once the pool has closed.
    fn between_leases(&self) -> Option<Vec<Arc<LeasedIncarnation>>> {
        let (inner, now) = (self.lock(), self.clock.now());
        let is_due = |leased: &&Arc<LeasedIncarnation>| {
            let released = leased.released.swap(false, Ordering::Relaxed);
            let idle = inner.ledger.is_replaceable(now, &leased.key, leased.incarnation);
            idle.is_some_and(|idle| idle || released) && leased.is_live()
        };
        (!inner.closed).then(|| inner.incarnations.iter().flatten().filter(is_due).cloned().collect())
    }
}
