//! Children without a channel: [`Bare`] and [`FirstLine`].

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::protocol::{Channel, Protocol, Ready};

/// Any program: ready when launched, stopped by signal, its stdout is log lines (target `procession::stderr`, as its
/// stderr).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bare {}

#[async_trait]
impl Protocol for Bare {
    fn name(&self) -> &str {
        "bare"
    }

    fn channel(&self) -> Channel {
        Channel::Output(Ready::Launched)
    }
}

/// A program that says on stdout when it is ready, such as a server that prints the address it listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstLine {
    /// How the line begins. It need not be the first one. All lines are log lines (target `procession::stderr`).
    pub prefix: String,
}

impl FirstLine {
    /// Ready when a line begins with `prefix`.
    pub fn new(prefix: impl Into<String>) -> FirstLine {
        FirstLine { prefix: prefix.into() }
    }
}

#[async_trait]
impl Protocol for FirstLine {
    fn name(&self) -> &str {
        "first-line"
    }

    fn channel(&self) -> Channel {
        Channel::Output(Ready::Line(self.prefix.as_str().into()))
    }
}
