//! What the two sides of a handshake and of a stop exchange: [`ChildIdentity`], [`SessionInfo`],
//! [`StopReply`].

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::id::{Incarnation, TreePath};

/// The child's identity, for the handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildIdentity {
    /// Its path in the tree.
    pub path: TreePath,
    /// Which incarnation this is.
    pub incarnation: Incarnation,
    /// Its process id, where it is a process.
    pub pid: Option<u32>,
}

impl ChildIdentity {
    /// A child that is not a process of this system, or whose process id is irrelevant.
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
pub struct SessionInfo {
    /// The methods that the child announced; calls to other methods are refused without being sent.
    /// `None` if the child does not announce methods.
    pub methods: Option<BTreeSet<String>>,
    /// The child's description of itself, as it was sent.
    pub info: Option<Box<RawValue>>,
}

/// The outcome of the request to end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReply {
    /// The child was told and is ending by itself; it gets its whole time to drain (P-9).
    Acknowledged,
    /// The child is told by closing its stdin.
    CloseStdin,
    /// The child could not be told, or refused.
    Failed {
        /// Why.
        reason: String,
    },
}
