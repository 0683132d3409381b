//! [`Ladder`]: how a process is stopped, step by step (P-9).
//!
//! Works on any [`ProcessControl`]. The polite request (a message, or closing stdin) is made by the caller
//! beforehand.

use std::{future::Future, time::Duration};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    human_duration,
    process::{
        control::{KILL_WAIT, ProcessControl, Unkillable},
        exit_status::ExitStatus,
    },
};

/// The times of an orderly stop. Plain data; in serialised form a duration is `"10s"`, `"500ms"`, or a
/// number of seconds.
///
/// These are the times of one process. `Tree::shutdown` documents how the times of several add up when a
/// tree stops: the children of a supervisor stop one after another, those of pools and plugin hosts
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ladder {
    /// From the beginning of the stop to `SIGTERM`. 10 s by default. For a worker with a channel this is
    /// also the time in which open calls are answered, then the requests of the process. The process is
    /// asked to end when they have been, or when a fifth of this time is left (at most 2 s). The time is
    /// granted in full, whether the request is acknowledged or not.
    #[serde(with = "human_duration")]
    pub drain: Duration,
    /// From `SIGTERM` to `SIGKILL`. 5 s by default.
    #[serde(with = "human_duration")]
    pub term_grace: Duration,
    /// From `SIGKILL` to giving up on the reap. 5 s by default.
    #[serde(with = "human_duration")]
    pub kill_wait: Duration,
}

impl Default for Ladder {
    fn default() -> Ladder {
        let (drain, term_grace) = (Duration::from_secs(10), Duration::from_secs(5));
        Ladder { drain, term_grace, kill_wait: KILL_WAIT }
    }
}

impl Ladder {
    /// How long after the beginning of a stop with this drain time a process is asked to end, if it has not
    /// been asked before. It has the rest of the drain time to do so.
    pub(crate) fn asked_after(drain: Duration) -> Duration {
        drain - (drain / 5).min(Duration::from_secs(2))
    }

    /// The longest that [`terminate`] can take.
    pub fn total(&self) -> Duration {
        self.drain.saturating_add(self.term_grace).saturating_add(self.kill_wait)
    }
}

/// The rung of the ladder at which a process group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// It ended by itself, in its drain time.
    Drain,
    /// It ended after `SIGTERM`.
    Term,
    /// It ended after `SIGKILL`.
    Kill,
}

/// How a stop went: the process is reaped and nothing of its group is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOutcome {
    /// How the leader ended.
    pub exited: ExitStatus,
    /// The last rung that was needed, for the leader or for any other member of its group.
    pub rung: Rung,
}

/// Stops a process group: waits `drain`, sends `SIGTERM`, waits `term_grace`, sends `SIGKILL`, reaps.
///
/// Each step ends as soon as the *group* is empty. If only the leader has ended, the members that it left
/// behind still get their full time (P-4). Past `deadline`, if there is one, the rest of the group is
/// killed at once.
///
/// Cancel-safe: to speed it up, drop this future and call it again with a nearer deadline, or call
/// [`kill`]. A process that has ended meanwhile is simply reaped.
///
/// # Errors
/// [`Unkillable`] if the process could not be reaped within `kill_wait` of being killed.
pub async fn terminate(
    control: &dyn ProcessControl,
    ladder: &Ladder,
    deadline: Option<Instant>,
) -> Result<StopOutcome, Unkillable> {
    let until = |step: Duration| {
        let end = after(Instant::now(), step);
        deadline.map_or(end, |deadline| end.min(deadline))
    };
    let rung = if within(until(ladder.drain), ended(control)).await {
        Rung::Drain
    } else {
        // If the group has ended by now or may not be signalled, the reap deals with it.
        let in_time = deadline.is_none_or(|deadline| Instant::now() < deadline);
        if in_time
            && control.signal(Signal::TERM).is_ok()
            && within(until(ladder.term_grace), ended(control)).await
        {
            Rung::Term
        } else {
            Rung::Kill
        }
    };
    let exited = control.reap(ladder.kill_wait).await?;
    Ok(StopOutcome { exited, rung })
}

/// Kills a process group at once and reaps it: the hard stop.
///
/// # Errors
/// [`Unkillable`] if the process could not be reaped within `wait`.
pub async fn kill(control: &dyn ProcessControl, wait: Duration) -> Result<StopOutcome, Unkillable> {
    let exited = control.reap(wait).await?;
    Ok(StopOutcome { exited, rung: Rung::Kill })
}

async fn ended(control: &dyn ProcessControl) {
    control.exited().await;
    control.emptied().await;
}

async fn within(end: Instant, future: impl Future<Output = ()>) -> bool {
    tokio::time::timeout_at(end, future).await.is_ok()
}

/// Adds without overflow: the longest wait is 30 years.
fn after(now: Instant, step: Duration) -> Instant {
    now + step.min(Duration::from_secs(30 * 365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_are_read_from_text_and_numbers() {
        // P-9
        let ladder: Ladder = serde_json::from_str(r#"{"drain": "500ms", "kill_wait": 1.5}"#).unwrap();
        assert_eq!(ladder.total(), Duration::from_millis(500 + 5000 + 1500));
        let text = serde_json::to_string(&ladder).unwrap();
        assert_eq!(text, r#"{"drain":"500ms","term_grace":"5s","kill_wait":"1s 500ms"}"#);
        for bad in [r#"{"drain": -1}"#, r#"{"drain": "soon"}"#, r#"{"drian": 1}"#] {
            assert!(serde_json::from_str::<Ladder>(bad).is_err(), "{bad}");
        }
    }
}
