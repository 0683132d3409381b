//! The states and kinds that every layer shares: [`Strategy`], [`ChildState`], [`ChildKind`],
//! [`DownReason`], [`GiveUpReason`].

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{clock::TreeInstant, human_duration::brief};

/// Which siblings restart with a child that failed (OTP's supervision strategies).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the child itself.
    #[default]
    OneForOne,
    /// All children of the supervisor: stopped newest first, started oldest first.
    OneForAll,
    /// The child and those after it in start order.
    RestForOne,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::OneForOne => "one-for-one",
            Strategy::OneForAll => "one-for-all",
            Strategy::RestForOne => "rest-for-one",
        })
    }
}

/// What kind of thing a child is. It decides default shutdown times and how a child is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// A leaf: an actor or a process.
    #[default]
    Worker,
    /// A supervisor with children of its own.
    Supervisor,
}

/// What a child is doing now. Supervisors, pools, plugin hosts, events and snapshots all use these
/// states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
#[non_exhaustive]
pub enum ChildState {
    /// No incarnation is alive and none is about to start.
    Down {
        /// Why it is down.
        why: DownReason,
    },
    /// An incarnation has been started and is not ready yet.
    Starting,
    /// The live incarnation is working.
    Ready,
    /// The live incarnation has been asked to stop, or is being torn down after a failed start.
    Stopping,
    /// The next incarnation starts when the back-off is over (OTP's *restarting*).
    BackingOff {
        /// When the next start is due.
        until: TreeInstant,
        /// The number of failures in a row so far.
        attempt: u32,
    },
    /// The child crashed too often; one trial start follows when this time is over (OTP's
    /// *restarting*).
    CoolingOff {
        /// When the trial start is due.
        until: TreeInstant,
    },
}

/// Why a child is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "because")]
#[non_exhaustive]
pub enum DownReason {
    /// It has not been started yet.
    NeverStarted,
    /// It ended and its restart type asks for no restart, or its supervisor has stopped.
    Ended,
    /// Its start found nothing to run.
    Ignored,
    /// It was stopped: by an operator, or by a group restart that has not reached it yet.
    Stopped,
    /// It was stopped because it was idle; the next call starts it (rule S-28).
    Idle,
    /// Its restart policy has given up; only an operator starts it again.
    GaveUp {
        /// The limit that was reached.
        why: GiveUpReason,
    },
}

impl ChildState {
    /// Down for the given reason.
    pub const fn down(why: DownReason) -> ChildState {
        ChildState::Down { why }
    }

    /// An incarnation is alive: starting, ready or stopping.
    pub fn is_alive(&self) -> bool {
        matches!(self, ChildState::Starting | ChildState::Ready | ChildState::Stopping)
    }

    /// Waiting for its next start (OTP's *restarting*).
    pub fn is_restarting(&self) -> bool {
        matches!(self, ChildState::BackingOff { .. } | ChildState::CoolingOff { .. })
    }

    /// The restart policy has given up: only an operator starts the child again.
    pub fn is_given_up(&self) -> bool {
        matches!(self, ChildState::Down { why: DownReason::GaveUp { .. } })
    }

    /// The state for readers who do not know the clock of the tree: it shows how much of a wait is
    /// left, if that is known, and never an instant.
    pub(crate) fn doing(&self, left: Option<Duration>) -> impl fmt::Display {
        let left = left.map(|left| format!(" for another {:?}", brief(left))).unwrap_or_default();
        match self {
            ChildState::BackingOff { attempt, .. } => format!("backing off{left} (failure {attempt})"),
            ChildState::CoolingOff { .. } => format!("cooling off{left}"),
            state => state.to_string(),
        }
    }

    /// No incarnation is alive and none is about to start.
    pub fn is_down(&self) -> bool {
        matches!(self, ChildState::Down { .. })
    }
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildState::Down { why: DownReason::NeverStarted } => f.write_str("never started"),
            ChildState::Down { why: DownReason::Ended } => f.write_str("ended"),
            ChildState::Down { why: DownReason::Ignored } => f.write_str("ignored"),
            ChildState::Down { why: DownReason::Stopped } => f.write_str("stopped"),
            ChildState::Down { why: DownReason::Idle } => f.write_str("idle: stopped until it is called"),
            ChildState::Down { why: DownReason::GaveUp { why } } => write!(f, "gave up: {why}"),
            ChildState::Starting => f.write_str("starting"),
            ChildState::Ready => f.write_str("ready"),
            ChildState::Stopping => f.write_str("stopping"),
            ChildState::BackingOff { until, attempt } => {
                write!(f, "backing off until {until}")?;
                // A clean end is not a failure, nor is a check for a missing program.
                if *attempt > 0 { write!(f, " (failure {attempt})") } else { Ok(()) }
            }
            ChildState::CoolingOff { until } => write!(f, "cooling off until {until}"),
        }
    }
}

/// What an incarnation beside the primary one is there for (rule S-27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecondIncarnationRole {
    /// It takes the place of the primary one as soon as it is ready (a swap, G-14).
    Successor,
    /// It waits for the primary one to crash (W-6).
    Spare,
    /// It was the primary one, has been replaced by a swap, and finishes its calls.
    Leaving,
    /// It was the primary one and has been replaced by the spare, since its process or its channel
    /// has ended. Its exit is still to come.
    Failing,
}

impl fmt::Display for SecondIncarnationRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecondIncarnationRole::Successor => "successor",
            SecondIncarnationRole::Spare => "spare",
            SecondIncarnationRole::Leaving => "leaving",
            SecondIncarnationRole::Failing => "failing",
        })
    }
}

/// A limit that was reached when a child or a supervisor gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "limit")]
#[non_exhaustive]
pub enum GiveUpReason {
    /// The supervisor's restart intensity (OTP: `intensity` and `period`).
    Intensity {
        /// Restarts allowed in `period`.
        max_restarts: u32,
        /// The sliding window.
        #[serde(with = "crate::human_duration")]
        period: Duration,
    },
    /// The child's own crash loop.
    CrashLoop {
        /// Failures allowed in `window`.
        max_failures: u32,
        /// The sliding window.
        #[serde(with = "crate::human_duration")]
        window: Duration,
    },
    /// All restarts of the child.
    TotalRestarts {
        /// Restarts allowed.
        max: u32,
    },
    /// The child can never start as it is declared: no such program, not executable, no such directory.
    NeverStarts,
}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GiveUpReason::Intensity { max_restarts, period } => {
                let restarts = if *max_restarts == 1 { "restart" } else { "restarts" };
                write!(f, "more than {max_restarts} {restarts} in {period:?}")
            }
            GiveUpReason::CrashLoop { max_failures, window } => {
                let failures = if *max_failures == 1 { "failure" } else { "failures" };
                write!(f, "{max_failures} {failures} in {window:?}")
            }
            GiveUpReason::TotalRestarts { max: 1 } => f.write_str("1 restart in all"),
            GiveUpReason::TotalRestarts { max } => write!(f, "{max} restarts in all"),
            GiveUpReason::NeverStarts => f.write_str("it cannot start as it is declared"),
        }
    }
}
