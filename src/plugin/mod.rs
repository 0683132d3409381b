//! Plugins: one worker per plugin id, under a host that no broken plugin takes down.
//!
//! The plugins of a host start in the background: the tree's start does not wait for them, so a broken
//! plugin delays nothing. Right after the tree's start a call may therefore fail with
//! `CallError::Unavailable` in state `starting`. To wait for one plugin, use [`Plugins::ensure_ready`],
//! which also starts plugins on demand; to wait for all of them, use `Tree::wait_healthy`.
//!
//! ```no_run
//! use std::time::Duration;
//! use procession::{
//!     plugin::{PluginHostSpec, PluginSpec},
//!     process::Command,
//!     rpc::Timeout,
//!     tree::Tree,
//! };
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let host = PluginHostSpec::new().plugin(PluginSpec::new("spellcheck", Command::new("spellcheck-plugin")));
//! let tree = Tree::builder().plugins("plugins", host).start().await?;
//!
//! let plugins = tree.plugins("/plugins")?;
//! plugins.ensure_ready("spellcheck", Duration::from_secs(30)).await?;
//! let found = plugins.call_value("spellcheck", "check", &["wrod"], Timeout::Default).await?;
//! println!("{found}");
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! [`PluginHostSpec`] declares a host with its plugins and becomes a child of any supervisor;
//! [`Plugins`] is the address that survives it. The host is a [`PluginSupervisor`]: a thin actor
//! around an engine of the supervision layer, dynamic and one-for-one. What must outlive
//! its incarnations (which plugins there are, what they logged, who subscribes to their events) is in the
//! *hosted plugins*, which the host's declaration holds.
//!
//! ```text
//!  Plugins ── Node ── live pointer ──► host ──► hosted plugins: id → prepared plugin, operation, recent log
//!     │                                  │          ▲ observer
//!     │                                  └─ requests ► PluginSupervisor (Engine)
//!     │ calls                                          │
//!     └───────────────► Peer of the live incarnation ◄─┴─ worker ── process
//! ```
//!
//! Each start and stop of a plugin is a task of its own that callers join: it is carried out once,
//! regardless of how many callers wait for it or stop waiting. Changes of a declaration are handed to the
//! engine, which composes those that wait together (rule G-13). Requests
//! are handed to the engine under the lock of the hosted plugins, so that both see them in the same order.
//!
//! A plugin is started in the background when its host starts (rule S-7), or by a request whose caller
//! gets the outcome of the first start (G-1). Without an intensity its crashes count only for itself;
//! with one they count for the host and escalate (R-0).
//!
//! This folder must not know pools.

mod configured_protocol;
mod engine_observer;
mod error;
mod event;
mod host_method_filter;
mod host_spec;
mod hosted_plugins;
mod live_plugin_host;
mod plugins;
mod prepared_plugin;
mod recent_logs;
mod reload;
mod requested_declaration_changes;
mod set_config;
mod shared_operation;
mod spec;
mod start_stop;
mod status;
mod stop_all_report;
mod stream_subscriptions;
mod supervisor;
mod validate;

pub use error::PluginError;
pub use event::{ConfigApplied, PluginEvent, PluginEventKind, PluginEventReceiver, RestartReason};
pub use host_method_filter::plugin_of;
pub use host_spec::PluginHostSpec;
pub use plugins::Plugins;
pub use recent_logs::LogRecord;
pub use spec::PluginSpec;
pub use status::{PluginDiagnostics, PluginStatus};
pub use stop_all_report::{PluginStopOutcome, StopAllReport};
pub use stream_subscriptions::StreamFilter;
pub use supervisor::{PluginSupervisor, PluginSupervisorMessage};
