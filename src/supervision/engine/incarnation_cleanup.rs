//! Ends what remains of an incarnation when its engine is gone: [`IncarnationCleanup`].

use super::running_actor::RunningActor;
use crate::{
    id::Incarnation,
    state::{ChildState, DownReason},
    supervision::{
        incarnation_wait_group::{IncarnationClosedFuture, IncarnationWaitGroup},
        node::Node,
        tree_context::TreeContext,
    },
};

/// Everything needed to end an orphaned incarnation.
pub(crate) struct IncarnationCleanup {
    pub(crate) incarnation: Incarnation,
    pub(crate) node: Node,
    pub(crate) tree: TreeContext,
    pub(crate) closed: IncarnationClosedFuture,
    /// The supervisor's wait group: the successor must not start before this end has been written.
    pub(crate) supervisor: IncarnationWaitGroup,
}

impl IncarnationCleanup {
    /// Kills the actor now, and finishes in a task of its own.
    pub(crate) fn end(self, running: Option<RunningActor>) {
        if let Some(running) = &running {
            running.kill();
        }
        // Without a runtime nothing is running that could be awaited.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.finish(running));
        }
    }

    /// Returns when nothing of the incarnation is left and the node status says so.
    pub(crate) async fn finish(self, running: Option<RunningActor>) {
        let IncarnationCleanup { incarnation, node, tree, closed, supervisor } = self;
        if let Some(mut running) = running {
            running.kill();
            running.join().await;
        }
        node.retract(incarnation);
        closed.wait().await;
        node.forget_second(incarnation);
        node.record(&tree, incarnation, ChildState::down(DownReason::Ended));
        drop(supervisor);
    }
}
