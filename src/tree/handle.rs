//! [`Tree`]: what a service holds of its tree.

use std::{borrow::Cow, fmt, time::Duration};

use ractor::ActorCell;
use serde::{Deserialize, Serialize};

use crate::{
    exit::{Exit, ExitReport},
    id::TreePath,
    plugin::Plugins,
    pool::Pool,
    snapshot::{NodeSnapshot, Snapshot},
    state::{ChildKind, ChildState, DownReason},
    supervision::{ChildRef, EventReceiver, FindError, Node, RecvError, Root, SupervisorRef},
    time::Clock,
    worker::WorkerRef,
};

/// A running tree. Cheap to clone; when the last clone is dropped the tree is shut down in the background.
///
/// When [`Tree::wait`] or [`Tree::shutdown`] returns, nothing of the tree is left: every actor is joined, every process
/// is reaped.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Root,
}

/// What a health probe wants to know (rule T-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The root is up, and every child is ready, has ended as it may, or was stopped by an operator; every anonymous pool
    /// has as many ready workers as it is to keep, and no pool has given one up a moment ago.
    pub healthy: bool,
    /// Places that are not ready although nobody has stopped them, and what pools lack.
    pub issues: Vec<HealthIssue>,
}

/// A place that is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthIssue {
    /// Where.
    pub path: TreePath,
    /// What it is doing instead.
    pub state: ChildState,
    /// What else is known: how the last incarnation ended, what a pool lacks, or until when a key is not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl fmt::Display for HealthIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.state.doing(None))?;
        self.detail.iter().try_for_each(|detail| write!(f, "; {detail}"))
    }
}

impl Tree {
    pub(crate) fn new(root: Root) -> Tree {
        Tree { root }
    }

    /// The place at a path such as `/pool/key` (rule T-2). The slash at its beginning may be left out, here and wherever
    /// the tree takes a path; a slash inside an id is written `~1`.
    ///
    /// # Errors
    /// [`FindError::NotFound`], or the text is no path.
    pub fn find(&self, path: &str) -> Result<Node, FindError> {
        self.root.find(&absolute(path))
    }

    /// The process worker at a path.
    ///
    /// # Errors
    /// As [`Tree::find`]; [`FindError::WrongKind`] if something else is there.
    pub fn worker(&self, path: &str) -> Result<WorkerRef, FindError> {
        WorkerRef::new(self.find(path)?).check()
    }

    /// The pool at a path.
    ///
    /// # Errors
    /// As [`Tree::find`]; [`FindError::WrongKind`] if something else is there.
    pub fn pool(&self, path: &str) -> Result<Pool, FindError> {
        Pool::new(self.find(path)?).check()
    }

    /// The plugin host at a path.
    ///
    /// # Errors
    /// As [`Tree::find`]; [`FindError::WrongKind`] if something else is there.
    pub fn plugins(&self, path: &str) -> Result<Plugins, FindError> {
        Plugins::new(self.find(path)?).check()
    }

    /// The actor at a path, as one that takes messages of type `M`.
    ///
    /// # Errors
    /// As [`Tree::find`]. That it takes messages of another type shows when one is sent.
    pub fn actor<M: ractor::Message>(&self, path: &str) -> Result<ChildRef<M>, FindError> {
        self.root.child(&absolute(path))
    }

    /// The supervisor at a path; `/` for the root.
    ///
    /// # Errors
    /// As [`Tree::find`]; [`FindError::WrongKind`] if it is no supervisor.
    pub fn supervisor(&self, path: &str) -> Result<SupervisorRef, FindError> {
        self.root.supervisor_at(&absolute(path))
    }

    /// A subscription to all events from now on (rule E-1).
    pub fn events(&self) -> EventReceiver {
        self.root.events()
    }

    /// The tree as it is now, read from the shared board. It asks no supervisor, so a busy one cannot delay it.
    pub fn snapshot(&self) -> Snapshot {
        self.root.snapshot()
    }

    /// Whether the tree is up: every child that the start waits for has become ready.
    pub fn ready(&self) -> bool {
        self.root.is_ready()
    }

