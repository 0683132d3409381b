//! What the parts of one peer share: [`PeerShared`].
//!
//! Handles, reader, writer, timekeeper and handlers all hold it; it holds none of them except as
//! something to abort. Two locks matter to a call, the pending calls and the outbox, and they are
//! never held together. The life of the channel is in [`ChannelShared`]; this adds what a close
//! means for calls: it answers all open and later ones.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use serde::Serialize;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    channel::{
        channel_callbacks::ChannelCallbacks,
        channel_shared::ChannelShared,
        close_reason::{CloseReason, FailCallsWith},
        lock::lock,
        outbox::{Enqueued, Outbox},
        scratch::Scratch,
    },
    log_event_macro::log_event,
    log_limiter::LogTopic,
    rpc::{
        config::{MAX_OUTGOING_FRAME_BYTES, PeerConfig},
        error::{CallEffect, CallError},
        incoming::{
            response_batch::KeptResponseBytes, stream_listener::StreamBacklog, stream_table::StreamTable,
        },
        outgoing::{announced_methods::AnnouncedMethods, call_limit::CallLimit, pending_calls::PendingCalls},
        stats::{PeerCounters, PeerStats},
        stream_end::StreamEnd,
        wire::{encode, params_meta::OwnMetaMember, request_id::RequestId},
    },
};

/// What the handles of one peer hold together; its drop closes the channel.
#[derive(Debug)]
pub(crate) struct ClosePeerOnDrop {
    pub(crate) shared: Arc<PeerShared>,
}

impl Drop for ClosePeerOnDrop {
    fn drop(&mut self) {
        self.shared.close(FailCallsWith::Closed(CloseReason::Requested));
    }
}

#[derive(Debug)]
pub(crate) struct PeerShared {
    pub(crate) channel: ChannelShared,
    /// The largest frame that is sent.
    pub(crate) max_outgoing: usize,
    pub(crate) config: PeerConfig,
    pub(crate) pending: Mutex<PendingCalls>,
    pub(crate) call_limit: CallLimit,
    /// The call limit was closed by [`retire`](PeerShared::retire), not by the end of the channel.
    retiring: AtomicBool,
    pub(crate) next_id: AtomicU64,
    /// A call has an earlier deadline than all others.
    pub(crate) earlier_deadline: Notify,
    pub(crate) counters: PeerCounters,
    /// Set once a task waits for calls to be answered; it is notified whenever one is answered or given up.
    pub(crate) calls_watched: AtomicBool,
    pub(crate) call_done: Notify,
    /// Requests that run or wait for a handler; waiters are notified whenever there are none.
    pub(crate) requests_open: AtomicUsize,
    pub(crate) requests_done: Notify,
    /// Calls of the protocol itself, such as pings, which are no use of the process: made, and open.
    protocol_calls: AtomicU64,
    protocol_calls_open: AtomicUsize,
    /// Uses of the process that stay open for as long as the channel does, and have no permit.
    standing_uses_open: AtomicUsize,
    /// Notified when new calls are refused from now on.
    retired: Notify,
    /// Notifications to the process and requests of the process.
    other_use: AtomicU64,
    /// Responses that wait until their batch is complete.
    pub(crate) batched: KeptResponseBytes,
    /// Responses of handlers that wait for room.
    pub(crate) replies: KeptResponseBytes,
    pub(crate) announced: OnceLock<AnnouncedMethods>,
    /// What each request says in `_meta`.
    pub(crate) request_meta: OnceLock<Box<[OwnMetaMember]>>,
    pub(crate) handlers: Mutex<JoinSet<()>>,
    /// The other side may open streams.
    pub(crate) has_streams: bool,
    pub(crate) streams: Mutex<StreamTable>,
    /// The calls whose callers take the streams that belong to them.
    callers_of_streams: Mutex<BTreeMap<u64, StreamBacklog>>,
    /// The calls that stay open for as long as the channel does. Few peers have one, and none has many.
    standing_calls: Mutex<Vec<u64>>,
    /// Notified whenever a stream ends.
    pub(crate) stream_done: Notify,
}

impl ChannelCallbacks for PeerShared {
    fn channel(&self) -> &ChannelShared {
        &self.channel
    }

    fn end(&self, cause: CloseReason) {
        if let Some(fail_with) = self.channel.end(cause) {
            self.close(fail_with);
        }
    }

    fn expects_more_frames(&self) -> bool {
        self.call_limit.taken() > 1
    }
}

