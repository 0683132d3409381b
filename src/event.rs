//! What happened in a tree: [`Event`], one ordered stream per tree.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::TreeInstant,
    exit::Exit,
    human_duration::brief,
    id::{ChildId, Incarnation, TreePath},
    state::{ChildState, GiveUpReason, SecondIncarnationRole, Strategy},
};

/// One thing that happened at one node of the tree.
///
/// Events of one tree are numbered from 1 without gaps, in the order in which they were decided,
/// whichever supervisor publishes them (rule E-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The event's number in its tree.
    pub seq: u64,
    /// When it happened.
    pub at: TreeInstant,
    /// The node at which it happened.
    pub path: TreePath,
    /// The incarnation it belongs to.
    pub incarnation: Incarnation,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum EventKind {
    /// A child was added to its supervisor's table.
    Added,
    /// A child was removed from its supervisor's table.
    Removed,
    /// The child's state changed.
    State {
        /// The state before.
        from: ChildState,
        /// The state now.
        to: ChildState,
        /// Why its supervisor starts it, if that is the change. A start that fails and is repeated at once
        /// is no change: its [`Exited`](EventKind::Exited) says what follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<StartReason>,
    },
    /// An incarnation ended, and nothing it owned is left.
    Exited {
        /// How it ended.
        exit: Exit,
        /// What its supervisor does about it.
        then: ExitConsequence,
    },
    /// Another incarnation takes the place of one that was ready: from now on, calls reach this one
    /// (rules G-14, W-6). The state of the child stays as it was.
    Replaced {
        /// The incarnation that was reached before.
        from: Incarnation,
        /// Why it was replaced.
        why: ReplacementCause,
        /// Why the incarnation that takes its place was started.
        reason: StartReason,
    },
    /// What an incarnation beside the primary one is doing has changed.
    Second {
        /// What it is there for.
        role: SecondIncarnationRole,
        /// What it is doing: starting, ready, stopping, or, if it is a spare that failed, backing off.
        /// Down, if it is not needed any longer.
        state: ChildState,
    },
    /// A supervisor restarts several children because one of them failed.
    GroupRestart {
        /// Which siblings are restarted.
        strategy: Strategy,
        /// The child that failed.
        child: ChildId,
        /// When the first of them starts again.
        #[serde(with = "crate::human_duration")]
        delay: Duration,
    },
    /// All required children of the supervisor are ready.
    Started,
    /// A supervisor begins to stop its children and will then exit like this.
    Stopping {
        /// The exit to come.
        exit: Exit,
    },
}

/// Why a supervisor has started an incarnation (rule E-1).
///
/// If several reasons come together before the start, it is the last one, except that a change of the
/// definition outranks recycling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StartReason {
    /// The supervisor has started, or the child was added.
    #[default]
    Initial,
    /// It has ended, and its restart policy asks for a restart.
    Policy,
    /// A sibling has failed, and the strategy restarts it too.
    Group,
    /// An operator has asked for a start or a restart.
    Operator,
    /// It was needed (rules G-10, S-28).
    Demand,
    /// Its definition, or the configuration of a plugin, was changed (rules G-12 to G-14).
    Reload,
    /// The start of a new definition has failed, and the last good one returns (rule G-13).
    Restore,
    /// It is replaced by an incarnation of the same definition (rules W-5, G-15).
    Recycle(RecycleReason),
    /// It is a spare (rule W-6).
    Standby,
}

/// Why a worker is replaced by an incarnation of the same definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecycleReason {
    /// It has had as many calls as it may have.
    Calls,
    /// It is as old as it may be.
    Age,
    /// Its processes use more memory than they may.
    Memory,
    /// Its files have changed.
    Files,
    /// It was asked for.
    Requested,
}

/// Why an incarnation was replaced by another one that was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplacementCause {
    /// By a reload, or because it was recycled.
    Swap,
    /// It failed, and a spare was there.
    Standby,
}

/// What a supervisor does about an exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "does")]
#[non_exhaustive]
pub enum ExitConsequence {
    /// Nothing: the exit was requested, or belongs to a group restart or shutdown under way.
    Nothing,
    /// The child stays down: its restart type asks for no restart.
    Leave,
    /// The child is restarted.
    Restart {
        /// After this long.
        #[serde(with = "crate::human_duration")]
        delay: Duration,
        /// The number of failures in a row.
        attempt: u32,
    },
    /// This start was from a new definition: the definition before returns (rule G-13).
    Restore,
    /// The child crashed too often; a trial start follows after a pause.
    CoolOff {
        /// After this long.
        #[serde(with = "crate::human_duration")]
        delay: Duration,
    },
    /// The child's own limit is reached; it stays down until an operator restarts it.
    GiveUp {
        /// The limit.
        why: GiveUpReason,
    },
    /// The supervisor gives up.
    Escalate {
        /// The limit.
        why: GiveUpReason,
    },
}

impl Event {
    /// How the incarnation ended, if this is its end.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.kind {
            EventKind::Exited { exit, .. } => Some(exit),
            _ => None,
        }
    }

    /// Whether this is the exit of an incarnation that was not requested and was not a success
    /// (rule E-3).
    pub fn is_crash(&self) -> bool {
        self.kind.is_crash()
    }
}

