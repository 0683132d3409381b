//! The table of children: kept in start order, and found by id or by rank in one step, however many
//! there are.
//!
//! Children are kept in slots; an ordered map of slot numbers holds their order. (Children in the
//! ordered map itself cost five cache misses per look-up in a pool of 100,000, ten times per
//! decision.)

use std::{
    collections::{BTreeMap, btree_map},
    ops::{Bound, RangeBounds},
};

use super::{child::Child, input::NewChild};
use crate::id::{ChildId, IdMap};

/// The position of a child in start order. Never reused, so a cursor stays valid while children are
/// added and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    number: u64,
    slot: u32,
}

impl Rank {
    /// Not after any child.
    pub(super) const FIRST: Rank = Rank { number: 0, slot: 0 };
    /// After every child.
    pub(super) const END: Rank = Rank { number: u64::MAX, slot: 0 };

    /// After this child, and not after any that follows it.
    pub(super) fn next(self) -> Rank {
        Rank { number: self.number + 1, slot: 0 }
    }
}

#[derive(Debug, Default)]
pub(super) struct ChildTable {
    slots: Vec<Option<(u64, Child)>>,
    free: Vec<u32>,
    order: BTreeMap<u64, u32>,
    index: IdMap<Rank>,
    next: u64,
}

impl ChildTable {
    /// Reserves room for exactly that many more children.
    pub(super) fn reserve(&mut self, children: usize) {
        self.slots.reserve_exact(children);
        self.index.reserve(children);
    }

    /// Appends children to an empty table, as `insert` does one by one.
    pub(super) fn fill(&mut self, children: impl Iterator<Item = NewChild>) {
        for new in children {
            self.insert_unordered(new);
        }
        // A map is built from sorted rows at a tenth of the cost of as many insertions.
        let rows = self.slots.iter().zip(0..).filter_map(|(row, slot)| Some((row.as_ref()?.0, slot)));
        self.order = rows.collect();
    }

    /// Appends a child, unless one with this id exists.
    pub(super) fn insert(&mut self, new: NewChild) -> Option<(Rank, &Child)> {
        let rank = self.insert_unordered(new)?;
        self.order.insert(rank.number, rank.slot);
        Some((rank, self.get(rank)?))
    }

    /// Adds the child without recording its position in the order.
    fn insert_unordered(&mut self, new: NewChild) -> Option<Rank> {
        if self.index.contains_key(&new.id) {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.slots.len()).ok()?,
        };
        if slot as usize == self.slots.len() {
            self.slots.push(None);
        }
        let rank = Rank { number: self.next, slot };
        self.next += 1;
        self.index.insert(new.id.clone(), rank);
        *self.slots.get_mut(slot as usize)? = Some((rank.number, Child::new(new)));
        Some(rank)
    }

    pub(super) fn remove(&mut self, rank: Rank) -> Option<Child> {
        self.get(rank)?;
        let (_, child) = self.slots.get_mut(rank.slot as usize)?.take()?;
        self.free.push(rank.slot);
        self.order.remove(&rank.number);
        self.index.remove(&child.id);
        Some(child)
    }

    pub(super) fn find(&self, id: &ChildId) -> Option<Rank> {
        self.index.get(id).copied()
    }

    pub(super) fn get(&self, rank: Rank) -> Option<&Child> {
        let (number, child) = self.slots.get(rank.slot as usize)?.as_ref()?;
        (*number == rank.number).then_some(child)
    }

    pub(super) fn get_mut(&mut self, rank: Rank) -> Option<&mut Child> {
        let (number, child) = self.slots.get_mut(rank.slot as usize)?.as_mut()?;
        (*number == rank.number).then_some(child)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All children, in start order.
    pub(super) fn iter(&self) -> Iter<'_> {
        self.range(..)
    }

    /// The children in a range of start order.
    pub(super) fn range(&self, range: impl RangeBounds<Rank>) -> Iter<'_> {
        let number = |bound: Bound<&Rank>| bound.map(|rank| rank.number);
        let bounds = (number(range.start_bound()), number(range.end_bound()));
        Iter { order: self.order.range(bounds), table: self }
    }
}

/// Children and their ranks, in start order.
#[derive(Debug)]
pub(super) struct Iter<'a> {
    order: btree_map::Range<'a, u64, u32>,
    table: &'a ChildTable,
}

impl<'a> Iter<'a> {
    fn entry(&self, (number, slot): (&u64, &u32)) -> Option<(Rank, &'a Child)> {
        let rank = Rank { number: *number, slot: *slot };
        Some((rank, self.table.get(rank)?))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Rank, &'a Child);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.order.next()?;
        self.entry(entry)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.order.next_back()?;
        self.entry(entry)
    }
}
