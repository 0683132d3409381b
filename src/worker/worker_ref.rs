//! [`WorkerRef`]: the address of a process worker, valid for all its incarnations.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    diagnostics::WorkerDiagnostics,
    live_worker::LiveWorker,
    sending::{live_peer, send},
    session_info::WorkerSessionInfo,
};
use crate::{
    event::{RecycleReason, StartReason},
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    process::{CommandChange, UsageProbe},
    rpc::{CallError, CallOptions, Method, Notification, Peer, STREAMS_OF_A_CALL, StreamListener},
    snapshot::NodeSnapshot,
    state::ChildState,
    supervision::{FindError, LiveIncarnation, Node, ReloadWhen, RequestError, Unavailable},
    untrusted::one_line,
};

/// Calls the live incarnation of a worker. Cheap to clone, usable from any task and any thread.
///
/// A call goes straight to the channel of the incarnation that is ready at that moment, without a
/// detour through an actor. If there is none, it fails at once with [`CallError::Unavailable`], unless
/// it is idempotent, which waits for the next one, or the worker is [on
/// demand](crate::supervision::StartMode::OnDemand), which it starts.
///
/// If the process ends during a call, the call fails with [`CallError::WorkerLost`]. It is sent again
/// to the next incarnation only if no byte of it was sent to the one before, or if its method is
/// [idempotent](crate::rpc::Method::IDEMPOTENT); at most three times, and never after its deadline
/// (rule C-9).
#[derive(Clone, Debug)]
pub struct WorkerRef {
    node: Node,
}

impl WorkerRef {
    /// The worker at a node. Whether there is one shows at the first call.
    pub fn new(node: Node) -> WorkerRef {
        WorkerRef { node }
    }

    /// Where it is in the tree.
    pub fn path(&self) -> &TreePath {
        self.node.path()
    }

    /// What it is doing.
    pub fn state(&self) -> ChildState {
        self.node.state()
    }

    /// Its node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The channel of the live incarnation. For callers that must not be moved to the next incarnation
    /// unnoticed.
    ///
    /// # Errors
    /// [`Unavailable`] if there is none, or if its protocol has no channel.
    pub fn peer(&self) -> Result<(Incarnation, Peer), Unavailable> {
        live_peer(&self.node).ok_or_else(|| self.node.unavailable())
    }

    /// The line that made the live incarnation ready, if its protocol waits for one
    /// ([`ReadyLine`](crate::protocol::ReadyLine)), such as the address that a server has printed; and
    /// the incarnation that printed it, since the next one has its own line. `None` while no
    /// incarnation is ready.
    ///
    /// The text is as it looks on a terminal: without colours and without surrounding blanks. At most
    /// 16 KiB.
    pub fn ready_line(&self) -> Option<(Incarnation, Arc<str>)> {
        let live = self.node.load_live();
        let live = live.as_ref()?;
        let worker = live.attachment.as_ref()?.as_any().downcast_ref::<LiveWorker>()?;
        worker.peer.get()?;
        Some((live.incarnation, worker.diagnostics.ready_line()?.clone()))
    }

    /// What the worker said of itself in its handshake: its program, capabilities, instructions, the
    /// version of the protocol, its methods. It belongs to one incarnation, and says which one that is.
    ///
    /// While none is live, it is the session of the last one that was, and
    /// [`live`](WorkerSessionInfo::live) is `false`: what a worker on demand can do is known while it is
    /// stopped, without starting it. `None` before the first handshake, and for a protocol without a
    /// channel. An incarnation that is not ready yet, or waits as a spare, is not asked.
    pub fn session(&self) -> Option<WorkerSessionInfo> {
        let is_live = |live: &LiveIncarnation| {
            let worker = live.attachment.as_ref()?.as_any().downcast_ref::<LiveWorker>()?;
            let session = worker.diagnostics.session()?;
            Some(WorkerSessionInfo { live: true, ..session.clone() })
        };
        if let Some(session) = self.node.load_live().as_deref().and_then(is_live) {
            return Some(session);
        }
        let source = self.node.snapshot_source()?;
        source.as_any().downcast_ref::<WorkerDiagnostics>()?.last_session()
    }

    /// Calls `on_end` once this incarnation of a worker gets no more calls; `false` if that is already
    /// so.
    pub(crate) fn watch(live: &LiveIncarnation, on_end: impl FnOnce() + Send + 'static) -> bool {
        let channel =
            live.attachment.as_ref().and_then(|attachment| attachment.as_any().downcast_ref::<LiveWorker>());
        channel.is_some_and(|channel| channel.watch(on_end))
    }

    /// Reads the memory of this incarnation of a worker.
    pub(crate) fn usage_probe(live: &LiveIncarnation) -> Option<UsageProbe> {
        live.attachment.as_ref()?.as_any().downcast_ref::<LiveWorker>()?.diagnostics.usage_probe()
    }

    fn peer_for(&self, method: &str) -> Result<Peer, CallError> {
        live_peer(&self.node).map(|(_, peer)| peer).ok_or_else(|| {
            let (method, path) = (method.to_owned(), self.path().clone());
            let channel = |live: &LiveIncarnation| {
                live.attachment
                    .as_ref()?
                    .as_any()
                    .downcast_ref::<LiveWorker>()
                    .map(LiveWorker::has_no_channel)
            };
            if self.node.load_live().as_deref().and_then(channel) == Some(true) {
                return CallError::NoChannel { method, path };
            }
            let (state, retry_after) = self.node.absence();
            CallError::Unavailable { method, path, state, retry_after }
        })
    }

