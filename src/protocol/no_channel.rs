//! Children without a channel: [`NoChannel`] and [`ReadyLine`].

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::protocol::{Protocol, Ready, StdioUse};

/// Any program: ready when launched, stopped by signal. Its stdout is logged by line (target
/// `procession::stdout`), and so is its stderr, as for all protocols (`procession::stderr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoChannel {}

#[async_trait]
impl Protocol for NoChannel {
    fn name(&self) -> &str {
        "bare"
    }

    fn stdio_use(&self) -> StdioUse {
        StdioUse::Output(Ready::Launched)
    }
}

/// A program that says on stdout when it is ready, such as a server that prints the address it listens
/// on. `WorkerRef::ready_line` returns that line.
///
/// A start that takes longer than `WorkerSpec::handshake_timeout` fails, and the exit says which line
/// was awaited and what was printed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadyLine {
    /// The prefix of the line, as described at [`Ready::Line`]. It need not be the first line; with an
    /// empty prefix, the first line that is not blank counts. All lines are logged (target
    /// `procession::stdout`).
    pub prefix: String,
}

impl ReadyLine {
    /// Ready when a line begins with `prefix`.
    pub fn new(prefix: impl Into<String>) -> ReadyLine {
        ReadyLine { prefix: prefix.into() }
    }
}

#[async_trait]
impl Protocol for ReadyLine {
    fn name(&self) -> &str {
        "first-line"
    }

    fn stdio_use(&self) -> StdioUse {
        StdioUse::Output(Ready::Line(self.prefix.as_str().into()))
    }
}
