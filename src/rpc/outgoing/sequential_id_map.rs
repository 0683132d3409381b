//! A table from the ids of our own calls to what is kept of them: [`SequentialIdMap`].
//!
//! Pure. Ids are handed out in sequence and most calls end soon after they began, so the ids in use
//! are nearly consecutive: their last bits are their index in an array, and nothing is hashed or
//! compared beyond one id. A call that outlives its neighbours may occupy the slot of a later id;
//! the later one then goes into a map beside the array. An array as long as the span of all ids in
//! use (a ring) would need neither, but one call that is never answered would make it grow for
//! ever.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

const LEAST_SLOTS: usize = 16;

#[derive(Debug)]
pub(crate) struct SequentialIdMap<T> {
    /// Its length is a power of two, or zero.
    array: Vec<Option<(u64, T)>>,
    /// Entries whose slot was taken.
    beside: HashMap<u64, T, BuildHasherDefault<SequentialHasher>>,
    len: usize,
}

impl<T> Default for SequentialIdMap<T> {
    fn default() -> SequentialIdMap<T> {
        SequentialIdMap { array: Vec::new(), beside: HashMap::default(), len: 0 }
    }
}

impl<T> SequentialIdMap<T> {
    /// Enters a value under an id that is not in use.
    pub(crate) fn insert(&mut self, id: u64, value: T) {
        self.len += 1;
        // If the array is more than half full, the slot is taken because the array is too short;
        // otherwise because a call is old.
        while self.array.is_empty() || (self.slot(id).is_some() && 2 * self.len > self.array.len()) {
            self.grow();
        }
        let slot = self.index(id);
        match &mut self.array[slot] {
            empty @ None => *empty = Some((id, value)),
            Some(_) => drop(self.beside.insert(id, value)),
        }
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.index(id);
        match self.array.get_mut(slot)? {
            Some((found, value)) if *found == id => Some(value),
            _ if self.beside.is_empty() => None,
            _ => self.beside.get_mut(&id),
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let slot = self.index(id);
        let slot = self.array.get_mut(slot)?;
        let removed = match slot {
            Some((found, _)) if *found == id => slot.take().map(|(_, value)| value),
            _ if self.beside.is_empty() => None,
            _ => self.beside.remove(&id),
        };
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// All entries, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let array = self.array.iter().flatten().map(|(id, value)| (*id, value));
        array.chain(self.beside.iter().map(|(id, value)| (*id, value)))
    }

    /// All entries, in no order that means anything.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let array = self.array.iter_mut().flatten().map(|(id, value)| (*id, value));
        array.chain(self.beside.iter_mut().map(|(id, value)| (*id, value)))
    }

    fn slot(&self, id: u64) -> Option<&(u64, T)> {
        self.array.get(self.index(id))?.as_ref()
    }

    fn index(&self, id: u64) -> usize {
        // Truncation is intended: only the last bits count.
        #[allow(clippy::cast_possible_truncation)]
        let id = id as usize;
        id & self.array.len().wrapping_sub(1)
    }

    fn grow(&mut self) {
        let slots = (2 * self.array.len()).max(LEAST_SLOTS);
        let array = std::mem::replace(&mut self.array, std::iter::repeat_with(|| None).take(slots).collect());
        // Entries that shared a slot may now have one each; entries that did not share still do not.
        let beside = std::mem::take(&mut self.beside);
        for (id, value) in array.into_iter().flatten().chain(beside) {
            let slot = self.index(id);
            match &mut self.array[slot] {
                empty @ None => *empty = Some((id, value)),
                Some(_) => drop(self.beside.insert(id, value)),
            }
        }
    }
}

/// Spreads consecutive integers over a hash table. The keys are our own ids, so the other side cannot choose
/// them to collide.
#[derive(Debug, Default)]
pub(crate) struct SequentialHasher(u64);

impl Hasher for SequentialHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing: the golden ratio of 2^64.
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_that_is_never_answered_does_not_make_it_grow() {
        // C-5
        let mut call_table = SequentialIdMap::default();
        call_table.insert(1, ());
        for id in 2..100_000 {
            call_table.insert(id, ());
            assert_eq!(call_table.remove(id), Some(()));
        }
        assert_eq!(call_table.array.len(), LEAST_SLOTS);
        assert!(call_table.beside.is_empty());
        assert_eq!(call_table.remove(1), Some(()));
    }

    #[test]
    fn ids_in_sequence_share_no_slots() {
        let mut call_table = SequentialIdMap::default();
        for id in 1..=5000_u64 {
            if let Some(old) = id.checked_sub(256).filter(|old| *old > 0) {
                assert_eq!(call_table.remove(old), Some(old));
            }
            call_table.insert(id, id);
            assert!(call_table.beside.is_empty());
        }
        assert_eq!(call_table.array.len(), 256);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>()), 0..400)) {
            let mut call_table = SequentialIdMap::default();
            let mut model = BTreeMap::new();
            let mut next = 0;
            for (enter, which) in steps {
                // Ids that are not there are looked for as well.
                let old = which.index(next as usize + 2) as u64;
                if enter {
                    call_table.insert(next, next);
                    model.insert(next, next);
                    next += 1;
                } else {
                    prop_assert_eq!(call_table.remove(old), model.remove(&old));
                }
                prop_assert_eq!(call_table.get_mut(old).copied(), model.get(&old).copied());
                prop_assert_eq!(call_table.len, model.len());
                let mut found: Vec<_> = call_table.iter_mut().map(|(id, value)| (id, *value)).collect();
                found.sort_unstable();
                prop_assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }
}
