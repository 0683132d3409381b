//! Starting and stopping plugins (rules G-1, G-7, G-10): each operation once, joined by whoever asks for it.

use std::{sync::Arc, time::Duration};

use super::{
    definition::Definition,
    error::PluginError,
    host_incarnation::{HostIncarnation, stopped_in_order},
    registry::{OperationPhase, PluginTable},
    shared_operation::{OperationResult, SharedOperation},
    spec::PluginSpec,
};
use crate::{
    exit::ExitReport,
    id::{ChildId, Incarnation},
    state::{ChildState, DownReason},
    supervision::{
        ChildSpec, Node, RequestError,
        machine::{Reply, Request},
    },
    worker::WorkerRef,
};

/// What a plugin is doing, for somebody who wants it to run.
pub(crate) enum PluginPhase {
    /// There is none.
    Unknown,
    /// A start is under way, to be joined.
    Starting(SharedOperation),
    /// Something else is under way, to be awaited.
    Busy(SharedOperation),
    /// It is known, but not in the engine's table.
    Dormant(Arc<Definition>),
    /// The same, and an operator has taken it out.
    Stopped(Arc<Definition>),
    /// It is in the engine's table.
    Kept(Node, ChildState),
}

impl HostIncarnation {
    pub(crate) fn look(&self, table: &PluginTable, id: &ChildId) -> PluginPhase {
        let Some(entry) = table.plugins.get(id) else { return PluginPhase::Unknown };
        match (&entry.phase, &entry.definition) {
            (OperationPhase::Starting(joint), _) => PluginPhase::Starting(joint.clone()),
            (OperationPhase::Leaving(joint) | OperationPhase::Reloading(joint), _) => {
                PluginPhase::Busy(joint.clone())
            }
            (OperationPhase::Dormant, Some(definition)) if entry.stopped => {
                PluginPhase::Stopped(definition.clone())
            }
            (OperationPhase::Dormant, Some(definition)) => PluginPhase::Dormant(definition.clone()),
            (OperationPhase::Dormant, None) => PluginPhase::Unknown,
            (OperationPhase::Kept, _) => match self.place_of(id) {
                Some(node) => {
                    let state = node.state();
                    PluginPhase::Kept(node, state)
                }
                // Between two incarnations of the host.
                None => PluginPhase::Unknown,
            },
        }
    }

    /// Waits for an operation of somebody else, whatever comes of it.
    async fn over(&self, joint: &SharedOperation) -> Result<(), PluginError> {
        joint.wait().await.map(drop).ok_or_else(|| self.gone())
    }

    async fn join(&self, joint: &SharedOperation) -> OperationResult {
        joint.wait().await.unwrap_or_else(|| Err(self.gone()))
    }

    /// Rule G-1.
    pub(crate) async fn start(&self, spec: PluginSpec) -> OperationResult {
        self.registry.common.validate(&spec)?;
        let id = spec.id.clone();
        let definition = Definition::new(spec);
        loop {
            let look = {
                let mut table = self.registry.table();
                self.open(table.closed)?;
                match self.look(&table, &id) {
                    PluginPhase::Unknown | PluginPhase::Dormant(_) | PluginPhase::Stopped(_) => {
                        PluginPhase::Starting(self.begin_start(&mut table, &definition)?)
                    }
                    // It is there, but nobody is going to start it: the new declaration takes its place.
                    PluginPhase::Kept(_, ChildState::Down { .. }) => {
                        drop(self.engine()?.request(Request::RemoveChild(id.clone())));
                        PluginPhase::Starting(self.begin_start(&mut table, &definition)?)
                    }
                    other => other,
                }
            };
            match look {
                PluginPhase::Starting(joint) => return self.join(&joint).await,
                PluginPhase::Kept(node, ChildState::Starting) => return self.verdict(&id, &node).await,
                PluginPhase::Kept(node, ChildState::Stopping) => {
                    node.wait_state(|state| *state != ChildState::Stopping).await;
                }
                PluginPhase::Busy(joint) => self.over(&joint).await?,
                _ => return Err(PluginError::AlreadyStarted(id)),
            }
        }
    }

