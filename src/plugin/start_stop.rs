//! Starting and stopping plugins (rules G-1, G-7, G-10). Each operation is carried out once and joined
//! by all its callers.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{
    error::PluginError,
    event::{PluginEvent, PluginEventKind},
    hosted_plugins::{OngoingOperation, PluginTable, StopOperation},
    live_plugin_host::{LivePluginHost, absence, stopped_in_order},
    prepared_plugin::PreparedPlugin,
    shared_operation::{OperationResult, SharedOperation},
    spec::PluginSpec,
    stop_all_report::{PluginStopOutcome, StopAllReport},
};
use crate::{
    event::StartReason,
    exit::ExitReport,
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason},
    supervision::{
        ChildSpec, Node, RequestError,
        machine::{Reply, Request},
    },
    worker::WorkerRef,
};

/// The phase of a plugin, for a caller who wants it to run.
pub(crate) enum PluginPhase {
    /// There is no such plugin.
    Unknown,
    /// A start is under way; the caller joins it.
    Starting(SharedOperation),
    /// Another operation is under way; the caller waits for it.
    Busy(SharedOperation),
    /// The plugin is known, but not in the engine's table.
    Dormant(Arc<PreparedPlugin>),
    /// The same, and an operator has stopped it.
    Stopped(Arc<PreparedPlugin>),
    /// The plugin is in the engine's table.
    Supervised(Node, ChildState),
}

/// What there is to wait for when a plugin is stopped.
enum BeginStopOutcome {
    UnderWay(StopOperation),
    /// It is not in the engine's table.
    AlreadyDown(DownReason),
}

impl LivePluginHost {
    pub(crate) fn phase_of(&self, table: &PluginTable, id: &ChildId) -> PluginPhase {
        let Some(entry) = table.plugins.get(id) else { return PluginPhase::Unknown };
        match (&entry.ongoing, &entry.prepared) {
            (OngoingOperation::Starting(operation), _) => PluginPhase::Starting(operation.clone()),
            (OngoingOperation::Stopping(StopOperation { operation, .. }), _)
            | (OngoingOperation::Returning(operation), _) => PluginPhase::Busy(operation.clone()),
            (OngoingOperation::Dormant, Some(prepared)) if entry.stopped => {
                PluginPhase::Stopped(prepared.clone())
            }
            (OngoingOperation::Dormant, Some(prepared)) => PluginPhase::Dormant(prepared.clone()),
            (OngoingOperation::Dormant, None) => PluginPhase::Unknown,
            (OngoingOperation::Supervised, _) => match self.node_of(id) {
                Some(node) => {
                    let state = node.state();
                    PluginPhase::Supervised(node, state)
                }
                // The host is between two incarnations.
                None => PluginPhase::Unknown,
            },
        }
    }

    /// Waits for another caller's operation, regardless of its result.
    async fn wait_for(&self, operation: &SharedOperation) -> Result<(), PluginError> {
        operation.wait().await.map(drop).ok_or_else(|| self.host_unavailable())
    }

    async fn join(&self, operation: &SharedOperation) -> OperationResult {
        operation.wait().await.unwrap_or_else(|| Err(self.host_unavailable()))
    }

    /// Rule G-1.
    pub(crate) async fn start(&self, spec: PluginSpec) -> OperationResult {
        self.hosted.host_context.validate(&spec)?;
        let id = spec.id.clone();
        let prepared = PreparedPlugin::new(spec, self.hosted.table().next_operation_id());
        loop {
            let phase = {
                let mut table = self.hosted.table();
                self.ensure_open(table.closed)?;
                match self.phase_of(&table, &id) {
                    PluginPhase::Unknown | PluginPhase::Dormant(_) | PluginPhase::Stopped(_) => {
                        PluginPhase::Starting(self.begin_start(&mut table, &prepared)?)
                    }
                    // It is down for good: the new declaration replaces it.
                    PluginPhase::Supervised(_, ChildState::Down { .. }) => {
                        drop(self.engine()?.request(Request::RemoveChild(id.clone())));
                        PluginPhase::Starting(self.begin_start(&mut table, &prepared)?)
                    }
                    other => other,
                }
            };
            match phase {
                PluginPhase::Starting(operation) => return self.join(&operation).await,
                PluginPhase::Supervised(node, ChildState::Starting) => {
                    return self.first_outcome(&id, &node).await;
                }
                PluginPhase::Supervised(node, ChildState::Stopping) => {
                    node.wait_state(|state| *state != ChildState::Stopping).await;
                }
                PluginPhase::Busy(operation) => self.wait_for(&operation).await?,
                _ => return Err(PluginError::AlreadyStarted(id)),
            }
        }
    }

