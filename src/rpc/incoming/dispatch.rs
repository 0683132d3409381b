//! Handles the frames that the reader finds: [`Dispatcher`].
//!
//! Responses wake their callers, notifications are delivered in place, and requests run as tasks,
//! at most `max_handlers` of them. Further requests queue, and beyond the queue they are answered
//! with an error at once (C-6). The reader and the handler tasks hold the dispatcher, so that the
//! handler is dropped with them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, Weak, atomic::Ordering},
    task::Poll,
};

use serde_json::value::RawValue;
use tokio::{sync::SetOnce, time::Instant};

use crate::{
    channel::{
        channel_callbacks::ChannelCallbacks as _, close_reason::CloseReason, lock::lock,
        reader::FrameHandler, recent_noise::shortened, scratch::Scratch, yield_budget::YieldBudget,
    },
    log_event_macro::log_event,
    log_limiter::{LogLimiter, LogTopic},
    rpc::{
        config::NoisePolicy,
        error::{RpcError, error_codes},
        incoming::{
            handler::{Context, Handler},
            request_queue::{QueuedRequest, RequestQueue, request_bytes},
            response_batch::{BatchFull, ResponseBatch},
        },
        outgoing::pending_calls::{CallFailure, RawAnswer, ResponseMatch},
        peer_shared::{ClosePeerOnDrop, PeerShared},
        wire::{
            encode,
            message::{self, FrameContent, Message, ResponseBody},
            request_id::RequestId,
            response_fast_path,
        },
    },
    untrusted::one_line,
};

pub(crate) struct Dispatcher {
    pub(super) shared: Arc<PeerShared>,
    handler: Arc<dyn Handler>,
    peer: Weak<ClosePeerOnDrop>,
    queue: Mutex<RequestQueue>,
    /// Errors about unusable frames that have been sent lately.
    pub(super) errors: Mutex<LogLimiter>,
}

impl FrameHandler for Arc<Dispatcher> {
    type Callbacks = PeerShared;

    fn callbacks(&self) -> &Arc<PeerShared> {
        &self.shared
    }

    /// Handles one frame. `false` when the channel has ended and the rest must not be read. Waits
    /// only to let other tasks run, between the messages of a long one.
    async fn accept(&self, frame: &[u8]) -> bool {
        if let Some((id, result)) = response_fast_path::response(frame) {
            self.deliver(&RequestId::Number(id.cast_signed()), Some(id), Ok(result.to_owned()));
            return true;
        }
        match message::read(frame) {
            FrameContent::One(Message::Noise) => return self.accept_noise(frame),
            FrameContent::One(message) => self.message(message, None),
            FrameContent::Batch(parts) => {
                let batch = ResponseBatch::new();
                let mut budget = YieldBudget::new(&self.shared.channel);
                for part in parts {
                    budget.spend(part.get().len()).await;
                    let is_message = match message::read_part(part) {
                        Ok(Message::Noise) => false,
                        Ok(message) => {
                            self.message(message, Some(&batch));
                            true
                        }
                        Err(damage) => {
                            self.handle_damaged(part.get().as_bytes(), &damage, Some(&batch)).await
                        }
                    };
                    if !is_message && !self.accept_noise(part.get().as_bytes()) {
                        return false;
                    }
                }
                if let Some(frame) = batch.release() {
                    self.send_batch_now(frame);
                }
            }
            FrameContent::Damaged(damage) => {
                if !self.handle_damaged(frame, &damage, None).await {
                    return self.accept_noise(frame);
                }
            }
        }
        // A channel that has ended because the other side stopped reading is still read.
        !matches!(
            self.shared.channel.close_reason(),
            Some(CloseReason::Violation { .. } | CloseReason::LimitExceeded { .. } | CloseReason::Requested)
        )
    }

    /// Handles the rest after the last line break of a stream that has ended. Half a message fails
    /// no call: the exit of the process says more about it.
    async fn accept_last(&self, rest: &[u8]) {
        if matches!(message::read(rest), FrameContent::Damaged(_)) {
            self.accept_noise(rest);
        } else {
            self.accept(rest).await;
        }
    }

    /// Counts, and logs or refuses, a line that is no message.
    fn accept_noise(&self, line: &[u8]) -> bool {
        let shared = &self.shared;
        shared.channel.counters.noise_lines.increment();
        match shared.config.noise {
            NoisePolicy::Log => {
                shared.channel.log_noise(line);
                true
            }
            NoisePolicy::Violation => {
                let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
                let what = if is_json { "no message" } else { "not JSON" };
                let line = shortened(&line[..line.len().min(80)]);
                shared.end(CloseReason::Violation { reason: format!("{what}: {line}") });
                false
            }
        }
    }
}