    /// Starts a plugin that is not in the engine's table, for an operator: if it does not become ready nothing is left.
    pub(crate) fn begin_start(
        &self,
        table: &mut PluginTable,
        definition: &Arc<Definition>,
    ) -> Result<SharedOperation, PluginError> {
        let engine = self.engine()?;
        self.starting(table, definition, |child| engine.start_child(child))
    }

    /// Starts a plugin that is not in the engine's table, for somebody who needs it: its policy rules from the first start
    /// on, so that it is not started more often than that says, however many need it.
    fn begin_demand(
        &self,
        table: &mut PluginTable,
        definition: &Arc<Definition>,
    ) -> Result<SharedOperation, PluginError> {
        let engine = self.engine()?;
        let id = definition.spec.id.clone();
        self.starting(table, definition, |child| {
            // Both are handed over now, one behind the other: the second is answered with the first verdict.
            let started = engine.start_child(child.background());
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
        definition: &Arc<Definition>,
        start: impl FnOnce(ChildSpec) -> F,
    ) -> Result<SharedOperation, PluginError>
    where
        F: Future<Output = Result<Reply, RequestError>> + Send + 'static,
    {
        let id = definition.spec.id.clone();
        let operation = table.stamp();
        let entry = table.entry(id.clone());
        (entry.operation, entry.last_exit, entry.stopped) = (operation, None, false);
        let answer = start(self.child(definition, &entry.recent));
        let (host, definition) = (self.clone(), definition.clone());
        let joint = SharedOperation::spawn(async move {
            let answer = answer.await;
            let outcome = host.outcome(&id, answer);
            let mut table = host.registry.table();
            if let Some(entry) = table.current(&id, operation) {
                if outcome.is_ok() {
                    entry.definition = Some(definition);
                }
                table.settle(&id);
            }
            outcome
        });
        entry.phase = OperationPhase::Starting(joint.clone());
        Ok(joint)
    }

    pub(crate) fn outcome(&self, id: &ChildId, answer: Result<Reply, RequestError>) -> OperationResult {
        match answer {
            Ok(Reply::Ready(incarnation)) => Ok(incarnation),
            Ok(Reply::Done | Reply::Ignored) => Ok(Incarnation::NONE),
            Err(error) => Err(self.refusal(id, error)),
        }
    }

    /// What becomes of a start that the supervisor itself has made.
    async fn verdict(&self, id: &ChildId, node: &Node) -> OperationResult {
        let first = node.incarnation();
        let state =
            node.wait_state(|state| *state != ChildState::Starting || node.incarnation() != first).await;
        match (state, node.last_exit()) {
            (ChildState::Ready, _) => Ok(node.incarnation()),
            (ChildState::Stopping | ChildState::Down { why: DownReason::Stopped | DownReason::Ended }, _)
            | (_, None) => Err(PluginError::Stopped(id.clone())),
            (_, Some(exit)) => {
                let ExitReport { exit, stderr_tail } = node.lost(exit);
                Err(PluginError::StartFailed { id: id.clone(), exit, stderr_tail })
            }
        }
    }

    /// Stops a plugin and takes it out of the table.
    pub(crate) async fn stop(&self, id: &ChildId) -> Result<(), PluginError> {
        let joint = self.begin_stop(&mut self.registry.table(), id)?;
        match joint {
            Some(joint) => self.join(&joint).await.map(drop),
            None => Ok(()),
        }
    }

    /// `None`: there is nothing to stop.
    fn begin_stop(
        &self,
        table: &mut PluginTable,
        id: &ChildId,
    ) -> Result<Option<SharedOperation>, PluginError> {
        let operation = table.stamp();
        let entry = table.plugins.get_mut(id).ok_or_else(|| PluginError::NotFound(id.clone()))?;
        entry.stopped = true;
        match &entry.phase {
            OperationPhase::Dormant => return Ok(None),
            OperationPhase::Leaving(joint) => return Ok(Some(joint.clone())),
            OperationPhase::Starting(_) | OperationPhase::Kept | OperationPhase::Reloading(_) => {}
        }
        let answer = self.node.engine().map(|engine| engine.request(Request::RemoveChild(id.clone())));
        (entry.operation, entry.last_exit) = (operation, None);
        let (host, id) = (self.clone(), id.clone());
        let joint = SharedOperation::spawn(async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Err(RequestError::ShuttingDown),
            };
            if answer == Err(RequestError::ShuttingDown)
                && let Some(node) = host.place_of(&id)
            {
                // The host stops all its plugins, or what it has left behind is being killed.
                node.wait_state(ChildState::is_down).await;
            }
            let mut table = host.registry.table();
            let mut exit = None;
            if let Some(entry) = table.current(&id, operation) {
                exit = entry.last_exit.clone();
                entry.present = false;
                table.settle(&id);
            }
            match answer {
                // A start that has failed meanwhile has left nothing to stop.
                Ok(_) | Err(RequestError::ShuttingDown | RequestError::NotFound(_)) => {
                    stopped_in_order(&id, exit.as_ref()).map(|()| Incarnation::NONE)
                }
                Err(error) => Err(host.refusal(&id, error)),
            }
        });
        entry.phase = OperationPhase::Leaving(joint.clone());
        Ok(Some(joint))
    }

