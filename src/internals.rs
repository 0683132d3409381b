//! No part of the API: it may change in any release, without a note in the changelog. For the tests, benches
//! and fuzzers of this repository.

pub use crate::{
    restart::{decision::Decision, restart_tracker::RestartTracker, restart_type::ExitClass, window::Window},
    supervision::root::{Root, RootOptions},
};

/// The pure machine of supervision.
pub mod machine {
    pub use crate::supervision::machine::{
        Action, ChildView, DefinitionChange, IncarnationKey, Input, Machine, NewChild, OperatorRequestId,
        ReloadWhen, Reply, Request, SecondView, Timer,
    };
}
