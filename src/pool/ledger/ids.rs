//! How requests and leases are told apart: [`Ticket`], [`LeaseId`], [`Granted`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ChildId, Incarnation};

/// One request for a lease. Numbered by the feeder of the ledger; a number in use must not be used
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ticket(pub(crate) u64);

/// One lease, numbered by the ledger; numbers are never reused. A lease that is over is recognised and
/// ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct LeaseId {
    pub(super) number: u64,
    pub(super) slot: u32,
}

impl LeaseId {
    /// The index of the worker's slot: small, and no other worker's while the slot is in use.
    pub(in crate::pool) fn slot(&self) -> usize {
        self.slot as usize
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}", self.number)
    }
}

/// The right to use one incarnation of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Granted {
    /// The lease to release when done.
    pub(crate) lease: LeaseId,
    /// The worker.
    pub(crate) key: ChildId,
    /// The incarnation that the lease is for (L-7).
    pub(crate) incarnation: Incarnation,
}
