//! [`LivePluginHost`]: one incarnation of a plugin host as its users reach it, published at the host's
//! node.

use std::{any::Any, sync::Arc};

use super::{
    error::PluginError,
    event::PluginEventReceiver,
    hosted_plugins::{HostedPlugin, HostedPlugins, OngoingOperation},
    prepared_plugin::{NeedsStartPermit, PluginHistory, PreparedPlugin},
    status::{PluginDiagnostics, PluginStatus},
    stream_subscriptions::StreamFilter,
};
use crate::{
    clock::Clock,
    exit::{Exit, ExitReport},
    id::{ChildId, Incarnation},
    rpc::StreamListener,
    state::{ChildState, DownReason},
    supervision::{
        ChildSpec, LiveAttachment, Node, RequestError, SpecError, SpecErrors, Unavailable,
        engine::EngineHandle,
    },
    worker::WorkerRef,
};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LivePluginHost {
    pub(crate) hosted: Arc<HostedPlugins>,
    pub(crate) node: Node,
    pub(crate) clock: Clock,
}

impl LiveAttachment for LivePluginHost {
    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl LivePluginHost {
    /// The host that is live at a node.
    pub(crate) fn at(node: &Node) -> Result<LivePluginHost, PluginError> {
        match &*node.load_live() {
            None => Err(PluginError::HostUnavailable(node.unavailable())),
            Some(live) => {
                let host =
                    live.attachment.as_ref().and_then(|it| it.as_any().downcast_ref::<LivePluginHost>());
                host.cloned().ok_or_else(|| PluginError::NotAHost(node.path().clone()))
            }
        }
    }

    pub(crate) fn engine(&self) -> Result<Arc<EngineHandle>, PluginError> {
        self.node.engine().ok_or_else(|| self.host_unavailable())
    }

    /// The error for a host that is stopping or has ended.
    pub(crate) fn host_unavailable(&self) -> PluginError {
        PluginError::HostUnavailable(self.node.unavailable())
    }

    pub(crate) fn ensure_open(&self, closed: bool) -> Result<(), PluginError> {
        if closed { Err(PluginError::Closed(self.node.path().clone())) } else { Ok(()) }
    }

    /// The child for a plugin that is new in the engine's table.
    pub(crate) fn child(&self, prepared: &Arc<PreparedPlugin>, history: &PluginHistory) -> ChildSpec {
        self.hosted.host_context.child(prepared, history, self.clock, NeedsStartPermit::Yes)
    }

    /// The child that replaces one in the engine's table.
    pub(crate) fn replacement(&self, prepared: &Arc<PreparedPlugin>, history: &PluginHistory) -> ChildSpec {
        let node = self.node_of(&prepared.spec.id);
        let is_new = node.is_none_or(|node| node.state() == ChildState::down(DownReason::NeverStarted));
        let needs_permit = if is_new { NeedsStartPermit::Yes } else { NeedsStartPermit::No };
        self.hosted.host_context.child(prepared, history, self.clock, needs_permit)
    }

    /// Translates the engine's refusal into an error about a plugin.
    pub(crate) fn plugin_error(&self, id: &ChildId, error: RequestError) -> PluginError {
        match error {
            RequestError::NotFound(id) => PluginError::NotFound(id),
            RequestError::AlreadyStarted(_)
            | RequestError::AlreadyPresent(_)
            | RequestError::Running(_)
            | RequestError::Restarting(_) => PluginError::AlreadyStarted(id.clone()),
            RequestError::StartFailed { exit, stderr_tail, .. } => {
                PluginError::StartFailed { id: id.clone(), exit, stderr_tail }
            }
            RequestError::Stopped(id) => PluginError::Stopped(id),
            RequestError::StoppedByOperator(_) | RequestError::GaveUp { .. } => match self.node_of(id) {
                Some(node) => PluginError::StaysDown(node.unavailable()),
                None => PluginError::Stopped(id.clone()),
            },
            RequestError::Invalid(errors) => PluginError::Invalid(of_plugins(&errors)),
            RequestError::ShuttingDown => self.host_unavailable(),
            other => PluginError::Refused(other),
        }
    }

    /// The node of a plugin that is in the engine's table.
    pub(crate) fn node_of(&self, id: &ChildId) -> Option<Node> {
        self.node.child(id)
    }

    /// The error for a plugin that is known but not in the engine's table.
    pub(crate) fn unavailable_plugin(&self, id: &ChildId, entry: Option<&HostedPlugin>) -> Unavailable {
        let last = entry.and_then(|entry| entry.last.as_ref());
        let lost = last.and_then(|node| {
            let stderr_tail =
                node.worker.as_ref().map(|worker| worker.stderr_tail.clone()).unwrap_or_default();
            Some(Box::new(ExitReport { exit: node.last_exit.clone()?, stderr_tail }))
        });
        let state = ChildState::down(entry.map_or(DownReason::Stopped, absence));
        Unavailable { path: self.node.path().join(id), state, retry_after: None, last_exit: lost }
    }

    pub(crate) fn worker(&self, id: &ChildId) -> Result<WorkerRef, PluginError> {
        if let Some(node) = self.node_of(id) {
            return Ok(WorkerRef::new(node));
        }
        match self.hosted.table().plugins.get(id) {
            Some(entry) => Err(self.unavailable_plugin(id, Some(entry)).into()),
            None => Err(PluginError::NotFound(id.clone())),
        }
    }

    pub(crate) fn list(&self) -> Vec<PluginStatus> {
        let table = self.hosted.table();
        let mut entries: Vec<(&ChildId, &HostedPlugin)> = table.plugins.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.order);
        entries.into_iter().map(|(id, entry)| self.status(id, entry)).collect()
    }

