//! A log entry that a child sent over its channel: [`LogEntry`].

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How much an entry matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Step by step.
    Trace,
    /// For developers.
    Debug,
    /// Good to know; also everything with a level that is not known.
    #[default]
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Reads the names that are in use, syslog's included, in any case.
    pub fn from_name(name: &str) -> LogLevel {
        match name.to_ascii_lowercase().as_str() {
            "trace" | "verbose" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "warn" | "warning" => LogLevel::Warn,
            "error" | "critical" | "crit" | "alert" | "emergency" | "fatal" => LogLevel::Error,
            _ => LogLevel::Info,
        }
    }
}

/// One log entry of a child.
#[derive(Clone, Debug, Default)]
pub struct LogEntry {
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Anything else, as it was sent.
    pub meta: Option<Box<RawValue>>,
}
