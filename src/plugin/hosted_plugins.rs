//! [`HostedPlugins`]: the plugins of one host, across its incarnations.
//!
//! Written by operations (what was requested) and by the observer of the engine (what is in its table).
//! Held by the host's declaration, so that plugins that were added at run time return after a restart
//! of the host (rule G-16).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::broadcast;

use super::{
    event::{PluginEvent, PluginEventReceiver, RestartReason},
    host_spec::PluginHostSpec,
    prepared_plugin::{NeedsStartPermit, PluginHistory, PluginHostContext, PreparedPlugin},
    requested_declaration_changes::RequestedDeclarationChanges,
    shared_operation::SharedOperation,
    stop_all_report::PluginStopOutcome,
};
use crate::{
    clock::{Clock, TreeInstant},
    event::StartReason,
    exit::Exit,
    id::ChildId,
    snapshot::NodeSnapshot,
    supervision::ChildSpec,
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct HostedPlugins {
    pub(crate) host_context: PluginHostContext,
    table: Mutex<PluginTable>,
    events: broadcast::Sender<Arc<PluginEvent>>,
}

/// The plugins by id.
#[derive(Debug, Default)]
pub(crate) struct PluginTable {
    pub(crate) plugins: BTreeMap<ChildId, HostedPlugin>,
    /// All plugins were stopped; no more are started (rule G-7).
    pub(crate) closed: bool,
    next: u64,
}

/// One plugin.
#[derive(Debug)]
pub(crate) struct HostedPlugin {
    /// Its position in the order in which plugins were added.
    pub(crate) order: u64,
    /// The declaration in force: that of the last incarnation that was ready. `None` while its first
    /// start is under way.
    pub(crate) prepared: Option<Arc<PreparedPlugin>>,
    /// The changes of it that have not led to a ready incarnation yet.
    pub(crate) requested: RequestedDeclarationChanges,
    /// The newest reload that has not been answered, for changes of the configuration, which wait for it.
    pub(crate) reload: Option<(u64, SharedOperation)>,
    /// The host's declaration lists it.
    pub(crate) declared: bool,
    pub(crate) ongoing: OngoingOperation,
    /// The operation that may change this entry when it ends.
    pub(crate) operation_id: u64,
    /// Whether it is in the engine's table, according to the engine's events.
    pub(crate) in_table: bool,
    pub(crate) history: PluginHistory,
    /// How its last incarnation ended since the operation began.
    pub(crate) last_exit: Option<Exit>,
    /// What is known of its last start.
    pub(crate) last_start: LastStart,
    /// When it last crashed.
    pub(crate) last_crash: Option<TreeInstant>,
    /// An operator has stopped it and removed it from the engine's table.
    pub(crate) stopped: bool,
    /// Its last snapshot, taken when it left the engine's table.
    pub(crate) last: Option<Box<NodeSnapshot>>,
}

/// The last start of a plugin, as its supervisor tells.
#[derive(Debug, Default)]
pub(crate) struct LastStart {
    /// There was one, and no operator has stopped the plugin since.
    exists: bool,
    is_restart: bool,
    reason: StartReason,
    /// How an incarnation ended that the restart policy replaces.
    exit: Option<Exit>,
    /// Why the host has ordered the next start, if its supervisor does not know that.
    ordered: Option<StartReason>,
}

/// The operation on a plugin that is under way, if there is one.
#[derive(Clone, Debug)]
pub(crate) enum OngoingOperation {
    /// Known, but not in the engine's table: ended, or stopped.
    Dormant,
    /// A requested start is under way. (The supervisor's own starts are `Supervised`.)
    Starting(SharedOperation),
    /// In the engine's table, under its restart policy.
    Supervised,
    /// It is being stopped and removed from the engine's table.
    Stopping(StopOperation),
    /// It is being added to the engine's table again, without a start.
    Returning(SharedOperation),
}

/// A stop under way, and what came of it once it has succeeded.
#[derive(Clone, Debug)]
pub(crate) struct StopOperation {
    pub(crate) operation: SharedOperation,
    pub(crate) outcome: Arc<OnceLock<PluginStopOutcome>>,
}

impl HostedPlugins {
    pub(crate) fn new(mut host: PluginHostSpec) -> Arc<HostedPlugins> {
        let declared = std::mem::take(&mut host.plugins);
        let (events, _) = broadcast::channel(PluginEventReceiver::CAPACITY);
        let hosted =
            HostedPlugins { host_context: PluginHostContext::new(host), table: Mutex::default(), events };
        {
            let mut table = hosted.table();
            for spec in declared {
                let entry = table.entry(spec.id.clone());
                entry.declared = true;
                entry.prepared = Some(PreparedPlugin::new(spec, 0));
                entry.ongoing = OngoingOperation::Supervised;
            }
        }
        Arc::new(hosted)
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, PluginTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, event: PluginEvent) {
        // Fails if there is no subscriber, which is fine.
        let _ = self.events.send(Arc::new(event));
    }

    pub(crate) fn subscribe(&self) -> PluginEventReceiver {
        PluginEventReceiver(self.events.subscribe())
    }

    /// The children of a new incarnation of the host, in the order in which they were added: the
    /// plugins that were supervised, with the declarations that were in force. Plugins that were being
    /// stopped, or started for the first time, do not return: their callers are told that the host has
    /// ended.
    pub(crate) fn children_at_start(&self, clock: Clock) -> Vec<ChildSpec> {
        let mut table = self.table();
        let PluginTable { plugins, next, .. } = &mut *table;
        plugins.retain(|_, entry| {
            // Operations of the host's last incarnation must not change the entry.
            *next += 1;
            entry.operation_id = *next;
            let keep = matches!(entry.ongoing, OngoingOperation::Supervised);
            entry.in_table = keep && entry.prepared.is_some();
            entry.take_accepted_changes();
            entry.finish_operation()
        });
        let mut kept: Vec<&HostedPlugin> = plugins.values().filter(|entry| entry.in_table).collect();
        kept.sort_by_key(|entry| entry.order);
        kept.iter()
            .filter_map(|entry| {
                let prepared = entry.prepared.as_ref()?;
                Some(self.host_context.child(prepared, &entry.history, clock, NeedsStartPermit::Yes))
            })
            .collect()
    }
}

impl LastStart {
    /// The host orders a start that its supervisor knows as another one's.
    pub(crate) fn order(&mut self, reason: StartReason) {
        self.ordered = Some(reason);
    }

    pub(crate) fn order_is_over(&mut self) {
        self.ordered = None;
    }

    /// Its supervisor starts it. Returns why.
    pub(crate) fn begins(&mut self, reason: StartReason) -> StartReason {
        self.is_restart = std::mem::replace(&mut self.exists, true);
        let unknown = matches!(reason, StartReason::Initial | StartReason::Operator);
        let ordered = if unknown { self.ordered.take() } else { None };
        self.reason = ordered.unwrap_or(reason);
        self.reason
    }

    /// The restart policy starts it again, perhaps without a change of its state.
    pub(crate) fn follows(&mut self, exit: &Exit) {
        (self.is_restart, self.reason, self.exit) = (true, StartReason::Policy, Some(exit.clone()));
    }

    /// An operator has stopped it: what is started next is no restart.
    pub(crate) fn forget(&mut self) {
        self.exists = false;
    }

    /// Why it was restarted, if the last start was a restart.
    pub(crate) fn restart_reason(&self) -> Option<RestartReason> {
        if self.is_restart { RestartReason::of(self.reason, self.exit.as_ref()) } else { None }
    }
}

impl PluginTable {
    /// The entry of a plugin; a new one if there is none.
    pub(crate) fn entry(&mut self, id: ChildId) -> &mut HostedPlugin {
        let order = self.next_operation_id();
        self.plugins.entry(id).or_insert_with(|| HostedPlugin {
            order,
            prepared: None,
            requested: RequestedDeclarationChanges::default(),
            reload: None,
            declared: false,
            ongoing: OngoingOperation::Dormant,
            operation_id: 0,
            in_table: false,
            history: PluginHistory::default(),
            last_exit: None,
            last_start: LastStart::default(),
            last_crash: None,
            stopped: false,
            last: None,
        })
    }

    /// A number that has not been used before.
    pub(crate) fn next_operation_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The entry, if this operation may still change it.
    pub(crate) fn current(&mut self, id: &ChildId, operation_id: u64) -> Option<&mut HostedPlugin> {
        self.plugins.get_mut(id).filter(|entry| entry.operation_id == operation_id)
    }

    /// The operation has ended. Forgets the plugin if nothing refers to it.
    pub(crate) fn finish_operation(&mut self, id: &ChildId) {
        if self.plugins.get_mut(id).is_some_and(|entry| !entry.finish_operation()) {
            self.plugins.remove(id);
        }
    }
}

impl HostedPlugin {
    /// It leaves the engine's table, which forgets the changes that wait there: those that were accepted
    /// for its next start are in its declaration now. The others have not happened.
    pub(crate) fn take_accepted_changes(&mut self) {
        if let Some(prepared) = &self.prepared {
            self.prepared = Some(self.requested.take_accepted(prepared));
        }
        self.reload = None;
    }

    /// Returns to the phase without an operation; `false` if the plugin is to be forgotten.
    fn finish_operation(&mut self) -> bool {
        self.ongoing = if self.in_table { OngoingOperation::Supervised } else { OngoingOperation::Dormant };
        self.in_table || (self.declared && self.prepared.is_some())
    }
}
