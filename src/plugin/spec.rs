//! [`PluginSpec`]: the declaration of a plugin.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    id::{ChildId, Incarnation},
    process::{Command, Ladder},
    protocol::{self, Protocol},
    restart::RestartPolicy,
    rpc::Handler,
    worker::{Liveness, WorkerSpec},
};

/// The declaration of a plugin: a worker with an id, a manifest, a configuration and capabilities.
/// Cheap to clone.
///
/// It speaks the plugin protocol ([`protocol::Plugin`]) unless it is given another one. By default it
/// is always restarted, with the crate's default back-off, until an operator stops it; its crashes
/// count only for itself unless its host is given an intensity.
///
/// ```
/// use procession::{plugin::PluginSpec, process::Command};
/// use serde_json::json;
///
/// let plugin = PluginSpec::new("spellcheck", Command::new("spellcheck-plugin").arg("--stdio"))
///     .manifest(json!({ "name": "Spell check", "version": "1.2.0" }))
///     .config(json!({ "language": "en" }))
///     .capabilities(["files.read", "settings.get"]);
/// assert!(plugin.validate().is_ok());
/// ```
#[derive(Clone)]
pub struct PluginSpec {
    pub(crate) id: ChildId,
    pub(crate) worker: WorkerSpec,
    pub(crate) protocol: PluginProtocol,
    /// The settings of the plugin protocol that were made.
    pub(super) set: BTreeSet<&'static str>,
    pub(crate) capabilities: Option<Arc<BTreeSet<String>>>,
    pub(crate) handler: Option<Arc<dyn Handler>>,
    pub(crate) on_demand: bool,
    pub(crate) overlap: bool,
    pub(crate) standby: bool,
}

/// Which protocol a plugin speaks.
#[derive(Clone, Debug)]
pub(crate) enum PluginProtocol {
    Plugin(protocol::Plugin),
    Other(Arc<dyn Protocol>),
}

impl PluginProtocol {
    pub(super) fn as_dyn(&self) -> Arc<dyn Protocol> {
        match self {
            PluginProtocol::Plugin(plugin) => Arc::new(plugin.clone()),
            PluginProtocol::Other(protocol) => protocol.clone(),
        }
    }
}

impl fmt::Debug for PluginSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSpec")
            .field("id", &self.id)
            .field("worker", &self.worker)
            .field("protocol", &self.protocol)
            .field("capabilities", &self.capabilities)
            .field("on_demand", &self.is_on_demand())
            .field("overlap", &self.overlaps())
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}

impl PluginSpec {
    /// A plugin that runs this command.
    pub fn new(id: impl Into<ChildId>, command: Command) -> PluginSpec {
        PluginSpec::from_worker(id, WorkerSpec::new(command))
    }

    /// A plugin whose command is made for each incarnation (rule W-9).
    pub fn with_commands(
        id: impl Into<ChildId>,
        make: impl Fn(Incarnation) -> Command + Send + Sync + 'static,
    ) -> PluginSpec {
        PluginSpec::from_worker(id, WorkerSpec::with_commands(make))
    }

