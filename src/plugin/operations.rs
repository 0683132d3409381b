//! Starting and stopping plugins (rules G-1, G-7, G-10): each operation once, joined by whoever asks for it.

use std::{sync::Arc, time::Duration};

use super::{
    definition::Definition,
    error::PluginError,
    host::{Host, stopped_in_order},
    joint::{Joint, Outcome},
    registry::{Phase, Table},
    spec::PluginSpec,
};
use crate::{
    exit::Lost,
    id::{ChildId, Incarnation},
    supervision::{
        ChildSpec, Place, RequestError,
        machine::{Answer, Request},
    },
    vocabulary::{Down, State},
    worker::WorkerRef,
};

/// What a plugin is doing, for somebody who wants it to run.
pub(crate) enum Look {
    /// There is none.
    Unknown,
    /// A start is under way, to be joined.
    Starting(Joint),
    /// Something else is under way, to be awaited.
    Busy(Joint),
    /// It is known, but not in the engine's table.
    Dormant(Arc<Definition>),
    /// The same, and an operator has taken it out.
    Stopped(Arc<Definition>),
    /// It is in the engine's table.
    Kept(Place, State),
}

impl Host {
    pub(crate) fn look(&self, table: &Table, id: &ChildId) -> Look {
        let Some(entry) = table.plugins.get(id) else { return Look::Unknown };
        match (&entry.phase, &entry.definition) {
            (Phase::Starting(joint), _) => Look::Starting(joint.clone()),
            (Phase::Leaving(joint) | Phase::Reloading(joint), _) => Look::Busy(joint.clone()),
            (Phase::Dormant, Some(definition)) if entry.stopped => Look::Stopped(definition.clone()),
            (Phase::Dormant, Some(definition)) => Look::Dormant(definition.clone()),
            (Phase::Dormant, None) => Look::Unknown,
            (Phase::Kept, _) => match self.place_of(id) {
                Some(place) => {
                    let state = place.state();
                    Look::Kept(place, state)
                }
                // Between two incarnations of the host.
                None => Look::Unknown,
            },
        }
    }

    /// Waits for an operation of somebody else, whatever comes of it.
    async fn over(&self, joint: &Joint) -> Result<(), PluginError> {
        joint.wait().await.map(drop).ok_or_else(|| self.gone())
    }

    async fn join(&self, joint: &Joint) -> Outcome {
        joint.wait().await.unwrap_or_else(|| Err(self.gone()))
    }

    /// Rule G-1.
    pub(crate) async fn start(&self, spec: PluginSpec) -> Outcome {
        self.registry.common.validate(&spec)?;
        let id = spec.id.clone();
        let definition = Definition::new(spec);
        loop {
            let look = {
                let mut table = self.registry.table();
                self.open(table.closed)?;
                match self.look(&table, &id) {
                    Look::Unknown | Look::Dormant(_) | Look::Stopped(_) => {
                        Look::Starting(self.begin_start(&mut table, &definition)?)
                    }
                    // It is there, but nobody is going to start it: the new declaration takes its place.
                    Look::Kept(_, State::Down { .. }) => {
                        drop(self.engine()?.request(Request::RemoveChild(id.clone())));
                        Look::Starting(self.begin_start(&mut table, &definition)?)
                    }
                    other => other,
                }
            };
            match look {
                Look::Starting(joint) => return self.join(&joint).await,
                Look::Kept(place, State::Starting) => return self.verdict(&id, &place).await,
                Look::Kept(place, State::Stopping) => {
                    place.wait_state(|state| *state != State::Stopping).await;
                }
                Look::Busy(joint) => self.over(&joint).await?,
                _ => return Err(PluginError::AlreadyStarted(id)),
            }
        }
    }

    /// Starts a plugin that is not in the engine's table, for an operator: if it does not become ready nothing is left.
    pub(crate) fn begin_start(
        &self,
        table: &mut Table,
        definition: &Arc<Definition>,
    ) -> Result<Joint, PluginError> {
        let engine = self.engine()?;
        self.starting(table, definition, |child| engine.start_child(child))
    }