    /// Rule G-7.
    pub(crate) async fn stop_all(&self) -> Result<(), PluginError> {
        let mut failures = Vec::new();
        let mut stops = Vec::new();
        {
            let mut table = self.registry.table();
            table.closed = true;
            let ids: Vec<ChildId> = table.plugins.keys().cloned().collect();
            for id in ids {
                match self.begin_stop(&mut table, &id) {
                    Ok(Some(joint)) => stops.push((id, joint)),
                    Ok(None) => {}
                    Err(error) => failures.push((id, error)),
                }
            }
        }
        for (id, joint) in stops {
            if let Err(error) = self.join(&joint).await {
                failures.push((id, error));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(PluginError::StopAll { failures }) }
    }

    /// Rule G-10.
    pub(crate) async fn ensure_ready(&self, id: &ChildId, deadline: Duration) -> OperationResult {
        match tokio::time::timeout(deadline, self.make_ready(id)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(match self.place_of(id) {
                Some(node) => node.unavailable(),
                None => self.dormant(id, self.registry.table().plugins.get(id)),
            }
            .into()),
        }
    }

    async fn make_ready(&self, id: &ChildId) -> OperationResult {
        loop {
            let look = {
                let mut table = self.registry.table();
                self.open(table.closed)?;
                match self.look(&table, id) {
                    PluginPhase::Dormant(definition) => {
                        PluginPhase::Starting(self.begin_demand(&mut table, &definition)?)
                    }
                    PluginPhase::Stopped(_) => {
                        return Err(PluginError::StaysDown(self.dormant(id, table.plugins.get(id))));
                    }
                    look => look,
                }
            };
            match look {
                PluginPhase::Starting(joint) => return self.join(&joint).await,
                PluginPhase::Busy(joint) => self.over(&joint).await?,
                PluginPhase::Kept(node, ChildState::Stopping) => {
                    node.wait_state(|state| *state != ChildState::Stopping).await;
                }
                PluginPhase::Kept(_, ChildState::Down { .. }) => {
                    // A start that somebody has asked for meanwhile is joined.
                    let answer = self.engine()?.request(Request::Demand(id.clone())).await;
                    return self.outcome(id, answer);
                }
                PluginPhase::Kept(node, _) => {
                    match node.wait_ready().await {
                        Ok(live) => return Ok(live.incarnation),
                        // By itself, and out of the table: it is started for this.
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
            match self.look_to_start(id)? {
                // It has not been anything else yet.
                PluginPhase::Starting(joint) => return self.join(&joint).await,
                PluginPhase::Busy(joint) => self.over(&joint).await?,
                PluginPhase::Kept(node, _) => {
                    let restarted = WorkerRef::new(node).restart(reason).await;
                    return restarted.map_err(|error| self.refusal(id, error));
                }
                PluginPhase::Unknown | PluginPhase::Dormant(_) | PluginPhase::Stopped(_) => {
                    return Err(PluginError::NotFound(id.clone()));
                }
            }
        }
    }

    /// Looks, and starts what is not in the engine's table, for an operator.
    fn look_to_start(&self, id: &ChildId) -> Result<PluginPhase, PluginError> {
        let mut table = self.registry.table();
        self.open(table.closed)?;
        Ok(match self.look(&table, id) {
            PluginPhase::Dormant(definition) | PluginPhase::Stopped(definition) => {
                PluginPhase::Starting(self.begin_start(&mut table, &definition)?)
            }
            look => look,
        })
    }
}
