//! The nodes of the children of a node, in the order in which they were added: [`ChildNodes`].
//!
//! Each child has a row. A child that leaves makes its row empty; when more than half of the rows
//! are empty, the others are moved together. (An ordered map takes three times as long to fill, and
//! there may be hundreds of thousands of children.)

use super::Node;
use crate::id::{ChildId, IdMap};

/// With fewer rows than this, none is moved.
const FEW: usize = 32;

#[derive(Default)]
pub(super) struct ChildNodes {
    rows: Vec<Option<Node>>,
    index: IdMap<usize>,
    /// The highest incarnation of any child that has left. A child that is added (again) counts on
    /// from there, so no path and incarnation are used twice, without remembering every id there
    /// ever was.
    retired: u64,
}

impl ChildNodes {
    /// Reserves room for exactly that many more children.
    pub(super) fn reserve(&mut self, children: usize) {
        self.rows.reserve_exact(children);
        self.index.reserve(children);
    }

    pub(super) fn retired(&self) -> u64 {
        self.retired
    }

    pub(super) fn get(&self, id: &ChildId) -> Option<&Node> {
        self.rows.get(*self.index.get(id)?)?.as_ref()
    }

    /// Appends a child that is not in the table.
    pub(super) fn push(&mut self, id: ChildId, node: Node) {
        self.index.insert(id, self.rows.len());
        self.rows.push(Some(node));
    }

    pub(super) fn remove(&mut self, id: &ChildId) -> Option<Node> {
        let row = self.index.remove(id)?;
        let node = self.rows.get_mut(row)?.take()?;
        self.retired = self.retired.max(node.last_started().0);
        if self.rows.len() > FEW && self.index.len() < self.rows.len() / 2 {
            self.move_up();
        }
        Some(node)
    }

    /// Moves the rows together, so that none is empty.
    fn move_up(&mut self) {
        let mut moved = vec![0; self.rows.len()];
        let mut next = 0;
        for (row, to) in self.rows.iter().zip(&mut moved) {
            *to = next;
            next += usize::from(row.is_some());
        }
        for row in self.index.values_mut() {
            *row = moved.get(*row).copied().unwrap_or_default();
        }
        self.rows.retain(Option::is_some);
        self.rows.shrink_to(FEW.max(2 * next));
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &ChildId> {
        self.index.keys()
    }

    /// In the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.rows.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, state::ChildKind};

    #[tokio::test(start_paused = true)]
    async fn those_that_stay_keep_their_order_and_are_found_when_others_leave() {
        let root = Node::root(Clock::start());
        let id = |i: usize| ChildId::from(format!("c{i}"));
        for i in 0..200 {
            root.claim(&id(i), ChildKind::Worker);
        }
        for i in (0..200).filter(|i| i % 5 != 0) {
            root.release(&id(i));
        }
        root.claim(&id(1), ChildKind::Worker);
        let order: Vec<String> = root.snapshot().children.iter().map(|node| node.path.to_string()).collect();
        let expected: Vec<String> = (0..200).step_by(5).chain([1]).map(|i| format!("/c{i}")).collect();
        assert_eq!(order, expected);
        for i in 0..200 {
            let found = root.child(&id(i)).map(|node| node.path().to_string());
            assert_eq!(found, (i % 5 == 0 || i == 1).then(|| format!("/c{i}")));
        }
        let children = root.children();
        assert!(children.as_ref().is_some_and(|c| c.rows.len() < 100), "empty rows go");
    }
}
