//! The whole tree: [`Tree`], the handle that a service embeds, and [`TreeBuilder`], which declares it. The
//! actor at its top is a [`SupervisorActor`](crate::supervision::SupervisorActor).
//!
//! Above everything except `testing`: pools, plugin hosts, workers and actors come together here.

mod builder;
mod handle;
mod signals;

pub use builder::TreeBuilder;
pub use handle::{Health, HealthIssue, Tree};
pub use signals::{HostSignal, SignalPolicy};
