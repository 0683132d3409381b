//! [`Plugins`]: the address of a plugin host.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    error::PluginError,
    event::{ConfigApplied, PluginEventReceiver},
    live_plugin_host::LivePluginHost,
    set_config,
    spec::PluginSpec,
    status::{PluginDiagnostics, PluginStatus},
    stop_all_report::StopAllReport,
    stream_subscriptions::StreamFilter,
};
use crate::{
    id::{ChildId, Incarnation, TreePath},
    process::CommandChange,
    rpc::{CallError, CallOptions, Method, Notification, StreamListener},
    state::ChildKind,
    supervision::{FindError, Node, ReloadWhen},
    worker::WorkerRef,
};

/// The address of a plugin host: starts, stops, reloads and calls its plugins. Cheap to clone, usable
/// from any task and any thread, and valid for all incarnations of the host.
///
/// While the host itself is down or restarting, everything but calls fails with
/// [`PluginError::HostUnavailable`]. An operation that was begun continues even if its caller stops
/// waiting.
#[derive(Clone, Debug)]
pub struct Plugins {
    node: Node,
}

impl Plugins {
    /// How long a plugin may take to answer `configChanged`.
    pub const CONFIG_TIMEOUT: Duration = set_config::CONFIG_TIMEOUT;

    /// The plugin host at a node. Whether there is one shows at the first use.
    pub fn new(node: Node) -> Plugins {
        Plugins { node }
    }

    /// Where it is in the tree.
    pub fn path(&self) -> &TreePath {
        self.node.path()
    }

