//! The streams of a process.

mod descriptor_passing;
pub(super) mod endpoints;
mod line_log;
mod sigpipe;
mod stdin;
mod tail;

pub use endpoints::{SocketMode, Stderr, Stdout};
pub use line_log::{LineLog, drain};
pub(crate) use line_log::{drain_into, let_others_run, read_chunk};
pub use stdin::Stdin;
pub use tail::Tail;
