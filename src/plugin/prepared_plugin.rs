//! [`PreparedPlugin`]: a declaration in force, and how it becomes a child of the host's engine.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{
    capability_filter::CapabilityFilter,
    configured_protocol::ConfiguredProtocol,
    host_spec::PluginHostSpec,
    recent_logs::{RecentLogs, RecordingLogSink},
    spec::{PluginProtocol, PluginSpec},
    validate::{check_all, restart_policy},
};
use crate::{
    clock::Clock,
    exit::Exit,
    protocol::Protocol,
    restart::CrashLoop,
    supervision::{
        BoxFuture, ChildSpec, SpecErrors, Start, StartContext, StartMode, StartPermit, Started,
        SupervisorFlags,
    },
};

/// A declaration with what all its incarnations share.
#[derive(Debug)]
pub(crate) struct PreparedPlugin {
    pub(crate) spec: PluginSpec,
    protocol: Arc<dyn Protocol>,
    /// Holds its configuration, if its protocol has one.
    pub(crate) configured: Option<Arc<ConfiguredProtocol>>,
}

impl PreparedPlugin {
    pub(crate) fn new(spec: PluginSpec) -> Arc<PreparedPlugin> {
        let (protocol, configured): (Arc<dyn Protocol>, _) = match &spec.protocol {
            PluginProtocol::Other(protocol) => (protocol.clone(), None),
            PluginProtocol::Plugin(plugin) => {
                let configured = Arc::new(ConfiguredProtocol::new(plugin.clone()));
                (configured.clone(), Some(configured))
            }
        };
        Arc::new(PreparedPlugin { spec, protocol, configured })
    }
}

/// What all plugins of one host share.
#[derive(Debug)]
pub(crate) struct PluginHostShared {
    pub(crate) host: PluginHostSpec,
    start_permits: Arc<Semaphore>,
}

impl PluginHostShared {
    pub(crate) fn new(host: PluginHostSpec) -> PluginHostShared {
        let start_permits = Arc::new(Semaphore::new(host.start_concurrency.min(Semaphore::MAX_PERMITS)));
        PluginHostShared { host, start_permits }
    }

    /// Checks a declaration that is added at run time.
    pub(crate) fn validate(&self, spec: &PluginSpec) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        // The engine checks the number of plugins.
        let flags = SupervisorFlags { max_children: None, ..self.host.flags() };
        check_all(std::slice::from_ref(spec), &flags, self.host.intensity.is_some(), &mut errors);
        SpecErrors::check(errors)
    }

    /// Makes a child of the host's engine.
    pub(crate) fn child(
        &self,
        prepared: &PreparedPlugin,
        recent: &RecentLogs,
        clock: Clock,
        start: StartMode,
        needs_permit: NeedsStartPermit,
    ) -> ChildSpec {
        let spec = &prepared.spec;
        let mut worker = spec.worker.clone();
        worker.protocol = prepared.protocol.clone();
        if let Some(launcher) = &self.host.launcher {
            worker.launcher = launcher.clone();
        }
        worker.host = Some(self.host.host_info.clone());
        // Protocol and handler were checked where they were set.
        worker.explicit = Default::default();
        worker.handler = Arc::new(CapabilityFilter {
            allowed: spec.capabilities.clone(),
            handler: spec.handler.clone().unwrap_or_else(|| self.host.handler.clone()),
        });
        worker.logs = Some(Arc::new(RecordingLogSink {
            recent: recent.clone(),
            size: self.host.recent_logs,
            clock,
            next: worker.logs.take(),
        }));
        worker.restart = restart_policy(spec, self.host.intensity.is_some());
        let mut child = worker.child(spec.id.clone());
        Arc::make_mut(&mut child.policy).start = start;
        child.start = Arc::new(StartWithPermit {
            start: child.start,
            start_permits: self.start_permits.clone(),
            had_its_permit: AtomicBool::new(needs_permit == NeedsStartPermit::No),
        });
        child
    }
}

/// Whether the first start of a child has to wait for a permit (rule G-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedsStartPermit {
    /// The plugin is new and waits.
    Yes,
    /// The plugin replaces one that was started before.
    No,
}

/// Starts for the first time once it has one of the host's start permits (rule G-7).
///
/// Only once: a plugin that returns after a crash would hold a permit for as long as its handshake
/// hangs, and again each time, at the cost of new plugins. Its restart policy spreads its starts
/// instead.
#[derive(Debug)]
struct StartWithPermit {
    start: Arc<dyn Start>,
    start_permits: Arc<Semaphore>,
    had_its_permit: AtomicBool,
}

#[async_trait]
impl Start for StartWithPermit {
    fn start_permit(&self) -> Option<BoxFuture<'_, StartPermit>> {
        if self.had_its_permit.load(Ordering::Acquire) {
            return None;
        }
        Some(Box::pin(async {
            let permit = self.start_permits.clone().acquire_owned().await;
            // Only now: a start that was given up in the queue has had no permit.
            self.had_its_permit.store(true, Ordering::Release);
            match permit {
                Ok(permit) => StartPermit::new(permit),
                // The semaphore is never closed.
                Err(_) => StartPermit::default(),
            }
        }))
    }

    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        self.start.start(cx).await
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.start.validate()
    }

    fn own_budget(&self) -> Option<CrashLoop> {
        self.start.own_budget()
    }
}
