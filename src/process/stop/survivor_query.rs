//! [`SurvivorQuery`]: a question to the survivor scan, whose reply comes later; and [`sweep_session`],
//! which keeps asking, and killing, until nothing is left.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::sync::Notify;

use super::survivor_scan::{self, LeaderReapedAt, ScanTarget};
use crate::process::{control::KILL_WAIT, held_until_reaped::HeldUntilReaped};

/// One question and its reply.
#[derive(Debug)]
pub(super) struct SurvivorQuery {
    /// The question covers the session as well as the group.
    pub(super) includes_session: bool,
    reply: OnceLock<Option<bool>>,
    replied: Notify,
}

impl SurvivorQuery {
    /// Asks whether a member of the group, or of group and session, is alive. With `SIGKILL` among the
    /// signals, members outside of the group are killed too.
    pub(super) fn ask(leader: Pid, target: ScanTarget, signals: &[Signal]) -> Arc<SurvivorQuery> {
        let includes_session = !matches!(target, ScanTarget::Group);
        let (reply, replied) = (OnceLock::new(), Notify::new());
        let query = Arc::new(SurvivorQuery { includes_session, reply, replied });
        let asked = Arc::clone(&query);
        survivor_scan::request(leader, target, signals, move |alive| {
            let _ = asked.reply.set(alive);
            asked.replied.notify_waiters();
        });
        query
    }

    /// `None` until the scan has been made. The inner value is as for [`survivor_scan::request`].
    pub(super) fn reply(&self) -> Option<Option<bool>> {
        self.reply.get().copied()
    }

    /// Waits for the reply, for at most 50 ms: the caller may have more to check than this question.
    pub(super) async fn wait(&self) {
        let mut replied = std::pin::pin!(self.replied.notified());
        replied.as_mut().enable();
        if self.reply.get().is_none() {
            let _ = tokio::time::timeout(Duration::from_millis(50), replied).await;
        }
    }
}

/// Kills the processes that have left the group of a reaped leader but are still in its session. Scans
/// again until none is left or [`KILL_WAIT`] is over, and keeps `held_until_swept` until then.
pub(super) fn sweep_session(leader: Pid, reaped: LeaderReapedAt, held_until_swept: Option<HeldUntilReaped>) {
    SessionSweep { leader, reaped, since: Instant::now(), _sweep_token: held_until_swept }.scan();
}

struct SessionSweep {
    leader: Pid,
    reaped: LeaderReapedAt,
    since: Instant,
    _sweep_token: Option<HeldUntilReaped>,
}

impl SessionSweep {
    fn scan(self) {
        let (leader, target) = (self.leader, ScanTarget::SessionAfterReap(self.reaped));
        survivor_scan::request(leader, target, &[Signal::KILL], move |alive| {
            if alive != Some(false) && self.since.elapsed() < KILL_WAIT {
                self.scan();
            }
        });
    }
}
