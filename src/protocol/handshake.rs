//! What the two sides of a handshake and of a stop tell each other: [`ChildIdentity`], [`Session`], [`StopReply`].

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::id::{Incarnation, TreePath};

/// Who the child is, for the handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildIdentity {
    /// Its place in the tree.
    pub path: TreePath,
    /// Which life of it this is.
    pub incarnation: Incarnation,
    /// Its process id, where it is a process.
    pub pid: Option<u32>,
}

impl ChildIdentity {
    /// A child that is no process of this system, or whose id is of no interest.
    pub fn new(path: TreePath, incarnation: Incarnation) -> ChildIdentity {
        ChildIdentity { path, incarnation, pid: None }
    }

    /// The same with a process id.
    #[must_use]
    pub fn with_pid(mut self, pid: u32) -> ChildIdentity {
        self.pid = Some(pid);
        self
    }
}

/// What the handshake found out about one incarnation.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The methods that the child announced; calls to others are refused without being sent. `None`: it does not say.
    pub methods: Option<BTreeSet<String>>,
    /// What the child said of itself, as it said it.
    pub info: Option<Box<RawValue>>,
}

/// What became of the request to end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReply {
    /// The child was told and is ending by itself; it is owed its whole time to drain (P-9).
    Acknowledged,
    /// Its stdin is to be closed: that is how it is told.
    CloseStdin,
    /// It could not be told, or refused.
    Failed {
        /// Why.
        reason: String,
    },
}
