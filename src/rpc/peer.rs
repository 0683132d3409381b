//! One side of a JSON-RPC 2.0 channel: [`Peer`].

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    channel::{
        channel_callbacks::ChannelCallbacks as _,
        close_reason::{CloseReason, FailCallsWith},
        lifecycle::{ChannelLifecycle, ChannelStats},
        lock::lock,
        reader::read_frames,
        writer::write_frames,
    },
    rpc::{
        config::PeerConfig,
        incoming::{
            dispatch::Dispatcher,
            handler::{Context, Handler},
        },
        outgoing::timer_task::keep_time,
        peer_shared::{ClosePeerOnDrop, PeerShared},
        stats::PeerStats,
    },
};

/// One side of a JSON-RPC 2.0 channel: calls the other side, and answers it through a [`Handler`].
///
/// Cheap to clone, usable from any task. Every call is answered exactly once. The channel ends when
/// the other side closes it or breaks the protocol, when the owner calls [`close`](Peer::close), or
/// when the last handle is dropped; then its tasks end and both streams are dropped.
#[derive(Clone)]
pub struct Peer {
    pub(crate) inner: Arc<ClosePeerOnDrop>,
    /// It calls on behalf of a request of the other side.
    pub(crate) for_request: bool,
}

impl Peer {
    /// Starts the peer's tasks on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled, as [`tokio::spawn`] does.
    pub fn spawn<R, W>(reader: R, writer: W, config: PeerConfig, handler: Arc<dyn Handler>) -> Peer
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(PeerShared::new(config));
        let inner = Arc::new(ClosePeerOnDrop { shared: shared.clone() });
        let dispatcher = Arc::new(Dispatcher::new(shared.clone(), handler, Arc::downgrade(&inner)));
        let tasks = vec![
            tokio::spawn(read_frames(dispatcher, reader)).abort_handle(),
            tokio::spawn(write_frames(shared.clone(), writer)).abort_handle(),
            tokio::spawn(keep_time(shared.clone())).abort_handle(),
        ];
        shared.channel.adopt(tasks);
        Peer { inner, for_request: false }
    }

    /// Two connected peers in memory, for tests and for workers in the same process.
    pub fn memory_pair(a: (PeerConfig, Arc<dyn Handler>), b: (PeerConfig, Arc<dyn Handler>)) -> (Peer, Peer) {
        const PIPE_BYTES: usize = 64 * 1024;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (near_reader, near_writer) = tokio::io::split(near);
        let (far_reader, far_writer) = tokio::io::split(far);
        (Peer::spawn(near_reader, near_writer, a.0, a.1), Peer::spawn(far_reader, far_writer, b.0, b.1))
    }

    /// Waits for the end of the channel and says why it ended. With `hold_pending`, calls may still
    /// be open at that moment.
    pub async fn closed(&self) -> CloseReason {
        self.shared().channel.ended().await
    }

    /// Why the channel has ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared().channel.close_reason()
    }

    /// Waits until what the other side had sent before it ended has been read: until the end of the
    /// stream, or until nothing came for `quiet`, at most `max` (C-4, P-8).
    pub async fn drain(&self, quiet: Duration, max: Duration) {
        self.shared().channel.drain(quiet, max).await;
    }

    /// Closes the peer: every open call, and every later one, fails with this at once; handlers and
    /// both streams are dropped. The first close stays.
    pub fn close(&self, fail_with: impl Into<FailCallsWith>) {
        self.shared().close(fail_with.into());
    }

    /// Sends what is queued, then closes the stream to the other side. Nothing can be sent after
    /// that; answers to what was sent are still read. Returns when the stream is closed, which
    /// takes as long as the other side takes to read.
    pub async fn close_writer(&self) {
        self.shared().channel.close_writer().await;
    }

    /// Answers all open calls, and every later one, with the end of the channel, and leaves the rest running.
    pub(crate) fn fail_calls(&self) {
        self.shared().fail_calls();
    }

    /// Waits until the calls that are open now are answered, given up or timed out. Returns at once
    /// when no answer can come, since the stream has ended. Does not wait for calls that are made
    /// later.
    pub async fn calls_answered(&self) {
        let shared = self.shared();
        let next = shared.next_id.load(Ordering::Relaxed);
        shared.calls_watched.store(true, Ordering::Relaxed);
        loop {
            let done = shared.call_done.notified();
            if !lock(&shared.pending).waits_before(next) {
                return;
            }
            tokio::select! {
                biased;
                _ = shared.channel.reader_done.wait() => return,
                () = done => {}
            }
        }
    }

    /// Waits until no request of the other side is being handled. Returns at once when the peer is closed.
    pub async fn requests_answered(&self) {
        let shared = self.shared();
        loop {
            let done = shared.requests_done.notified();
            if shared.requests_open.load(Ordering::Acquire) == 0 || shared.channel.is_closed() {
                return;
            }
            done.await;
        }
    }

    /// Waits until no stream that the other side has opened is open. Returns at once when no end of a stream
    /// can come, since the byte stream has ended.
    pub async fn streams_ended(&self) {
        let shared = self.shared();
        loop {
            let done = shared.stream_done.notified();
            if lock(&shared.streams).open_streams() == 0 {
                return;
            }
            tokio::select! {
                biased;
                _ = shared.channel.reader_done.wait() => return,
                () = done => {}
            }
        }
    }

    /// Sets the methods that the other side has announced: calls to others then fail with
    /// `MethodNotSupported` and are not sent (G-2). The first set stays.
    pub fn set_announced_methods(&self, methods: impl IntoIterator<Item = impl Into<String>>) {
        let methods = methods.into_iter().map(Into::into).collect();
        // A channel has one handshake.
        let _ = self.shared().announced.set(methods);
    }

    /// Whether calls to this method are sent: if it was announced, or if no methods were announced.
    pub fn supports(&self, method: &str) -> bool {
        self.shared().announced.get().is_none_or(|announced| announced.contains(method))
    }

    /// Whether this method was announced. Without any announcement, none was.
    pub fn announces(&self, method: &str) -> bool {
        self.shared().announced.get().is_some_and(|announced| announced.contains(method))
    }

    /// Sets what each request says in the member `_meta` of its params from now on: names, and values as JSON
    /// texts. A member that the caller of a request has set stays as it is; params that are an array stay as
    /// they are. For protocols without a session, whose requests repeat what a handshake would have said.
    /// The first set stays.
    pub(crate) fn set_request_meta(&self, members: impl IntoIterator<Item = (String, String)>) {
        let members = members.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // A channel has one handshake.
        let _ = self.shared().request_meta.set(members);
    }

    /// Whether each request says something in `_meta`.
    pub(crate) fn has_request_meta(&self) -> bool {
        self.shared().request_meta.get().is_some()
    }

    /// Whether a call is open, those of the protocol itself and those that stay open not counted.
    pub(crate) fn has_open_calls(&self) -> bool {
        self.shared().has_open_calls()
    }

    /// Sets whether a write without progress ends the channel (C-11). On at first; a worker turns
    /// it off except while it is ready.
    pub fn watch_writes(&self, on: bool) {
        self.shared().channel.watch_writes(on);
    }

    /// The figures of this moment.
    pub fn stats(&self) -> PeerStats {
        self.shared().stats()
    }

    /// How the peer was configured.
    pub fn config(&self) -> &PeerConfig {
        &self.shared().config
    }

    pub(crate) fn shared(&self) -> &PeerShared {
        &self.inner.shared
    }
}

