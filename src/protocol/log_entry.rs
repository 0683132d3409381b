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
    /// Good to know; also the level of entries with an unknown level.
    #[default]
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Reads the common names of levels, including syslog's, in any case.
    pub fn from_name(name: &str) -> LogLevel {
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is(&["trace", "verbose"]) {
            LogLevel::Trace
        } else if is(&["debug"]) {
            LogLevel::Debug
        } else if is(&["warn", "warning"]) {
            LogLevel::Warn
        } else if is(&["error", "critical", "crit", "alert", "emergency", "fatal"]) {
            LogLevel::Error
        } else {
            LogLevel::Info
        }
    }
}

/// One log entry of a child.
#[derive(Clone, Debug, Default)]
pub struct LogEntry {
    /// How much it matters.
    pub level: LogLevel,
    /// The text. The built-in protocols cut it after 16 KiB and append how much was left out.
    pub message: String,
    /// Any other data, as it was sent; above 16 KiB only the beginning, as a string.
    pub meta: Option<Box<RawValue>>,
}
