//! Another configuration for a plugin (rule G-12).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    configured::Configured,
    error::PluginError,
    event::{PluginEvent, PluginEventKind},
    host::Host,
    operations::Look,
};
use crate::{
    id::{ChildId, Incarnation},
    supervision::Place,
    vocabulary::State,
    worker::WorkerRef,
};

/// The notification that tells a plugin its new configuration.
const CONFIG_CHANGED: &str = "configChanged";

/// How a new configuration reached a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigApplied {
    /// Its live incarnation was sent `configChanged { config }`, or had it from its handshake already.
    Live,
    /// It does not announce `configChanged`, so it was restarted, and has it from its handshake.
    Restarted,
    /// It does not run; its next incarnation gets it.
    AtNextStart,
}

impl Host {
    pub(crate) async fn set_config(&self, id: &ChildId, config: Value) -> Result<ConfigApplied, PluginError> {
        let mut set = None;
        loop {
            let (look, definition) = {
                let table = self.registry.table();
                let definition = table.plugins.get(id).and_then(|entry| entry.definition.clone());
                (self.look(&table, id), definition)
            };
            if let Look::Starting(joint) | Look::Busy(joint) = &look {
                joint.wait().await.ok_or_else(|| self.gone())?.ok();
                continue;
            }
            let Some(definition) = definition else { return Err(PluginError::NotFound(id.clone())) };
            let Some(configured) = &definition.configured else {
                return Err(PluginError::NotConfigurable(id.clone()));
            };
            // Once for each declaration: a reload may have come between.
            if set.as_ref().is_none_or(|set| !std::sync::Arc::ptr_eq(set, configured)) {
                configured.set(config.clone());
                set = Some(configured.clone());
            }
            let applied = match look {
                Look::Kept(place, State::Starting | State::Stopping) => {
                    place.wait_state(|state| !matches!(state, State::Starting | State::Stopping)).await;
                    continue;
                }
                Look::Kept(place, State::Ready) => match self.tell(id, &place, configured).await? {
                    Some(applied) => applied,
                    None => continue,
                },
                Look::Unknown => return Err(PluginError::NotFound(id.clone())),
                _ => ConfigApplied::AtNextStart,
            };
            let incarnation = self.place_of(id).map_or(Incarnation::NONE, |place| place.incarnation());
            self.registry.publish(PluginEvent {
                at: self.clock.now(),
                plugin: id.clone(),
                incarnation,
                kind: PluginEventKind::ConfigChanged { applied },
            });
            return Ok(applied);
        }
    }

    /// Brings the newest configuration to a plugin that is ready; `None` if it is not any more.
    async fn tell(
        &self,
        id: &ChildId,
        place: &Place,
        configured: &Configured,
    ) -> Result<Option<ConfigApplied>, PluginError> {
        let _turn = configured.turn.lock().await;
        let worker = WorkerRef::new(place.clone());
        let last = place.incarnation();
        let Ok((incarnation, peer)) = worker.peer() else {
            // It is ending, and its state is about to say so.
            place.wait_state(|state| *state != State::Ready || place.incarnation() != last).await;
            return Ok(None);
        };
        if configured.knows(incarnation) {
            return Ok(Some(ConfigApplied::Live));
        }
        if !peer.supports(CONFIG_CHANGED) {
            let restarted = worker.restart("its configuration has changed").await;
            return match restarted {
                Ok(_) => Ok(Some(ConfigApplied::Restarted)),
                Err(error) => Err(self.refusal(id, error)),
            };
        }
        let config = configured.hand_over(incarnation);
        match peer.notify_value(CONFIG_CHANGED, &json!({ "config": config })).await {
            Ok(()) => Ok(Some(ConfigApplied::Live)),
            Err(error) => {
                configured.not_told();
                // If it is ending, its next incarnation gets it.
                if peer.end().is_some() { Ok(Some(ConfigApplied::AtNextStart)) } else { Err(error.into()) }
            }
        }
    }
}