impl PeerShared {
    pub(crate) fn new(config: PeerConfig) -> PeerShared {
        PeerShared {
            channel: ChannelShared::new(config.channel()),
            call_limit: CallLimit::new(config.max_in_flight),
            retiring: AtomicBool::new(false),
            pending: Mutex::new(PendingCalls::new(config.max_answer_bytes)),
            next_id: AtomicU64::new(1),
            earlier_deadline: Notify::new(),
            counters: PeerCounters::default(),
            calls_watched: AtomicBool::new(false),
            call_done: Notify::new(),
            requests_open: AtomicUsize::new(0),
            requests_done: Notify::new(),
            protocol_calls: AtomicU64::new(0),
            protocol_calls_open: AtomicUsize::new(0),
            standing_uses_open: AtomicUsize::new(0),
            retired: Notify::new(),
            other_use: AtomicU64::new(0),
            batched: KeptResponseBytes::default(),
            replies: KeptResponseBytes::default(),
            announced: OnceLock::new(),
            request_meta: OnceLock::new(),
            handlers: Mutex::default(),
            has_streams: config.streams || config.stream_acceptor.is_some(),
            streams: Mutex::new(StreamTable::new(config.max_streams, config.max_stream_bytes)),
            callers_of_streams: Mutex::default(),
            standing_calls: Mutex::default(),
            stream_done: Notify::new(),
            max_outgoing: config.max_outgoing_frame_bytes.unwrap_or(MAX_OUTGOING_FRAME_BYTES),
            config,
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.channel.outbox
    }

    /// Answers all open calls and every later one; ends all tasks. The first close stays.
    pub(crate) fn close(&self, fail_with: FailCallsWith) {
        let end_of_streams = StreamEnd::from(&fail_with);
        if !self.channel.begin_close(fail_with) {
            return;
        }
        // After this no call can be entered, and each entered one is answered exactly once: here, or earlier.
        let open = lock(&self.pending).close();
        self.call_limit.close();
        self.outbox().close();
        open.into_iter().for_each(Waker::wake);
        self.call_is_done();
        let consumers = lock(&self.streams).close(&end_of_streams);
        consumers.into_iter().for_each(Waker::wake);
        self.stream_is_done();
        drop(std::mem::take(&mut *lock(&self.callers_of_streams)));
        self.channel.finish_close();
        // Their tasks go with all that they hold, since handles to a closed peer may be kept for long.
        drop(std::mem::take(&mut *lock(&self.handlers)));
        self.requests_done.notify_waiters();
        self.channel.log.finish();
    }

    /// From now on new calls are refused; those that have a permit go on.
    pub(crate) fn retire(&self) {
        self.retiring.store(true, Ordering::Release);
        self.call_limit.close();
        self.retired.notify_waiters();
    }

    /// Returns once new calls are refused.
    pub(crate) async fn retired(&self) {
        let mut retired = std::pin::pin!(self.retired.notified());
        retired.as_mut().enable();
        if !self.retiring.load(Ordering::Acquire) {
            retired.await;
        }
    }

    /// Whether new calls are refused while the channel goes on.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Acquire) && !self.channel.is_closed()
    }