impl Dispatcher {
    pub(crate) fn new(
        shared: Arc<PeerShared>,
        handler: Arc<dyn Handler>,
        peer: Weak<ClosePeerOnDrop>,
    ) -> Dispatcher {
        Dispatcher { shared, handler, peer, queue: Mutex::default(), errors: Mutex::default() }
    }

    fn message(self: &Arc<Self>, message: Message<'_>, batch: Option<&Arc<ResponseBatch>>) {
        match message {
            Message::Request { id: RequestId::Null, method, params }
                if self.takes_as_notification(&method, params) =>
            {
                self.notification(&method, params);
            }
            Message::Request { id, method, params } => self.request(id, &method, params, batch),
            Message::Notification { method, params } => self.notification(&method, params),
            Message::Response { id, body } => self.response(&id, &body),
            Message::Complaint { error } => self.handle_complaint(error),
            Message::Invalid { id, reason } => {
                self.refuse(id, error_codes::INVALID_REQUEST, &format!("invalid request: {reason}"), batch);
            }
            // Logged by `accept`.
            Message::Noise => {}
        }
    }

    fn response(&self, id: &RequestId, body: &ResponseBody<'_>) {
        let answer: RawAnswer = match body {
            ResponseBody::Result(result) => Ok(result.get().to_owned()),
            ResponseBody::Nothing => Ok("null".to_owned()),
            ResponseBody::Error(error) => Err(Box::new(RpcError::read(error).map_or_else(
                |reason| {
                    let reason = format!("the error cannot be read: {reason}");
                    self.shared.unusable(format_args!(
                        "call {}: {}",
                        one_line(&id.to_string()),
                        one_line(&reason)
                    ));
                    CallFailure::Malformed(reason)
                },
                CallFailure::Remote,
            ))),
        };
        self.deliver(id, id.as_call(), answer);
    }

    /// Hands the answer to its caller, or counts it. The answer, perhaps a large copy, is made
    /// before the lock is taken, since callers wait for the lock.
    pub(super) fn deliver(&self, id: &RequestId, number: Option<u64>, answer: RawAnswer) {
        let matched =
            number.map_or(ResponseMatch::Unknown, |number| lock(&self.shared.pending).answer(number, answer));
        match matched {
            ResponseMatch::Waiting(caller) => {
                caller.wake();
                self.shared.call_is_done();
            }
            ResponseMatch::Late => self.shared.counters.late_replies.increment(),
            ResponseMatch::Unknown => {
                self.shared.counters.unknown_replies.increment();
                if tracing::enabled!(target: "procession::rpc", tracing::Level::WARN)
                    && self.shared.channel.log.admit(LogTopic::Answer)
                {
                    let (path, incarnation) = self.shared.channel.whose();
                    log_event!(
                        warn, target: "procession::rpc", path, incarnation,
                        "ignored an answer to the unknown id {}: no call has it, or it was answered before", one_line(&id.to_string())
                    );
                }
            }
        }
    }

    /// Whether a message that looks like a request with a null id is a notification here.
    fn takes_as_notification(&self, method: &str, params: Option<&RawValue>) -> bool {
        let recognise = || {
            let cancels = self.shared.config.incoming_cancel.as_ref().and_then(|hook| hook(method, params));
            cancels.is_some() || self.is_stream_notification(method) || self.handler.is_notification(method)
        };
        catch_unwind(AssertUnwindSafe(recognise)).unwrap_or_else(|_| {
            self.shared
                .panicked(format_args!("the handler panicked when asked about `{}`", one_line(method)));
            false
        })
    }

    fn notification(&self, method: &str, params: Option<&RawValue>) {
        let recognise = || self.shared.config.incoming_cancel.as_ref().and_then(|hook| hook(method, params));
        let cancelled = catch_unwind(AssertUnwindSafe(recognise)).unwrap_or_else(|_| {
            self.shared
                .panicked(format_args!("the cancel hook panicked at notification `{}`", one_line(method)));
            None
        });
        if let Some(id) = cancelled {
            let cancel = lock(&self.queue).cancels.get(&id).cloned();
            match (cancel, id.as_call()) {
                // A second cancellation changes nothing.
                (Some(cancel), _) => drop(cancel.set(())),
                (None, Some(call)) => self.shared.end_standing_call(call),
                (None, None) => {}
            }
            return;
        }
        if self.take_stream_notification(method, params) {
            return;
        }
        self.note_progress(method, params);
        let cx = self.context(None, None);
        let delivered = catch_unwind(AssertUnwindSafe(|| self.handler.notification(cx, method, params)));
        if delivered.is_err() {
            self.shared.panicked(format_args!("the handler of notification `{}` panicked", one_line(method)));
        }
    }

