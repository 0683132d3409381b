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
    exit::{Exit, Lost},
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
            RequestError::Held(_) | RequestError::GaveUp { .. } => match self.place_of(id) {
                Some(place) => PluginError::StaysDown(place.unavailable()),
                None => PluginError::Stopped(id.clone()),
            },
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
    pub(crate) fn dormant(&self, id: &ChildId, entry: Option<&Entry>) -> Unavailable {
        let last = entry.and_then(|entry| entry.last.as_ref());
        let lost = last.and_then(|node| {
            let stderr_tail =
                node.worker.as_ref().map(|worker| worker.stderr_tail.clone()).unwrap_or_default();
            Some(Box::new(Lost { exit: node.last_exit.clone()?, stderr_tail }))
        });
        let state = State::down(entry.map_or(Down::Stopped, absence));
        Unavailable { path: self.place.path().join(id), state, retry_after: None, lost }
    }

    pub(crate) fn worker(&self, id: &ChildId) -> Result<WorkerRef, PluginError> {
        if let Some(place) = self.place_of(id) {
            return Ok(WorkerRef::new(place));
        }
        match self.registry.table().plugins.get(id) {
            Some(entry) => Err(self.dormant(id, Some(entry)).into()),
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
        PluginStatus {
            id: id.clone(),
            state: place.as_ref().map_or_else(|| State::down(absence(entry)), Place::state),
            incarnation: match (&place, &entry.last) {
                (Some(place), _) => place.incarnation(),
                (None, last) => last.as_ref().map_or(Incarnation::NONE, |node| node.incarnation),
            },
            declared: entry.declared,
        }
    }

    pub(crate) fn diagnostics(&self, id: &ChildId) -> Result<PluginDiagnostics, PluginError> {
        let table = self.registry.table();
        let entry = table.plugins.get(id).ok_or_else(|| PluginError::NotFound(id.clone()))?;
        let node = self.place_of(id).map(|place| place.snapshot()).or_else(|| entry.last.as_deref().cloned());
        let (status, logs) = (self.status(id, entry), entry.recent.records());
        Ok(PluginDiagnostics { status, node, last_crash: entry.last_crash, logs })
    }

    pub(crate) fn events(&self) -> PluginEvents {
        self.registry.subscribe()
    }
}

/// Why a plugin that is known is not in the engine's table.
fn absence(entry: &Entry) -> Down {
    match &entry.last_exit {
        _ if entry.stopped => Down::Stopped,
        None if matches!(entry.phase, Phase::Dormant) => Down::NeverStarted,
        None | Some(Exit::Requested) => Down::Stopped,
        Some(_) => Down::Ended,
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
