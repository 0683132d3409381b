//! [`Node`]: a child's position in the tree, which outlives the child's incarnations and its supervisor's.
//!
//! A node holds what must survive a restart: the incarnation counter, whether an operator has
//! stopped the child, the pointer to the live incarnation, and the status that snapshots read.
//! Supervisors write it. Everything else reads it directly, so no reader has to wait for a busy
//! supervisor.

mod child_nodes;
mod live_incarnation;
mod shared_node_status;
mod snapshot;
mod sweep_guard;
mod wait_state;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use child_nodes::ChildNodes;
pub(crate) use live_incarnation::SnapshotSource;
pub use live_incarnation::{Attachment, LiveIncarnation};
pub(crate) use shared_node_status::RestartsUsed;
use shared_node_status::SharedNodeStatus;
use sweep_guard::OpenSweeps;
use tokio::sync::Notify;

use super::{
    engine::EngineHandle,
    errors::{RequestError, Unavailable},
    machine::{DefinitionChange, IncarnationKey, ReloadWhen, Reply, Request},
    start::{JudgementDelay, StartModification},
    tree_context::TreeContext,
};
use crate::{
    clock::{Clock, TreeInstant},
    event::EventKind,
    exit::{Exit, ExitReport},
    id::{ChildId, Incarnation, TreePath},
    restart::{RestartPolicy, RestartTracker},
    state::{ChildKind, ChildState, SecondRole},
};

/// A position in the tree. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<NodeInner>);

/// A weak reference, for whatever the node itself leads to.
#[derive(Clone)]
pub(crate) struct WeakNode(Weak<NodeInner>);

impl WeakNode {
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

struct NodeInner {
    path: TreePath,
    clock: Clock,
    parent: Weak<NodeInner>,
    /// The live incarnation, from ready until its end. It changes only under the lock of the
    /// status, so the two are always seen together.
    live: ArcSwapOption<LiveIncarnation>,
    /// The primary incarnation: the state is about it.
    incarnation: AtomicU64,
    /// The last incarnation that was started here.
    last_started: AtomicU64,
    stopped_by_operator: AtomicBool,
    /// The incarnation that can still be reached but has begun to end by itself; 0 for none.
    closing: AtomicU64,
    removed: AtomicBool,
    status: Mutex<SharedNodeStatus>,
    /// The status holds a change of state that the event stream does not have yet.
    unannounced: AtomicBool,
    changed: Notify,
    open_sweeps: OpenSweeps,
    /// The engine of the supervisor at this node, if there is one.
    engine: ArcSwapOption<EngineHandle>,
    children: Mutex<Option<Box<ChildNodes>>>,
}

impl Node {
    /// The node of a tree's root.
    pub(crate) fn root(clock: Clock) -> Node {
        Node::new(TreePath::root(), clock, Weak::new(), ChildKind::Supervisor, 0)
    }

    fn new(path: TreePath, clock: Clock, parent: Weak<NodeInner>, kind: ChildKind, incarnation: u64) -> Node {
        let status = SharedNodeStatus::new(kind, clock.now());
        Node(Arc::new(NodeInner {
            path,
            clock,
            parent,
            live: ArcSwapOption::empty(),
            incarnation: AtomicU64::new(incarnation),
            last_started: AtomicU64::new(incarnation),
            stopped_by_operator: AtomicBool::new(false),
            closing: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            status: Mutex::new(status),
            unannounced: AtomicBool::new(false),
            changed: Notify::new(),
            open_sweeps: OpenSweeps::default(),
            engine: ArcSwapOption::empty(),
            children: Mutex::new(None),
        }))
    }

