//! Gives a plugin another configuration (rule G-12).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    configured_protocol::ConfiguredProtocol,
    error::PluginError,
    event::{ConfigApplied, PluginEvent, PluginEventKind},
    hosted_plugins::LastStart,
    live_plugin_host::LivePluginHost,
    prepared_plugin::PreparedPlugin,
    start_stop::PluginPhase,
};
use crate::{
    event::StartReason,
    exit::ExitReport,
    id::{ChildId, Incarnation},
    rpc::{CallError, Timeout},
    state::ChildState,
    supervision::{Node, RequestError},
    worker::WorkerRef,
};

/// The request that tells a plugin its new configuration.
const CONFIG_CHANGED: &str = "configChanged";

/// How long a plugin may take to answer `configChanged`.
pub(super) const CONFIG_TIMEOUT: Duration = Duration::from_secs(10);

impl LivePluginHost {
    pub(crate) async fn set_config(&self, id: &ChildId, config: Value) -> Result<ConfigApplied, PluginError> {
        let mut set: Option<(Arc<ConfiguredProtocol>, u64)> = None;
        loop {
            let (phase, prepared, reload) = {
                let table = self.hosted.table();
                let entry = table.plugins.get(id);
                let prepared = entry.and_then(|entry| entry.prepared.clone());
                let reload = entry.and_then(|entry| entry.reload.as_ref().map(|(_, reload)| reload.clone()));
                (self.phase_of(&table, id), prepared, reload)
            };
            let operation = match &phase {
                PluginPhase::Starting(operation) | PluginPhase::Busy(operation) => Some(operation.clone()),
                // Its outcome decides which declaration has the configuration.
                _ => reload,
            };
            if let Some(operation) = operation {
                operation.wait().await.ok_or_else(|| self.host_unavailable())?.ok();
                continue;
            }
            let Some(prepared) = prepared else { return Err(PluginError::NotFound(id.clone())) };
            let Some(configured) = &prepared.configured else {
                return Err(PluginError::NotConfigurable(id.clone()));
            };
            // Once for each declaration: a reload may have intervened.
            let version = match &set {
                Some((set, version)) if Arc::ptr_eq(set, configured) => *version,
                _ => {
                    let version = configured.set(config.clone());
                    set = Some((configured.clone(), version));
                    version
                }
            };
            let applied = match phase {
                PluginPhase::Supervised(node, ChildState::Starting | ChildState::Stopping) => {
                    node.wait_state(|state| !matches!(state, ChildState::Starting | ChildState::Stopping))
                        .await;
                    continue;
                }
                PluginPhase::Supervised(node, ChildState::Ready) => {
                    match self.deliver_config(id, &node, &prepared, configured, version).await? {
                        Some(applied) => applied,
                        None => continue,
                    }
                }
                PluginPhase::Unknown => return Err(PluginError::NotFound(id.clone())),
                _ => ConfigApplied::AtNextStart,
            };
            self.publish(id, PluginEventKind::ConfigChanged { applied });
            return Ok(applied);
        }
    }

    pub(crate) fn publish(&self, id: &ChildId, kind: PluginEventKind) {
        let incarnation = self.node_of(id).map_or(Incarnation::NONE, |node| node.incarnation());
        self.hosted.publish(PluginEvent { at: self.clock.now(), plugin: id.clone(), incarnation, kind });
    }