    /// A call of the protocol itself; over when this is dropped.
    pub(crate) fn begin_protocol_call(&self) -> ProtocolCallInProgress<'_> {
        self.protocol_calls.fetch_add(1, Ordering::Relaxed);
        self.protocol_calls_open.fetch_add(1, Ordering::Relaxed);
        ProtocolCallInProgress(self)
    }

    /// A use of the process that is no call of the host; over when this is dropped.
    pub(crate) fn standing_use(&self) -> StandingUse<'_> {
        self.standing_uses_open.fetch_add(1, Ordering::Relaxed);
        StandingUse(self)
    }

    /// A call that stays open for as long as the channel does: a use of the process, but no call of the host.
    pub(crate) fn standing_call(&self) -> StandingUse<'_> {
        self.protocol_calls.fetch_add(1, Ordering::Relaxed);
        self.standing_use()
    }

    /// A notification to the process, or a request of it.
    pub(crate) fn count_use(&self) {
        self.other_use.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the process has been used so far; `None` while something is open.
    pub(crate) fn uses(&self) -> Option<u64> {
        use Ordering::Relaxed;
        let open = self.has_open_calls()
            || self.standing_uses_open.load(Relaxed) > 0
            || self.requests_open.load(Relaxed) > 0
            || lock(&self.streams).open_streams() > 0;
        (!open).then(|| self.calls_made().wrapping_add(self.other_use.load(Relaxed)))
    }

    /// Whether a call is open, those of the protocol itself and those that stay open not counted.
    pub(crate) fn has_open_calls(&self) -> bool {
        self.call_limit.taken() as usize > self.protocol_calls_open.load(Ordering::Relaxed)
    }

    /// From now on the other side may end this call by a cancellation; until the value that is returned is
    /// dropped.
    pub(crate) fn expect_cancellation(&self, call: u64) -> CancellableCall<'_> {
        lock(&self.standing_calls).push(call);
        CancellableCall { shared: self, call }
    }

    /// The other side has cancelled a call of this side, which it may do only with one that stays open: the
    /// call ends as if it had been answered.
    pub(crate) fn end_standing_call(&self, call: u64) {
        if !lock(&self.standing_calls).contains(&call) {
            return;
        }
        let caller = lock(&self.pending).answer_instead(call, Ok("null".to_owned()));
        if let Some(caller) = caller {
            caller.wake();
            self.call_is_done();
        }
    }

    /// How many calls were made, those of the protocol itself not counted.
    pub(crate) fn calls_made(&self) -> u64 {
        // The first call has number 1.
        let all = self.next_id.load(Ordering::Relaxed) - 1;
        all.saturating_sub(self.protocol_calls.load(Ordering::Relaxed))
    }

    /// From now on this caller gets the streams that the other side opens for this call; until the value
    /// that is returned is dropped.
    pub(crate) fn expect_streams(&self, call: u64, caller: StreamBacklog) -> ExpectedStreams<'_> {
        lock(&self.callers_of_streams).insert(call, caller);
        ExpectedStreams { shared: self, call }
    }

    /// The caller that gets the streams of this call.
    pub(crate) fn caller_of_streams(&self, call: u64) -> Option<StreamBacklog> {
        lock(&self.callers_of_streams).get(&call).cloned()
    }

    /// Tells those who wait for the end of streams to look.
    pub(crate) fn stream_is_done(&self) {
        self.stream_done.notify_waiters();
    }

    /// Tells the other side that this side takes no more items of a stream.
    pub(crate) fn send_stream_close(&self, stream: &RequestId, reason: &'static str) {
        #[derive(Serialize)]
        struct Close<'a> {
            stream: &'a RequestId,
            reason: &'a str,
        }
        self.tell("streams.close", &Close { stream, reason });
    }

    /// Tells the other side that it may send so many items more.
    pub(crate) fn send_stream_credit(&self, stream: &RequestId, items: usize) {
        #[derive(Serialize)]
        struct Credit<'a> {
            stream: &'a RequestId,
            items: usize,
        }
        self.tell("streams.credit", &Credit { stream, items });
    }

    /// Sends a short notification that must arrive, from code that cannot wait.
    fn tell(&self, method: &str, params: &impl Serialize) {
        let mut frame = Scratch::take();
        if encode::request(&mut frame, None, method, params, usize::MAX).is_ok() {
            self.send_soon(&mut frame);
        }
    }

    /// Sends a short frame that cannot wait, in its turn if there is room.
    pub(crate) fn send_soon(&self, body: &mut Vec<u8>) {
        match self.outbox().try_room(body) {
            Ok(room) => drop(self.outbox().put(room, body)),
            Err(_) => self.send_now(body),
        }
    }

    /// Logs a message of the other side that cannot be used.
    pub(crate) fn unusable(&self, what: std::fmt::Arguments<'_>) {
        if tracing::enabled!(target: "procession::rpc", tracing::Level::WARN)
            && self.channel.log.admit(LogTopic::Unusable)
        {
            let (path, incarnation) = self.channel.whose();
            log_event!(warn, target: "procession::rpc", path, incarnation, "{what}");
        }
    }

    /// Tells watchers that a call no longer waits. Call it after the lock of the table is released:
    /// a watcher registers before it looks at the table.
    pub(crate) fn call_is_done(&self) {
        if self.calls_watched.load(Ordering::Relaxed) {
            self.call_done.notify_waiters();
        }
    }

    /// Counts and logs a panic in the host's own code.
    pub(crate) fn panicked(&self, what: std::fmt::Arguments<'_>) {
        self.counters.panics.increment();
        if self.channel.log.admit(LogTopic::Panic) {
            let (path, incarnation) = self.channel.whose();
            log_event!(error, target: "procession::rpc", path, incarnation, "{what}");
        }
    }

    /// Answers all open calls and every later one with the end of the channel, and leaves the rest running.
    pub(crate) fn fail_calls(&self) {
        let open = lock(&self.pending).close();
        self.outbox().end_turns();
        open.into_iter().for_each(Waker::wake);
        self.call_is_done();
    }

    /// The error of a call that the end of the channel has answered.
    pub(crate) fn closed_error(&self, method: &str, effect: CallEffect) -> CallError {
        let method = method.to_owned();
        match self.channel.closed_with() {
            Some(FailCallsWith::Lost(lost)) => CallError::WorkerLost { method, lost: lost.clone(), effect },
            Some(FailCallsWith::Closed(reason)) => {
                CallError::Closed { method, reason: reason.clone(), effect }
            }
            None => {
                let otherwise =
                    if self.is_retiring() { CloseReason::Retiring } else { CloseReason::Requested };
                let reason = self.channel.close_reason().unwrap_or(otherwise);
                CallError::Closed { method, reason, effect }
            }
        }
    }

    /// What is known of a call whose frame went there.
    pub(crate) fn effect_of(&self, put: Enqueued) -> CallEffect {
        if self.outbox().may_be_sent(put) { CallEffect::Unknown } else { CallEffect::NotSent }
    }

    /// Sends a frame that cannot wait. If the reserve is used up, the channel ends (C-6).
    pub(crate) fn send_now(&self, body: &mut Vec<u8>) {
        if self.outbox().put_urgent(body).is_err() {
            self.end_of_room();
        }
    }

    /// Ends the channel because not even replies find room (C-6).
    pub(crate) fn end_of_room(&self) {
        self.end(CloseReason::LimitExceeded { which: "queued replies" });
    }

    /// Tells the other side that this call was given up (C-3). Best effort: without room it is left out.
    pub(crate) fn send_cancel(&self, id: u64) {
        let Some(hook) = &self.config.cancel else { return };
        let Ok(id) = i64::try_from(id) else { return };
        let make = std::panic::AssertUnwindSafe(|| hook(&RequestId::Number(id)));
        let Ok(cancel) = std::panic::catch_unwind(make) else {
            return self.panicked(format_args!("the hook that makes cancel notifications panicked"));
        };
        let Some((method, params)) = cancel else { return };
        let mut frame = Scratch::take();
        if encode::request(&mut frame, None, &method, &params, self.max_outgoing).is_ok() {
            let _ = self.outbox().put_dispensable(&mut frame);
        }
    }

    pub(crate) fn stats(&self) -> PeerStats {
        use Ordering::Relaxed;
        let (channel, counters) = (&self.channel, &self.counters);
        let (streams_open, stream_bytes) = {
            let streams = lock(&self.streams);
            (streams.open_streams(), streams.bytes())
        };
        PeerStats {
            in_flight: lock(&self.pending).waiting(),
            bytes_queued: self.outbox().queued_bytes() + self.batched.bytes(),
            requests_open: self.requests_open.load(Relaxed),
            frames_in: channel.counters.frames_in.get(),
            frames_out: self.outbox().frames(),
            bytes_in: channel.counters.bytes_in.get(),
            late_replies: counters.late_replies.get(),
            unknown_replies: counters.unknown_replies.get(),
            complaints: counters.complaints.get(),
            dropped_notifications: counters.dropped_notifications.get(),
            noise_lines: channel.counters.noise_lines.get(),
            invalid_frames: counters.invalid_frames.get(),
            overloaded: counters.overloaded.get(),
            panics: counters.panics.get(),
            streams_open,
            stream_bytes,
            stream_items: counters.stream_items.get(),
            dropped_stream_items: counters.dropped_stream_items.get(),
            overflowed_streams: counters.overflowed_streams.get(),
            refused_streams: counters.refused_streams.get(),
        }
    }
}

/// See [`PeerShared::begin_protocol_call`].
pub(crate) struct ProtocolCallInProgress<'a>(&'a PeerShared);

impl Drop for ProtocolCallInProgress<'_> {
    fn drop(&mut self) {
        self.0.protocol_calls_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`PeerShared::standing_use`].
pub(crate) struct StandingUse<'a>(&'a PeerShared);

impl Drop for StandingUse<'_> {
    fn drop(&mut self) {
        self.0.standing_uses_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`PeerShared::expect_streams`].
pub(crate) struct ExpectedStreams<'a> {
    shared: &'a PeerShared,
    call: u64,
}

impl Drop for ExpectedStreams<'_> {
    fn drop(&mut self) {
        let _outside_the_lock = lock(&self.shared.callers_of_streams).remove(&self.call);
    }
}

/// See [`PeerShared::expect_cancellation`].
pub(crate) struct CancellableCall<'a> {
    shared: &'a PeerShared,
    call: u64,
}

impl Drop for CancellableCall<'_> {
    fn drop(&mut self) {
        lock(&self.shared.standing_calls).retain(|call| *call != self.call);
    }
}
