//! Snapshots: the board of a place and of all below it, read without asking anybody.

use super::Node;
use crate::snapshot::NodeSnapshot;

impl Node {
    /// This place and everything below it.
    pub fn snapshot(&self) -> NodeSnapshot {
        let now = self.0.clock.now();
        let (mut node, details) = {
            let mut board = self.board();
            let supervisor = board.budget.as_mut().map(|budget| budget.at(now));
            let node = NodeSnapshot {
                path: self.0.path.clone(),
                kind: board.kind,
                state: board.state.clone(),
                since: board.since,
                incarnation: self.incarnation(),
                held: self.held(),
                consecutive_failures: board.failures_in_a_row(now),
                total_failures: board.total_failures,
                total_restarts: board.total_restarts,
                last_exit: board.last_exit.as_deref().cloned(),
                supervisor,
                worker: None,
                children: Vec::new(),
            };
            (node, board.details.clone())
        };
        node.worker = details.map(|details| details.worker(now));
        let children: Vec<Node> =
            self.children().as_ref().map(|children| children.iter().cloned().collect()).unwrap_or_default();
        node.children = children.iter().map(Node::snapshot).collect();
        node
    }
}
