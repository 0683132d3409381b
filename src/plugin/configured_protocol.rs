//! The plugin protocol with a configuration that may change while the plugin runs (rule G-12):
//! [`ConfiguredProtocol`].

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Value, value::RawValue};

use super::error::PluginError;
use crate::{
    exit::Exit,
    id::Incarnation,
    protocol::{ChildIdentity, LogEntry, Plugin, Protocol, SessionInfo, StdioUse, StopReply},
    rpc::{CallError, Peer, RequestId},
};

/// [`Plugin`], with the newest configuration at each handshake.
pub(crate) struct ConfiguredProtocol {
    state: Mutex<CurrentConfig>,
    /// One change at a time reaches the plugin, so that the last change that it hears of is the last
    /// one that was made.
    pub(crate) change_lock: tokio::sync::Mutex<()>,
}

struct CurrentConfig {
    plugin: Arc<Plugin>,
    version: u64,
    /// The last incarnations that a configuration was delivered to, and its version. A plugin has two
    /// incarnations at most.
    delivered: VecDeque<(Incarnation, u64)>,
    /// The last configuration that an incarnation accepted, with its version; at first that of the
    /// declaration.
    accepted: (u64, Value),
    /// The last versions that were rejected, and why.
    rejected: Option<(RangeInclusive<u64>, PluginError)>,
}

impl CurrentConfig {
    /// This incarnation has the newest configuration.
    fn deliver(&mut self, incarnation: Incarnation) {
        const KEPT: usize = 2;
        self.delivered.retain(|(delivered, _)| *delivered != incarnation);
        if self.delivered.len() >= KEPT {
            self.delivered.pop_front();
        }
        self.delivered.push_back((incarnation, self.version));
    }
}

impl ConfiguredProtocol {
    pub(crate) fn new(plugin: Plugin) -> ConfiguredProtocol {
        let accepted = (0, plugin.config.clone());
        let delivered = VecDeque::new();
        let state =
            CurrentConfig { plugin: Arc::new(plugin), version: 0, delivered, accepted, rejected: None };
        ConfiguredProtocol { state: Mutex::new(state), change_lock: tokio::sync::Mutex::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, CurrentConfig> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plugin(&self) -> Arc<Plugin> {
        self.state().plugin.clone()
    }

    /// From now on handshakes deliver this configuration. Returns its version.
    pub(crate) fn set(&self, config: Value) -> u64 {
        let mut state = self.state();
        state.plugin = Arc::new(Plugin::clone(&state.plugin).with_config(config));
        state.version += 1;
        state.version
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    /// Whether this incarnation has the newest configuration.
    pub(crate) fn has_newest(&self, incarnation: Incarnation) -> bool {
        let state = self.state();
        state.delivered.contains(&(incarnation, state.version))
    }

    /// The newest configuration, to be sent to this incarnation: from now on it counts as delivered.
    pub(crate) fn deliver(&self, incarnation: Incarnation) -> (u64, Value) {
        let mut state = self.state();
        state.deliver(incarnation);
        (state.version, state.plugin.config.clone())
    }

    /// The configuration that was sent last did not arrive.
    pub(crate) fn mark_undelivered(&self) {
        self.state().delivered.clear();
    }

    /// An incarnation runs with this configuration.
    pub(crate) fn accept(&self, version: u64, config: Value) {
        let mut state = self.state();
        if version > state.accepted.0 {
            state.accepted = (version, config);
        }
    }

    /// No incarnation runs with this version: the last accepted one is in force again, which the
    /// incarnation `unchanged` still has. `false` if a newer version has been set meanwhile, which has
    /// not been tried yet.
    pub(crate) fn reject(&self, version: u64, why: &PluginError, unchanged: Incarnation) -> bool {
        let mut state = self.state();
        // A handshake may have delivered a newer version than the one that was to be sent.
        let delivered = state.delivered.iter().map(|(_, version)| *version).max();
        let version = version.max(delivered.unwrap_or_default());
        state.rejected = Some((state.accepted.0 + 1..=version, why.clone()));
        state.delivered.clear();
        if state.version > version {
            return false;
        }
        state.version += 1;
        let config = state.accepted.1.clone();
        state.accepted.0 = state.version;
        state.deliver(unchanged);
        state.plugin = Arc::new(Plugin::clone(&state.plugin).with_config(config));
        true
    }

    /// Why this version was rejected, if it was.
    pub(crate) fn rejection_of(&self, version: u64) -> Option<PluginError> {
        self.state()
            .rejected
            .as_ref()
            .filter(|(versions, _)| versions.contains(&version))
            .map(|(_, why)| why.clone())
    }
}

impl fmt::Debug for ConfiguredProtocol {
    /// Without the configurations, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredProtocol")
            .field("plugin", &self.plugin())
            .field("version", &self.version())
            .finish()
    }
}

#[async_trait]
impl Protocol for ConfiguredProtocol {
    fn name(&self) -> &str {
        "plugin"
    }

    fn stdio_use(&self) -> StdioUse {
        self.plugin().stdio_use()
    }

    fn max_outgoing_frame_bytes(&self) -> usize {
        self.plugin().max_outgoing_frame_bytes()
    }

    fn handshake_timeout(&self) -> std::time::Duration {
        self.plugin().handshake_timeout()
    }

    async fn handshake(&self, peer: &Peer, hello: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let (version, plugin) = {
            let mut state = self.state();
            state.deliver(hello.incarnation);
            (state.version, state.plugin.clone())
        };
        let session = plugin.handshake(peer, hello).await?;
        self.accept(version, plugin.config.clone());
        Ok(session)
    }

    async fn retiring(&self, peer: &Peer) {
        self.plugin().retiring(peer).await;
    }

    async fn shutdown(&self, peer: &Peer) -> StopReply {
        self.plugin().shutdown(peer).await
    }

    async fn ping(&self, peer: &Peer) -> Option<Result<(), CallError>> {
        self.plugin().ping(peer).await
    }

    fn cancel(&self, request: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        self.plugin().cancel(request)
    }

    fn incoming_cancel(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        self.plugin().incoming_cancel(method, params)
    }

    fn progress(&self, method: &str, params: Option<&RawValue>) -> Option<RequestId> {
        self.plugin().progress(method, params)
    }

    fn ask_progress(&self, request: &RequestId, params: &RawValue) -> Option<Box<RawValue>> {
        self.plugin().ask_progress(request, params)
    }

    fn is_notification(&self, method: &str) -> bool {
        self.plugin().is_notification(method)
    }

    fn notified(&self, method: &str, params: Option<&RawValue>) {
        self.plugin().notified(method, params);
    }

    fn has_meta(&self) -> bool {
        self.plugin().has_meta()
    }

    fn has_streams(&self) -> bool {
        self.plugin().has_streams()
    }

    fn log(&self, method: &str, params: Option<&RawValue>) -> Option<LogEntry> {
        self.plugin().log(method, params)
    }

    fn routes(&self) -> crate::rpc::MethodRouter {
        self.plugin().routes()
    }
}
