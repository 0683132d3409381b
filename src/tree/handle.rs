//! [`Tree`]: the handle that a service has on its tree.

use std::{borrow::Cow, fmt, time::Duration};

use ractor::ActorCell;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Clock,
    exit::{Exit, ExitReport},
    id::TreePath,
    plugin::Plugins,
    pool::Pool,
    snapshot::{NodeSnapshot, SecondSnapshot, Snapshot},
    state::{ChildKind, ChildState, DownReason, SecondIncarnationRole},
    supervision::{ActorChildRef, EventReceiver, FindError, Node, RecvError, Root, SupervisorRef},
    worker::WorkerRef,
};

/// A running tree. Cheap to clone; when the last clone is dropped the tree is shut down in the background.
///
/// When [`Tree::wait`] or [`Tree::shutdown`] returns, nothing of the tree is left: every actor is joined,
/// every process is reaped.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Root,
}

/// The health of a tree, for health probes (rule T-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the root is up, every child is ready, has ended as it may or was stopped by an operator,
    /// every anonymous pool has its minimum of ready workers, and no pool has given up a key a moment
    /// ago.
    pub healthy: bool,
    /// Nodes that are not ready although no operator has stopped them, and what pools lack.
    pub issues: Vec<HealthIssue>,
}

/// A node that is not ready, or something that a pool lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthIssue {
    /// Where in the tree.
    pub path: TreePath,
    /// What it is doing instead.
    pub state: ChildState,
    /// More about it: how the last incarnation ended, what a pool lacks, or until when a key is not
    /// retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl fmt::Display for Health {
    /// `healthy`, or one line for each issue.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.healthy {
            return f.write_str("healthy");
        }
        f.write_str("not healthy")?;
        self.issues.iter().try_for_each(|issue| write!(f, "\n{issue}"))
    }
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

    /// The node at a path such as `/pool/key` (rule T-2). The leading slash is optional, here and
    /// wherever the tree takes a path; a slash inside an id is written `~1`.
    ///
    /// # Errors
    /// [`FindError::NotFound`], or an error if the text is not a path.
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
    /// As [`Tree::find`]. If it takes messages of another type, sending one fails.
    pub fn actor<M: ractor::Message>(&self, path: &str) -> Result<ActorChildRef<M>, FindError> {
        self.root.child(&absolute(path))
    }

    /// The supervisor at a path; `/` for the root.
    ///
    /// # Errors
    /// As [`Tree::find`]; [`FindError::WrongKind`] if it is not a supervisor.
    pub fn supervisor(&self, path: &str) -> Result<SupervisorRef, FindError> {
        self.root.supervisor_at(&absolute(path))
    }

    /// A subscription to all events from now on (rule E-1).
    pub fn events(&self) -> EventReceiver {
        self.root.events()
    }

    /// The tree as it is now, read from the shared status of its nodes. It asks no supervisor, so a
    /// busy one cannot delay it.
    pub fn snapshot(&self) -> Snapshot {
        self.root.snapshot()
    }

    /// Whether the tree is up: every child that the start waits for has become ready.
    pub fn ready(&self) -> bool {
        self.root.is_ready()
    }

    /// Whether the tree is healthy, and if not, what is wrong where.
    pub fn health(&self) -> Health {
        let snapshot = self.snapshot();
        let mut issues: Vec<HealthIssue> = snapshot
            .root
            .walk()
            .filter(|node| match &node.state {
                ChildState::Ready => node.second.as_ref().is_some_and(lacks_its_spare),
                ChildState::Down { why: DownReason::Ended | DownReason::Ignored | DownReason::Idle } => false,
                ChildState::Down { why: DownReason::NeverStarted } if node.on_demand => false,
                ChildState::Down { why: DownReason::GaveUp { .. } } => true,
                _ => !node.stopped_by_operator,
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
        if let (ChildState::Ready, Some(second)) = (&node.state, &node.second) {
            let detail = second.last_exit.clone().map(|exit| {
                let report = self.exit_report(node.path.as_str(), exit);
                format!("it has no spare: the last one ended: {report}")
            });
            return HealthIssue { path: node.path.clone(), state: second.state.clone(), detail };
        }
        let why = match (&node.state, &node.last_exit) {
            (
                ChildState::Down { why: DownReason::GaveUp { .. } }
                | ChildState::BackingOff { .. }
                | ChildState::CoolingOff { .. },
                Some(exit),
            ) => Some(exit.clone()),
            _ => None,
        };
        let detail = why.map(|exit| format!("last exit: {}", self.exit_report(node.path.as_str(), exit)));
        HealthIssue { path: node.path.clone(), state: node.state.clone(), detail }
    }

    /// The exit of the node at a path, with the end of its process's stderr.
    fn exit_report(&self, path: &str, exit: Exit) -> ExitReport {
        match self.root.find(path) {
            Ok(node) => node.exit_report(exit),
            // The node has left the tree meanwhile.
            Err(_) => ExitReport { exit, stderr_tail: String::new() },
        }
    }

    /// Waits until the tree is healthy, for at most `deadline`.
    ///
    /// # Errors
    /// What is wrong at the deadline, or when the tree has ended.
    pub async fn wait_healthy(&self, deadline: Duration) -> Result<(), Health> {
        let mut events = self.events();
        let healthy = async {
            while !self.health().healthy {
                // The end of a given-up key's pause is not an event.
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

    /// Waits until the tree has ended and nothing of it is left, and returns why: [`Exit::Requested`], or the
    /// whole causal chain from the root's limit to the leaf's exit (see [`Exit::chain`]). Cancel safe.
    pub async fn wait(&self) -> Exit {
        self.root.wait().await
    }

    /// Stops everything in order, newest first, and returns when nothing is left. Whatever has not
    /// ended after `deadline` is killed, still in order.
    ///
    /// # How long it takes
    ///
    /// The children of a supervisor, and so of the root, stop one after another, each when the later
    /// ones have stopped (S-20). Their times add up: `n` workers that ignore the end of their channel
    /// and `SIGTERM` take `n` times `drain + term_grace` of their [`Ladder`](crate::process::Ladder),
    /// 15 s each by default, and `ladder.total()` each if even `SIGKILL` does not end them. Two of them
    /// use up [`DEFAULT_DEADLINE`](Tree::DEFAULT_DEADLINE), and the rest is then killed without time to
    /// drain. The workers of a pool, the plugins of a host and the children of a
    /// [dynamic](crate::supervision::SupervisorSpec::dynamic) supervisor all stop at once: together
    /// they take as long as the slowest of them.
    ///
    /// If many processes may ignore requests to stop, give them a shorter ladder
    /// ([`WorkerSpec::ladder`]), or put those that do not depend on each other under a dynamic
    /// supervisor.
    ///
    /// [`WorkerSpec::ladder`]: crate::worker::WorkerSpec::ladder
    pub async fn shutdown(&self, deadline: Duration) -> Exit {
        self.root.shutdown(deadline).await
    }

    /// Stops everything in order without any time to drain, and returns when nothing is left.
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

/// How often a wait for health checks again without an event.
const HEALTH_POLL: Duration = Duration::from_secs(1);

/// A spare that has failed and waits for its next start, or is being started again.
fn lacks_its_spare(second: &SecondSnapshot) -> bool {
    second.role == SecondIncarnationRole::Spare
        && second.state != ChildState::Ready
        && second.last_exit.is_some()
}

fn absolute(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}
