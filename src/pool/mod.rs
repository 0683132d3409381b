//! Pools: a bounded set of workers, by key or anonymous, lent to callers.
//!
//! [`PoolSpec`] declares a pool and becomes a child of any supervisor; [`Pool`] is the address that survives the pool's
//! own restarts; a [`Lease`] is the right to use one incarnation of one worker, and ends by drop.
//!
//! ```text
//!  Pool ── Place ── live pointer ──► PoolCore ◄── observer ── Engine ──► workers
//!    │                              (ledger)                    ▲
//!    └── acquire ──► Lease ◄─────────┘  └── starts and stops ───┘
//! ```
//!
//! * [`ledger`] is the pure bookkeeping: who holds what, who is evicted next, who waits.
//! * The core is the ledger behind a lock, shared by the callers and the pool's actor: a warm worker is leased without
//!   a hop through the actor. Whoever holds the lock tells callers and holders; what the supervision engine has to do is
//!   queued under the same lock, so that its order is kept.
//! * [`PoolSupervisor`] is a thin actor around the [engine](crate::supervision::engine). It performs what is queued and
//!   tells the ledger what becomes of the workers.
//!
//! Nothing in this folder knows plugins.

mod core;
mod errors;
mod handle;
mod lease;
pub mod ledger;
mod report;
mod sessions;
mod spec;
mod supervisor;
mod waiting;
mod watch;

pub use errors::{AcquireError, LeaseError};
pub use handle::Pool;
pub use lease::{Lease, Revocation};
pub use ledger::{PoolKind, StopReason, Totals, Wanted, WorkerStatus};
pub use report::{PoolReport, WorkerReport};
pub use spec::{PoolSpec, WorkerTemplate};
pub use supervisor::{PoolMessage, PoolSupervisor};
