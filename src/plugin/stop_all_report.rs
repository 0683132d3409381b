//! What became of each plugin when all of a host were stopped (rule G-7): [`StopAllReport`].

use std::{collections::BTreeMap, fmt};

use super::error::PluginError;
use crate::{
    exit::Exit,
    id::ChildId,
    state::{ChildState, DownReason},
};

/// What became of each plugin of a host when all of them were stopped:
/// [`Plugins::stop_all`](super::Plugins::stop_all).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "says which plugins failed to stop: see `StopAllReport::into_result`"]
pub struct StopAllReport {
    /// Every plugin that the host knew, by its id.
    pub plugins: BTreeMap<ChildId, PluginStopOutcome>,
}

/// What became of one plugin that was to be stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PluginStopOutcome {
    /// It was running, starting or waiting for a restart, and has been stopped: nothing of it is left.
    Stopped {
        /// How its last process ended: [`Exit::Requested`], unless it ended by itself at that moment. `None`
        /// if it had none, because it was waiting for its next start.
        exit: Option<Exit>,
    },
    /// It was down already, so there was nothing to stop.
    AlreadyDown {
        /// Why it was down: stopped before, idle, never started, ended by itself, or given up.
        why: DownReason,
    },
    /// It was not stopped in order.
    Failed(PluginError),
}

impl StopAllReport {
    /// The plugins that were not stopped in order, with their errors, in the order of their ids.
    pub fn failures(&self) -> impl Iterator<Item = (&ChildId, &PluginError)> {
        self.plugins.iter().filter_map(|(id, outcome)| Some((id, outcome.error()?)))
    }

    /// The same as an error, if some plugin failed to stop.
    ///
    /// # Errors
    /// [`PluginError::StopAll`] with every failure.
    pub fn into_result(self) -> Result<(), PluginError> {
        let failed = |(id, outcome)| match outcome {
            PluginStopOutcome::Failed(error) => Some((id, error)),
            _ => None,
        };
        let failures: Vec<_> = self.plugins.into_iter().filter_map(failed).collect();
        if failures.is_empty() { Ok(()) } else { Err(PluginError::StopAll { failures }) }
    }
}

impl PluginStopOutcome {
    /// The outcome of a stop that has succeeded: `before` was the state when it was requested, and `exit` is
    /// how an incarnation ended since then, if one did.
    pub(crate) fn of(before: ChildState, exit: Option<Exit>) -> PluginStopOutcome {
        match (before, exit) {
            (ChildState::Down { why }, None) => PluginStopOutcome::AlreadyDown { why },
            (_, exit) => PluginStopOutcome::Stopped { exit },
        }
    }

    /// The error, if it was not stopped in order.
    pub fn error(&self) -> Option<&PluginError> {
        match self {
            PluginStopOutcome::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for PluginStopOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginStopOutcome::Stopped { exit: None } => {
                f.write_str("stopped while waiting for its next start")
            }
            PluginStopOutcome::Stopped { exit: Some(exit) } => write!(f, "stopped: {exit}"),
            PluginStopOutcome::AlreadyDown { why } => {
                write!(f, "already down: {}", ChildState::Down { why: why.clone() })
            }
            PluginStopOutcome::Failed(error) => write!(f, "not stopped: {error}"),
        }
    }
}
