//! Log lines that a process can cause, at a bounded rate: [`LogLimiter`] for one stream of lines,
//! [`ChannelLogLimiter`] for one channel.
//!
//! A process may write as fast as it can, and each line of this program's log costs its host time and
//! disk space. So every `tracing` call that a process can cause asks here first. At most [`BURST`]
//! lines of one kind are logged in a [`PERIOD`]; the rest is counted, and the count is logged before
//! the next line, at the end of the period, or at the end of the channel, whichever comes first. Kinds
//! do not share a rate, so a flood of one does not hide the others.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
};

/// How many lines of one kind are logged in a period.
pub(crate) const BURST: u32 = 100;
/// The period.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// The bound on one stream of lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogLimiter {
    began: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

impl LogLimiter {
    /// Whether a line may be logged now. If so, the result is the number of lines that were left out
    /// since the last one, which is reported first.
    pub(crate) fn admit(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.began.is_none_or(|began| now >= began + PERIOD) {
            (self.began, self.logged) = (Some(now), 0);
        }
        if self.logged >= BURST {
            self.suppressed += 1;
            return None;
        }
        self.logged += 1;
        Some(self.take_suppressed())
    }

    /// When the number of lines that were left out is due to be reported, if there are any.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.began.filter(|_| self.suppressed > 0).map(|began| began + PERIOD)
    }

    /// The number of lines that were left out and not reported yet; from now on they count as reported.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

/// What a line that a process caused through its channel is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogTopic {
    /// A log message that it sent.
    Message,
    /// A line on its stdout that is not a message.
    Noise,
    /// A message that cannot be used as it is.
    Unusable,
    /// An answer that belongs to no open call.
    Answer,
    /// A notification without a handler, or whose params do not fit.
    Notification,
    /// A capability that was denied.
    Denied,
    /// A hook or handler of the host that panicked on its input.
    Panic,
}

impl LogTopic {
    const ALL: [LogTopic; 7] = [
        LogTopic::Message,
        LogTopic::Noise,
        LogTopic::Unusable,
        LogTopic::Answer,
        LogTopic::Notification,
        LogTopic::Denied,
        LogTopic::Panic,
    ];

    /// For the report of what was left out.
    fn lines(self) -> &'static str {
        match self {
            LogTopic::Message => "log messages",
            LogTopic::Noise => "lines of noise on stdout",
            LogTopic::Unusable => "lines about unusable messages",
            LogTopic::Answer => "lines about answers to unknown calls",
            LogTopic::Notification => "lines about notifications",
            LogTopic::Denied => "lines about denied capabilities",
            LogTopic::Panic => "lines about panics",
        }
    }
}

/// The rates of all lines that the process behind one channel can cause.
///
/// Do not ask for a line below the level that a subscriber listens to (`tracing::enabled!`): it would
/// count as left out.
#[derive(Debug)]
pub(crate) struct ChannelLogLimiter {
    path: TreePath,
    incarnation: Incarnation,
    /// Allocated when the first line is logged: most channels never log one.
    limiters: Mutex<Option<Box<[LogLimiter; LogTopic::ALL.len()]>>>,
    suppressing: Notify,
}

impl ChannelLogLimiter {
    /// For the channel of this incarnation of the child at this path.
    pub(crate) fn new(path: TreePath, incarnation: Incarnation) -> ChannelLogLimiter {
        ChannelLogLimiter { path, incarnation, limiters: Mutex::default(), suppressing: Notify::new() }
    }

    /// Whether a line about this topic may be logged now. Reports what was left out before it.
    pub(crate) fn admit(&self, about: LogTopic) -> bool {
        let admitted = {
            let mut limiters = self.limiters();
            let limiter = &mut limiters.get_or_insert_default()[about as usize];
            let admitted = limiter.admit();
            if admitted.is_none() && limiter.suppressed == 1 {
                self.suppressing.notify_one();
            }
            admitted
        };
        if let Some(suppressed) = admitted {
            self.say(about, suppressed);
        }
        admitted.is_some()
    }

    /// Reports what was left out, at the end of each period in which something was. Never returns.
    /// Cancel safe.
    pub(crate) async fn keep_reporting(&self) {
        loop {
            let due =
                self.limiters().iter().flat_map(|limiters| limiters.iter()).filter_map(LogLimiter::due).min();
            match due {
                None => self.suppressing.notified().await,
                Some(due) => {
                    tokio::time::sleep_until(due).await;
                    self.report(|limiter| limiter.due().is_some_and(|at| at <= due));
                }
            }
        }
    }

    /// Reports what was left out, at the end of the channel.
    pub(crate) fn finish(&self) {
        self.report(|_| true);
    }

    fn report(&self, due: impl Fn(&LogLimiter) -> bool) {
        for about in LogTopic::ALL {
            let suppressed = match self.limiters().as_mut() {
                Some(limiters) if due(&limiters[about as usize]) => {
                    limiters[about as usize].take_suppressed()
                }
                _ => 0,
            };
            self.say(about, suppressed);
        }
    }

    fn say(&self, about: LogTopic, suppressed: u64) {
        if suppressed > 0 {
            log_event!(
                warn,
                self.path,
                self.incarnation,
                suppressed,
                "{suppressed} {} suppressed",
                about.lines()
            );
        }
    }

    fn limiters(&self) -> MutexGuard<'_, Option<Box<[LogLimiter; LogTopic::ALL.len()]>>> {
        self.limiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_becomes_a_burst_and_a_count() {
        // E-4
        let mut limiter = LogLimiter::default();
        let admitted = (0..2_000_000).filter(|_| limiter.admit() == Some(0)).count();
        assert_eq!(admitted, BURST as usize);
        assert_eq!(limiter.due(), Some(Instant::now() + PERIOD));
        tokio::time::advance(PERIOD).await;
        assert_eq!(limiter.admit(), Some(1_999_900), "the next line brings the count");
        assert_eq!((limiter.due(), limiter.take_suppressed()), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_has_a_rate_of_its_own() {
        let limiters = ChannelLogLimiter::new(TreePath::root(), Incarnation(1));
        let admitted = |about| (0..1000).filter(|_| limiters.admit(about)).count();
        for about in LogTopic::ALL {
            assert_eq!(admitted(about), BURST as usize, "{about:?}");
        }
        // The end of the period is reported without a further line.
        let reporting = tokio::time::timeout(3 * PERIOD, limiters.keep_reporting());
        assert!(reporting.await.is_err());
        assert!(
            limiters
                .limiters()
                .iter()
                .flat_map(|limiters| limiters.iter())
                .all(|limiter| limiter.suppressed == 0)
        );
    }
}