    fn status(&self, id: &ChildId, entry: &HostedPlugin) -> PluginStatus {
        let node = self.node_of(id);
        PluginStatus {
            id: id.clone(),
            state: node.as_ref().map_or_else(|| ChildState::down(absence(entry)), Node::state),
            incarnation: match (&node, &entry.last) {
                (Some(node), _) => node.incarnation(),
                (None, last) => last.as_ref().map_or(Incarnation::NONE, |node| node.incarnation),
            },
            declared: entry.declared,
        }
    }

    pub(crate) fn diagnostics(&self, id: &ChildId) -> Result<PluginDiagnostics, PluginError> {
        let table = self.hosted.table();
        let entry = table.plugins.get(id).ok_or_else(|| PluginError::NotFound(id.clone()))?;
        let node = self.node_of(id).map(|node| node.snapshot()).or_else(|| entry.last.as_deref().cloned());
        let (status, logs) = (self.status(id, entry), entry.history.recent.records());
        Ok(PluginDiagnostics { status, node, last_crash: entry.last_crash, logs })
    }

    pub(crate) fn streams(&self, filter: StreamFilter, streams: usize, items: usize) -> StreamListener {
        self.hosted.host_context.streams.subscribe(filter, streams, items)
    }

    pub(crate) fn events(&self) -> PluginEventReceiver {
        self.hosted.subscribe()
    }
}

/// Why a plugin that is known is not in the engine's table.
pub(crate) fn absence(entry: &HostedPlugin) -> DownReason {
    match &entry.last_exit {
        _ if entry.stopped => DownReason::Stopped,
        None if matches!(entry.ongoing, OngoingOperation::Dormant) => DownReason::NeverStarted,
        None | Some(Exit::Requested) => DownReason::Stopped,
        Some(_) => DownReason::Ended,
    }
}

/// Whether a plugin that was stopped ended as it should.
pub(crate) fn stopped_in_order(id: &ChildId, exit: Option<&Exit>) -> Result<(), PluginError> {
    match exit {
        Some(exit @ (Exit::Unkillable { .. } | Exit::ActorKilled)) => {
            Err(PluginError::NotStopped { id: id.clone(), exit: exit.clone() })
        }
        _ => Ok(()),
    }
}

/// The engine knows plugins as children.
fn of_plugins(errors: &SpecErrors) -> SpecErrors {
    let renamed = errors.iter().map(|error| SpecError {
        field: match error.field.strip_prefix("children[") {
            Some(rest) => format!("plugins[{rest}"),
            None => error.field.clone(),
        },
        problem: error.problem.clone(),
    });
    SpecErrors::check(renamed.collect()).err().unwrap_or_else(|| errors.clone())
}
