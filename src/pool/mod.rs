//! Pools: a bounded set of workers, by key or anonymous, lent to callers.
//!
//! [`PoolSpec`] declares a pool and becomes a child of any supervisor; [`Pool`] is the address that
//! survives the pool's own restarts; a [`Lease`] is the right to use one incarnation of one worker, and
//! ends by drop.
//!
//! A lease ends with its incarnation: when the worker dies, is being stopped, or makes room for another
//! key. Calls through it then fail and are never sent to another incarnation; to go on, acquire another
//! lease. The error says whether the same call may be repeated:
//!
//! ```no_run
//! use procession::{
//!     pool::{Pool, PoolSpec},
//!     process::Command,
//!     protocol::Plugin,
//!     rpc::Method,
//!     tree::Tree,
//!     worker::WorkerSpec,
//! };
//!
//! struct Work;
//! impl Method for Work {
//!     const NAME: &'static str = "work";
//!     type Params = String;
//!     type Output = String;
//! }
//!
//! async fn work(pool: &Pool, team: &str, task: String) -> Result<String, Box<dyn std::error::Error>> {
//!     for _ in 0..3 {
//!         let lease = pool.acquire(team).await?; // waits for the worker's start, and for room
//!         match lease.call::<Work>(&task).await {
//!             Ok(done) => return Ok(done),
//!             // It was not sent, as the lease was over before: once more, with the next incarnation.
//!             Err(error) if error.is_retryable() => {}
//!             // It may have been carried out (`error.effect()`). `error.revocation()` and `error.exit()`
//!             // say why.
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//!     Err("no worker lives long enough".into())
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = WorkerSpec::new(Command::new("agent")).protocol(Plugin::default());
//! let tree = Tree::builder().pool("agents", PoolSpec::keyed(4, agent)).start().await?;
//! println!("{}", work(&tree.pool("/agents")?, "red", "homework".into()).await?);
//! # Ok(())
//! # }
//! ```
//!
//! If you hold a lease for long and keep state in the worker, wait for [`Lease::revoked`] beside your
//! work: it returns as soon as the lease is over, with the reason. Then drop the lease, acquire the key
//! again, and rebuild the state in the next incarnation.
//!
//! # How it is built
//!
//! ```text
//!  Pool ── Node ── live pointer ──► PoolCore ◄── observer ── Engine ──► workers
//!    │                              (ledger)                    ▲
//!    └── acquire ──► Lease ◄─────────┘  └── starts and stops ───┘
//! ```
//!
//! * The ledger is the pure bookkeeping: which lease is on which worker, which worker is evicted next,
//!   which callers wait.
//! * The core is the ledger behind a lock, shared by the callers and the pool's actor: a warm worker is
//!   leased without a hop through the actor. The holder of the lock answers callers and notifies lease
//!   holders; commands for the supervision engine are queued under the same lock, so that their order
//!   is kept.
//! * [`PoolSupervisor`] is a thin actor around the engine of the supervision layer. It performs
//!   the queued commands and reports to the ledger how the workers fare.
//!
//! This folder must not know plugins.

mod core;
mod engine_observer;
mod errors;
mod handle;
mod lease;
mod lease_wait;
mod leasing;
mod ledger;
mod memory_watch;
mod pool_issue;
mod report;
mod session_map;
mod spec;
mod supervisor;
mod unreported_worker_ends;

pub use errors::{AcquireError, LeaseCallError, Revocation};
pub use handle::Pool;
pub use lease::Lease;
pub use ledger::{GivenUpKey, LifetimeTotals, WantedKeyStatus, WorkerStatus};
pub use report::{PoolReport, WorkerReport};
pub use spec::{PoolSpec, WorkerTemplate};
pub use supervisor::{PoolSupervisor, PoolSupervisorMessage};