    /// Starts a plugin that is not in the engine's table, for an operator: if it does not become ready,
    /// nothing of it is left.
    pub(crate) fn begin_start(
        &self,
        table: &mut PluginTable,
        prepared: &Arc<PreparedPlugin>,
    ) -> Result<SharedOperation, PluginError> {
        let engine = self.engine()?;
        let id = prepared.spec.id.clone();
        if !prepared.spec.is_on_demand() {
            return self.starting(table, prepared, |child| engine.start_child(child.required()));
        }
        self.starting(table, prepared, |child| {
            // The first request starts nothing, and both are queued now, one behind the other.
            let added = engine.start_child(child);
            let started = engine.request(Request::RestartChild(id.clone()));
            async move {
                added.await?;
                let answer = match started.await {
                    // A call was quicker.
                    Err(RequestError::Running(_) | RequestError::Restarting(_)) => {
                        engine.request(Request::Demand(id.clone())).await
                    }
                    answer => answer,
                };
                if answer.is_err() {
                    let _ = engine.request(Request::RemoveChild(id)).await;
                }
                answer
            }
        })
    }

    /// Adds a plugin on demand that has left the engine's table to it again, so that its next call starts
    /// it (rule S-28). `None` if it is there, is not on demand, or may not be started.
    pub(crate) fn begin_return(&self, id: &ChildId) -> Result<Option<SharedOperation>, PluginError> {
        let mut table = self.hosted.table();
        let prepared = match self.phase_of(&table, id) {
            PluginPhase::Dormant(prepared) if prepared.spec.is_on_demand() => prepared,
            PluginPhase::Starting(operation) | PluginPhase::Busy(operation) => return Ok(Some(operation)),
            _ => return Ok(None),
        };
        let engine = self.engine()?;
        let returning = self.starting(&mut table, &prepared, |child| engine.start_child(child))?;
        table.entry(id.clone()).ongoing = OngoingOperation::Returning(returning.clone());
        Ok(Some(returning))
    }

    /// Starts a plugin that is not in the engine's table, because a caller needs it. Its policy applies
    /// from the first start on, so that it is not started more often than the policy allows, however
    /// many callers need it.
    fn begin_demand(
        &self,
        table: &mut PluginTable,
        prepared: &Arc<PreparedPlugin>,
    ) -> Result<SharedOperation, PluginError> {
        let engine = self.engine()?;
        let id = prepared.spec.id.clone();
        // The engine starts what is added, and is told of the demand only then.
        table.entry(id.clone()).last_start.order(StartReason::Demand);
        self.starting(table, prepared, |child| {
            // Both requests are queued now, one behind the other: the second is answered with the
            // outcome of the first start.
            let started = engine.start_child(child);
            let demanded = engine.request(Request::Demand(id));
            async move {
                started.await?;
                demanded.await
            }
        })
    }

    fn starting<F>(
        &self,
        table: &mut PluginTable,
        prepared: &Arc<PreparedPlugin>,
        start: impl FnOnce(ChildSpec) -> F,
    ) -> Result<SharedOperation, PluginError>
    where
        F: Future<Output = Result<Reply, RequestError>> + Send + 'static,
    {
        let id = prepared.spec.id.clone();
        let operation_id = table.next_operation_id();
        let entry = table.entry(id.clone());
        (entry.operation_id, entry.last_exit, entry.stopped) = (operation_id, None, false);
        let answer = start(self.child(prepared, &entry.history));
        let (host, prepared) = (self.clone(), prepared.clone());
        let operation = SharedOperation::spawn(async move {
            let answer = answer.await;
            let outcome = host.outcome(&id, answer);
            let mut table = host.hosted.table();
            if let Some(entry) = table.current(&id, operation_id) {
                entry.last_start.order_is_over();
                if outcome.is_ok() {
                    entry.prepared = Some(prepared);
                }
                table.finish_operation(&id);
            }
            outcome
        });
        entry.ongoing = OngoingOperation::Starting(operation.clone());
        Ok(operation)
    }

    pub(crate) fn outcome(&self, id: &ChildId, answer: Result<Reply, RequestError>) -> OperationResult {
        match answer {
            Ok(Reply::Ready(incarnation)) => Ok(incarnation),
            Ok(Reply::Done | Reply::Ignored) => Ok(Incarnation::NONE),
            Err(error) => Err(self.plugin_error(id, error)),
        }
    }

