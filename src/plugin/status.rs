//! What a host reports about its plugins: [`PluginStatus`], [`PluginDiagnostics`].

use serde::Serialize;

use super::recent_logs::LogRecord;
use crate::{
    clock::TreeInstant,
    id::{ChildId, Incarnation},
    snapshot::NodeSnapshot,
    state::ChildState,
};

/// One plugin in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The plugin.
    pub id: ChildId,
    /// What it is doing.
    pub state: ChildState,
    /// Its last incarnation.
    pub incarnation: Incarnation,
    /// Whether the host's declaration lists it. Such a plugin stays known while it is stopped.
    pub declared: bool,
}

/// Everything that is known about one plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginDiagnostics {
    /// The summary.
    pub status: PluginStatus,
    /// Its figures (rule W-4): last exit, counts, the end of stderr. For a plugin that has left the
    /// host's table, the figures at that moment; `None` if it has never been started.
    pub node: Option<NodeSnapshot>,
    /// When it last crashed, regardless of its present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<TreeInstant>,
    /// Its newest log entries, oldest first (rule G-4).
    pub logs: Vec<LogRecord>,
}