    pub(crate) fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.0))
    }

    /// Where it is.
    pub fn path(&self) -> &TreePath {
        &self.0.path
    }

    /// The tree's clock.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The primary incarnation, which the state is about; the last one, if none is alive.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.0.incarnation.load(Ordering::Acquire))
    }

    /// The last incarnation that was started here, also if it is not the primary one (S-27).
    pub(crate) fn last_started(&self) -> Incarnation {
        Incarnation(self.0.last_started.load(Ordering::Acquire))
    }

    /// What the child is doing.
    pub fn state(&self) -> ChildState {
        self.status().state.clone()
    }

    /// The kind of child at this node.
    pub fn kind(&self) -> ChildKind {
        self.status().kind
    }

    /// How the last incarnation ended.
    pub fn last_exit(&self) -> Option<Exit> {
        self.status().last_exit.as_deref().cloned()
    }

    /// The live incarnation, if there is one that is ready. Lock-free.
    pub fn live(&self) -> Option<Arc<LiveIncarnation>> {
        self.0.live.load_full()
    }

    /// As [`live`](Node::live), without a reference count that all callers would write.
    pub(crate) fn load_live(&self) -> Guard<Option<Arc<LiveIncarnation>>> {
        self.0.live.load()
    }

    /// The error for callers that find no live incarnation.
    pub fn unavailable(&self) -> Unavailable {
        let (state, retry_after) = self.absence();
        let last_exit = self.last_exit().map(|exit| Box::new(self.exit_report(exit)));
        Unavailable { path: self.0.path.clone(), state, retry_after, last_exit }
    }

    /// What the child is doing instead of being live, and when its next start is due. A failed call
    /// needs only this, without a copy of the last exit and stderr.
    pub(crate) fn absence(&self) -> (ChildState, Option<Duration>) {
        let state = match self.state() {
            // Nothing is live here, and the status has not been updated yet.
            ChildState::Ready => ChildState::Stopping,
            state => state,
        };
        let retry_after = match &state {
            ChildState::BackingOff { until, .. } | ChildState::CoolingOff { until } => {
                Some(until.since(self.0.clock.now()))
            }
            _ => None,
        };
        (state, retry_after)
    }

    /// An exit of this child, with the end of what its process wrote to stderr.
    pub(crate) fn exit_report(&self, exit: Exit) -> ExitReport {
        ExitReport { stderr_tail: self.stderr_tail_of(&exit), exit }
    }

    /// The end of what a process wrote to stderr, for the last exit of this child, which was
    /// `exit`. It is its own process, or, for a supervisor, the process at the end of the chain of
    /// causes.
    pub(crate) fn stderr_tail_of(&self, exit: &Exit) -> String {
        let culprit = exit.culprits().try_fold(self.clone(), |node, id| node.child(id));
        let source = culprit.and_then(|node| node.status().snapshot_source.clone());
        source.map(|source| source.stderr_tail()).unwrap_or_default()
    }

    /// The engine of the supervisor of this child.
    pub(crate) fn controller(&self) -> Option<Arc<EngineHandle>> {
        self.0.parent.upgrade()?.engine.load_full()
    }

    /// The engine of the supervisor at this node.
    pub(crate) fn engine(&self) -> Option<Arc<EngineHandle>> {
        self.0.engine.load_full()
    }

    pub(crate) fn set_engine(&self, engine: Option<Arc<EngineHandle>>) {
        self.0.engine.store(engine);
    }

    /// Asks this child's supervisor to restart it, and waits until it is ready (rule R-8).
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn restart(&self) -> Result<Incarnation, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        match engine.request(Request::Restart(id)).await? {
            Reply::Ready(incarnation) => Ok(incarnation),
            Reply::Done | Reply::Ignored => Ok(Incarnation::NONE),
        }
    }

    /// Asks this child's supervisor to stop it, and waits until nothing of it is left.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn stop(&self) -> Result<(), RequestError> {
        let (id, engine) = self.child_and_controller()?;
        engine.request(Request::TerminateChild(id)).await.map(drop)
    }

    fn child_and_controller(&self) -> Result<(ChildId, Arc<EngineHandle>), RequestError> {
        let id = self.0.path.last().ok_or(RequestError::ShuttingDown)?;
        Ok((id, self.controller().ok_or(RequestError::ShuttingDown)?))
    }

    // ---- the tree -------------------------------------------------------------------------------

    /// The node of a child; created if it does not exist.
    pub(crate) fn claim(&self, id: &ChildId, kind: ChildKind) -> Node {
        let mut guard = self.children();
        let children = guard.get_or_insert_with(Box::default);
        if let Some(node) = children.get(id) {
            node.set_kind(kind);
            return node.clone();
        }
        let parent = Arc::downgrade(&self.0);
        let node = Node::new(self.0.path.join(id), self.0.clock, parent, kind, children.retired());
        children.push(id.clone(), node.clone());
        node
    }

    /// Reserves room for that many more children.
    pub(crate) fn reserve(&self, children: usize) {
        if children > 0 {
            self.children().get_or_insert_with(Box::default).reserve(children);
        }
    }

    pub(crate) fn has_children(&self) -> bool {
        self.children().is_some()
    }

    /// Removes the node of a child that has left the table of its supervisor.
    pub(crate) fn release(&self, id: &ChildId) {
        let node = {
            let mut guard = self.children();
            let Some(node) = guard.as_mut().and_then(|children| children.remove(id)) else { return };
            node
        };
        node.0.removed.store(true, Ordering::Release);
        node.0.changed.notify_waiters();
    }

    /// Removes the nodes of all children that do not satisfy `keep`.
    pub(crate) fn retain_children(&self, keep: impl Fn(&ChildId) -> bool) {
        let gone: Vec<ChildId> = match self.children().as_ref() {
            Some(children) => children.ids().filter(|id| !keep(id)).cloned().collect(),
            None => return,
        };
        for id in gone {
            self.release(&id);
        }
    }

    /// The node of a child.
    pub fn child(&self, id: &ChildId) -> Option<Node> {
        let guard = self.children();
        guard.as_ref()?.get(id).cloned()
    }

    /// The node at a path at or below this one. Paths are absolute: they start at the root of the
    /// tree.
    pub fn find(&self, path: &TreePath) -> Option<Node> {
        let rest = path.as_str().strip_prefix(self.0.path.as_str())?;
        if !(self.0.path.is_root() || rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let depth = self.0.path.ids().count();
        path.ids().skip(depth).try_fold(self.clone(), |node, id| node.child(&id))
    }

    // ---- written by supervisors -----------------------------------------------------------------

    pub(crate) fn stopped_by_operator(&self) -> bool {
        self.0.stopped_by_operator.load(Ordering::Acquire)
    }

    pub(crate) fn set_stopped_by_operator(&self, stopped_by_operator: bool) {
        self.0.stopped_by_operator.store(stopped_by_operator, Ordering::Release);
    }

    /// Sets the kind of child that is starting here. If the kind changes, nothing of the previous
    /// child is shown afterwards.
    pub(crate) fn set_kind(&self, kind: ChildKind) {
        {
            let mut status = self.status();
            if status.kind == kind {
                return;
            }
            (status.kind, status.restarts_used, status.snapshot_source) = (kind, None, None);
        }
        self.retain_children(|_| false);
    }

    /// From now on, this is the primary incarnation.
    pub(crate) fn set_incarnation(&self, incarnation: Incarnation) {
        if self.0.incarnation.fetch_max(incarnation.0, Ordering::AcqRel) < incarnation.0 {
            self.status().incarnation_changed(incarnation);
        }
    }

    /// What the incarnation beside the primary one is doing has changed.
    pub(crate) fn set_second(&self, incarnation: Incarnation, role: SecondRole, state: &ChildState) {
        self.status().second_changed(incarnation, role, state);
    }

    /// An incarnation ended. Returns whether it was one beside the primary one.
    pub(crate) fn second_ended(&self, incarnation: Incarnation, exit: &Exit) -> bool {
        self.status().second_ended(incarnation, exit)
    }

    /// Nothing is left of an incarnation that no engine is left to judge, or it is a spare that was waiting.
    pub(crate) fn forget_second(&self, incarnation: Incarnation) {
        self.status().second.take_if(|second| second.incarnation == incarnation);
    }

    /// Whether a demand starts the child (S-28).
    pub(crate) fn is_on_demand(&self) -> bool {
        self.status().on_demand
    }

    pub(crate) fn set_on_demand(&self, on_demand: bool) {
        self.status().on_demand = on_demand;
    }

    /// Asks the supervisor to change how this child is started (G-13).
    pub(crate) async fn modify(
        &self,
        change: Arc<dyn StartModification>,
        when: ReloadWhen,
    ) -> Result<Option<Incarnation>, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        Ok(started(engine.modify_child(id, change, when).await?))
    }

    /// Asks the supervisor to replace the live incarnation by one of the same definition.
    pub(crate) async fn recycle(&self) -> Result<Option<Incarnation>, RequestError> {
        let (id, engine) = self.child_and_controller()?;
        let recycle = Request::Reload(id, DefinitionChange::None, ReloadWhen::Now);
        Ok(started(engine.request(recycle).await?))
    }

    /// Asks the supervisor to stop this incarnation, which is idle, until the next demand.
    pub(crate) async fn stop_idle(&self, incarnation: Incarnation) {
        if let Ok((id, engine)) = self.child_and_controller() {
            let _ = engine.request(Request::StopIdle(id, incarnation)).await;
        }
    }

    /// Asks the supervisor to start this child unless it was stopped or given up, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(crate) async fn demand(&self) -> Result<(), RequestError> {
        let (id, engine) = self.child_and_controller()?;
        engine.request(Request::Demand(id)).await.map(drop)
    }

    pub(crate) fn set_last_started(&self, incarnation: Incarnation) {
        self.0.last_started.fetch_max(incarnation.0, Ordering::AcqRel);
    }

    /// Writes a state that no engine is left to write, if `incarnation` is still the newest one
    /// here.
    pub(crate) fn record(&self, tree: &TreeContext, incarnation: Incarnation, to: ChildState) {
        if self.incarnation() != incarnation {
            return;
        }
        let from = self.state();
        self.set_state(to.clone(), tree.clock().now());
        tree.bus().publish(&self.0.path, incarnation, EventKind::State { from, to });
        self.notify_waiters();
    }

    pub(crate) fn set_exit(&self, exit: Exit) {
        self.status().last_exit = Some(Box::new(exit));
    }

    /// Reports that the process of this incarnation ended at this time. Its exit (this one, as far
    /// as is known) is judged later; its back-off counts from this time.
    pub(crate) fn report_process_end(&self, incarnation: Incarnation, at: TreeInstant, exit: Exit) {
        if let Ok((child, engine)) = self.child_and_controller() {
            engine.process_ended(IncarnationKey { child, incarnation }, at, exit);
        }
    }

    /// Writes the counters of the current incarnation of the supervisor.
    pub(crate) fn set_counters(&self, now: TreeInstant, tracker: &RestartTracker, policy: &RestartPolicy) {
        let mut status = self.status();
        status.consecutive_failures = tracker.failures_at(now, policy);
        status.forgets = tracker.forgets_at(policy);
        status.count(tracker.total_failures(), tracker.total_restarts());
    }

    /// How long an exit of this child may wait to be judged, by its current policy.
    pub(crate) fn judgement_delay(&self) -> JudgementDelay {
        self.status().judgement_delay
    }

    pub(crate) fn set_judgement_delay(&self, delay: JudgementDelay) {
        self.status().judgement_delay = delay;
    }

    /// A new incarnation of the supervisor begins; it counts from zero.
    pub(crate) fn adopted(&self) {
        self.status().adopted();
    }

    /// Whether any incarnation here has been ready.
    pub(crate) fn has_been_ready(&self) -> bool {
        self.status().has_been_ready
    }

    /// The supervisor at this node begins with an unused intensity.
    pub(crate) fn set_restarts_used(&self, restarts_used: RestartsUsed) {
        self.status().restarts_used = Some(Box::new(restarts_used));
    }

    /// The supervisor at this node has counted a restart.
    pub(crate) fn count_restart(&self, at: TreeInstant) {
        if let Some(restarts_used) = &mut self.status().restarts_used {
            restarts_used.count_restart(at);
        }
    }

    /// Whether a worker has registered itself here.
    pub(crate) fn has_snapshot_source(&self) -> bool {
        self.status().snapshot_source.is_some()
    }

    /// The source of what snapshots show of the primary incarnation of the worker here.
    pub(crate) fn snapshot_source(&self) -> Option<Arc<dyn SnapshotSource>> {
        self.status().snapshot_source.clone()
    }

    /// Sets the source of what snapshots show of the worker at this node. That of an incarnation that is
    /// not the primary one is shown once it is.
    pub(crate) fn set_snapshot_source(&self, incarnation: Incarnation, source: Arc<dyn SnapshotSource>) {
        let mut status = self.status();
        if incarnation <= self.incarnation() {
            status.snapshot_source = Some(source);
        } else {
            status.second_source = Some(Box::new((incarnation, source)));
        }
    }

    fn status(&self) -> MutexGuard<'_, SharedNodeStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn children(&self) -> MutexGuard<'_, Option<Box<ChildNodes>>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("path", &self.0.path)
            .field("incarnation", &self.incarnation())
            .field("state", &self.state())
            .finish()
    }
}

/// The incarnation that a request has started, if it was awaited.
fn started(reply: Reply) -> Option<Incarnation> {
    match reply {
        Reply::Ready(incarnation) => Some(incarnation),
        Reply::Done | Reply::Ignored => None,
    }
}
