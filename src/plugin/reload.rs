//! Gives a running plugin another declaration (rule G-13).

use std::sync::Arc;

use super::{
    error::PluginError,
    event::PluginEventKind,
    hosted_plugins::{OngoingOperation, PluginTable},
    live_plugin_host::LivePluginHost,
    prepared_plugin::PreparedPlugin,
    shared_operation::{OperationResult, SharedOperation},
    spec::PluginSpec,
    start_stop::PluginPhase,
};
use crate::{
    exit::ExitReport,
    id::{ChildId, Incarnation},
    supervision::{
        RequestError, SpecErrors,
        machine::{ReloadWhen, Reply, Request},
    },
};

impl LivePluginHost {
    pub(crate) async fn reload(&self, id: &ChildId, spec: PluginSpec) -> OperationResult {
        if spec.id != *id {
            let problem = format!("must be `{id}`, the plugin that is reloaded");
            return Err(SpecErrors::one(format!("plugins[{}].id", spec.id), problem).into());
        }
        self.hosted.host_context.validate(&spec)?;
        let new = PreparedPlugin::new(spec);
        loop {
            let busy = {
                let mut table = self.hosted.table();
                self.ensure_open(table.closed)?;
                match self.phase_of(&table, id) {
                    PluginPhase::Unknown => return Err(PluginError::NotFound(id.clone())),
                    PluginPhase::Dormant(_) | PluginPhase::Stopped(_) => {
                        table.entry(id.clone()).prepared = Some(new);
                        return Ok(Incarnation::NONE);
                    }
                    PluginPhase::Starting(operation) | PluginPhase::Busy(operation) => Err(operation),
                    PluginPhase::Supervised(..) => Ok(self.begin_reload(&mut table, id, &new)?),
                }
            };
            match busy {
                Ok(operation) => {
                    return operation.wait().await.unwrap_or_else(|| Err(self.host_unavailable()));
                }
                Err(operation) => drop(operation.wait().await.ok_or_else(|| self.host_unavailable())?),
            }
        }
    }

    fn begin_reload(
        &self,
        table: &mut PluginTable,
        id: &ChildId,
        new: &Arc<PreparedPlugin>,
    ) -> Result<SharedOperation, PluginError> {
        let engine = self.engine()?;
        let operation_id = table.next_operation_id();
        let entry = table.entry(id.clone());
        let Some(old) = entry.prepared.clone() else { return Err(PluginError::NotFound(id.clone())) };
        let answer = engine.reload_child(self.replacement(new, &entry.recent), ReloadWhen::Now);
        let (host, id, new) = (self.clone(), id.clone(), new.clone());
        let operation = SharedOperation::spawn(async move {
            match answer.await {
                Ok(answer) => {
                    let mut table = host.hosted.table();
                    if let Some(entry) = table.current(&id, operation_id) {
                        entry.prepared = Some(new);
                        table.finish_operation(&id);
                    }
                    host.outcome(&id, Ok(answer))
                }
                Err(RequestError::StartFailed { exit, stderr_tail, .. }) => {
                    let restored = host.restored(&id, operation_id).await;
                    let lost = ExitReport { exit, stderr_tail };
                    host.publish(&id, PluginEventKind::RolledBack { reason: lost.to_string() });
                    let ExitReport { exit, stderr_tail } = lost;
                    Err(PluginError::ReloadFailed { id, exit, stderr_tail, restored })
                }
                Err(error) => {
                    host.restore_later(&id, operation_id, &old);
                    Err(host.plugin_error(&id, error))
                }
            }
        });
        (entry.operation_id, entry.ongoing) = (operation_id, OngoingOperation::Reloading(operation.clone()));
        Ok(operation)
    }

    /// The supervisor starts the plugin with its old declaration (rule G-13). Returns the incarnation once it
    /// is ready; `None` if it does not become ready at once.
    async fn restored(&self, id: &ChildId, operation_id: u64) -> Option<Incarnation> {
        let answer = match self.node.engine() {
            Some(engine) => engine.request(Request::Demand(id.clone())).await.ok(),
            None => None,
        };
        let mut table = self.hosted.table();
        if table.current(id, operation_id).is_some() {
            table.finish_operation(id);
        }
        match answer {
            Some(Reply::Ready(incarnation)) => Some(incarnation),
            _ => None,
        }
    }

    /// The plugin was stopped before the outcome was known: its next start uses the old declaration.
    fn restore_later(&self, id: &ChildId, operation_id: u64, old: &Arc<PreparedPlugin>) {
        let mut table = self.hosted.table();
        let Some(entry) = table.current(id, operation_id) else { return };
        if let Some(engine) = self.node.engine() {
            drop(engine.reload_child(self.replacement(old, &entry.recent), ReloadWhen::NextStart));
        }
        table.finish_operation(id);
    }
}
