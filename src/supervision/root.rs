//! The top of a tree: a supervisor without a supervisor, with the clock, event stream and nodes of
//! the tree. `Tree` is its public face.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorCell};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

use super::{
    actor_child_ref::ActorChildRef,
    engine::EngineArgs,
    errors::{FindError, TreeStartError},
    event_bus::{EventBus, EventReceiver},
    incarnation_wait_group::IncarnationWaitGroup,
    node::Node,
    panics::catch_panic,
    spec::SupervisorSpec,
    start::spawn_error,
    supervisor_actor::{SupervisorActor, SupervisorActorArguments, SupervisorRef},
    tree_context::TreeContext,
    tree_stop_state::HostProbe,
};
use crate::{
    clock::Clock,
    exit::{Exit, ExitReport},
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    snapshot::Snapshot,
    state::{ChildKind, ChildState, DownReason},
};

/// A running tree of supervisors and actors. Cheap to clone. When the last clone is dropped, the
/// tree is shut down in the background.
///
/// When [`Root::wait`] or [`Root::shutdown`] returns, nothing of the tree is left: every actor is
/// joined, every process is reaped.
#[derive(Clone, Debug)]
pub struct Root(Arc<RootInner>);

#[derive(Debug)]
struct RootInner {
    node: Node,
    tree: TreeContext,
    cell: ActorCell,
    exit: watch::Receiver<Option<Exit>>,
}

/// How a tree is set up.
#[derive(Clone, Debug)]
pub struct RootOptions {
    /// Seeds every source of randomness in the tree (jitter): the same seed gives the same delays.
    pub seed: u64,
    /// How many events a slow subscriber may be behind before it loses some.
    pub event_capacity: usize,
    /// The actor that owns the tree, if any: the root is linked to it and ends with it.
    pub owner: Option<ActorCell>,
}

impl Default for RootOptions {
    fn default() -> RootOptions {
        RootOptions { seed: 0, event_capacity: EventBus::DEFAULT_CAPACITY, owner: None }
    }
}

impl Root {
    /// Starts a tree and returns when all required children are ready.
    ///
    /// # Errors
    /// [`TreeStartError`]; nothing is left running then.
    pub async fn start(spec: SupervisorSpec, options: RootOptions) -> Result<Root, TreeStartError> {
        spec.validate()?;
        let tree = TreeContext::new(options.seed, options.event_capacity);
        Root::start_in(tree, spec, options.owner).await
    }

    /// As [`Root::start`], for a declaration that has been checked; `tree` may have subscribers already.
    pub(crate) async fn start_in(
        tree: TreeContext,
        spec: SupervisorSpec,
        owner: Option<ActorCell>,
    ) -> Result<Root, TreeStartError> {
        check_runtime()?;
        let node = Node::root(tree.clock());
        node.set_incarnation(Incarnation(1));
        let (wait_group, closed) = IncarnationWaitGroup::new(None);
        let (ready_tx, ready) = oneshot::channel();
        let (report_tx, report) = oneshot::channel();
        let engine = EngineArgs {
            spec,
            node: node.clone(),
            wait_group,
            tree: tree.clone(),
            ready: Some(ready_tx),
            exit: Some(report_tx),
            observer: None,
        };
        let arguments = SupervisorActorArguments { engine };
        let spawned = match owner {
            Some(owner) => SupervisorActor::spawn_linked(None, SupervisorActor, arguments, owner).await,
            None => SupervisorActor::spawn(None, SupervisorActor, arguments).await,
        };
        let (actor, join) = spawned
            .map_err(|e| TreeStartError::Failed { exit: spawn_error(e), stderr_tail: String::new() })?;
        let (tx, exit) = watch::channel(None);
        let (ended_node, ended_tree) = (node.clone(), tree.clone());
        tokio::spawn(async move {
            let joined = join.await;
            drop(joined);
            closed.wait().await;
            // The sender is dropped if the root was killed from outside.
            let exit = report.await.unwrap_or(Exit::ActorKilled);
            ended_node.record(&ended_tree, Incarnation(1), ChildState::down(DownReason::Ended));
            log_event!(info, ended_node.path(), Incarnation(1), "the tree has ended: {exit}");
            ended_tree.bus().close();
            tx.send_replace(Some(exit));
        });
        let root = Root(Arc::new(RootInner { node, tree, cell: actor.get_cell(), exit }));
        match ready.await {
            Ok(()) => Ok(root),
            Err(_) => {
                let ExitReport { exit, stderr_tail } = root.0.node.exit_report(root.wait().await);
                Err(TreeStartError::Failed { exit, stderr_tail })
            }
        }
    }

