//! [`Ladder`]: how a process is brought to its end, step by step (P-9).
//!
//! Works on any [`ProcessControl`]; the polite request (a message, or closing stdin) is the caller's and comes before.

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

/// The times of an orderly stop. Plain data; in serialised form a duration is `"10s"`, `"500ms"`, or a number of
/// seconds.
///
/// These are the times of one process. How those of several add up when a tree stops is said at
/// `Tree::shutdown`: children of a supervisor stop one after another, those of pools and plugin hosts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ladder {
    /// From the beginning of the stop to `SIGTERM`; 10 s by default. For a worker with a channel it is also the time in
    /// which the calls under way are answered, then the requests of the process; it is asked to end when they are, or when a
    /// fifth of this is left (at most 2 s). Granted in full, acknowledged or not.
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
    /// When, after the beginning of a stop that grants this long, a process is asked to end that has not been asked before.
    /// The rest is for what it does then.
    pub(crate) fn asked_after(drain: Duration) -> Duration {
        drain - (drain / 5).min(Duration::from_secs(2))
    }

    /// The longest that [`terminate`] can take.
    pub fn total(&self) -> Duration {
        self.drain.saturating_add(self.term_grace).saturating_add(self.kill_wait)
    }
}

/// The step of the ladder at which a process group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// By itself, in its drain time.
    Drain,
    /// After `SIGTERM`.
    Term,
    /// After `SIGKILL`.
    Kill,
}

/// How a stop went: the process is reaped and nothing of its group is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOutcome {
    /// How the leader ended.
    pub exited: ExitStatus,
    /// The last step that was needed, for the leader or for any other member of its group.
    pub rung: Rung,
}

/// Brings a process group to its end: waits `drain`, sends `SIGTERM`, waits `term_grace`, sends `SIGKILL`, reaps.
///
/// Each step ends as soon as the *group* is empty. That the leader is gone shortens nothing for the members that it
/// left behind (P-4). Past `deadline`, if there is one, the rest of the group is killed at once.
///
/// Cancel-safe: a caller that wants it faster drops this future and calls it again with a nearer deadline, or calls
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
        // A group that is gone by now, or may not be signalled, is dealt with by the reap.
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

/// An instant that exists: "for ever" is a wait of 30 years.
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
