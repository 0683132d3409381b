//! What a supervisor reports about its children: [`ChildInfo`], [`ChildCounts`].

use crate::{
    id::{ChildId, Incarnation},
    state::{ChildKind, ChildState},
};

/// One child in the reply to `which_children`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// The child.
    pub id: ChildId,
    /// What it is.
    pub kind: ChildKind,
    /// What it is doing.
    pub state: ChildState,
    /// Its last incarnation.
    pub incarnation: Incarnation,
}

/// How many children there are of which kind (OTP's `count_children`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChildCounts {
    /// Children in the table, alive or not.
    pub specs: usize,
    /// Children with a live incarnation.
    pub active: usize,
    /// Supervisors in the table.
    pub supervisors: usize,
    /// Other children in the table.
    pub workers: usize,
}