    /// Whether all is well, and if not, where.
    pub fn health(&self) -> Health {
        let snapshot = self.snapshot();
        let mut issues: Vec<HealthIssue> = snapshot
            .root
            .walk()
            .filter(|node| match &node.state {
                ChildState::Ready => false,
                ChildState::Down { why: DownReason::Ended | DownReason::Ignored } => false,
                ChildState::Down { why: DownReason::GaveUp { .. } } => true,
                _ => !node.held,
            })
            .map(|node| self.issue(node))
            .collect();
        if self.root.has_ended() {
            // Its children have ended with it, and it is down for good.
            let state = snapshot.root.state.clone();
            let detail = self.root.exit().filter(|exit| !matches!(exit, Exit::Requested)).map(|exit| {
                let lost = self.exit_report("/", exit);
                format!("the tree has ended: {lost}")
            });
            issues.insert(0, HealthIssue { path: TreePath::root(), state, detail });
        }
        let pools = snapshot.root.walk().filter(|node| node.kind == ChildKind::Supervisor);
        for pool in pools.filter_map(|node| self.pool(node.path.as_str()).ok()) {
            let lacking = pool.issues().into_iter();
            issues.extend(lacking.map(|t| HealthIssue {
                path: t.path,
                state: t.state,
                detail: Some(t.detail),
            }));
        }
        Health { healthy: self.ready() && issues.is_empty(), issues }
    }

    fn issue(&self, node: &NodeSnapshot) -> HealthIssue {
        let why = match (&node.state, &node.last_exit) {
            (
                ChildState::Down { why: DownReason::GaveUp { .. } }
                | ChildState::BackingOff { .. }
                | ChildState::CoolingOff { .. },
                Some(exit),
            ) => Some(exit.clone()),
            _ => None,
        };
        let detail = why.map(|exit| format!("the last one: {}", self.exit_report(node.path.as_str(), exit)));
        HealthIssue { path: node.path.clone(), state: node.state.clone(), detail }
    }

    /// An exit of what is at a path, with the last words of the process behind it.
    fn exit_report(&self, path: &str, exit: Exit) -> ExitReport {
        match self.root.find(path) {
            Ok(node) => node.lost(exit),
            // It has left the tree meanwhile.
            Err(_) => ExitReport { exit, stderr_tail: String::new() },
        }
    }

    /// Waits until all is well, for at most `deadline`.
    ///
    /// # Errors
    /// What is wrong at the deadline, or when the tree has ended.
    pub async fn wait_healthy(&self, deadline: Duration) -> Result<(), Health> {
        let mut events = self.events();
        let healthy = async {
            while !self.health().healthy {
                // What rests ends its rest without an event.
                let next = tokio::time::timeout(HEALTH_POLL, events.next()).await;
                if self.root.has_ended() || next == Ok(Err(RecvError::Closed)) {
                    return false;
                }
            }
            true
        };
        match tokio::time::timeout(deadline, healthy).await {
            Ok(true) => Ok(()),
            _ => Err(self.health()),
        }
    }

    /// Waits until the tree has ended and nothing of it is left, and returns why: [`Exit::Requested`], or the whole
    /// causal chain from the root's limit to the leaf's exit (see [`Exit::chain`]). Cancel safe.
    pub async fn wait(&self) -> Exit {
        self.root.wait().await
    }

    /// Stops everything in order, newest first, and returns when nothing is left. What has not ended after `deadline`
    /// is killed, still in order.
    ///
    /// # How long it takes
    ///
    /// The children of a supervisor, and so of the root, stop one after another, each when those after it are gone
    /// (S-20). Their times add up: `n` workers that ignore the end of their channel and `SIGTERM` take `n` times
    /// `drain + term_grace` of their [`Ladder`](crate::process::Ladder), 15 s each by default, and `ladder.total()` each
    /// if even `SIGKILL` does not end them. Two of them have used up
    /// [`DEFAULT_DEADLINE`](Tree::DEFAULT_DEADLINE), and what is left then is killed without its time to drain. The workers
    /// of a pool, the plugins of a host and the children of a
    /// [dynamic](crate::supervision::SupervisorSpec::dynamic) supervisor stop all at once: together they take as long as
    /// the slowest of them.
    ///
    /// Where many processes may be stubborn, give them a shorter ladder ([`WorkerSpec::ladder`]), or put those that do not
    /// depend on each other under a dynamic supervisor.
    ///
    /// [`WorkerSpec::ladder`]: crate::worker::WorkerSpec::ladder
    pub async fn shutdown(&self, deadline: Duration) -> Exit {
        self.root.shutdown(deadline).await
    }

    /// Stops everything in order without giving anybody time, and returns when nothing is left.
    pub async fn kill(&self) -> Exit {
        self.root.kill().await
    }

    /// The root's actor, for an embedding actor.
    pub fn cell(&self) -> ActorCell {
        self.root.cell()
    }

    /// The tree's clock: turns the times in events and snapshots into tokio's.
    pub fn clock(&self) -> Clock {
        self.root.clock()
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }
}

/// How often a wait for health looks though nothing has happened.
const HEALTH_POLL: Duration = Duration::from_secs(1);

fn absolute(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}
