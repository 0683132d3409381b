//! The engine's children: their starts, nodes and incarnations. They are found by id, or by the
//! slot that their waker names.

use std::task::Waker;

use super::{changeable_start::ChangeableStart, incarnation_entry::IncarnationEntry};
use crate::{
    id::{ChildId, IdMap, Incarnation},
    supervision::node::Node,
};

/// A position in an engine's table of children. It is reused after a child has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildIndex(pub(crate) u32);

/// What an engine keeps for one child.
pub(super) struct EngineChild {
    pub(super) id: ChildId,
    pub(super) definition: ChangeableStart,
    pub(super) node: Node,
    /// Wakes the engine for this child. One waker serves all incarnations.
    pub(super) waker: Waker,
    pub(super) incarnations: IncarnationEntries,
}

/// The incarnations of one child that have been started and have not been judged: at most two (S-27).
#[derive(Default)]
pub(super) struct IncarnationEntries {
    first: Option<IncarnationEntry>,
    /// Boxed, because most children never have two.
    other: Option<Box<IncarnationEntry>>,
}

impl IncarnationEntries {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.other.is_none()
    }

    pub(super) fn push(&mut self, incarnation: IncarnationEntry) {
        if self.first.is_none() {
            self.first = Some(incarnation);
        } else {
            self.other = Some(Box::new(incarnation));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &IncarnationEntry> {
        self.first.iter().chain(self.other.as_deref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut IncarnationEntry> {
        self.first.iter_mut().chain(self.other.as_deref_mut())
    }

    pub(super) fn get_mut(&mut self, number: Incarnation) -> Option<&mut IncarnationEntry> {
        self.iter_mut().find(|incarnation| incarnation.incarnation == number)
    }

    /// Takes out one for which `is_over` holds.
    pub(super) fn take_if(
        &mut self,
        mut is_over: impl FnMut(&mut IncarnationEntry) -> bool,
    ) -> Option<IncarnationEntry> {
        let other = |pair: &mut Self, is_over: &mut dyn FnMut(&mut IncarnationEntry) -> bool| {
            pair.other.take_if(|incarnation| is_over(incarnation)).map(|boxed| *boxed)
        };
        self.first.take_if(&mut is_over).or_else(|| other(self, &mut is_over))
    }

    /// Takes all of them out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = IncarnationEntry> + use<> {
        self.first.take().into_iter().chain(self.other.take().map(|boxed| *boxed))
    }
}

#[derive(Default)]
pub(super) struct EngineChildren {
    slots: Vec<Option<EngineChild>>,
    free: Vec<u32>,
    index: IdMap<u32>,
    /// The index that was found last: successive look-ups tend to be for the same child.
    last: u32,
}

impl EngineChildren {
    /// Reserves room for exactly that many more children.
    pub(super) fn reserve(&mut self, children: usize) {
        self.slots.reserve_exact(children);
        self.index.reserve(children);
    }

    /// Adds a child that is not in the table. `make` creates its entry for the index.
    pub(super) fn insert(&mut self, id: ChildId, make: impl FnOnce(ChildId, ChildIndex) -> EngineChild) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // No table in memory has more entries than fit here.
            (self.slots.len() - 1) as u32
        });
        self.index.insert(id.clone(), index);
        if let Some(node) = self.slots.get_mut(index as usize) {
            *node = Some(make(id, ChildIndex(index)));
        }
    }

    pub(super) fn find(&mut self, id: &ChildId) -> Option<ChildIndex> {
        let is_last = |entry: &EngineChild| entry.id.is_same(id);
        if !self.at(ChildIndex(self.last)).is_some_and(is_last) {
            self.last = *self.index.get(id)?;
        }
        Some(ChildIndex(self.last))
    }

    pub(super) fn get_mut(&mut self, id: &ChildId) -> Option<&mut EngineChild> {
        let index = self.find(id)?;
        self.at_mut(index)
    }

    pub(super) fn get(&self, id: &ChildId) -> Option<&EngineChild> {
        self.at(ChildIndex(*self.index.get(id)?))
    }

    pub(super) fn at(&self, index: ChildIndex) -> Option<&EngineChild> {
        self.slots.get(index.0 as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: ChildIndex) -> Option<&mut EngineChild> {
        self.slots.get_mut(index.0 as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, id: &ChildId) -> Option<EngineChild> {
        let index = self.index.remove(id)?;
        self.free.push(index);
        self.slots.get_mut(index as usize)?.take()
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The children that have a live incarnation.
    pub(super) fn living(&self) -> impl Iterator<Item = &ChildId> {
        self.slots.iter().flatten().filter(|entry| !entry.incarnations.is_empty()).map(|entry| &entry.id)
    }

    /// The slots in use.
    pub(super) fn occupied(&self) -> Vec<ChildIndex> {
        let slots = (0_u32..).zip(&self.slots);
        slots.filter(|(_, entry)| entry.is_some()).map(|(index, _)| ChildIndex(index)).collect()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut EngineChild> {
        self.slots.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::Clock,
        exit::Exit,
        supervision::{Start, StartContext, Started},
    };

    #[derive(Debug)]
    struct Never;

    #[async_trait::async_trait]
    impl Start for Never {
        async fn start(&self, _: StartContext) -> Result<Started, Exit> {
            Err(Exit::Ignored)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_reused_and_no_child_is_mistaken_for_another() {
        // S-23: pools keep adding and removing children.
        let node = Node::root(Clock::start());
        let mut children = EngineChildren::default();
        let insert = |children: &mut EngineChildren, id: &ChildId| {
            let definition = ChangeableStart::new(Arc::new(Never));
            let (node, waker, incarnations) = (node.clone(), Waker::noop().clone(), Default::default());
            children.insert(id.clone(), |id, _| EngineChild { id, definition, node, waker, incarnations });
        };
        let id = |n: usize| ChildId::from(format!("c{n}"));
        for n in 0..1000 {
            insert(&mut children, &id(n));
            assert_eq!(children.get_mut(&id(n)).map(|entry| entry.id.clone()), Some(id(n)));
            if let Some(old) = n.checked_sub(3) {
                assert_eq!(children.remove(&id(old)).map(|entry| entry.id), Some(id(old)));
                assert!(children.find(&id(old)).is_none() && children.get(&id(old)).is_none());
            }
        }
        assert_eq!((children.len(), children.slots.len()), (3, 4));
    }
}