    /// Gives a call more time if this is a report of its progress (C-14). The handler gets the report too.
    fn note_progress(&self, method: &str, params: Option<&RawValue>) {
        let Some(hook) = &self.shared.config.progress else { return };
        let call = catch_unwind(AssertUnwindSafe(|| hook(method, params))).unwrap_or_else(|_| {
            self.shared
                .panicked(format_args!("the progress hook panicked at notification `{}`", one_line(method)));
            None
        });
        if let Some(call) = call.and_then(|call| call.as_call()) {
            lock(&self.shared.pending).extend(call, Instant::now());
        }
    }

    fn request(
        self: &Arc<Self>,
        id: RequestId,
        method: &str,
        params: Option<&RawValue>,
        batch: Option<&Arc<ResponseBatch>>,
    ) {
        if id.is_too_long() {
            let reason = "invalid request: the id is longer than 1 KiB";
            return self.refuse(RequestId::Null, error_codes::INVALID_REQUEST, reason, batch);
        }
        if self.take_stream_request(&id, method, params, batch) {
            return;
        }
        let immediate = catch_unwind(AssertUnwindSafe(|| self.handler.immediate_result(method)));
        match immediate {
            Ok(None) => {}
            Ok(Some(result)) => return self.answer_now(&id, &Ok(result), batch),
            Err(_) => {
                self.shared
                    .panicked(format_args!("the handler panicked when asked about `{}`", one_line(method)));
                let error = RpcError::internal("the handler panicked");
                return self.answer_now(&id, &Err(error), batch);
            }
        }
        let config = &self.shared.config;
        let cost = request_bytes(method, params);
        let run = {
            let mut queue = lock(&self.queue);
            let run = queue.waiting.is_empty() && queue.has_room(cost, config);
            if !run
                && (queue.waiting.len() >= config.max_queued_requests
                    || queue.waiting_bytes + cost > config.max_queued_request_bytes)
            {
                drop(queue);
                self.shared.counters.overloaded.increment();
                return self.refuse(
                    id,
                    error_codes::OVERLOADED,
                    "overloaded: too many requests are waiting",
                    batch,
                );
            }
            let cancel = config.incoming_cancel.is_some().then(|| {
                let cancel = Arc::new(SetOnce::new());
                queue.cancels.insert(id.clone(), cancel.clone());
                cancel
            });
            let (method, params) = (method.to_owned(), params.map(ToOwned::to_owned));
            let batch = batch.cloned().inspect(|batch| batch.expect());
            let job = QueuedRequest { id, method, params, batch, cancel };
            self.shared.requests_open.fetch_add(1, Ordering::Relaxed);
            self.shared.count_use();
            if run {
                queue.run(cost);
                Some(job)
            } else {
                queue.waiting_bytes += cost;
                queue.waiting.push_back(job);
                None
            }
        };
        if let Some(job) = run {
            self.spawn(job);
        }
    }

    /// Answers without a handler, and without waiting. A result that is too large is answered with an error.
    pub(super) fn answer_now(
        &self,
        id: &RequestId,
        answer: &Result<Box<RawValue>, RpcError>,
        batch: Option<&Arc<ResponseBatch>>,
    ) {
        let mut frame = Scratch::take();
        // A batch puts brackets around it.
        let max_bytes = self.shared.max_outgoing.saturating_sub(if batch.is_some() { 2 } else { 0 });
        let _ = encode::response(&mut frame, id, answer, max_bytes);
        match batch {
            None => self.shared.send_soon(&mut frame),
            Some(batch) => self.keep(batch, &frame),
        }
    }

    fn spawn(self: &Arc<Self>, job: QueuedRequest) {
        let mut handlers = lock(&self.shared.handlers);
        while handlers.try_join_next().is_some() {}
        if !self.shared.channel.is_closed() {
            handlers.spawn(self.clone().work(job));
        }
    }

