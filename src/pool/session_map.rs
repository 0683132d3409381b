//! [`SessionMap`]: which session belongs to which key (rule L-1). Owned by the pool's declaration, so
//! that it outlives workers, keys and the pool's own restarts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::id::ChildId;

#[derive(Debug, Default)]
pub(super) struct SessionMap(Mutex<SessionIndexes>);

#[derive(Debug, Default)]
struct SessionIndexes {
    by_key: BTreeMap<ChildId, String>,
    by_session: BTreeMap<String, ChildId>,
}

impl SessionMap {
    fn lock(&self) -> MutexGuard<'_, SessionIndexes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a session for a key, or forgets the key's session. A session belongs to one key: if
    /// another key had it before, that key loses it and is returned.
    pub(super) fn set(&self, key: &ChildId, session: Option<&str>) -> Option<ChildId> {
        let mut both = self.lock();
        if let Some(old) = both.by_key.remove(key) {
            both.by_session.remove(&old);
        }
        let session = session?;
        both.by_key.insert(key.clone(), session.to_owned());
        let before = both.by_session.insert(session.to_owned(), key.clone())?;
        both.by_key.remove(&before);
        Some(before)
    }

    pub(super) fn of_key(&self, key: &ChildId) -> Option<String> {
        self.lock().by_key.get(key).cloned()
    }

    pub(super) fn key_of(&self, session: &str) -> Option<ChildId> {
        self.lock().by_session.get(session).cloned()
    }

    pub(super) fn all(&self) -> Vec<(ChildId, String)> {
        self.lock().by_key.iter().map(|(key, session)| (key.clone(), session.clone())).collect()
    }
}
