//! What can go wrong with a plugin: [`PluginError`].

use crate::{
    exit::{Exit, StderrExcerpt},
    id::{ChildId, Incarnation, TreePath},
    rpc::{CallError, CallOutcome, RpcError},
    supervision::{RequestError, SpecErrors, Unavailable, never_starts},
};

/// Why something that was asked of a plugin host was refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is no plugin of this id.
    #[error("there is no plugin `{0}`")]
    NotFound(ChildId),
    /// A plugin of this id is there, alive or about to be restarted.
    #[error("plugin `{0}` is already started; stop or reload it")]
    AlreadyStarted(ChildId),
    /// Misuse: the declaration has mistakes. Nothing was touched.
    #[error(transparent)]
    Invalid(#[from] SpecErrors),
    /// It was started, but did not become ready.
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
        "plugin `{id}` did not start as reloaded: {exit}{}; its old declaration is restored{}",
        StderrExcerpt(.stderr_tail), if .restored.is_some() { " and running" } else { ", but not running yet" }
    )]
    ReloadFailed {
        /// The plugin.
        id: ChildId,
        /// How the start of the new declaration ended.
        exit: Exit,
        /// The last lines that its process wrote to stderr.
        stderr_tail: String,
        /// The incarnation that runs the old one; `None` if it did not become ready either, so that its restart policy
        /// goes on with it.
        restored: Option<Incarnation>,
    },
    /// It answered `configChanged` with an error, and keeps its old configuration.
    #[error("plugin `{id}` refused its new configuration: {error}; the old one is in force again")]
    ConfigRefused {
        /// The plugin.
        id: ChildId,
        /// Its answer.
        error: RpcError,
    },
    /// It was stopped before the request was carried out.
    #[error("plugin `{0}` was stopped meanwhile")]
    Stopped(ChildId),
    /// It is not in the host any more, but it did not end as it should.
    #[error("plugin `{id}` could not be stopped in order: {exit}")]
    NotStopped {
        /// The plugin.
        id: ChildId,
        /// How it ended, or that it has not.
        exit: Exit,
    },
    /// Of the plugins that were stopped together, these failed to.
    #[error("{} plugins failed to stop: {}", .failures.len(), list(.failures))]
    StopAll {
        /// The plugins and what went wrong with each, in the order of their ids.
        failures: Vec<(ChildId, PluginError)>,
    },
    /// It was not ready in time.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It was stopped by an operator, or its policy has given it up: only an operator brings it back (rule G-10).
    #[error("plugin {0}; it stays down until it is started or restarted by an operator")]
    StaysDown(Unavailable),
    /// The plugin host is down, restarting or stopping.
    #[error("plugin host {0}")]
    HostUnavailable(Unavailable),
    /// The host was told to stop all plugins, and starts none from then on.
    #[error("plugin host `{0}` has stopped all its plugins and no longer starts any")]
    Closed(TreePath),
    /// Misuse: there is no plugin host at this place.
    #[error("`{0}` is not a plugin host")]
    NotAHost(TreePath),
    /// Misuse: its protocol has no configuration.
    #[error("plugin `{0}` speaks a protocol without configuration")]
    NotConfigurable(ChildId),
    /// The host refused it for another reason.
    #[error(transparent)]
    Refused(RequestError),
    /// A call to it failed.
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

    /// What is known of the effect of a call that failed with this (rule C-12).
    pub fn outcome(&self) -> CallOutcome {
        match self {
            PluginError::Call(error) => error.outcome(),
            PluginError::ConfigRefused { .. } => CallOutcome::Failed,
            _ => CallOutcome::NotSent,
        }
    }

    /// The error of the call, if this is one.
    pub fn call(&self) -> Option<&CallError> {
        match self {
            PluginError::Call(error) => Some(error),
            _ => None,
        }
    }

    /// How the plugin ended, if that is what went wrong.
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

fn list(failures: &[(ChildId, PluginError)]) -> String {
    failures.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("; ")
}
