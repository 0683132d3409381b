//! What the parts of one peer share: [`PeerShared`].
//!
//! Handles, reader, writer, timekeeper and handlers all hold it; it holds none of them except as something to abort.
//! Two locks, never held together: the pending calls, and the bytes to write. It has two ends: the *channel's* end
//! (the first cause, kept for [`Peer::close_reason`](crate::rpc::Peer::closed)), and the *callers'* end, which answers all
//! open and later calls. They coincide unless the owner asked to hold pending calls.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

use crate::{
    channel::{
        close_reason::{CloseReason, FailWith},
        latch::Latch,
        noise::RecentNoise,
        outbox::{Enqueued, Outbox},
    },
    id::{Incarnation, TreePath},
    log_event::log_event,
    log_rate::{ChannelLogRates, LogTopic},
    rpc::{
        config::{MAX_OUTGOING_FRAME_BYTES, PeerConfig},
        error::{CallError, CallOutcome},
        incoming::response_batch::KeptBytes,
        outgoing::{announced_methods::AnnouncedMethods, call_limit::CallLimit, pending_calls::PendingCalls},
        stats::{Counters, PeerStats},
        wire::{encode, request_id::RequestId},
    },
};

#[derive(Debug)]
pub(crate) struct PeerShared {
    /// The largest frame that is sent.
    pub(crate) max_outgoing: usize,
    pub(crate) config: PeerConfig,
    pub(crate) pending: Mutex<PendingCalls>,
    pub(crate) outbox: Outbox,
    pub(crate) in_flight: CallLimit,
    pub(crate) next_id: AtomicU64,
    /// A call has an earlier deadline than all others.
    pub(crate) rearm: Notify,
    pub(crate) counters: Counters,
    /// The newest lines that were no messages.
    pub(crate) noise: RecentNoise,
    /// Asked before each line of the log that the other side can cause.
    pub(crate) log: ChannelLogRates,
    /// Somebody waits for calls to be answered, and is poked whenever one has been, or is given up.
    pub(crate) calls_watched: AtomicBool,
    pub(crate) call_done: Notify,
    /// Requests that run or wait for a handler, and a poke whenever there are none.
    pub(crate) requests_open: AtomicUsize,
    pub(crate) requests_done: Notify,
    /// Responses that wait until their batch is complete.
    pub(crate) batched: KeptBytes,
    /// Responses of handlers that wait for room.
    pub(crate) replies: KeptBytes,
    pub(crate) stall_armed: AtomicBool,
    pub(crate) announced: OnceLock<AnnouncedMethods>,
    pub(crate) reader_done: Latch,
    pub(crate) writer_done: Latch,
    pub(crate) handlers: Mutex<JoinSet<()>>,
    tasks: Mutex<Vec<AbortHandle>>,
    channel_end: OnceLock<CloseReason>,
    channel_ended: Latch,
    ending: OnceLock<FailWith>,
}

impl PeerShared {
    pub(crate) fn new(config: PeerConfig) -> PeerShared {
        PeerShared {
            outbox: Outbox::new(config.framing, config.max_queued_bytes),
            in_flight: CallLimit::new(config.max_in_flight),
            pending: Mutex::new(PendingCalls::new(config.max_answer_bytes)),
            next_id: AtomicU64::new(1),
            rearm: Notify::new(),
            counters: Counters::default(),
            noise: RecentNoise::default(),
            log: ChannelLogRates::new(config.path.clone(), config.incarnation),
            calls_watched: AtomicBool::new(false),
            call_done: Notify::new(),
            requests_open: AtomicUsize::new(0),
            requests_done: Notify::new(),
            batched: KeptBytes::default(),
            replies: KeptBytes::default(),
            stall_armed: AtomicBool::new(true),
            announced: OnceLock::new(),
            reader_done: Latch::default(),
            writer_done: Latch::default(),
            handlers: Mutex::default(),
            tasks: Mutex::default(),
            channel_end: OnceLock::new(),
            channel_ended: Latch::default(),
            ending: OnceLock::new(),
            max_outgoing: config.max_outgoing_frame_bytes.unwrap_or(MAX_OUTGOING_FRAME_BYTES),
            config,
        }
    }

    /// The channel has ended; the first cause stays.
    pub(crate) fn end(&self, cause: CloseReason) {
        self.tell_owner();
        if self.channel_end.set(cause.clone()).is_err() {
            return;
        }
        if self.config.hold_pending {
            // After a mere end of its output, the other side may still read answers to what it asked.
            if !matches!(cause, CloseReason::Eof | CloseReason::ReadFailed { .. }) {
                self.outbox.hold();
            }
            self.channel_ended.set();
        } else {
            self.close(FailWith::Closed(cause));
        }
    }

    /// Answers all open calls and every later one; ends all tasks. The first ending stays.
    pub(crate) fn close(&self, ending: FailWith) {
        self.tell_owner();
        if self.ending.set(ending).is_err() {
            return;
        }
        // No call can be entered after this, and each entered one is answered exactly once: here, or before.
        let open = lock(&self.pending).close();
        self.in_flight.close();
        self.outbox.close();
        open.into_iter().for_each(Waker::wake);
        self.call_is_done();
        let _ = self.channel_end.set(CloseReason::Requested);
        self.channel_ended.set();
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
        // With all that they hold: handles to a peer that is closed may be kept for long.
        drop(std::mem::take(&mut *lock(&self.handlers)));
        self.requests_done.notify_waiters();
        self.log.finish();
    }