    fn from_worker(id: impl Into<ChildId>, worker: WorkerSpec) -> PluginSpec {
        PluginSpec {
            id: id.into(),
            worker,
            protocol: PluginProtocol::Plugin(protocol::Plugin::default()),
            set: BTreeSet::new(),
            capabilities: None,
            handler: None,
            on_demand: false,
            overlap: false,
            standby: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> &ChildId {
        &self.id
    }

    /// Makes a setting of the plugin protocol. With another protocol it is a mistake, which the check
    /// reports.
    fn set(mut self, field: &'static str, set: impl FnOnce(&mut protocol::Plugin)) -> PluginSpec {
        self.set.insert(field);
        if let PluginProtocol::Plugin(plugin) = &mut self.protocol {
            set(plugin);
        }
        self
    }

    /// What the plugin is, according to the host's catalogue. For the plugin protocol only.
    #[must_use]
    pub fn manifest(self, manifest: Value) -> PluginSpec {
        self.set("manifest", |plugin| plugin.manifest = manifest)
    }

    /// The user's settings for the plugin. For the plugin protocol only.
    #[must_use]
    pub fn config(self, config: Value) -> PluginSpec {
        self.set("config", |plugin| plugin.config = config)
    }

    /// The version of the host's methods; `1` by default. For the plugin protocol only.
    #[must_use]
    pub fn api_version(self, version: impl Into<String>) -> PluginSpec {
        self.set("api_version", |plugin| plugin.api_version = version.into())
    }

    /// A protocol other than the plugin protocol, such as [`Mcp`](protocol::Mcp). The plugin then has
    /// neither manifest nor configuration: what the other side needs is set in the protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Protocol) -> PluginSpec {
        self.protocol = PluginProtocol::Other(Arc::new(protocol));
        self
    }

    /// When it is restarted. Even a permanent plugin stays down when an operator has stopped it.
    ///
    /// In a host without an intensity, a policy with the shared budget gets a budget of its own: its
    /// own crash loop, or 5 failures in 60 s, followed by a pause of 60 s.
    #[must_use]
    pub fn restart(mut self, restart: RestartPolicy) -> PluginSpec {
        self.worker.restart = restart;
        self
    }

    /// The times of an orderly stop.
    #[must_use]
    pub fn ladder(mut self, ladder: Ladder) -> PluginSpec {
        self.worker.ladder = ladder;
        self
    }

    /// Regular pings; none by default.
    #[must_use]
    pub fn liveness(mut self, liveness: Liveness) -> PluginSpec {
        self.worker.liveness = Some(liveness);
        self
    }

    /// How long a start may take from launch to ready; 30 s by default. Waiting for a turn among the
    /// host's starts does not count.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> PluginSpec {
        self.worker.start_timeout = Some(timeout);
        self
    }

    /// The host methods and notifications that it may use; other requests are answered with −32001,
    /// other notifications are ignored (rule G-9). Without this setting, all are allowed. What the
    /// protocol itself needs is always allowed.
    #[must_use]
    pub fn capabilities(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> PluginSpec {
        self.capabilities = Some(Arc::new(methods.into_iter().map(Into::into).collect()));
        self
    }

    /// Answers its requests instead of the host's shared handler.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> PluginSpec {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Starts it when it is first needed rather than with its host: by the first call, or by
    /// [`ensure_ready`](super::Plugins::ensure_ready) (rules S-28, G-10). Callers that come meanwhile join
    /// that start.
    #[must_use]
    pub fn on_demand(mut self) -> PluginSpec {
        self.on_demand = true;
        self
    }

    /// The plugin is [on demand](PluginSpec::on_demand), and is stopped when nothing has used it for this
    /// long, until the next call (rule S-28). Calls, notifications to it, its own requests and its
    /// streams are use; pings and snapshots are none.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> PluginSpec {
        self.worker.idle_timeout = Some(timeout);
        self
    }

    /// Two incarnations of it may be alive together: a reload is then a swap, during which no call fails
    /// (rule G-14). Both declarations, the one before and the new one, must allow it.
    #[must_use]
    pub fn overlap(mut self) -> PluginSpec {
        self.overlap = true;
        self
    }

    /// A spare incarnation, with its handshake done, waits beside the live one and takes its place when
    /// that crashes (rule W-6). Includes [`overlap`](PluginSpec::overlap). A mistake for a temporary plugin.
    #[must_use]
    pub fn standby(mut self) -> PluginSpec {
        self.standby = true;
        self
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        self.on_demand || self.worker.idle_timeout.is_some()
    }

    pub(crate) fn overlaps(&self) -> bool {
        self.overlap || self.standby
    }

    /// Everything else that a worker has: bounds of its channel, success exit codes, the tail of
    /// stderr, `on_ready`. Protocol and handler are set here, not there.
    #[must_use]
    pub fn worker(mut self, change: impl FnOnce(WorkerSpec) -> WorkerSpec) -> PluginSpec {
        self.worker = change(self.worker);
        self
    }
}