    /// Answers one request and then waiting ones, until none may run. (A boxed future, since it
    /// spawns itself.)
    fn work(self: Arc<Self>, job: QueuedRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.work_on(job))
    }

    async fn work_on(self: Arc<Self>, mut job: QueuedRequest) {
        loop {
            self.answer(&job).await;
            if self.shared.requests_open.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.shared.requests_done.notify_waiters();
            }
            let mut queue = lock(&self.queue);
            // Unless a second request with the same id has replaced it.
            if job.cancel.as_ref().is_some_and(|cancel| {
                queue.cancels.get(&job.id).is_some_and(|current| Arc::ptr_eq(current, cancel))
            }) {
                queue.cancels.remove(&job.id);
            }
            queue.running -= 1;
            queue.running_bytes -= job.bytes();
            let Some(next) = queue.next(&self.shared.config) else { return };
            // A large request may have kept several small ones waiting.
            let others: Vec<QueuedRequest> = std::iter::from_fn(|| queue.next(&self.shared.config)).collect();
            drop(queue);
            for other in others {
                self.spawn(other);
            }
            job = next;
        }
    }

    async fn answer(&self, job: &QueuedRequest) {
        let result = {
            let cx = self.context(Some(job.id.clone()), job.cancel.clone());
            let mut handling =
                std::pin::pin!(async { self.handler.request(cx, &job.method, job.params.as_deref()).await });
            let caught = std::future::poll_fn(|task| {
                match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(task))) {
                    Ok(poll) => poll.map(Some),
                    Err(_) => Poll::Ready(None),
                }
            });
            caught.await.unwrap_or_else(|| {
                self.shared.panicked(format_args!("the handler of `{}` panicked", one_line(&job.method)));
                Err(RpcError::internal("the handler panicked"))
            })
        };
        let mut frame = Scratch::take();
        // A batch puts brackets around it.
        let max_bytes = self.shared.max_outgoing.saturating_sub(if job.batch.is_some() { 2 } else { 0 });
        if let Err(bytes) = encode::response(&mut frame, &job.id, &result, max_bytes) {
            let method = one_line(&job.method);
            self.shared.unusable(format_args!("the answer to `{method}` is too large to be sent: {bytes} bytes, of which {max_bytes} are allowed"));
        }
        // The result must not be held beside its frame while that waits.
        drop(result);
        let (mut frame, kept) = match &job.batch {
            None => {
                if let Ok(room) = self.shared.outbox().try_room(&frame) {
                    self.shared.outbox().put(room, &mut frame);
                    return;
                }
                if !self.shared.replies.take_or_alone(frame.len(), self.shared.config.max_handler_bytes) {
                    self.shared.counters.overloaded.increment();
                    return self.refuse(
                        job.id.clone(),
                        error_codes::OVERLOADED,
                        "overloaded: too many replies wait to be read",
                        None,
                    );
                }
                let kept = frame.len();
                (frame.into_vec(), kept)
            }
            Some(batch) => {
                let limit = self.shared.config.max_queued_bytes;
                let full = match batch.push(&frame, &self.shared.batched, limit, self.shared.max_outgoing) {
                    Ok(full) => full,
                    Err(BatchFull) => {
                        // Keeping it would exceed the bound on the host's memory.
                        self.shared.counters.overloaded.increment();
                        let error = RpcError::new(
                            error_codes::OVERLOADED,
                            "overloaded: too many replies wait for their batch",
                        );
                        frame.clear();
                        encode::small_response(&mut frame, &job.id, error);
                        self.keep(batch, &frame);
                        None
                    }
                };
                drop(frame);
                if let Some(full) = full {
                    self.send_batch(full).await;
                }
                let Some(frame) = batch.release() else { return };
                (frame, 0)
            }
        };
        // A handler that waits for room still counts as running: that is the back-pressure.
        if job.batch.is_some() {
            return self.send_batch(frame).await;
        }
        let room = self.shared.outbox().room(&frame).await;
        self.shared.replies.give_back(kept);
        self.shared.outbox().put(room, &mut frame);
    }

    /// Sends the responses of a batch, as soon as there is room.
    async fn send_batch(&self, mut frame: Vec<u8>) {
        let room = self.shared.outbox().room(&frame).await;
        self.shared.batched.give_back(frame.len() - 1);
        self.shared.outbox().put(room, &mut frame);
    }

    /// Sends the responses of a batch from code that cannot wait.
    pub(super) fn send_batch_now(&self, mut frame: Vec<u8>) {
        self.shared.batched.give_back(frame.len() - 1);
        match self.shared.outbox().try_room(&frame) {
            Ok(room) => drop(self.shared.outbox().put(room, &mut frame)),
            Err(_) => self.shared.send_now(&mut frame),
        }
    }

    fn context(&self, request: Option<RequestId>, cancel: Option<Arc<SetOnce<()>>>) -> Context {
        let config = &self.shared.config;
        Context {
            path: config.path.clone(),
            incarnation: config.incarnation,
            request,
            cancel,
            peer: self.peer.clone(),
        }
    }
}
