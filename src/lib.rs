//! Supervision trees whose leaves are OS processes.
//!
//! A service that hosts plugin workers, MCP servers, language servers, agent CLIs or pools of
//! worker processes must stay up when those processes crash, hang, flood, leak or lie. `procession`
//! applies the answer of Erlang/OTP to processes: a tree of supervisors (ractor actors), in which
//! each leaf owns one OS process and its JSON-RPC channel. A crash is handled at the lowest level
//! that can handle it; it escalates through one-for-one, one-for-all or rest-for-one once the
//! restart intensity is spent.
//!
//! ```no_run
//! use std::time::Duration;
//! use procession::{process::Command, protocol::Mcp, tree::Tree, worker::WorkerSpec};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = WorkerSpec::new(Command::new("my-mcp-server").arg("--stdio")).protocol(Mcp::default());
//! // The server is the only work of this program: more than 3 restarts in 5 s end the tree.
//! let tree = Tree::builder().intensity(3, Duration::from_secs(5)).worker("server", server).start().await?;
//!
//! let server = tree.worker("/server")?; // stays valid for all incarnations of the process
//! let (params, timeout) = (serde_json::json!({}), procession::rpc::Timeout::Default);
//! let tools = server.call_value("tools/list", &params, timeout).await?;
//! println!("{tools}\n{}", tree.snapshot());
//!
//! tree.run_until_signal(Tree::DEFAULT_DEADLINE).await?.into_result()?; // an error if the tree has given up
//! # Ok(())
//! # }
//! ```
//!
//! # Where to begin
//!
//! * [`tree::Tree`]: declare a tree, start it, find things in it, wait for its end.
//! * [`worker::WorkerSpec`] and [`worker::WorkerRef`]: the declaration of one process, and a handle
//!   to call it.
//! * [`pool`]: a bounded set of processes; [`plugin`]: one process per plugin.
//! * [`supervision::SupervisorSpec`] and [`supervision::ChildSpec`]: supervisors of any ractor
//!   actors.
//! * [`restart`]: how to choose intensity, back-off and crash loops.
//! * [`rpc::MethodRouter`] and [`protocol::Server`]: the other side, a worker written in Rust.
//! * [`contract`]: the numbered rules that documentation and tests cite.
//! * [`guardian()`]: one line in `main`, so that no process outlives a host that is killed.
//! * [`testing`]: scripted processes, to test your own trees in virtual time.
//!
//! # What holds everywhere
//!
//! * Two incarnations of a child are never alive together; everything that carries the number of an
//!   old incarnation is dropped.
//! * A stop returns when nothing is left: the actor is joined, the process is reaped, its group is
//!   swept, and so is its control group where there is one. Without a control group, its whole
//!   session is swept; descendants that have made a session of their own (`setsid`) are out of
//!   reach.
//! * Under a [`guardian`](guardian()) nothing outlives the program, even if the program is killed.
//! * A supervisor answers at all times, whatever its children do.
//! * Every call is answered exactly once, and a failed call says what is known of its effect.
//! * Time is tokio's, and randomness is seeded: under paused time the same seed gives the same
//!   events, byte for byte.
//!
//! The crate needs a tokio runtime with time and I/O; one thread is enough. `panic = "abort"` is
//! supported: the program then ends at the first panic of an actor.
#![cfg(unix)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)
)]

pub use process::guardian;

/// The actor framework whose actors can be children, in the version that this crate's API uses.
pub use ractor;

pub mod clock;
pub mod containment;
pub mod contract;
pub mod event;
pub mod exit;
pub mod human_duration;
pub mod id;
pub mod snapshot;
pub mod state;

mod channel;
mod log_event_macro;
mod log_limiter;
mod untrusted;

pub mod restart;
pub mod supervision;

pub mod process;
pub mod rpc;

pub mod protocol;
pub mod worker;

pub mod plugin;
pub mod pool;
pub mod tree;

pub mod testing;

#[doc(hidden)]
pub mod internals;
