//! [`PreparedPlugin`]: a declaration in force, and how it becomes a child of the host's engine.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{
    configured_protocol::ConfiguredProtocol,
    host_method_filter::HostMethodFilter,
    host_spec::PluginHostSpec,
    recent_logs::{RecentLogs, RecordingLogEntrySink},
    spec::{PluginProtocol, PluginSpec},
    stream_subscriptions::{PluginStreamAcceptor, StreamSubscriptions},
    validate::{check_all, policy},
};
use crate::{
    clock::Clock,
    exit::Exit,
    id::Incarnation,
    process::CommandChange,
    protocol::Protocol,
    restart::CrashLoop,
    supervision::{
        BoxFuture, ChildSpec, Node, SpecErrors, Start, StartContext, StartModification, StartPermit, Started,
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
    /// The last change that it contains; 0 for the first declaration.
    pub(crate) change: u64,
}

impl PreparedPlugin {
    pub(crate) fn new(spec: PluginSpec, change: u64) -> Arc<PreparedPlugin> {
        let (protocol, configured): (Arc<dyn Protocol>, _) = match &spec.protocol {
            PluginProtocol::Other(protocol) => (protocol.clone(), None),
            PluginProtocol::Plugin(plugin) => {
                let configured = Arc::new(ConfiguredProtocol::new(plugin.clone()));
                (configured.clone(), Some(configured))
            }
        };
        Arc::new(PreparedPlugin { spec, protocol, configured, change })
    }

    /// The same with another command, and with the configuration that it has; `None` if its command is
    /// made per incarnation.
    pub(crate) fn with_command_change(
        &self,
        change: &CommandChange,
        number: u64,
    ) -> Option<Arc<PreparedPlugin>> {
        let worker = self.spec.worker.with_command_change(change)?;
        Some(Arc::new(PreparedPlugin {
            spec: PluginSpec { worker, ..self.spec.clone() },
            protocol: self.protocol.clone(),
            configured: self.configured.clone(),
            change: self.change.max(number),
        }))
    }
}

/// A change of the command of a plugin, with its number among the changes of the host.
#[derive(Debug)]
pub(crate) struct NumberedLaunchChange {
    pub(crate) change: CommandChange,
    pub(crate) number: u64,
}

impl StartModification for NumberedLaunchChange {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// One incarnation, and the declaration from which it was started.
type StartedIncarnation = (Incarnation, Arc<PreparedPlugin>);

/// From which declarations the newest incarnations of one plugin were started. Cheap to clone: all clones
/// share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartedFrom(Arc<Mutex<Vec<StartedIncarnation>>>);

impl StartedFrom {
    /// A plugin has two incarnations at most, and one more may have ended just now.
    const KEPT: usize = 4;

    fn add(&self, incarnation: Incarnation, prepared: Arc<PreparedPlugin>) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if started.len() >= StartedFrom::KEPT {
            started.remove(0);
        }
        started.push((incarnation, prepared));
    }

    /// The declaration of an incarnation.
    pub(crate) fn of(&self, incarnation: Incarnation) -> Option<Arc<PreparedPlugin>> {
        let started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.iter().rev().find(|(started, _)| *started == incarnation).map(|(_, from)| from.clone())
    }
}

/// The newest log entries of a plugin, and the declaration that each incarnation was started from.
/// All incarnations of the plugin share it, whatever their declarations.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginHistory {
    pub(crate) recent: RecentLogs,
    pub(crate) started: StartedFrom,
}

/// What all plugins of one host share.
#[derive(Debug)]
pub(crate) struct PluginHostContext {
    pub(crate) host: PluginHostSpec,
    pub(crate) streams: Arc<StreamSubscriptions>,
    start_permits: Arc<Semaphore>,
}

impl PluginHostContext {
    pub(crate) fn new(host: PluginHostSpec) -> PluginHostContext {
        let start_permits = Arc::new(Semaphore::new(host.start_concurrency.min(Semaphore::MAX_PERMITS)));
        PluginHostContext { host, streams: Arc::default(), start_permits }
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
        prepared: &Arc<PreparedPlugin>,
        history: &PluginHistory,
        clock: Clock,
        needs_permit: NeedsStartPermit,
    ) -> ChildSpec {
        let spec = &prepared.spec;
        let mut worker = spec.worker.clone();
        worker.protocol = prepared.protocol.clone();
        if let Some(launcher) = &self.host.launcher {
            worker.launcher = launcher.clone();
        }
        let caps = [worker.peer.max_timeout, self.host.max_timeout];
        worker.peer.max_timeout = caps.into_iter().flatten().min();
        worker.host = Some(self.host.host_info.clone());
        // Protocol and handler were checked where they were set.
        worker.explicit = Default::default();
        worker.handler = Arc::new(HostMethodFilter {
            allowed: spec.capabilities.clone(),
            handler: spec.handler.clone().unwrap_or_else(|| self.host.handler.clone()),
        });
        worker.logs = Some(Arc::new(RecordingLogEntrySink {
            recent: history.recent.clone(),
            size: self.host.recent_logs,
            clock,
            next: worker.logs.take(),
        }));
        // In another protocol these methods may mean something else.
        if worker.protocol.has_streams() || worker.peer.streams || worker.streams.is_some() {
            let (subscriptions, next) = (self.streams.clone(), worker.streams.take());
            worker.streams = Some(Arc::new(PluginStreamAcceptor { subscriptions, next }));
        }
        let mut child = worker.child(spec.id.clone());
        child.policy = Arc::new(policy(spec, self.host.intensity.is_some()));
        child.start = Arc::new(PluginStarter {
            start: child.start,
            prepared: prepared.clone(),
            started: history.started.clone(),
            start_permits: self.start_permits.clone(),
            had_its_permit: Arc::new(AtomicBool::new(needs_permit == NeedsStartPermit::No)),
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

/// The start of a plugin: the first one waits for one of the host's start permits (rule G-7), and each one
/// leaves a note of the declaration that it was made from.
///
/// Only the first one waits: a plugin that returns after a crash would hold a permit for as long as its
/// handshake hangs, and again each time, at the cost of new plugins. Its restart policy spreads its starts
/// instead.
#[derive(Debug)]
struct PluginStarter {
    start: Arc<dyn Start>,
    prepared: Arc<PreparedPlugin>,
    started: StartedFrom,
    start_permits: Arc<Semaphore>,
    had_its_permit: Arc<AtomicBool>,
}

#[async_trait]
impl Start for PluginStarter {
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
        self.started.add(cx.incarnation, self.prepared.clone());
        self.start.start(cx).await
    }

    fn changed(&self, change: &dyn StartModification) -> Option<Arc<dyn Start>> {
        let (change, number) = match change.as_any().downcast_ref::<NumberedLaunchChange>() {
            Some(numbered) => (&numbered.change, numbered.number),
            None => (change.as_any().downcast_ref::<CommandChange>()?, 0),
        };
        Some(Arc::new(PluginStarter {
            start: self.start.changed(change)?,
            prepared: self.prepared.with_command_change(change, number)?,
            started: self.started.clone(),
            start_permits: self.start_permits.clone(),
            had_its_permit: self.had_its_permit.clone(),
        }))
    }

    fn adopted(&self, node: &Node) {
        self.start.adopted(node);
    }

    fn validate(&self) -> Result<(), SpecErrors> {
        self.start.validate()
    }

    fn own_budget(&self) -> Option<CrashLoop> {
        self.start.own_budget()
    }
}