impl EventKind {
    pub(crate) fn is_crash(&self) -> bool {
        match self {
            EventKind::Exited { exit, then } => {
                *then != ExitConsequence::Nothing
                    && !matches!(
                        exit,
                        Exit::Requested
                            | Exit::Clean { .. }
                            | Exit::Ignored
                            | Exit::ActorStopped { .. }
                            | Exit::AutoShutdown { .. }
                    )
            }
            _ => false,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.path)?;
        if self.incarnation != Incarnation::NONE {
            write!(f, " {}", self.incarnation)?;
        }
        write!(f, " {}", self.kind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventKind::Added => f.write_str("added"),
            EventKind::Removed => f.write_str("removed"),
            EventKind::State { from, to, reason } => {
                write!(f, "{from} -> {to}")?;
                match reason {
                    // The event before has said so.
                    None | Some(StartReason::Initial | StartReason::Policy | StartReason::Group) => Ok(()),
                    Some(reason) => write!(f, " ({reason})"),
                }
            }
            EventKind::Exited { exit, then: ExitConsequence::Nothing } => write!(f, "ended: {exit}"),
            // A failed launch that counts as no failure: its program is being replaced and is waited for.
            EventKind::Exited {
                exit: exit @ Exit::NeverStarted { .. },
                then: ExitConsequence::Restart { delay, attempt: 0 },
            } => write!(f, "ended: {exit}; waiting for its program, next try in {:?}", brief(*delay)),
            EventKind::Exited { exit, then } => write!(f, "ended: {exit}; {then}"),
            EventKind::Replaced { from, why: ReplacementCause::Swap, reason } => {
                write!(f, "replaces {from} ({reason})")
            }
            EventKind::Replaced { from, why: ReplacementCause::Standby, .. } => {
                write!(f, "replaces {from}, which is failing")
            }
            EventKind::Second { role, state } => write!(f, "beside the live one, {role}: {state}"),
            EventKind::GroupRestart { strategy, child, delay } => {
                write!(f, "{strategy} restart because of `{child}` in {:?}", brief(*delay))
            }
            EventKind::Started => f.write_str("all required children are ready"),
            EventKind::Stopping { exit } => write!(f, "stops its children: {exit}"),
        }
    }
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartReason::Initial => f.write_str("first start"),
            StartReason::Policy => f.write_str("by its restart policy"),
            StartReason::Group => f.write_str("with its group"),
            StartReason::Operator => f.write_str("by an operator"),
            StartReason::Demand => f.write_str("on demand"),
            StartReason::Reload => f.write_str("with a changed definition"),
            StartReason::Restore => f.write_str("with the definition before"),
            StartReason::Recycle(why) => write!(f, "recycled: {why}"),
            StartReason::Standby => f.write_str("as a spare"),
        }
    }
}

impl fmt::Display for RecycleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecycleReason::Calls => "it has had enough calls",
            RecycleReason::Age => "it is old enough",
            RecycleReason::Memory => "it uses too much memory",
            RecycleReason::Files => "its files have changed",
            RecycleReason::Requested => "on request",
        })
    }
}

impl fmt::Display for ExitConsequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitConsequence::Nothing => f.write_str("nothing to do"),
            ExitConsequence::Leave => f.write_str("not restarted"),
            ExitConsequence::Restart { delay, attempt } => {
                if delay.is_zero() {
                    f.write_str("restart now")?;
                } else {
                    write!(f, "restart in {:?}", brief(*delay))?;
                }
                // A clean end is not a failure.
                if *attempt > 0 { write!(f, " (failure {attempt})") } else { Ok(()) }
            }
            ExitConsequence::Restore => f.write_str("the definition before returns"),
            ExitConsequence::CoolOff { delay } => write!(f, "trial start in {:?}", brief(*delay)),
            ExitConsequence::GiveUp { why } => write!(f, "given up: {why}"),
            ExitConsequence::Escalate { why } => write!(f, "supervisor gives up: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::LaunchStage;

    #[test]
    fn a_restart_says_which_failure_it_follows_if_it_is_one() {
        let restart =
            |millis, attempt| ExitConsequence::Restart { delay: Duration::from_millis(millis), attempt };
        assert_eq!(restart(0, 0).to_string(), "restart now");
        assert_eq!(restart(0, 1).to_string(), "restart now (failure 1)");
        assert_eq!(restart(100, 0).to_string(), "restart in 100ms");
        assert_eq!(restart(100, 2).to_string(), "restart in 100ms (failure 2)");
        assert_eq!(restart(12_345, 2).to_string(), "restart in 12.3s (failure 2)");
    }

    #[test]
    fn a_program_that_is_being_replaced_is_waited_for() {
        //
        let exit = |attempt| EventKind::Exited {
            exit: Exit::NeverStarted {
                errno: Some(2),
                stage: LaunchStage::Program,
                reason: "it is away".into(),
            },
            then: ExitConsequence::Restart { delay: Duration::from_secs(1), attempt },
        };
        let text = exit(0).to_string();
        assert!(text.ends_with("; waiting for its program, next try in 1s"), "{text}");
        assert!(exit(1).to_string().ends_with("; restart in 1s (failure 1)"));
    }
}
