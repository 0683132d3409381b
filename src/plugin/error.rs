//! What can go wrong with a plugin: [`PluginError`].

use crate::{
    exit::{Exit, StderrExcerpt},
    id::{ChildId, Incarnation, TreePath},
    rpc::{CallEffect, CallError, RpcError},
    supervision::{RequestError, SpecErrors, Unavailable, never_starts},
};

/// Why a request to a plugin host was refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is no plugin with this id.
    #[error("there is no plugin `{0}`")]
    NotFound(ChildId),
    /// A plugin with this id exists; it is running or about to be restarted.
    #[error("plugin `{0}` is already started; stop it first, or reload it")]
    AlreadyStarted(ChildId),
    /// Misuse: the declaration has mistakes. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] SpecErrors),
    /// The plugin was started, but did not become ready.
    #[error("plugin `{id}` did not start: {exit}{}", StderrExcerpt(.stderr_tail))]
    StartFailed {
        /// The plugin.
        id: ChildId,
        /// How its start ended.
        exit: Exit,
        /// The last lines that its process wrote to stderr.
        stderr_tail: String,
    },
    /// The new declaration did not become ready; the old one is in force again.
    #[error(
        "plugin `{id}` did not start with its new declaration: {exit}{}; the old declaration is restored{}",
        StderrExcerpt(.stderr_tail), if .restored.is_some() { " and running" } else { ", but not running yet" }
    )]
    ReloadFailed {
        /// The plugin.
        id: ChildId,
        /// How the start of the new declaration ended.
        exit: Exit,
        /// The last lines that its process wrote to stderr.
        stderr_tail: String,
        /// The incarnation that runs the old declaration; `None` if it did not become ready either, so
        /// that its restart policy decides what follows.
        restored: Option<Incarnation>,
    },
    /// The plugin answered `configChanged` with an error, and keeps its old configuration.
    #[error("plugin `{id}` refused its new configuration: {error}; the old one is in force again")]
    ConfigRefused {
        /// The plugin.
        id: ChildId,
        /// Its answer.
        error: RpcError,
    },
    /// The plugin was stopped before the request was carried out.
    #[error("plugin `{0}` was stopped before the request was carried out")]
    Stopped(ChildId),
    /// The plugin has left the host, but it was not stopped in order.
    #[error("plugin `{id}` was not stopped in order: {exit}")]
    NotStopped {
        /// The plugin.
        id: ChildId,
        /// How its process ended, or that it is still alive.
        exit: Exit,
    },
    /// Some of the plugins that were stopped together failed to stop.
    #[error("{} failed to stop: {}", counted(.failures.len()), list(.failures))]
    StopAll {
        /// The plugins and their errors, in the order of their ids.
        failures: Vec<(ChildId, PluginError)>,
    },
    /// The plugin was not ready in time.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The plugin was stopped by an operator, or its policy has given it up: only an operator can start
    /// it again (rule G-10).
    #[error("plugin {0}; it stays down until it is started or restarted by an operator")]
    StaysDown(Unavailable),
    /// The plugin host is down, restarting or stopping.
    #[error("plugin host {0}")]
    HostUnavailable(Unavailable),
    /// The host was told to stop all plugins, and starts no more of them.
    #[error("plugin host `{0}` has stopped all its plugins and no longer starts any")]
    Closed(TreePath),
    /// Misuse: the node is not a plugin host.
    #[error("`{0}` is not a plugin host")]
    NotAHost(TreePath),
    /// Misuse: the plugin's protocol has no configuration.
    #[error("plugin `{0}` cannot be configured: only the plugin protocol has a configuration")]
    NotConfigurable(ChildId),
    /// The host refused the request for another reason.
    #[error(transparent)]
    Refused(RequestError),
    /// A call to the plugin failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl PluginError {
    /// Whether the same request may succeed later without a change, and it is safe to make it again.
    pub fn is_retryable(&self) -> bool {
        match self {
            PluginError::StartFailed { exit, .. } | PluginError::ReloadFailed { exit, .. } => {
                !never_starts(exit)
            }
            PluginError::Unavailable(unavailable) | PluginError::HostUnavailable(unavailable) => {
                unavailable.is_retryable()
            }
            PluginError::Refused(error) => error.is_retryable(),
            PluginError::Call(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether the request itself was wrong, so that it fails however often it is made.
    pub fn is_misuse(&self) -> bool {
        match self {
            PluginError::Invalid(_) | PluginError::NotAHost(_) | PluginError::NotConfigurable(_) => true,
            PluginError::Call(error) => error.is_misuse(),
            _ => false,
        }
    }

    /// What is known about the effect of a call that failed with this error (rule C-12).
    pub fn effect(&self) -> CallEffect {
        match self {
            PluginError::Call(error) => error.effect(),
            PluginError::ConfigRefused { .. } => CallEffect::Answered,
            _ => CallEffect::NotSent,
        }
    }

    /// The call's error, if a call failed.
    pub fn call(&self) -> Option<&CallError> {
        match self {
            PluginError::Call(error) => Some(error),
            _ => None,
        }
    }

    /// How the plugin ended, if that is the cause of the error.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            PluginError::StartFailed { exit, .. }
            | PluginError::ReloadFailed { exit, .. }
            | PluginError::NotStopped { exit, .. } => Some(exit),
            PluginError::Call(error) => error.exit(),
            _ => None,
        }
    }
}

fn counted(plugins: usize) -> String {
    if plugins == 1 { "1 plugin".to_owned() } else { format!("{plugins} plugins") }
}

fn list(failures: &[(ChildId, PluginError)]) -> String {
    failures.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("; ")
}
