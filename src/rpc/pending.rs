//! The calls that wait for an answer: [`Pending`].
//!
//! Pure bookkeeping. Whoever removes an entry owns its sender, so that each call is answered once (C-4). The order in
//! which calls time out or are closed is the order of their ids, never that of a hash map.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use tokio::{sync::oneshot, time::Instant};

use crate::rpc::RpcError;

/// How many ids of abandoned calls are remembered.
const REMEMBERED: usize = 4096;

/// What a caller is handed: the text of the result, not yet known to be JSON.
pub(crate) type Answer = Result<String, Failure>;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    Remote(RpcError),
    /// The response is no response.
    Malformed(String),
    Timeout,
    /// The channel says why.
    Closed,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    deadline: Option<Instant>,
}

/// What an id turned out to be.
#[derive(Debug)]
pub(crate) enum Settled {
    Waiting(oneshot::Sender<Answer>),
    /// Nobody waits for it any more.
    Late,
    /// Never sent, or answered before.
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    calls: HashMap<u64, Waiting, BuildHasherDefault<Spread>>,
    abandoned: BTreeSet<u64>,
    next_deadline: Option<Instant>,
    closed: bool,
}

/// The table is closed.
#[derive(Debug)]
pub(crate) struct PendingClosed;

impl Pending {
    /// Enters a call. `true` when its deadline comes before all others.
    pub(crate) fn insert(
        &mut self,
        id: u64,
        answer: oneshot::Sender<Answer>,
        deadline: Option<Instant>,
    ) -> Result<bool, PendingClosed> {
        if self.closed {
            return Err(PendingClosed);
        }
        self.calls.insert(id, Waiting { answer, deadline });
        let sooner = deadline.is_some_and(|d| self.next_deadline.is_none_or(|next| d < next));
        if sooner {
            self.next_deadline = deadline;
        }
        Ok(sooner)
    }

    /// Takes out a call that is answered.
    pub(crate) fn settle(&mut self, id: u64) -> Settled {
        match self.calls.remove(&id) {
            Some(waiting) => Settled::Waiting(waiting.answer),
            None if self.abandoned.remove(&id) => Settled::Late,
            None => Settled::Unknown,
        }
    }

    /// Takes out a call whose caller is gone; its answer will be late. `false` if it was answered meanwhile.
    pub(crate) fn abandon(&mut self, id: u64) -> bool {
        let waiting = self.calls.remove(&id).is_some();
        if waiting {
            self.remember(id);
        }
        waiting
    }

    /// Takes out a call that was never sent.
    pub(crate) fn withdraw(&mut self, id: u64) {
        self.calls.remove(&id);
    }

    /// Takes out the calls whose deadline has come, oldest id first, and finds the next deadline.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(u64, oneshot::Sender<Answer>)> {
        self.next_deadline = None;
        let mut due = Vec::new();
        for (&id, waiting) in &self.calls {
            match waiting.deadline {
                Some(deadline) if deadline <= now => due.push(id),
                Some(deadline) => {
                    self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
                }
                None => {}
            }
        }
        due.sort_unstable();
        let mut expired = Vec::with_capacity(due.len());
        for id in due {
            if let Some(waiting) = self.calls.remove(&id) {
                self.remember(id);
                expired.push((id, waiting.answer));
            }
        }
        expired
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Takes out all calls, oldest first, and lets no further one in.
    pub(crate) fn close(&mut self) -> Vec<oneshot::Sender<Answer>> {
        self.closed = true;
        let mut calls: Vec<_> = std::mem::take(&mut self.calls).into_iter().collect();
        calls.sort_unstable_by_key(|(id, _)| *id);
        calls.into_iter().map(|(_, waiting)| waiting.answer).collect()
    }

    fn remember(&mut self, id: u64) {
        self.abandoned.insert(id);
        if self.abandoned.len() > REMEMBERED {
            self.abandoned.pop_first();
        }
    }
}

/// Spreads consecutive integers over a hash table. The keys are our own ids, so nobody can choose them to collide.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
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
