//! The tree of nodes: how a node gets, finds and loses the nodes of its children.

use std::sync::{Arc, MutexGuard, PoisonError, atomic::Ordering};

use super::{Node, child_nodes::ChildNodes};
use crate::{
    id::{ChildId, TreePath},
    state::ChildKind,
};

impl Node {
    /// The node of a child; created if it does not exist.
    pub(crate) fn claim(&self, id: &ChildId, kind: ChildKind) -> Node {
        let mut wait_group = self.children();
        let children = wait_group.get_or_insert_with(Box::default);
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
            let mut wait_group = self.children();
            let Some(node) = wait_group.as_mut().and_then(|children| children.remove(id)) else { return };
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
        let wait_group = self.children();
        wait_group.as_ref()?.get(id).cloned()
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

    pub(super) fn children(&self) -> MutexGuard<'_, Option<Box<ChildNodes>>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
