//! The three streams of a process: both ends of each, the host's end of stdin, and what becomes of lines
//! and of the tail of stderr.
//!
//! `endpoints` makes the ends. `stdin` is the host's end of stdin, which notices when the process closes
//! its own. `line_logger` drains a stream into the log and into a `tail`. `refuse_descriptors` and `sigpipe`
//! keep two dangers of sockets and pipes away from the host.

pub(super) mod endpoints;
mod line_logger;
mod refuse_descriptors;
mod sigpipe;
mod stdin;
mod tail;

pub use endpoints::{SocketsForStdio, Stderr, Stdout};
pub use line_logger::{LineLogger, drain};
pub(crate) use line_logger::{drain_into, let_others_run, read_chunk};
pub use stdin::Stdin;
pub use tail::Tail;
