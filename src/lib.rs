//! Supervision trees whose leaves are OS processes.
//!
//! A service that hosts plugin workers, MCP servers, language servers, agent CLIs or pools of worker processes must stay
//! up when those crash, hang, flood, leak or lie. `procession` is Erlang/OTP's answer to that for processes: a tree of
//! supervisors (ractor actors), in which each leaf owns one OS process and its JSON-RPC channel. A crash is handled at
//! the lowest level that can handle it, and escalates through one-for-one, one-for-all or rest-for-one once the restart
//! intensity is spent.
//!
//! ```no_run
//! use std::time::Duration;
//! use procession::{process::Command, protocol::Mcp, tree::Tree, worker::WorkerSpec};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = WorkerSpec::new(Command::new("my-mcp-server").arg("--stdio")).protocol(Mcp::default());
//! // It is all that this program is for: with more than 3 restarts in 5 s the tree ends.
//! let tree = Tree::builder().intensity(3, Duration::from_secs(5)).worker("server", server).start().await?;
//!
//! let server = tree.worker("/server")?; // good for all incarnations of the process
//! let tools = server.call_value("tools/list", &serde_json::json!({}), procession::rpc::Timeout::Default).await?;
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
//! * [`worker::WorkerSpec`] and [`worker::WorkerRef`]: one process, and its address.
//! * [`pool`]: a bounded set of processes; [`plugin`]: one process per plugin.
//! * [`supervision::SupervisorSpec`] and [`supervision::ChildSpec`]: supervisors of any ractor actors.
//! * [`restart`]: how to choose intensity, back-off and crash loops.
//! * [`rpc::Router`] and [`protocol::Server`]: the other side, a worker written in Rust.
//! * [`contract`]: the numbered rules that documentation and tests cite.
//! * [`guardian()`]: one line in `main`, so that no process outlives a host that is killed.
//! * [`testing`]: scripted processes, to test trees of your own in virtual time.
//!
//! # What holds everywhere
//!
//! * Two incarnations of a child are never alive together; whatever carries an old incarnation's number is dropped.
//! * A stop returns when nothing is left: the actor is joined, the process is reaped, its group is swept, and so is its
//!   control group where there is one. Without one, its whole session is swept; descendants that have made a session of
//!   their own (`setsid`) are out of reach.
//! * Under a [`guardian`](guardian()) nothing outlives the program, even if that is killed.
//! * A supervisor answers at all times, whatever its children do.
//! * Every call is answered exactly once, and a failed one says what is known of its outcome.
//! * Time is tokio's, randomness is seeded: under paused time the same seed gives the same events, byte for byte.
//!
//! A tokio runtime with time and I/O is needed; one thread is enough. `panic = "abort"` works and ends the program at
//! the first panic of an actor, as it says.
#![cfg(unix)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)
)]

pub use process::guardian;

/// The actor framework whose actors can be children; the version that this crate's API speaks of.
pub use ractor;

pub mod containment;
pub mod contract;
pub mod event;
pub mod exit;
pub mod human_duration;
pub mod id;
pub mod snapshot;
pub mod state;
pub mod time;

mod channel;
mod log_event;
mod log_rate;
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