    /// Waits until the tree has ended and nothing of it is left, and returns why it ended: the whole causal
    /// chain. Cancel safe.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.0.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::ActorKilled),
            // The runtime is shutting down and has dropped the task that would know.
            Err(_) => Exit::ActorKilled,
        }
    }

    /// Stops everything in order and returns when nothing is left. What has not ended after
    /// `deadline` is killed, still in order.
    pub async fn shutdown(&self, deadline: Duration) -> Exit {
        self.stop(Some(deadline));
        self.wait().await
    }

    /// Begins to stop everything in order and returns at once; see [`Root::shutdown`].
    pub fn stop(&self, deadline: Option<Duration>) {
        if let Some(engine) = self.0.node.engine() {
            engine.shutdown(deadline.map(|d| self.0.tree.clock().now().after(d)));
        }
    }

    /// Stops everything in order, killing each child at once.
    pub async fn kill(&self) -> Exit {
        if let Some(engine) = self.0.node.engine() {
            engine.kill();
        }
        self.wait().await
    }

    /// From now on `probe` says whether the host has been told to stop. What ends then may have
    /// been told too (rule R-1).
    pub(crate) fn watch_host(&self, probe: HostProbe) {
        self.0.tree.stop_notice().watch_host(probe);
    }

    /// Whether the tree is up: every supervisor's required children have become ready.
    pub fn is_ready(&self) -> bool {
        self.0.node.state() == ChildState::Ready
    }

    /// Whether the tree has ended and nothing of it is left.
    pub fn has_ended(&self) -> bool {
        self.0.exit.borrow().is_some()
    }

    /// How the tree has ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.0.exit.borrow().clone()
    }

    /// The root supervisor.
    pub fn supervisor(&self) -> SupervisorRef {
        SupervisorRef::new(self.0.node.clone())
    }

    /// The root's actor.
    pub fn cell(&self) -> ActorCell {
        self.0.cell.clone()
    }

    /// The node at a path.
    ///
    /// # Errors
    /// [`FindError::NotFound`], or the text is not a path.
    pub fn find(&self, path: &str) -> Result<Node, FindError> {
        let path = TreePath::parse(path)?;
        self.0.node.find(&path).ok_or(FindError::NotFound(path))
    }

    /// The child at a path, as one that takes messages of type `M`.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn child<M: ractor::Message>(&self, path: &str) -> Result<ActorChildRef<M>, FindError> {
        Ok(ActorChildRef::new(self.find(path)?))
    }

    /// The supervisor at a path.
    ///
    /// # Errors
    /// As [`Root::find`]; [`FindError::WrongKind`] if it is a worker.
    pub fn supervisor_at(&self, path: &str) -> Result<SupervisorRef, FindError> {
        let node = self.find(path)?;
        match node.kind() {
            ChildKind::Supervisor => Ok(SupervisorRef::new(node)),
            ChildKind::Worker => {
                Err(FindError::WrongKind { path: node.path().clone(), expected: "a supervisor" })
            }
        }
    }

    /// A subscription to all events from now on.
    pub fn events(&self) -> EventReceiver {
        self.0.tree.bus().subscribe()
    }

    /// The tree as it is now. It asks no supervisor.
    pub fn snapshot(&self) -> Snapshot {
        let (at, unix_ms) = (self.0.tree.clock().now(), Snapshot::wall_clock());
        Snapshot { at, unix_ms, root: self.0.node.snapshot() }
    }

    /// The tree's clock.
    pub fn clock(&self) -> Clock {
        self.0.tree.clock()
    }
}

/// Whether this is a runtime with a timer. The only way to find out is to use it. Without a timer
/// nothing would ever time out, and tasks that panic for that reason would leave others waiting for
/// ever.
fn check_runtime() -> Result<(), TreeStartError> {
    Handle::try_current().map_err(|error| TreeStartError::Runtime { reason: error.to_string() })?;
    catch_panic("the timer", || drop(tokio::time::sleep(Duration::ZERO)))
        .map_err(|_| TreeStartError::Runtime { reason: "this runtime has no timer".into() })
}

impl Drop for RootInner {
    fn drop(&mut self) {
        if let Some(engine) = self.node.engine() {
            engine.shutdown(None);
        }
    }
}
