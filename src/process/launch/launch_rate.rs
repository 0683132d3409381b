//! [`LaunchRate`]: so many launches in a second, and no more.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Spaces out those who ask for a turn. Those who wait at the same time have no order among them.
#[derive(Debug)]
pub(super) struct LaunchRate {
    interval: Duration,
    /// When the next turn begins.
    next: Mutex<Option<Instant>>,
}

impl LaunchRate {
    pub(super) fn new(per_second: NonZeroU32) -> LaunchRate {
        LaunchRate { interval: Duration::from_secs(1) / per_second.get(), next: Mutex::new(None) }
    }

    /// Waits for a turn. Who gives up while waiting takes nobody's.
    pub(super) async fn turn(&self) {
        loop {
            let now = Instant::now();
            // Nothing is held while waiting: who waits in a runtime that does not run must not keep others waiting.
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
    async fn turns_are_spaced_out_and_none_is_lost_with_who_gives_up() {
        // P-13: the bound on the rate of launches.
        let pace = LaunchRate::new(NonZeroU32::new(4).unwrap());
        let began = Instant::now();
        for turn in 0..3 {
            pace.turn().await;
            assert_eq!(began.elapsed(), Duration::from_millis(250) * turn);
        }
        let given_up = tokio::time::timeout(Duration::from_millis(100), pace.turn());
        assert!(given_up.await.is_err());
        pace.turn().await;
        assert_eq!(began.elapsed(), Duration::from_millis(750));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        pace.turn().await;
        assert_eq!(later.elapsed(), Duration::ZERO, "a free turn is taken at once");
        pace.turn().await;
        assert_eq!(later.elapsed(), Duration::from_millis(250), "and idle time is not saved up");
    }
}
