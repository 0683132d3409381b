//! What happens to plugins, from their users' point of view (rule G-11): [`PluginEvent`],
//! [`PluginEventReceiver`].

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{
    clock::TreeInstant,
    event::{RecycleReason, ReplacementCause, StartReason},
    exit::Exit,
    id::{ChildId, Incarnation},
    state::GiveUpReason,
    supervision::RecvError,
};

/// Something that happened to a plugin. A simplified view of the tree's event stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// When it happened.
    pub at: TreeInstant,
    /// The plugin.
    pub plugin: ChildId,
    /// The incarnation that it happened to.
    pub incarnation: Incarnation,
    /// What happened.
    #[serde(flatten)]
    pub kind: PluginEventKind,
}

/// What happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum PluginEventKind {
    /// The plugin ended unasked and not successfully, or it did not become ready.
    Crashed {
        /// The exit code, if it exited by itself.
        code: Option<i32>,
        /// The signal, if it died of one.
        signal: Option<i32>,
        /// Everything that is known about the end.
        exit: Exit,
        /// Whether it will be restarted.
        will_restart: bool,
        /// After how long.
        #[serde(with = "crate::human_duration::option", default)]
        delay: Option<Duration>,
    },
    /// The plugin ended by itself and successfully, or its start found nothing to run.
    Ended {
        /// How it ended.
        exit: Exit,
        /// Whether it will be restarted.
        will_restart: bool,
    },
    /// The plugin is started because a call, or [`ensure_ready`](super::Plugins::ensure_ready), needs it.
    StartedOnDemand,
    /// The plugin is ready.
    Ready,
    /// The incarnation that has just become ready, or has just taken the place of another one, is not the
    /// plugin's first since it was added or stopped by an operator. Always follows
    /// [`Ready`](PluginEventKind::Ready) or [`Replaced`](PluginEventKind::Replaced). Not sent when
    /// the plugins return with their host.
    Restarted {
        /// Why it was started.
        why: RestartReason,
    },
    /// This incarnation takes the place of one that was ready: calls reach it from now on. No
    /// [`Ready`](PluginEventKind::Ready) is sent for it.
    Replaced {
        /// The incarnation that calls reached before.
        from: Incarnation,
        /// Why: by a swap, or because that one is failing and a spare was there. In the latter case, how it
        /// ended is told when that is known ([`Crashed`](PluginEventKind::Crashed)).
        why: ReplacementCause,
    },
    /// The plugin was stopped because nothing had used it for its idle time; the next call starts it.
    Idle,
    /// An operator has stopped the plugin; it stays down until an operator starts it. Nothing of it is left.
    Stopped,
    /// The plugin is no longer restarted.
    GaveUp {
        /// The limit that was reached.
        why: GiveUpReason,
    },
    /// The plugin's configuration was changed.
    ConfigChanged {
        /// How the configuration reached it.
        applied: ConfigApplied,
    },
    /// A change of the plugin's declaration or configuration was refused or failed; the previous one is
    /// in force again.
    RolledBack {
        /// Why: the plugin's own error message, or how it ended.
        reason: String,
    },
}

/// Why a plugin was restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestartReason {
    /// It ended, or its start failed, and its restart policy has restarted it.
    Exit(Exit),
    /// It was failing, and a spare has taken its place. How it ended is told when that is known.
    Standby,
    /// An operator has restarted it.
    Operator,
    /// It was idle or had ended, and was needed.
    Demand,
    /// Its declaration or its configuration was changed.
    Reload,
    /// The start of a new declaration has failed, and the old one returns.
    Restore,
    /// It was replaced by an incarnation of the same declaration.
    Recycle(RecycleReason),
}

/// How a new configuration reached a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigApplied {
    /// The live incarnation has answered `configChanged { config }`, or already had the configuration
    /// from its handshake.
    Live,
    /// The plugin does not announce `configChanged`, or did not answer in time, so it was restarted and
    /// got the configuration with its handshake.
    Restarted,
    /// The plugin is not running; its next incarnation gets the configuration.
    AtNextStart,
}

impl fmt::Display for ConfigApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigApplied::Live => "while it runs",
            ConfigApplied::Restarted => "by a restart",
            ConfigApplied::AtNextStart => "at its next start",
        })
    }
}

