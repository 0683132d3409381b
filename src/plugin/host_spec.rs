//! [`PluginHostSpec`]: the declaration of a plugin host.

use std::{fmt, sync::Arc, time::Duration};

use super::spec::PluginSpec;
use crate::{
    process::Launcher,
    protocol::ProgramInfo,
    restart::Intensity,
    rpc::{Handler, NoHandler},
    supervision::SupervisorFlags,
};

/// The declaration of a plugin host: its plugins, the host methods that they may call, and what their
/// crashes mean.
///
/// ```
/// use procession::{
///     plugin::{PluginHostSpec, PluginSpec},
///     process::Command,
///     rpc::MethodRouter,
///     supervision::SupervisorSpec,
/// };
///
/// let plugins = PluginHostSpec::new()
///     .plugin(PluginSpec::new("spellcheck", Command::new("spellcheck-plugin")))
///     .plugin(PluginSpec::new("metrics", Command::new("metrics-plugin")).on_demand())
///     .handler(MethodRouter::new());
/// let tree = SupervisorSpec::one_for_one().child(plugins.child("plugins"));
/// assert!(tree.validate().is_ok());
/// ```
#[derive(Clone)]
pub struct PluginHostSpec {
    pub(crate) plugins: Vec<PluginSpec>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) start_concurrency: usize,
    pub(crate) intensity: Option<Intensity>,
    pub(crate) max_plugins: Option<usize>,
    pub(crate) launcher: Option<Arc<dyn Launcher>>,
    pub(crate) recent_logs: usize,
    pub(crate) max_timeout: Option<Duration>,
    pub(crate) host_info: Arc<ProgramInfo>,
}

impl fmt::Debug for PluginHostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHostSpec")
            .field("plugins", &self.plugins)
            .field("start_concurrency", &self.start_concurrency)
            .field("intensity", &self.intensity)
            .field("max_plugins", &self.max_plugins)
            .field("recent_logs", &self.recent_logs)
            .finish_non_exhaustive()
    }
}

impl Default for PluginHostSpec {
    fn default() -> PluginHostSpec {
        PluginHostSpec::new()
    }
}

impl PluginHostSpec {
    /// How many plugins start at the same time by default.
    pub const DEFAULT_START_CONCURRENCY: usize = 4;
    /// How many log entries of each plugin are kept by default.
    pub const DEFAULT_RECENT_LOGS: usize = 256;

    /// A host without plugins and without methods.
    pub fn new() -> PluginHostSpec {
        PluginHostSpec {
            plugins: Vec::new(),
            handler: Arc::new(NoHandler),
            start_concurrency: Self::DEFAULT_START_CONCURRENCY,
            intensity: None,
            max_plugins: None,
            launcher: None,
            recent_logs: Self::DEFAULT_RECENT_LOGS,
            max_timeout: None,
            host_info: Arc::new(ProgramInfo::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))),
        }
    }

    /// Adds a plugin. It is started in the background with the host, unless it is on demand; a failed first
    /// start is a crash under its policy (rule S-7).
    #[must_use]
    pub fn plugin(mut self, plugin: PluginSpec) -> PluginHostSpec {
        self.plugins.push(plugin);
        self
    }

    /// Adds plugins.
    #[must_use]
    pub fn plugins(mut self, plugins: impl IntoIterator<Item = PluginSpec>) -> PluginHostSpec {
        self.plugins.extend(plugins);
        self
    }

    /// Answers the plugins' requests to the host, usually a
    /// [`MethodRouter`](crate::rpc::MethodRouter). The context says which plugin and which
    /// incarnation is asking ([`plugin_of`](super::plugin_of)).
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> PluginHostSpec {
        self.handler = Arc::new(handler);
        self
    }

    /// How many plugins may start for the first time at the same time; others wait for their turn (rule
    /// G-7). Restarts do not wait: their policies spread them, and a plugin that hangs in its handshake
    /// must not delay the others. Not zero.
    #[must_use]
    pub fn start_concurrency(mut self, starts: usize) -> PluginHostSpec {
        self.start_concurrency = starts;
        self
    }

    /// Makes the crashes of all plugins count against the host, which gives up after more than
    /// `max_restarts` in `period` (rule R-0). Without this, each plugin has a budget of its own and the
    /// host never gives up.
    #[must_use]
    pub fn intensity(mut self, max_restarts: u32, period: Duration) -> PluginHostSpec {
        self.intensity = Some(Intensity::new(max_restarts, period));
        self
    }

    /// The largest number of plugins in the host's table; no limit by default.
    #[must_use]
    pub fn max_plugins(mut self, max: usize) -> PluginHostSpec {
        self.max_plugins = Some(max);
        self
    }

    /// Launches all plugins with this launcher, regardless of their own declarations: for tests with
    /// scripted processes.
    #[must_use]
    pub fn launcher(mut self, launcher: Arc<dyn Launcher>) -> PluginHostSpec {
        self.launcher = Some(launcher);
        self
    }

    /// No call of a plugin takes longer than this, whatever its caller says (rule C-3). No such bound by
    /// default. A shorter bound of the plugin's own channel
    /// ([`PeerConfig::max_timeout`](crate::rpc::PeerConfig::max_timeout)) stays. Not zero.
    #[must_use]
    pub fn max_timeout(mut self, max: Duration) -> PluginHostSpec {
        self.max_timeout = Some(max);
        self
    }

    /// How many of each plugin's newest log entries are kept (rule G-4), of at most 16 KiB each.
    #[must_use]
    pub fn recent_logs(mut self, entries: usize) -> PluginHostSpec {
        self.recent_logs = entries;
        self
    }

    /// The program that plugins find as their host in the `instanceInfo` of their handshake (`hostId`,
    /// `hostVersion`); by default the name and version of this crate, as for servers of other protocols.
    #[must_use]
    pub fn host_info(mut self, host: ProgramInfo) -> PluginHostSpec {
        self.host_info = Arc::new(host);
        self
    }

    pub(crate) fn flags(&self) -> SupervisorFlags {
        SupervisorFlags {
            dynamic: true,
            // Without an intensity, each plugin pays for its own restarts and the host never gives up.
            intensity: Some(
                self.intensity.unwrap_or(Intensity { max_restarts: u32::MAX, ..Intensity::default() }),
            ),
            max_children: self.max_plugins,
            ..SupervisorFlags::default()
        }
    }
}
