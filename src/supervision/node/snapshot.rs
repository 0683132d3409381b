//! Snapshots: the status of a node and of everything below it, read without asking any supervisor.

use super::Node;
use crate::snapshot::NodeSnapshot;

impl Node {
    /// This node and everything below it.
    pub fn snapshot(&self) -> NodeSnapshot {
        let now = self.0.clock.now();
        let (mut node, source) = {
            let mut status = self.status();
            let supervisor = status.restarts_used.as_mut().map(|restarts_used| restarts_used.at(now));
            let node = NodeSnapshot {
                path: self.0.path.clone(),
                kind: status.kind,
                state: status.state.clone(),
                since: status.since,
                incarnation: self.incarnation(),
                second: status.second.as_deref().cloned(),
                on_demand: status.on_demand,
                stopped_by_operator: self.stopped_by_operator(),
                consecutive_failures: status.failures_in_a_row(now),
                total_failures: status.total_failures,
                total_restarts: status.total_restarts,
                last_exit: status.last_exit.as_deref().cloned(),
                supervisor,
                worker: None,
                children: Vec::new(),
            };
            (node, status.snapshot_source.clone())
        };
        node.worker = source.map(|source| source.worker(now));
        let children: Vec<Node> =
            self.children().as_ref().map(|children| children.iter().cloned().collect()).unwrap_or_default();
        node.children = children.iter().map(Node::snapshot).collect();
        node
    }
}
