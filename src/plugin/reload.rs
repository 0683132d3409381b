//! Changes the declaration of a plugin, or a part of its command (rules G-13, G-14).
//!
//! The supervisor composes changes that wait together, carries them out, and takes them back together; each
//! caller gets the outcome of the start that had its change.

use std::sync::Arc;

use super::{
    error::PluginError,
    event::PluginEventKind,
    hosted_plugins::PluginTable,
    live_plugin_host::LivePluginHost,
    prepared_plugin::{NumberedLaunchChange, PreparedPlugin},
    requested_declaration_changes::DeclarationChange,
    shared_operation::{OperationResult, SharedOperation},
    spec::PluginSpec,
    start_stop::PluginPhase,
};
use crate::{
    exit::ExitReport,
    id::{ChildId, Incarnation},
    process::CommandChange,
    supervision::{
        BoxFuture, RequestError, SpecErrors,
        machine::{ReloadWhen, Reply, Request},
    },
};

impl LivePluginHost {
    pub(crate) async fn reload(&self, id: &ChildId, spec: PluginSpec, when: ReloadWhen) -> OperationResult {
        if spec.id != *id {
            let problem = format!("must be `{id}`, the plugin that is reloaded");
            return Err(SpecErrors::one(format!("plugins[{}].id", spec.id), problem).into());
        }
        self.hosted.host_context.validate(&spec)?;
        self.change(id, when, |number| DeclarationChange::Replace(PreparedPlugin::new(spec.clone(), number)))
            .await
    }

    pub(crate) async fn change_command(
        &self,
        id: &ChildId,
        change: CommandChange,
        when: ReloadWhen,
    ) -> OperationResult {
        self.change(id, when, |_| DeclarationChange::Command(change.clone())).await
    }

    async fn change(
        &self,
        id: &ChildId,
        when: ReloadWhen,
        make: impl Fn(u64) -> DeclarationChange,
    ) -> OperationResult {
        loop {
            let busy = {
                let mut table = self.hosted.table();
                self.ensure_open(table.closed)?;
                match self.phase_of(&table, id) {
                    PluginPhase::Unknown => return Err(PluginError::NotFound(id.clone())),
                    PluginPhase::Dormant(before) | PluginPhase::Stopped(before) => {
                        let number = table.next_operation_id();
                        let after = self.changed(&before, make(number), number)?;
                        table.entry(id.clone()).prepared = Some(after);
                        return Ok(Incarnation::NONE);
                    }
                    PluginPhase::Starting(operation) | PluginPhase::Busy(operation) => Err(operation),
                    PluginPhase::Supervised(..) => Ok(self.begin_change(&mut table, id, when, &make)?),
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

    /// The declaration after a change of a plugin that is not in the engine's table.
    fn changed(
        &self,
        before: &PreparedPlugin,
        change: DeclarationChange,
        number: u64,
    ) -> Result<Arc<PreparedPlugin>, PluginError> {
        let after = match change {
            DeclarationChange::Replace(prepared) => return Ok(prepared),
            DeclarationChange::Command(change) => before.with_command_change(&change, number),
        };
        let after = after.ok_or_else(|| {
            let problem = "is made per incarnation and cannot be changed in part".to_owned();
            SpecErrors::one(format!("plugins[{}].command", before.spec.id), problem)
        })?;
        self.hosted.host_context.validate(&after.spec)?;
        Ok(after)
    }

    /// Hands a change to the engine. What follows goes on when no caller waits for it.
    fn begin_change(
        &self,
        table: &mut PluginTable,
        id: &ChildId,
        when: ReloadWhen,
        make: impl Fn(u64) -> DeclarationChange,
    ) -> Result<SharedOperation, PluginError> {
        let engine = self.engine()?;
        let number = table.next_operation_id();
        let change = make(number);
        let entry = table.entry(id.clone());
        let answer: BoxFuture<'static, Result<Reply, RequestError>> = match &change {
            DeclarationChange::Replace(new) => {
                Box::pin(engine.reload_child(self.replacement(new, &entry.history), when))
            }
            DeclarationChange::Command(change) => {
                let change = Arc::new(NumberedLaunchChange { change: change.clone(), number });
                Box::pin(engine.modify_child(id.clone(), change, when))
            }
        };
        entry.requested.add(number, change);
        let (host, id) = (self.clone(), id.clone());
        let operation = SharedOperation::spawn(async move {
            let answer = answer.await;
            let outcome = host.change_answered(&id, number, answer).await;
            if let Some(entry) = host.hosted.table().plugins.get_mut(&id) {
                entry.reload.take_if(|(reload, _)| *reload == number);
            }
            outcome
        });
        if when == ReloadWhen::Now {
            entry.reload = Some((number, operation.clone()));
        }
        Ok(operation)
    }

    async fn change_answered(
        &self,
        id: &ChildId,
        number: u64,
        answer: Result<Reply, RequestError>,
    ) -> OperationResult {
        let with_entry = |note: &dyn Fn(&mut super::hosted_plugins::HostedPlugin)| {
            self.hosted.table().plugins.get_mut(id).into_iter().for_each(note);
        };
        match answer {
            Ok(Reply::Ready(incarnation)) => {
                with_entry(&|entry| entry.requested.remove(number));
                Ok(incarnation)
            }
            Ok(Reply::Done | Reply::Ignored) => {
                with_entry(&|entry| entry.requested.accept(number));
                Ok(Incarnation::NONE)
            }
            Err(RequestError::StartFailed { exit, stderr_tail, .. }) => {
                let restored = self.restored(id).await;
                let lost = ExitReport { exit, stderr_tail };
                let mut is_new = false;
                if let Some(entry) = self.hosted.table().plugins.get_mut(id) {
                    entry.requested.remove(number);
                    is_new = entry.requested.report_rejection_of(number);
                }
                if is_new {
                    self.publish(id, PluginEventKind::RolledBack { reason: lost.to_string() });
                }
                let ExitReport { exit, stderr_tail } = lost;
                Err(PluginError::ReloadFailed { id: id.clone(), exit, stderr_tail, restored })
            }
            Err(error) => {
                self.restore_later(id, number);
                Err(self.plugin_error(id, error))
            }
        }
    }

    /// The supervisor starts the plugin with its old declaration (rule G-13), or has never stopped it
    /// (G-14). Returns the incarnation once it is ready; `None` if it does not become ready at once.
    async fn restored(&self, id: &ChildId) -> Option<Incarnation> {
        let answer = match self.node.engine() {
            Some(engine) => engine.request(Request::Demand(id.clone())).await.ok(),
            None => None,
        };
        match answer {
            Some(Reply::Ready(incarnation)) => Some(incarnation),
            _ => None,
        }
    }

    /// The plugin was stopped before the outcome was known: its next start uses the declaration in force,
    /// unless others have changed it for that start.
    fn restore_later(&self, id: &ChildId, number: u64) {
        let mut table = self.hosted.table();
        let Some(entry) = table.plugins.get_mut(id) else { return };
        entry.requested.remove(number);
        if entry.in_table
            && !entry.requested.any_accepted()
            && let Some(prepared) = &entry.prepared
            && let Some(engine) = self.node.engine()
        {
            drop(engine.reload_child(self.replacement(prepared, &entry.history), ReloadWhen::NextStart));
        }
    }
}
