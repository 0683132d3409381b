//! The whole tree: [`Tree`], the handle that a service embeds, and [`TreeBuilder`], which declares it. The actor at its top
//! is a [`Supervisor`](crate::supervision::Supervisor).
//!
//! Above everything but `testing`: this is where pools, plugin hosts, workers and actors come together.

mod builder;
mod handle;
mod signals;

pub use builder::TreeBuilder;
pub use handle::{Health, HealthIssue, Tree};
pub use signals::{HostSignal, SignalPolicy};