    /// The child that a line of the log is about.
    pub(crate) fn whose(&self) -> (&TreePath, Incarnation) {
        (&self.config.path, self.config.incarnation)
    }

    /// Logs a message of the other side that cannot be used as it is.
    pub(crate) fn unusable(&self, what: std::fmt::Arguments<'_>) {
        if tracing::enabled!(target: "procession::rpc", tracing::Level::WARN)
            && self.log.admit(LogTopic::Unusable)
        {
            let (path, incarnation) = self.whose();
            log_event!(warn, target: "procession::rpc", path, incarnation, "{what}");
        }
    }

    /// A call no longer waits. To be called after the table's lock has been given back: a watcher has said so
    /// before looking at the table.
    pub(crate) fn call_is_done(&self) {
        if self.calls_watched.load(Ordering::Relaxed) {
            self.call_done.notify_waiters();
        }
    }

    /// Counts and logs a panic of the host's own code.
    pub(crate) fn panicked(&self, what: std::fmt::Arguments<'_>) {
        self.counters.panics.one();
        if self.log.admit(LogTopic::Panic) {
            let (path, incarnation) = self.whose();
            log_event!(error, target: "procession::rpc", path, incarnation, "{what}");
        }
    }

    /// The owner hears of the end first: a caller that learns of it from the channel and looks for another one must not be
    /// sent here again.
    fn tell_owner(&self) {
        if let Some(hook) = self.config.at_end.as_ref().filter(|_| !self.has_ended()) {
            hook();
        }
    }

    /// Answers all open calls and every later one with the end of the channel, and leaves the rest running.
    pub(crate) fn fail_calls(&self) {
        let open = lock(&self.pending).close();
        self.outbox.end_turns();
        open.into_iter().for_each(Waker::wake);
        self.call_is_done();
    }

    /// Hands over the tasks to abort at the end.
    pub(crate) fn adopt(&self, tasks: Vec<AbortHandle>) {
        lock(&self.tasks).extend(tasks);
        if self.ending.get().is_some() {
            for task in lock(&self.tasks).drain(..) {
                task.abort();
            }
        }
    }

    pub(crate) async fn ended(&self) -> CloseReason {
        self.channel_ended.wait().await;
        self.channel_end().unwrap_or(CloseReason::Requested)
    }

    pub(crate) fn channel_end(&self) -> Option<CloseReason> {
        self.channel_end.get().cloned()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.channel_end.get().is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ending.get().is_some()
    }

    /// The error of a call that the end of the channel has answered.
    pub(crate) fn closed_error(&self, method: &str, outcome: CallOutcome) -> CallError {
        let method = method.to_owned();
        match self.ending.get() {
            Some(FailWith::Lost(lost)) => CallError::WorkerLost { method, lost: lost.clone(), outcome },
            Some(FailWith::Closed(reason)) => CallError::Closed { method, reason: reason.clone(), outcome },
            None => {
                let reason = self.channel_end().unwrap_or(CloseReason::Requested);
                CallError::Closed { method, reason, outcome }
            }
        }
    }

    /// What is known of a call whose frame was put there.
    pub(crate) fn outcome_of(&self, put: Enqueued) -> CallOutcome {
        if self.outbox.may_be_sent(put) { CallOutcome::Unknown } else { CallOutcome::NotSent }
    }

    /// Sends what cannot wait; a reserve that is used up ends the channel (C-6).
    pub(crate) fn send_now(&self, body: &mut Vec<u8>) {
        if self.outbox.put_urgent(body).is_err() {
            self.end_of_room();
        }
    }

    /// Not even replies find room (C-6).
    pub(crate) fn end_of_room(&self) {
        self.end(CloseReason::LimitExceeded { which: "queued replies" });
    }

    /// Tells the other side that nobody waits for this call any more (C-3). Best effort: without room it is left out.
    pub(crate) fn send_cancel(&self, id: u64) {
        let Some(hook) = &self.config.cancel else { return };
        let Ok(id) = i64::try_from(id) else { return };
        let make = std::panic::AssertUnwindSafe(|| hook(&RequestId::Number(id)));
        let Ok(cancel) = std::panic::catch_unwind(make) else {
            return self.panicked(format_args!("the hook that makes cancel notifications panicked"));
        };
        let Some((method, params)) = cancel else { return };
        let mut frame = encode::Scratch::take();
        if encode::request(&mut frame, None, &method, &params, self.max_outgoing).is_ok() {
            let _ = self.outbox.put_dispensable(&mut frame);
        }
    }

    pub(crate) fn stats(&self) -> PeerStats {
        use Ordering::Relaxed;
        let counters = &self.counters;
        PeerStats {
            in_flight: lock(&self.pending).waiting(),
            bytes_queued: self.outbox.queued_bytes() + self.batched.bytes(),
            requests_open: self.requests_open.load(Relaxed),
            frames_in: counters.frames_in.get(),
            frames_out: self.outbox.frames(),
            bytes_in: counters.bytes_in.get(),
            late_replies: counters.late_replies.get(),
            unknown_replies: counters.unknown_replies.get(),
            complaints: counters.complaints.get(),
            dropped_notifications: counters.dropped_notifications.get(),
            noise_lines: counters.noise_lines.get(),
            invalid_frames: counters.invalid_frames.get(),
            overloaded: counters.overloaded.get(),
            panics: counters.panics.get(),
        }
    }
}

/// Locks; what is behind our locks is whole even if somebody panicked while holding one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