impl RestartReason {
    /// `None` for a start that is no restart of the plugin. `exit`: how it ended last.
    pub(crate) fn of(start: StartReason, exit: Option<&Exit>) -> Option<RestartReason> {
        Some(match start {
            StartReason::Initial | StartReason::Group => return None,
            StartReason::Policy => RestartReason::Exit(exit?.clone()),
            StartReason::Standby => RestartReason::Standby,
            StartReason::Operator => RestartReason::Operator,
            StartReason::Demand => RestartReason::Demand,
            StartReason::Reload => RestartReason::Reload,
            StartReason::Restore => RestartReason::Restore,
            StartReason::Recycle(why) => RestartReason::Recycle(why),
        })
    }
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartReason::Exit(exit) => write!(f, "after it ended: {exit}"),
            RestartReason::Standby => f.write_str("by a spare that took its place"),
            RestartReason::Operator => f.write_str("by an operator"),
            RestartReason::Demand => f.write_str("on demand"),
            RestartReason::Reload => f.write_str("with a changed declaration or configuration"),
            RestartReason::Restore => f.write_str("with its old declaration"),
            RestartReason::Recycle(why) => write!(f, "to be recycled: {why}"),
        }
    }
}

impl fmt::Display for PluginEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} plugin `{}`{} {}", self.at, self.plugin, self.incarnation, self.kind)
    }
}

impl fmt::Display for PluginEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginEventKind::Crashed { exit, will_restart: false, .. } => {
                write!(f, "crashed and will not be restarted: {exit}")
            }
            PluginEventKind::Crashed { exit, delay, .. } => {
                let delay = delay.unwrap_or_default();
                write!(
                    f,
                    "crashed and will be restarted after {}: {exit}",
                    crate::human_duration::format(delay)
                )
            }
            PluginEventKind::Ended { exit, will_restart: true } => {
                write!(f, "ended and will be restarted: {exit}")
            }
            PluginEventKind::Ended { exit, will_restart: false } => write!(f, "ended: {exit}"),
            PluginEventKind::StartedOnDemand => f.write_str("is started on demand"),
            PluginEventKind::Restarted { why } => write!(f, "was restarted {why}"),
            PluginEventKind::Stopped => f.write_str("was stopped by an operator"),
            PluginEventKind::Ready => f.write_str("is ready"),
            PluginEventKind::Replaced { from, why: ReplacementCause::Swap } => write!(f, "replaces {from}"),
            PluginEventKind::Replaced { from, why: ReplacementCause::Standby } => {
                write!(f, "replaces {from}, which is failing")
            }
            PluginEventKind::Idle => f.write_str("is idle: stopped until it is called"),
            PluginEventKind::GaveUp { why } => write!(f, "was given up: {why}"),
            PluginEventKind::ConfigChanged { applied } => write!(f, "got a new configuration {applied}"),
            PluginEventKind::RolledBack { reason } => {
                write!(f, "was rolled back to its previous declaration or configuration: {reason}")
            }
        }
    }
}

/// A subscription to the events of all plugins of one host. It outlives the host's incarnations.
#[derive(Debug)]
pub struct PluginEventReceiver(pub(crate) broadcast::Receiver<Arc<PluginEvent>>);

impl PluginEventReceiver {
    /// How many events a subscriber may be behind before it loses some.
    pub const CAPACITY: usize = 1024;

    /// The next event. Cancel safe.
    ///
    /// # Errors
    /// [`RecvError::Lost`] once after events were lost, then the stream goes on; [`RecvError::Closed`] when
    /// the host's declaration is gone.
    pub async fn next(&mut self) -> Result<Arc<PluginEvent>, RecvError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(n) => RecvError::Lost(n),
            broadcast::error::RecvError::Closed => RecvError::Closed,
        })
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    /// As [`PluginEventReceiver::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<PluginEvent>>, RecvError> {
        match self.0.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(broadcast::error::TryRecvError::Empty) => Ok(None),
            Err(broadcast::error::TryRecvError::Lagged(n)) => Err(RecvError::Lost(n)),
            Err(broadcast::error::TryRecvError::Closed) => Err(RecvError::Closed),
        }
    }
}