    /// The outcome of a start that the supervisor itself made.
    async fn first_outcome(&self, id: &ChildId, node: &Node) -> OperationResult {
        let first = node.incarnation();
        let state =
            node.wait_state(|state| *state != ChildState::Starting || node.incarnation() != first).await;
        match (state, node.last_exit()) {
            (ChildState::Ready, _) => Ok(node.incarnation()),
            (ChildState::Stopping | ChildState::Down { why: DownReason::Stopped | DownReason::Ended }, _)
            | (_, None) => Err(PluginError::Stopped(id.clone())),
            (_, Some(exit)) => {
                let ExitReport { exit, stderr_tail } = node.exit_report(exit);
                Err(PluginError::StartFailed { id: id.clone(), exit, stderr_tail })
            }
        }
    }

    /// Stops a plugin and removes it from the table.
    pub(crate) async fn stop(&self, id: &ChildId) -> Result<(), PluginError> {
        let stop = self.begin_stop(&mut self.hosted.table(), id)?;
        match stop {
            BeginStopOutcome::UnderWay(stop) => self.join(&stop.operation).await.map(drop),
            BeginStopOutcome::AlreadyDown(_) => Ok(()),
        }
    }

    fn begin_stop(&self, table: &mut PluginTable, id: &ChildId) -> Result<BeginStopOutcome, PluginError> {
        let operation_id = table.next_operation_id();
        let entry = table.plugins.get_mut(id).ok_or_else(|| PluginError::NotFound(id.clone()))?;
        let absence = absence(entry);
        let was_stopped = std::mem::replace(&mut entry.stopped, true);
        match &entry.ongoing {
            OngoingOperation::Dormant => {
                entry.last_start.forget();
                if !was_stopped {
                    let incarnation = entry.last.as_ref().map_or(Incarnation::NONE, |node| node.incarnation);
                    let (at, plugin, kind) = (self.clock.now(), id.clone(), PluginEventKind::Stopped);
                    self.hosted.publish(PluginEvent { at, plugin, incarnation, kind });
                }
                return Ok(BeginStopOutcome::AlreadyDown(absence));
            }
            OngoingOperation::Stopping(stop) => return Ok(BeginStopOutcome::UnderWay(stop.clone())),
            OngoingOperation::Starting(_) | OngoingOperation::Supervised | OngoingOperation::Returning(_) => {
            }
        }
        let before = match &entry.ongoing {
            // It may not be in the engine's table yet.
            OngoingOperation::Starting(_) => ChildState::Starting,
            _ => self.node_of(id).map_or(ChildState::Down { why: absence }, |node| node.state()),
        };
        let answer = self.node.engine().map(|engine| engine.request(Request::RemoveChild(id.clone())));
        (entry.operation_id, entry.last_exit) = (operation_id, None);
        let (host, id) = (self.clone(), id.clone());
        let outcome = Arc::new(OnceLock::new());
        let stopped = outcome.clone();
        let operation = SharedOperation::spawn(async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Err(RequestError::ShuttingDown),
            };
            if answer == Err(RequestError::ShuttingDown)
                && let Some(node) = host.node_of(&id)
            {
                // The host is stopping all its plugins, or its orphaned children are being killed.
                node.wait_state(ChildState::is_down).await;
            }
            let mut table = host.hosted.table();
            let mut exit = None;
            if let Some(entry) = table.current(&id, operation_id) {
                exit = entry.last_exit.clone();
                entry.in_table = false;
                table.finish_operation(&id);
            }
            match answer {
                // A start that has failed meanwhile has left nothing to stop.
                Ok(_) | Err(RequestError::ShuttingDown | RequestError::NotFound(_)) => {
                    stopped_in_order(&id, exit.as_ref())?;
                    let _ = stopped.set(PluginStopOutcome::of(before, exit));
                    Ok(Incarnation::NONE)
                }
                Err(error) => Err(host.plugin_error(&id, error)),
            }
        });
        let stop = StopOperation { operation, outcome };
        entry.ongoing = OngoingOperation::Stopping(stop.clone());
        Ok(BeginStopOutcome::UnderWay(stop))
    }

    /// Rule G-7.
    pub(crate) async fn stop_all(&self) -> StopAllReport {
        let mut plugins = BTreeMap::new();
        let mut stops = Vec::new();
        {
            let mut table = self.hosted.table();
            table.closed = true;
            let ids: Vec<ChildId> = table.plugins.keys().cloned().collect();
            for id in ids {
                let outcome = match self.begin_stop(&mut table, &id) {
                    Ok(BeginStopOutcome::UnderWay(stop)) => {
                        stops.push((id, stop));
                        continue;
                    }
                    Ok(BeginStopOutcome::AlreadyDown(why)) => PluginStopOutcome::AlreadyDown { why },
                    Err(error) => PluginStopOutcome::Failed(error),
                };
                plugins.insert(id, outcome);
            }
        }
        for (id, stop) in stops {
            let outcome = match self.join(&stop.operation).await {
                Ok(_) => stop.outcome.get().cloned().unwrap_or(PluginStopOutcome::Stopped { exit: None }),
                Err(error) => PluginStopOutcome::Failed(error),
            };
            plugins.insert(id, outcome);
        }
        StopAllReport { plugins }
    }

    /// Rule G-10.
    pub(crate) async fn ensure_ready(&self, id: &ChildId, deadline: Duration) -> OperationResult {
        match tokio::time::timeout(deadline, self.make_ready(id)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(match self.node_of(id) {
                Some(node) => node.unavailable(),
                None => self.unavailable_plugin(id, self.hosted.table().plugins.get(id)),
            }
            .into()),
        }
    }

    async fn make_ready(&self, id: &ChildId) -> OperationResult {
        loop {
            let phase = {
                let mut table = self.hosted.table();
                self.ensure_open(table.closed)?;
                match self.phase_of(&table, id) {
                    PluginPhase::Dormant(prepared) => {
                        PluginPhase::Starting(self.begin_demand(&mut table, &prepared)?)
                    }
                    PluginPhase::Stopped(_) => {
                        return Err(PluginError::StaysDown(
                            self.unavailable_plugin(id, table.plugins.get(id)),
                        ));
                    }
                    phase => phase,
                }
            };
            match phase {
                PluginPhase::Starting(operation) => return self.join(&operation).await,
                PluginPhase::Busy(operation) => self.wait_for(&operation).await?,
                PluginPhase::Supervised(node, ChildState::Stopping) => {
                    node.wait_state(|state| *state != ChildState::Stopping).await;
                }
                PluginPhase::Supervised(_, ChildState::Down { .. }) => {
                    // Joins a start that was requested meanwhile.
                    let answer = self.engine()?.request(Request::Demand(id.clone())).await;
                    return self.outcome(id, answer);
                }
                PluginPhase::Supervised(node, _) => {
                    match node.wait_ready().await {
                        Ok(live) => return Ok(live.incarnation),
                        // It ended by itself and left the table, so it is started.
                        Err(down) if down.state == ChildState::down(DownReason::Ended) => {}
                        Err(down) if down.state.is_down() => return Err(PluginError::StaysDown(down)),
                        Err(unavailable) => return Err(unavailable.into()),
                    }
                }
                PluginPhase::Unknown | PluginPhase::Dormant(_) | PluginPhase::Stopped(_) => {
                    return Err(PluginError::NotFound(id.clone()));
                }
            }
        }
    }

    /// Rule R-8.
    pub(crate) async fn restart(&self, id: &ChildId, reason: &str) -> OperationResult {
        loop {
            match self.phase_or_start(id)? {
                // It is starting for the first time, so there is nothing to restart.
                PluginPhase::Starting(operation) => return self.join(&operation).await,
                PluginPhase::Busy(operation) => self.wait_for(&operation).await?,
                PluginPhase::Supervised(node, _) => {
                    let restarted = WorkerRef::new(node).restart(reason).await;
                    return restarted.map_err(|error| self.plugin_error(id, error));
                }
                PluginPhase::Unknown | PluginPhase::Dormant(_) | PluginPhase::Stopped(_) => {
                    return Err(PluginError::NotFound(id.clone()));
                }
            }
        }
    }

    /// Returns the phase, and starts a plugin that is not in the engine's table, for an operator.
    fn phase_or_start(&self, id: &ChildId) -> Result<PluginPhase, PluginError> {
        let mut table = self.hosted.table();
        self.ensure_open(table.closed)?;
        Ok(match self.phase_of(&table, id) {
            PluginPhase::Dormant(prepared) | PluginPhase::Stopped(prepared) => {
                PluginPhase::Starting(self.begin_start(&mut table, &prepared)?)
            }
            phase => phase,
        })
    }
}
