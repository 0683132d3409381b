//! [`Node`]: a child's position in the tree, which outlives the child's incarnations and its supervisor's.
//!
//! A node holds what must survive a restart: the incarnation counter, whether an operator has
//! stopped the child, the pointer to the live incarnation, and the status that snapshots read.
//! Supervisors write it. Everything else reads it directly, so no reader has to wait for a busy
//! supervisor.

mod child_nodes;
mod live_incarnation;
mod requests;
mod shared_node_status;
mod snapshot;
mod supervisor_updates;
mod sweep_in_progress;
mod tree;
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
pub(crate) use live_incarnation::WorkerSnapshotSource;
pub use live_incarnation::{LiveAttachment, LiveIncarnation};
pub(crate) use shared_node_status::RestartsUsed;
use shared_node_status::SharedNodeStatus;
use sweep_in_progress::SweepsInProgress;
use tokio::sync::Notify;

use super::{engine::EngineHandle, errors::Unavailable};
use crate::{
    clock::Clock,
    exit::{Exit, ExitReport},
    id::{Incarnation, TreePath},
    state::{ChildKind, ChildState},
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
    sweeps_in_progress: SweepsInProgress,
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
            sweeps_in_progress: SweepsInProgress::default(),
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

    /// The engine of the supervisor at this node.
    pub(crate) fn engine(&self) -> Option<Arc<EngineHandle>> {
        self.0.engine.load_full()
    }

    pub(crate) fn set_engine(&self, engine: Option<Arc<EngineHandle>>) {
        self.0.engine.store(engine);
    }

    fn status(&self) -> MutexGuard<'_, SharedNodeStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
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