    /// Calls `M` and waits for its output, at most as long as its timeout.
    ///
    /// # Errors
    /// See [`CallError`]. Dropping the future cancels the call.
    pub async fn call<M: Method>(&self, params: &M::Params) -> Result<M::Output, CallError> {
        self.call_with::<M>(params, CallOptions::default()).await
    }

    /// [`call`](WorkerRef::call) with options.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_with<M: Method>(
        &self,
        params: &M::Params,
        mut options: CallOptions,
    ) -> Result<M::Output, CallError> {
        options.timeout = options.timeout.or(M::TIMEOUT);
        options.idempotent |= M::IDEMPOTENT;
        let (peer, result) = send(&self.node, M::NAME, params, options, None).await?;
        peer.decode::<M>(&result)
    }

    /// Calls a method by name with any serialisable params; the result stays raw. The options may be a
    /// [`Duration`]: the call's timeout.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_value<P: Serialize + Sync + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: impl Into<CallOptions>,
    ) -> Result<Box<RawValue>, CallError> {
        let (peer, result) = send(&self.node, method, params, options.into(), None).await?;
        peer.raw(method, result)
    }

    /// [`call_value`](WorkerRef::call_value), and the streams that the worker opens for this call, each with
    /// a buffer of `items` items (rule C-10): see [`Peer::call_streaming`]. If the call is sent again, the
    /// streams of the sending before have ended, and further ones come from the next incarnation.
    ///
    /// The worker's protocol must have streams, as [`Plugin`](crate::protocol::Plugin) does, or its channel
    /// must turn them on ([`PeerConfig::streams`](crate::rpc::PeerConfig::streams)).
    pub fn call_streaming<'a, P: Serialize + Sync + ?Sized>(
        &'a self,
        method: &'a str,
        params: &'a P,
        options: impl Into<CallOptions>,
        items: usize,
    ) -> (StreamListener, impl Future<Output = Result<Box<RawValue>, CallError>> + Send + 'a) {
        let (queue, streams) = StreamListener::new(STREAMS_OF_A_CALL, items);
        let options = options.into();
        let call = async move {
            let (peer, result) = send(&self.node, method, params, options, Some(&queue)).await?;
            peer.raw(method, result)
        };
        (streams, call)
    }

    /// Sends a notification; waits for room.
    ///
    /// # Errors
    /// When it cannot be sent; nothing was sent then.
    pub async fn notify<N: Notification>(&self, params: &N::Params) -> Result<(), CallError> {
        self.peer_for(N::NAME)?.notify::<N>(params).await
    }

    /// [`notify`](WorkerRef::notify) by name.
    ///
    /// # Errors
    /// As [`notify`](WorkerRef::notify).
    pub async fn notify_value<P: Serialize + Sync + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<(), CallError> {
        self.peer_for(method)?.notify_value(method, params).await
    }

    /// Waits until an incarnation is ready, for at most `deadline`, and returns its number.
    ///
    /// # Errors
    /// [`Unavailable`] at the deadline, or at once if the worker is not going to be started.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Incarnation, Unavailable> {
        match tokio::time::timeout(deadline, self.node.wait_ready()).await {
            Ok(live) => Ok(live?.incarnation),
            Err(_) => Err(self.node.unavailable()),
        }
    }

    /// Its figures: state, incarnation, pid, uptime, failures, calls in flight, last exit, tail of
    /// stderr (rule W-4). Read from shared state, without asking an actor.
    pub fn diagnostics(&self) -> NodeSnapshot {
        self.node.snapshot()
    }

    /// The process id of the live process, also while it is starting or stopping.
    pub fn pid(&self) -> Option<u32> {
        self.diagnostics().worker.and_then(|worker| worker.pid)
    }

    /// Asks its supervisor to restart it, in any state; returns when the new incarnation is ready (rule
    /// `reason` is logged.
    ///
    /// # Errors
    /// [`RequestError::StartFailed`] if the new incarnation does not become ready; its policy then
    /// decides what follows.
    pub async fn restart(&self, reason: &str) -> Result<Incarnation, RequestError> {
        log_event!(info, self.path(), self.node.incarnation(), reason = %one_line(reason), "restart requested");
        self.node.restart().await
    }

    /// Changes its command in part, now or at its next start (rules G-13, G-14). Returns the incarnation that
    /// was started with the change, or `None` if the change waits.
    ///
    /// Now means: the process is stopped and started again, or, where its declaration allows an
    /// [overlap](crate::supervision::ChildPolicy::overlap), replaced by one that is ready.
    ///
    /// # Errors
    /// [`RequestError::StartFailed`] if the new incarnation does not become ready: the command before is in
    /// force again, and the worker runs with it. [`RequestError::Invalid`] if the change makes a command
    /// that could not be launched, or if the command is made per incarnation.
    pub async fn change_command(
        &self,
        change: CommandChange,
        when: ReloadWhen,
    ) -> Result<Option<Incarnation>, RequestError> {
        self.node.modify(Arc::new(change), when).await
    }

    /// Replaces its process by a new one of the same declaration, which is no crash and is not counted
    /// (rule W-5).
    ///
    /// # Errors
    /// As [`change_command`](WorkerRef::change_command).
    pub async fn recycle(&self) -> Result<Option<Incarnation>, RequestError> {
        self.node.recycle(StartReason::Recycle(RecycleReason::Requested)).await
    }

    /// Asks its supervisor to stop it, and returns when nothing of the process is left.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn stop(&self) -> Result<(), RequestError> {
        self.node.stop().await
    }

    /// Checks that this is the node of a process worker.
    pub(crate) fn check(self) -> Result<WorkerRef, FindError> {
        match self.node.snapshot().worker {
            Some(_) => Ok(self),
            None => Err(FindError::WrongKind { path: self.path().clone(), expected: "a process worker" }),
        }
    }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<WorkerRef>>();
};