#[async_trait]
impl ChannelLifecycle for Peer {
    async fn closed(&self) -> CloseReason {
        Peer::closed(self).await
    }

    fn close_reason(&self) -> Option<CloseReason> {
        Peer::close_reason(self)
    }

    fn close(&self, fail_with: FailCallsWith) {
        Peer::close(self, fail_with);
    }

    async fn close_writer(&self) {
        Peer::close_writer(self).await;
    }

    async fn drain(&self, quiet: Duration, max: Duration) {
        Peer::drain(self, quiet, max).await;
    }

    fn input_closed(&self) {
        self.shared().end(CloseReason::WriteFailed { reason: "the process closed its stdin".to_owned() });
    }

    fn retire(&self) {
        self.shared().retire();
    }

    async fn calls_answered(&self) {
        let shared = self.shared();
        if shared.is_retiring() {
            // A call that was let in just before may not be in the table yet.
            tokio::select! {
                biased;
                _ = shared.channel.reader_done.wait() => return,
                () = shared.call_limit.emptied() => {}
            }
        }
        Peer::calls_answered(self).await;
    }

    fn calls_made(&self) -> u64 {
        self.shared().calls_made()
    }

    fn uses(&self) -> Option<u64> {
        self.shared().uses()
    }

    async fn requests_answered(&self) {
        Peer::requests_answered(self).await;
    }

    async fn streams_ended(&self) {
        Peer::streams_ended(self).await;
    }

    fn watch_writes(&self, on: bool) {
        Peer::watch_writes(self, on);
    }

    fn stats(&self) -> ChannelStats {
        let stats = Peer::stats(self);
        ChannelStats { calls_in_flight: stats.in_flight, bytes_queued: stats.bytes_queued }
    }

    fn recent_noise(&self) -> String {
        self.shared().channel.noise.text()
    }
}

impl Context {
    /// The peer that the request came in through, to call or notify the other side; `None` when its
    /// last handle has been dropped. A handler that keeps the peer keeps the channel open.
    pub fn peer(&self) -> Option<Peer> {
        self.peer.upgrade().map(|inner| Peer { inner, for_request: true })
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("path", &self.config().path)
            .field("incarnation", &self.config().incarnation)
            .field("close_reason", &self.close_reason())
            .finish_non_exhaustive()
    }
}
