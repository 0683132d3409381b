//! Error codes of the plugin protocol (G-8), used in both directions.

/// The worker, or something that it needs, is not available now.
pub const UNAVAILABLE: i64 = -32000;
/// The method is not among the capabilities that the host has declared for the plugin
/// (`PluginSpec::capabilities`).
pub const CAPABILITY_DENIED: i64 = -32001;
/// The worker tried and failed.
pub const WORKER_ERROR: i64 = -32002;
/// Something that the answer depends on was not available in time.
pub const TIMEOUT: i64 = -32003;
/// The method is known and does nothing yet.
pub const NOT_IMPLEMENTED: i64 = -32004;
/// Any other error.
pub const UNKNOWN: i64 = -32099;
