//! When a worker is replaced by a new incarnation of the same declaration, because it has worked for long
//! enough or uses too much memory (rule W-5): [`RecycleLimits`].

use std::time::Duration;

use tokio::time::Instant;

use super::running_process::RunningProcess;
use crate::{
    event::{RecycleReason, StartReason},
    log_event_macro::log_event,
    supervision::StartContext,
};

/// Limits are spread by up to this fraction, so that workers that were started together are not replaced
/// together.
const SPREAD: f64 = 0.1;
/// How often calls and memory are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long a worker that is due is waited for until nothing is open. After that it is replaced all the
/// same: calls that are open may still end within the time to drain.
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// The pause after a replacement that has failed.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// See the module's documentation. Nothing is set: the worker is never replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RecycleLimits {
    pub(crate) max_calls: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_rss_bytes: Option<u64>,
}

impl RecycleLimits {
    fn is_never(&self) -> bool {
        *self == RecycleLimits::default()
    }

    /// The limits of one incarnation: each is less than what was set by the same random part.
    fn spread(self, seed: u64) -> RecycleLimits {
        // The upper bits of a multiplicative hash, as a fraction of one.
        let unit = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1_u64 << 53) as f64;
        let factor = 1.0 - SPREAD * unit;
        RecycleLimits {
            max_calls: self.max_calls.map(|max| ((max as f64 * factor) as u64).max(1)),
            max_age: self.max_age.map(|max| max.mul_f64(factor)),
            // What a process may use is no matter of chance.
            max_rss_bytes: self.max_rss_bytes,
        }
    }

    /// Why a worker is due, if it is, also in words.
    fn is_due(&self, calls: u64, age: Duration, rss_bytes: Option<u64>) -> Option<(RecycleReason, String)> {
        if let Some(max) = self.max_calls.filter(|max| calls >= *max) {
            let why = format!("it has had {calls} calls, and is replaced after {max}");
            return Some((RecycleReason::Calls, why));
        }
        if let Some(max) = self.max_age.filter(|max| age >= *max) {
            let why = format!("it is {age:.1?} old, and is replaced after {max:.1?}");
            return Some((RecycleReason::Age, why));
        }
        let (rss, max) = rss_bytes.zip(self.max_rss_bytes).filter(|(rss, max)| rss > max)?;
        let why = format!("its processes use {rss} bytes of memory, more than {max}");
        Some((RecycleReason::Memory, why))
    }
}

/// Asks for a replacement whenever one is due. Never returns; ends with the incarnation.
pub(super) async fn recycle_when_due(running: &RunningProcess, recycling: RecycleLimits, cx: &StartContext) {
    if recycling.is_never() {
        return std::future::pending().await;
    }
    let limits = recycling.spread(cx.tree.seed(cx.node.path()).wrapping_add(cx.incarnation.0));
    let began = Instant::now();
    let probe = limits.max_rss_bytes.and_then(|_| running.control.usage_probe());
    loop {
        let age = began.elapsed();
        let next = limits.max_age.map_or(CHECK_EVERY, |max| max.saturating_sub(age).min(CHECK_EVERY));
        tokio::time::sleep(next.max(Duration::from_millis(1))).await;
        let calls = running.channel.as_ref().map_or(0, |channel| channel.calls_made());
        let rss_bytes = match probe.clone() {
            // Reads a file for each process of the group.
            Some(probe) => tokio::task::spawn_blocking(move || probe.read_group_rss()).await.ok().flatten(),
            None => None,
        };
        let Some((reason, why)) = limits.is_due(calls, began.elapsed(), rss_bytes) else { continue };
        log_event!(info, cx.node.path(), cx.incarnation, "is replaced: {why}");
        let _ = tokio::time::timeout(IDLE_WAIT, until_idle(running)).await;
        if let Err(error) = cx.node.recycle(StartReason::Recycle(reason)).await {
            log_event!(
                warn,
                cx.node.path(),
                cx.incarnation,
                "could not be replaced, next try in {RETRY_AFTER:?}: {error}"
            );
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

async fn until_idle(running: &RunningProcess) {
    let Some(channel) = &running.channel else { return };
    while channel.uses().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_spread_and_never_exceeded() {
        // W-5
        let set = RecycleLimits {
            max_calls: Some(1000),
            max_age: Some(Duration::from_secs(1000)),
            max_rss_bytes: Some(7),
        };
        let spread: Vec<RecycleLimits> = (0..1000).map(|seed| set.spread(seed)).collect();
        assert!(spread.iter().all(|limits| (900..=1000).contains(&limits.max_calls.unwrap())));
        assert!(spread.iter().all(|limits| limits.max_rss_bytes == Some(7)));
        let mut calls: Vec<u64> = spread.iter().map(|limits| limits.max_calls.unwrap()).collect();
        calls.sort_unstable();
        assert!(calls[500].abs_diff(950) < 10, "about uniform: the median is {}", calls[500]);
        assert_eq!(set.spread(3), set.spread(3));
    }

    #[test]
    fn any_limit_is_enough() {
        // W-5
        let set = RecycleLimits {
            max_calls: Some(3),
            max_age: Some(Duration::from_secs(9)),
            max_rss_bytes: Some(7),
        };
        let due =
            |calls, secs, rss| set.is_due(calls, Duration::from_secs(secs), rss).map(|(reason, _)| reason);
        assert_eq!((due(2, 8, Some(7)), due(2, 8, None)), (None, None));
        assert_eq!(due(3, 0, None), Some(RecycleReason::Calls));
        assert_eq!(due(0, 9, None), Some(RecycleReason::Age));
        assert_eq!(due(0, 0, Some(8)), Some(RecycleReason::Memory));
    }
}
