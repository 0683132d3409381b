//! What a host says of its plugins: [`PluginStatus`], [`PluginDiagnostics`].

use serde::Serialize;

use super::recent_logs::LogRecord;
use crate::{
    id::{ChildId, Incarnation},
    snapshot::NodeSnapshot,
    state::ChildState,
    time::Timestamp,
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
    /// Whether the host's declaration lists it, so that it is known when it is stopped too.
    pub declared: bool,
}

/// Everything that is known of one plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginDiagnostics {
    /// In short.
    pub status: PluginStatus,
    /// Its figures (rule W-4); of one that has left the host's table, those that it left with: last exit, counts,
    /// the end of stderr. `None` if it never was.
    pub node: Option<NodeSnapshot>,
    /// When it last crashed, whatever it is doing now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<Timestamp>,
    /// What it has logged of late, oldest first (rule G-4).
    pub logs: Vec<LogRecord>,
}
