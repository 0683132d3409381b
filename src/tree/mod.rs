//! The whole tree: [`Tree`], the handle that a service embeds; [`TreeBuilder`], which declares it; and the
//! [`RootSupervisor`] at its top.
//!
//! Above everything but `testing`: this is where pools, plugin hosts, workers and actors come together.

mod builder;
mod handle;
mod root_supervisor;
mod signals;

pub use builder::TreeBuilder;
pub use handle::{Health, HealthIssue, Tree};
pub use root_supervisor::{RootMessage, RootSupervisor};
pub use signals::{HostSignal, SignalPolicy};