    /// Its node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn host(&self) -> Result<LivePluginHost, PluginError> {
        LivePluginHost::at(&self.node)
    }

    /// Starts a plugin and returns when it is ready (rule G-1).
    ///
    /// A start of the same id that is under way is joined, regardless of its declaration. A plugin that
    /// is down for good (given up, ended, stopped through its worker) is replaced.
    ///
    /// # Errors
    /// [`PluginError::Invalid`]; [`PluginError::AlreadyStarted`] if it is running or about to be
    /// restarted; [`PluginError::StartFailed`], and then nothing is left of this start;
    /// [`PluginError::Stopped`] if it was stopped meanwhile; [`PluginError::Closed`] after
    /// [`stop_all`](Plugins::stop_all).
    pub async fn start_plugin(&self, spec: PluginSpec) -> Result<Incarnation, PluginError> {
        self.host()?.start(spec).await
    }

    /// Stops a plugin, removes it from the host, and returns when nothing of its process is left.
    /// Concurrent callers join (rule P-9), and a start under way is given up.
    ///
    /// A plugin of the host's own declaration stays known, and stays down until an operator starts it
    /// again ([`restart_plugin`](Plugins::restart_plugin), [`start_plugin`](Plugins::start_plugin));
    /// stopping it once more succeeds. Any other plugin is forgotten.
    ///
    /// # Errors
    /// [`PluginError::NotFound`]; [`PluginError::NotStopped`] if its process could not be reaped in time, or
    /// its actor was killed.
    pub async fn stop_plugin(&self, id: impl Into<ChildId>) -> Result<(), PluginError> {
        self.host()?.stop(&id.into()).await
    }

    /// Stops all plugins at once, and returns when each of them is down or has failed to stop. The report
    /// says what became of each, those that were down already included. From now on this host starts no more
    /// plugins (rule G-7).
    ///
    /// ```no_run
    /// # async fn run(plugins: procession::plugin::Plugins) -> Result<(), Box<dyn std::error::Error>> {
    /// let report = plugins.stop_all().await?;
    /// for (id, outcome) in &report.plugins {
    ///     println!("{id}: {outcome}");
    /// }
    /// report.into_result()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PluginError::HostUnavailable`] and [`PluginError::NotAHost`]; nothing was stopped then. A plugin
    /// that fails to stop is in the report.
    pub async fn stop_all(&self) -> Result<StopAllReport, PluginError> {
        Ok(self.host()?.stop_all().await)
    }

    /// Returns when the plugin is ready. A plugin that is on demand or has ended by itself is started;
    /// a start under way is joined (rule G-10). A start continues after the deadline.
    ///
    /// Its restart policy applies from the first start on: regardless of how many callers need a broken
    /// plugin, it is launched as often as its policy allows.
    ///
    /// # Errors
    /// [`PluginError::NotFound`]; [`PluginError::StartFailed`] if the start that was made or joined
    /// failed; [`PluginError::StaysDown`] if an operator has stopped it or its policy has given it up;
    /// [`PluginError::Unavailable`] at the deadline.
    pub async fn ensure_ready(
        &self,
        id: impl Into<ChildId>,
        deadline: Duration,
    ) -> Result<Incarnation, PluginError> {
        self.host()?.ensure_ready(&id.into(), deadline).await
    }

    /// Restarts a plugin in any state, and returns when it is ready (rule R-8). `reason` is logged.
    ///
    /// # Errors
    /// [`PluginError::StartFailed`] if the new incarnation does not become ready; its policy then
    /// decides what follows.
    pub async fn restart_plugin(
        &self,
        id: impl Into<ChildId>,
        reason: &str,
    ) -> Result<Incarnation, PluginError> {
        self.host()?.restart(&id.into(), reason).await
    }

    /// Gives a plugin another declaration: command, environment, configuration, anything (rule G-13).
    /// It is validated before anything is stopped. A running plugin is stopped and started, or, if both
    /// declarations allow an [overlap](PluginSpec::overlap), replaced by a new incarnation that is ready,
    /// during which no call fails (rule G-14); a plugin that is down gets the declaration with its next
    /// start, and the result is [`Incarnation::NONE`].
    ///
    /// Reloads and [changes of the command](Plugins::change_command) that come during one are carried out
    /// as one, in the order in which they were requested.
    ///
    /// # Errors
    /// [`PluginError::ReloadFailed`] if it does not become ready: the old declaration is then in force
    /// again, and running if possible. All whose changes the failed start had are told.
    pub async fn reload(&self, id: impl Into<ChildId>, spec: PluginSpec) -> Result<Incarnation, PluginError> {
        self.host()?.reload(&id.into(), spec, ReloadWhen::Now).await
    }

    /// As [`reload`](Plugins::reload), with the next start, whatever causes it; returns at once.
    ///
    /// # Errors
    /// [`PluginError::Invalid`]; [`PluginError::NotFound`].
    pub async fn reload_later(&self, id: impl Into<ChildId>, spec: PluginSpec) -> Result<(), PluginError> {
        self.host()?.reload(&id.into(), spec, ReloadWhen::NextStart).await.map(drop)
    }

    /// Changes the command of a plugin in part, now or with its next start (rule G-13). What it is not
    /// mentioned in, the configuration included, stays as it is. Otherwise as [`reload`](Plugins::reload).
    ///
    /// # Errors
    /// As [`reload`](Plugins::reload); [`PluginError::Invalid`] also if its command is made per
    /// incarnation.
    pub async fn change_command(
        &self,
        id: impl Into<ChildId>,
        change: CommandChange,
        when: ReloadWhen,
    ) -> Result<Incarnation, PluginError> {
        self.host()?.change_command(&id.into(), change, when).await
    }

    /// Gives a plugin another configuration: by the request `configChanged { config }` if the plugin
    /// announced it, otherwise by a restart (rule G-12). It is also restarted if it does not answer
    /// within [`CONFIG_TIMEOUT`](Plugins::CONFIG_TIMEOUT). Every later incarnation gets the
    /// configuration too.
    ///
    /// A configuration that the plugin refuses, or does not become ready with, is rolled back: the last
    /// accepted one is in force again, and
    /// [`PluginEventKind::RolledBack`](super::PluginEventKind::RolledBack) reports it.
    ///
    /// # Errors
    /// [`PluginError::NotConfigurable`] if it does not speak the plugin protocol;
    /// [`PluginError::ConfigRefused`] if it answered with an error; [`PluginError::ReloadFailed`] if it
    /// did not become ready with the new configuration.
    pub async fn set_config(
        &self,
        id: impl Into<ChildId>,
        config: Value,
    ) -> Result<ConfigApplied, PluginError> {
        self.host()?.set_config(&id.into(), config).await
    }

    /// The worker of a plugin, for calls and diagnostics. Valid until the plugin is stopped.
    ///
    /// # Errors
    /// [`PluginError::NotFound`]; [`PluginError::Unavailable`] if it is known, but stopped.
    pub fn worker(&self, id: impl Into<ChildId>) -> Result<WorkerRef, PluginError> {
        let id = id.into();
        match self.node.child(&id) {
            Some(node) => Ok(WorkerRef::new(node)),
            None => self.host()?.worker(&id),
        }
    }

    /// The worker for a call. A plugin that is known but stopped is unavailable for calls, as any other
    /// that is not ready. One that is on demand and has ended is there again.
    async fn callee(&self, id: ChildId, method: &str) -> Result<WorkerRef, PluginError> {
        if self.node.child(&id).is_none()
            && let Ok(host) = self.host()
        {
            return callee(&host, &id, method).await;
        }
        self.worker(id).map_err(|error| unavailable(error, method))
    }

    /// Calls `M` of a plugin and waits for its output.
    ///
    /// # Errors
    /// [`PluginError::NotFound`]; [`PluginError::Call`], with what is known about its effect. A method
    /// that the plugin did not announce fails without being sent (rule G-2).
    pub async fn call<M: Method>(
        &self,
        id: impl Into<ChildId>,
        params: &M::Params,
    ) -> Result<M::Output, PluginError> {
        Ok(self.callee(id.into(), M::NAME).await?.call::<M>(params).await?)
    }

    /// [`call`](Plugins::call) with options.
    ///
    /// # Errors
    /// As [`call`](Plugins::call).
    pub async fn call_with<M: Method>(
        &self,
        id: impl Into<ChildId>,
        params: &M::Params,
        options: CallOptions,
    ) -> Result<M::Output, PluginError> {
        Ok(self.callee(id.into(), M::NAME).await?.call_with::<M>(params, options).await?)
    }

    /// Calls a method of a plugin by name; the result stays raw.
    ///
    /// # Errors
    /// As [`call`](Plugins::call).
    pub async fn call_value<P: Serialize + Sync + ?Sized>(
        &self,
        id: impl Into<ChildId>,
        method: &str,
        params: &P,
        options: impl Into<CallOptions>,
    ) -> Result<Box<RawValue>, PluginError> {
        Ok(self.callee(id.into(), method).await?.call_value(method, params, options).await?)
    }

    /// Sends a notification to a plugin; waits for room.
    ///
    /// # Errors
    /// When it cannot be sent; nothing was sent then.
    pub async fn notify<N: Notification>(
        &self,
        id: impl Into<ChildId>,
        params: &N::Params,
    ) -> Result<(), PluginError> {
        Ok(self.callee(id.into(), N::NAME).await?.notify::<N>(params).await?)
    }

    /// [`notify`](Plugins::notify) by name.
    ///
    /// # Errors
    /// As [`notify`](Plugins::notify).
    pub async fn notify_value<P: Serialize + Sync + ?Sized>(
        &self,
        id: impl Into<ChildId>,
        method: &str,
        params: &P,
    ) -> Result<(), PluginError> {
        Ok(self.callee(id.into(), method).await?.notify_value(method, params).await?)
    }

    /// All known plugins, in the order in which they were added.
    ///
    /// # Errors
    /// [`PluginError::HostUnavailable`].
    pub fn list(&self) -> Result<Vec<PluginStatus>, PluginError> {
        Ok(self.host()?.list())
    }

    /// Everything that is known about a plugin, with its newest log entries. Read from shared state,
    /// without asking an actor.
    ///
    /// # Errors
    /// [`PluginError::NotFound`].
    pub fn diagnostics(&self, id: impl Into<ChildId>) -> Result<PluginDiagnostics, PluginError> {
        self.host()?.diagnostics(&id.into())
    }

    /// A subscription to the plugins' events from now on, across restarts of the host (rule G-11).
    ///
    /// # Errors
    /// [`PluginError::HostUnavailable`].
    pub fn events(&self) -> Result<PluginEventReceiver, PluginError> {
        Ok(self.host()?.events())
    }

    /// Takes the streams that plugins open from now on and that the filter admits, across restarts of the
    /// plugins and of the host, until the receiver is dropped (rule G-5). Of several subscriptions that admit
    /// a stream, the first one that has room gets it. At most `streams` of them wait to be received, and each
    /// has a buffer of `items` items (at least one).
    ///
    /// A stream says which plugin and which incarnation it comes from
    /// ([`StreamReceiver`](crate::rpc::StreamReceiver)), and ends once, also
    /// when the plugin does. Streams that belong to a call of a plugin are received with the call
    /// ([`WorkerRef::call_streaming`]).
    ///
    /// ```no_run
    /// # async fn run(plugins: procession::plugin::Plugins) -> Result<(), Box<dyn std::error::Error>> {
    /// use procession::plugin::StreamFilter;
    ///
    /// let mut progress = plugins.streams(StreamFilter::channel("progress").plugin("indexer"), 16, 1024)?;
    /// while let Some(mut stream) = progress.accept().await {
    ///     while let Some(item) = stream.recv().await {
    ///         match item {
    ///             Ok(item) => println!("{}: {item}", stream.path()),
    ///             Err(end) => println!("{}: {end}", stream.path()),
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PluginError::HostUnavailable`].
    pub fn streams(
        &self,
        filter: StreamFilter,
        streams: usize,
        items: usize,
    ) -> Result<StreamListener, PluginError> {
        Ok(self.host()?.streams(filter, streams, items))
    }

    /// Checks that this is the node of a plugin host, as far as that can be known while it is down.
    ///
    /// # Errors
    /// [`FindError::WrongKind`].
    pub fn check(self) -> Result<Plugins, FindError> {
        match self.host() {
            Err(PluginError::NotAHost(_)) => {}
            _ if self.node.kind() == ChildKind::Supervisor => return Ok(self),
            _ => {}
        }
        Err(FindError::WrongKind { path: self.path().clone(), expected: "a plugin host" })
    }
}

/// The same for a caller that has the host's live incarnation.
pub(crate) async fn call_value(
    host: &LivePluginHost,
    id: &ChildId,
    method: &str,
    params: &RawValue,
    options: CallOptions,
) -> Result<Box<RawValue>, PluginError> {
    let worker = callee(host, id, method).await?;
    Ok(worker.call_value(method, params, options).await?)
}

async fn callee(host: &LivePluginHost, id: &ChildId, method: &str) -> Result<WorkerRef, PluginError> {
    if host.node_of(id).is_none()
        && let Some(returning) = host.begin_return(id)?
    {
        // Whatever its outcome, what there is now counts.
        let _ = returning.wait().await;
    }
    host.worker(id).map_err(|error| unavailable(error, method))
}

fn unavailable(error: PluginError, method: &str) -> PluginError {
    match error {
        PluginError::Unavailable(unavailable) => PluginError::Call(CallError::Unavailable {
            method: method.to_owned(),
            path: unavailable.path,
            state: unavailable.state,
            retry_after: unavailable.retry_after,
        }),
        other => other,
    }
}
