//! [`LaunchRate`]: a bound on the launches per second.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Spaces out launches evenly. Launches that wait at the same time proceed in no particular order.
#[derive(Debug)]
pub(super) struct LaunchRate {
    interval: Duration,
    /// When the next launch may begin.
    next: Mutex<Option<Instant>>,
}

impl LaunchRate {
    pub(super) fn new(per_second: NonZeroU32) -> LaunchRate {
        LaunchRate { interval: Duration::from_secs(1) / per_second.get(), next: Mutex::new(None) }
    }

    /// Waits until a launch may begin. Cancel-safe: a caller that stops waiting takes no turn away from the
    /// others.
    pub(super) async fn wait_for_turn(&self) {
        loop {
            let now = Instant::now();
            // Nothing is held while waiting: a task of a runtime that does not run must not keep others
            // waiting.
            let at = {
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                match *next {
                    Some(at) if at > now => at,
                    _ => {
                        *next = Some(now + self.interval);
                        return;
                    }
                }
            };
            tokio::time::sleep_until(at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_spaced_out_and_none_is_lost_with_a_cancelled_wait() {
        let rate = LaunchRate::new(NonZeroU32::new(4).unwrap());
        let began = Instant::now();
        for turn in 0..3 {
            rate.wait_for_turn().await;
            assert_eq!(began.elapsed(), Duration::from_millis(250) * turn);
        }
        let given_up = tokio::time::timeout(Duration::from_millis(100), rate.wait_for_turn());
        assert!(given_up.await.is_err());
        rate.wait_for_turn().await;
        assert_eq!(began.elapsed(), Duration::from_millis(750));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        rate.wait_for_turn().await;
        assert_eq!(later.elapsed(), Duration::ZERO, "a free turn is taken at once");
        rate.wait_for_turn().await;
        assert_eq!(later.elapsed(), Duration::from_millis(250), "and idle time is not saved up");
    }
}