    /// Starts a plugin that is not in the engine's table, for somebody who needs it: its policy rules from the first start
    /// on, so that it is not started more often than that says, however many need it.
    fn begin_demand(&self, table: &mut Table, definition: &Arc<Definition>) -> Result<Joint, PluginError> {
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
        table: &mut Table,
        definition: &Arc<Definition>,
        start: impl FnOnce(ChildSpec) -> F,
    ) -> Result<Joint, PluginError>
    where
        F: Future<Output = Result<Answer, RequestError>> + Send + 'static,
    {
        let id = definition.spec.id.clone();
        let operation = table.stamp();
        let entry = table.entry(id.clone());
        (entry.operation, entry.last_exit, entry.stopped) = (operation, None, false);
        let answer = start(self.child(definition, &entry.recent));
        let (host, definition) = (self.clone(), definition.clone());
        let joint = Joint::spawn(async move {
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
        entry.phase = Phase::Starting(joint.clone());
        Ok(joint)
    }

    pub(crate) fn outcome(&self, id: &ChildId, answer: Result<Answer, RequestError>) -> Outcome {
        match answer {
            Ok(Answer::Ready(incarnation)) => Ok(incarnation),
            Ok(Answer::Done | Answer::Ignored) => Ok(Incarnation::NONE),
            Err(error) => Err(self.refusal(id, error)),
        }
    }

    /// What becomes of a start that the supervisor itself has made.
    async fn verdict(&self, id: &ChildId, place: &Place) -> Outcome {
        let first = place.incarnation();
        let state = place.wait_state(|state| *state != State::Starting || place.incarnation() != first).await;
        match (state, place.last_exit()) {
            (State::Ready, _) => Ok(place.incarnation()),
            (State::Stopping | State::Down { why: Down::Stopped | Down::Ended }, _) | (_, None) => {
                Err(PluginError::Stopped(id.clone()))
            }
            (_, Some(exit)) => {
                let Lost { exit, stderr_tail } = place.lost(exit);
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
    fn begin_stop(&self, table: &mut Table, id: &ChildId) -> Result<Option<Joint>, PluginError> {
        let operation = table.stamp();
        let entry = table.plugins.get_mut(id).ok_or_else(|| PluginError::NotFound(id.clone()))?;
        entry.stopped = true;
        match &entry.phase {
            Phase::Dormant => return Ok(None),
            Phase::Leaving(joint) => return Ok(Some(joint.clone())),
            Phase::Starting(_) | Phase::Kept | Phase::Reloading(_) => {}
        }
        let answer = self.place.engine().map(|engine| engine.request(Request::RemoveChild(id.clone())));
        (entry.operation, entry.last_exit) = (operation, None);
        let (host, id) = (self.clone(), id.clone());
        let joint = Joint::spawn(async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Err(RequestError::ShuttingDown),
            };
            if answer == Err(RequestError::ShuttingDown)
                && let Some(place) = host.place_of(&id)
            {
                // The host stops all its plugins, or what it has left behind is being killed.
                place.wait_state(State::is_down).await;
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
        entry.phase = Phase::Leaving(joint.clone());
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
    pub(crate) async fn ensure_ready(&self, id: &ChildId, deadline: Duration) -> Outcome {
        match tokio::time::timeout(deadline, self.make_ready(id)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(match self.place_of(id) {
                Some(place) => place.unavailable(),
                None => self.dormant(id, self.registry.table().plugins.get(id)),
            }
            .into()),
        }
    }

    async fn make_ready(&self, id: &ChildId) -> Outcome {
        loop {
            let look = {
                let mut table = self.registry.table();
                self.open(table.closed)?;
                match self.look(&table, id) {
                    Look::Dormant(definition) => Look::Starting(self.begin_demand(&mut table, &definition)?),
                    Look::Stopped(_) => {
                        return Err(PluginError::StaysDown(self.dormant(id, table.plugins.get(id))));
                    }
                    look => look,
                }
            };
            match look {
                Look::Starting(joint) => return self.join(&joint).await,
                Look::Busy(joint) => self.over(&joint).await?,
                Look::Kept(place, State::Stopping) => {
                    place.wait_state(|state| *state != State::Stopping).await;
                }
                Look::Kept(_, State::Down { .. }) => {
                    // A start that somebody has asked for meanwhile is joined.
                    let answer = self.engine()?.request(Request::Demand(id.clone())).await;
                    return self.outcome(id, answer);
                }
                Look::Kept(place, _) => {
                    match place.wait_ready().await {
                        Ok(live) => return Ok(live.incarnation),
                        // By itself, and out of the table: it is started for this.
                        Err(down) if down.state == State::down(Down::Ended) => {}
                        Err(down) if down.state.is_down() => return Err(PluginError::StaysDown(down)),
                        Err(unavailable) => return Err(unavailable.into()),
                    }
                }
                Look::Unknown | Look::Dormant(_) | Look::Stopped(_) => {
                    return Err(PluginError::NotFound(id.clone()));
                }
            }
        }
    }

    /// Rule R-8.
    pub(crate) async fn restart(&self, id: &ChildId, reason: &str) -> Outcome {
        loop {
            match self.look_to_start(id)? {
                // It has not been anything else yet.
                Look::Starting(joint) => return self.join(&joint).await,
                Look::Busy(joint) => self.over(&joint).await?,
                Look::Kept(place, _) => {
                    let restarted = WorkerRef::new(place).restart(reason).await;
                    return restarted.map_err(|error| self.refusal(id, error));
                }
                Look::Unknown | Look::Dormant(_) | Look::Stopped(_) => {
                    return Err(PluginError::NotFound(id.clone()));
                }
            }
        }
    }

    /// Looks, and starts what is not in the engine's table, for an operator.
    fn look_to_start(&self, id: &ChildId) -> Result<Look, PluginError> {
        let mut table = self.registry.table();
        self.open(table.closed)?;
        Ok(match self.look(&table, id) {
            Look::Dormant(definition) | Look::Stopped(definition) => {
                Look::Starting(self.begin_start(&mut table, &definition)?)
            }
            look => look,
        })
    }
}
