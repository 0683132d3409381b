//! [`Trouble`]: what is wrong with a pool that none of its children shows, for the tree's health.
//!
//! What is not there has no place on the board: a key that was given up, and workers that an anonymous pool should have.

use super::{core::PoolCore, ledger::Rest};
use crate::{exit::Lost, humane::brief, id::Path, vocabulary::State};

#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) path: Path,
    pub(crate) state: State,
    pub(crate) detail: String,
}

impl PoolCore {
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let inner = self.lock();
        let status = inner.ledger.status();
        if status.draining {
            return Vec::new();
        }
        let mut troubles = Vec::new();
        let (ready, min, path) = (status.ready, status.min, self.place.path());
        if ready < min {
            let detail = format!("{ready} of at least {min} workers ready{}", ended(inner.failure(None)));
            troubles.push(Trouble { path: path.clone(), state: self.place.state(), detail });
        }
        let now = self.clock.now();
        troubles.extend(status.resting.into_iter().filter(|rest| rest.until > now).map(|rest| {
            let Rest { key, until, why } = rest;
            let detail = format!(
                "not tried again for {:?}{}",
                brief(until.since(now)),
                ended(inner.failure(Some(&key)))
            );
            Trouble { path: path.join(&key), state: State::down(why), detail }
        }));
        troubles
    }
}

fn ended(last: Option<&Lost>) -> String {
    last.map(|lost| format!("; the last one: {lost}")).unwrap_or_default()
}
