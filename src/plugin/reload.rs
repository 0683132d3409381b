//! Gives a running plugin another declaration (rule G-13).

use std::sync::Arc;

use super::{
    error::PluginError,
    event::PluginEventKind,
    hosted_plugins::{OngoingOperation, PluginTable},
    live_plugin_host::LivePluginHost,
    prepared_plugin::{PreparedPlugin, extend_shutdown_for},
    shared_operation::{OperationResult, SharedOperation},
    spec::PluginSpec,
    start_stop::PluginPhase,
};
use crate::{
    exit::ExitReport,
    id::{ChildId, Incarnation},
    supervision::{
        RequestError, SpecErrors,
        machine::{Reply, Request},
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
        let mut child = self.replacement(new, &entry.recent);
        // The old process stops under the new policy.
        extend_shutdown_for(&mut child, &self.replacement(&old, &entry.recent));
        let answer = engine.reload_child(child);
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
                    let restored = host.restore(&id, operation_id, &old, true).await;
                    let lost = ExitReport { exit, stderr_tail };
                    host.publish(&id, PluginEventKind::RolledBack { reason: lost.to_string() });
                    let ExitReport { exit, stderr_tail } = lost;
                    Err(PluginError::ReloadFailed { id, exit, stderr_tail, restored })
                }
                Err(error) => {
                    host.restore(&id, operation_id, &old, false).await;
                    Err(host.plugin_error(&id, error))
                }
            }
        });
        (entry.operation_id, entry.ongoing) = (operation_id, OngoingOperation::Reloading(operation.clone()));
        Ok(operation)
    }

    /// Puts the old declaration back in force, and starts it if `run`. `None` if it does not run at
    /// once.
    async fn restore(
        &self,
        id: &ChildId,
        operation_id: u64,
        old: &Arc<PreparedPlugin>,
        run: bool,
    ) -> Option<Incarnation> {
        let restarted = {
            let mut table = self.hosted.table();
            let recent = table.current(id, operation_id)?.recent.clone();
            match self.node.engine() {
                Some(engine) => {
                    // The child is down, so this only changes its declaration.
                    drop(engine.reload_child(self.replacement(old, &recent)));
                    run.then(|| engine.request(Request::Restart(id.clone())))
                }
                None => None,
            }
        };
        let answer = match restarted {
            Some(restarted) => Some(restarted.await),
            None => None,
        };
        let mut table = self.hosted.table();
        if table.current(id, operation_id).is_some() {
            table.finish_operation(id);
        }
        match answer {
            Some(Ok(Reply::Ready(incarnation))) => Some(incarnation),
            _ => None,
        }
    }
}
