//! One incarnation of a plugin host as its users reach it: [`Host`], published at the host's place.

use std::{any::Any, sync::Arc};

use super::{
    definition::{Definition, Turn},
    diagnostics::{PluginDiagnostics, PluginStatus},
    error::PluginError,
    event::PluginEvents,
    recent::Recent,
    registry::{Entry, Phase, Registry},
};
use crate::{
    exit::Exit,
    id::{ChildId, Incarnation},
    supervision::{Attachment, ChildSpec, Place, RequestError, StartMode, Unavailable, engine::EngineHandle},
    time::Clock,
    vocabulary::{Down, State},
    worker::WorkerRef,
};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) registry: Arc<Registry>,
    pub(crate) place: Place,
    pub(crate) clock: Clock,
}

impl Attachment for Host {
    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl Host {
    /// The host that is live at a place.
    pub(crate) fn at(place: &Place) -> Result<Host, PluginError> {
        match &*place.live() {
            None => Err(PluginError::HostUnavailable(place.unavailable())),
            Some(live) => {
                let host = live.attachment.as_ref().and_then(|it| it.as_any().downcast_ref::<Host>());
                host.cloned().ok_or_else(|| PluginError::NotAHost(place.path().clone()))
            }
        }
    }

    pub(crate) fn engine(&self) -> Result<Arc<EngineHandle>, PluginError> {
        self.place.engine().ok_or_else(|| self.gone())
    }

    /// The host is stopping, or is not there any more.
    pub(crate) fn gone(&self) -> PluginError {
        PluginError::HostUnavailable(self.place.unavailable())
    }

    pub(crate) fn open(&self, closed: bool) -> Result<(), PluginError> {
        if closed { Err(PluginError::Closed(self.place.path().clone())) } else { Ok(()) }
    }

    /// The child of a plugin that is new in the engine's table.
    pub(crate) fn child(&self, definition: &Definition, recent: &Recent) -> ChildSpec {
        self.registry.common.child(definition, recent, self.clock, StartMode::Required, Turn::Waits)
    }

    /// The child that takes the place of one that is in the engine's table.
    pub(crate) fn replacement(&self, definition: &Definition, recent: &Recent) -> ChildSpec {
        self.registry.common.child(definition, recent, self.clock, StartMode::Background, Turn::Had)
    }

    /// What the engine's refusal means for a plugin.
    pub(crate) fn refusal(&self, id: &ChildId, error: RequestError) -> PluginError {
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
            RequestError::Invalid(errors) => PluginError::Invalid(errors),
            RequestError::ShuttingDown => self.gone(),
            other => PluginError::Refused(other),
        }
    }

    /// The place of a plugin that is in the engine's table.
    pub(crate) fn place_of(&self, id: &ChildId) -> Option<Place> {
        self.place.child(id)
    }

    /// The error for those who find a plugin that is known but not there.
    pub(crate) fn dormant(&self, id: &ChildId) -> Unavailable {
        let state = State::down(Down::Stopped);
        Unavailable { path: self.place.path().join(id), state, retry_after: None, lost: None }
    }

    pub(crate) fn worker(&self, id: &ChildId) -> Result<WorkerRef, PluginError> {
        match self.place_of(id) {
            Some(place) => Ok(WorkerRef::new(place)),
            None if self.registry.table().plugins.contains_key(id) => Err(self.dormant(id).into()),
            None => Err(PluginError::NotFound(id.clone())),
        }
    }

    pub(crate) fn list(&self) -> Vec<PluginStatus> {
        let table = self.registry.table();
        let mut entries: Vec<(&ChildId, &Entry)> = table.plugins.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.order);
        entries.into_iter().map(|(id, entry)| self.status(id, entry)).collect()
    }

    fn status(&self, id: &ChildId, entry: &Entry) -> PluginStatus {
        let place = self.place_of(id);
        let down = match entry.last_exit {
            None if matches!(entry.phase, Phase::Dormant) => Down::NeverStarted,
            None | Some(Exit::Requested) => Down::Stopped,
            Some(_) => Down::Ended,
        };
        PluginStatus {
            id: id.clone(),
            state: place.as_ref().map_or(State::down(down), Place::state),
            incarnation: place.as_ref().map_or(Incarnation::NONE, Place::incarnation),
            declared: entry.declared,
        }
    }

    pub(crate) fn diagnostics(&self, id: &ChildId) -> Result<PluginDiagnostics, PluginError> {
        let table = self.registry.table();
        let entry = table.plugins.get(id).ok_or_else(|| PluginError::NotFound(id.clone()))?;
        let node = self.place_of(id).map(|place| place.snapshot());
        Ok(PluginDiagnostics { status: self.status(id, entry), node, logs: entry.recent.records() })
    }

    pub(crate) fn events(&self) -> PluginEvents {
        self.registry.subscribe()
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