    /// Delivers the newest configuration to a ready plugin; `None` if it is no longer ready.
    async fn deliver_config(
        &self,
        id: &ChildId,
        node: &Node,
        prepared: &PreparedPlugin,
        configured: &ConfiguredProtocol,
        version: u64,
    ) -> Result<Option<ConfigApplied>, PluginError> {
        let _turn = configured.change_lock.lock().await;
        // The caller before this one may have delivered this version too.
        if let Some(why) = configured.rejection_of(version) {
            return Err(why);
        }
        let worker = WorkerRef::new(node.clone());
        let last = node.incarnation();
        let Ok((incarnation, peer)) = worker.peer() else {
            // It is ending, and its state is about to change.
            node.wait_state(|state| *state != ChildState::Ready || node.incarnation() != last).await;
            return Ok(None);
        };
        if configured.has_newest(incarnation) {
            return Ok(Some(ConfigApplied::Live));
        }
        // A spare has the configuration that its handshake delivered, and must not come to its turn with it.
        if prepared.spec.standby || !peer.announces(CONFIG_CHANGED) {
            return self.restart_with(id, &worker, prepared, configured).await.map(Some);
        }
        let (version, config) = configured.deliver(incarnation);
        let params = json!({ "config": config });
        match peer.call_value(CONFIG_CHANGED, &params, Timeout::After(CONFIG_TIMEOUT)).await {
            Ok(_) => {
                configured.accept(version, config);
                Ok(Some(ConfigApplied::Live))
            }
            Err(CallError::Remote { error, .. }) => {
                let reason = error.to_string();
                let refused = PluginError::ConfigRefused { id: id.clone(), error };
                if configured.reject(version, &refused, incarnation) {
                    self.publish(id, PluginEventKind::RolledBack { reason });
                }
                Err(refused)
            }
            // It may or may not have applied the configuration: only a new incarnation has it for
            // certain.
            Err(CallError::Timeout { .. }) => {
                configured.mark_undelivered();
                self.restart_with(id, &worker, prepared, configured).await.map(Some)
            }
            Err(error) => {
                configured.mark_undelivered();
                // If it is ending, its next incarnation gets the configuration.
                if peer.close_reason().is_some() {
                    Ok(Some(ConfigApplied::AtNextStart))
                } else {
                    Err(error.into())
                }
            }
        }
    }

    /// Delivers the newest configuration by a restart, or by a swap if the plugin allows an overlap. If
    /// the new incarnation does not become ready, the old one still runs, or another restart restores the
    /// old configuration.
    async fn restart_with(
        &self,
        id: &ChildId,
        worker: &WorkerRef,
        prepared: &PreparedPlugin,
        configured: &ConfiguredProtocol,
    ) -> Result<ConfigApplied, PluginError> {
        let version = configured.version();
        let restarted = if prepared.spec.overlaps() {
            worker.node().recycle(StartReason::Reload).await
        } else {
            self.restart_as(id, worker, StartReason::Reload, "its configuration has changed").await.map(Some)
        };
        let (exit, stderr_tail) = match restarted {
            Ok(Some(_)) => return Ok(ConfigApplied::Restarted),
            Ok(None) => return Ok(ConfigApplied::AtNextStart),
            Err(RequestError::StartFailed { exit, stderr_tail, .. }) => (exit, stderr_tail),
            Err(error) => return Err(self.plugin_error(id, error)),
        };
        let reason = ExitReport { exit: exit.clone(), stderr_tail: stderr_tail.clone() }.to_string();
        let failed = |restored| PluginError::ReloadFailed { id: id.clone(), exit, stderr_tail, restored };
        let unchanged = worker.peer().ok().map(|(incarnation, _)| incarnation);
        let rejected = failed.clone()(unchanged);
        if !configured.reject(version, &rejected, unchanged.unwrap_or_default()) {
            return Err(rejected);
        }
        if unchanged.is_some() {
            self.publish(id, PluginEventKind::RolledBack { reason });
            return Err(rejected);
        }
        let reason_of_return = "its old configuration is restored";
        let restored = self.restart_as(id, worker, StartReason::Restore, reason_of_return).await.ok();
        self.publish(id, PluginEventKind::RolledBack { reason });
        Err(failed(restored))
    }

    /// Restarts it for a reason of the host's, which its events tell.
    async fn restart_as(
        &self,
        id: &ChildId,
        worker: &WorkerRef,
        reason: StartReason,
        text: &str,
    ) -> Result<Incarnation, RequestError> {
        let with_start = |note: &dyn Fn(&mut LastStart)| {
            if let Some(entry) = self.hosted.table().plugins.get_mut(id) {
                note(&mut entry.last_start);
            }
        };
        with_start(&|start| start.order(reason));
        let restarted = worker.restart(text).await;
        with_start(&LastStart::order_is_over);
        restarted
    }
}
