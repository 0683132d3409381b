//! The calling half of a [`Peer`]: calls and notifications.
//!
//! A call acquires a permit of the call limit, writes its frame into the thread's buffer, takes
//! room in the outbox, enters the table of pending calls, and only then puts the frame, so that an
//! answer never comes before the entry. While another call or notification waits for room, it waits
//! for its turn before it makes a frame, so that a frame without room holds no memory. The wait for
//! a permit, a turn or room ends at the call's deadline; the wait for the answer ends through the
//! table.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    task::Waker,
    time::Duration,
};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout_at};

use crate::{
    channel::{
        outbox::{Enqueued, OutboxPermit, OutboxTurn},
        recent_noise::unreadable,
        scratch::Scratch,
    },
    rpc::{
        config::{CallOptions, Timeout},
        error::{CallEffect, CallError},
        incoming::stream_listener::{StreamBacklog, StreamListener},
        method::{Method, Notification},
        outgoing::{
            pending_calls::{CallExtension, CallFailure},
            response_future::{self, ResponseFuture},
        },
        peer::Peer,
        peer_shared::PeerShared,
        trace_context::TraceContext,
        wire::{
            encode::{self, EncodeError},
            params_meta::{MetaMember, with_meta},
            request_id::RequestId,
            typed_values::{self, DecodeValueError},
        },
    },
    untrusted::one_line,
};

impl Peer {
    /// Calls `M` and waits for its output, at most as long as its timeout.
    ///
    /// # Errors
    /// See [`CallError`]. Dropping the future cancels the call.
    pub async fn call<M: Method>(&self, params: &M::Params) -> Result<M::Output, CallError> {
        self.call_with::<M>(params, CallOptions::default()).await
    }

    /// [`call`](Peer::call) with options.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_with<M: Method>(
        &self,
        params: &M::Params,
        mut options: CallOptions,
    ) -> Result<M::Output, CallError> {
        options.timeout = options.timeout.or(M::TIMEOUT);
        let shared = self.shared();
        options.for_request |= self.for_request;
        let result = shared.call(M::NAME, params, options, None).await?;
        self.decode::<M>(&result)
    }

    /// Sends a request and returns the text of its result. The streams that belong to it go to `streams`.
    pub(crate) async fn call_text<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
        mut options: CallOptions,
        streams: Option<&StreamBacklog>,
    ) -> Result<String, CallError> {
        options.for_request |= self.for_request;
        self.shared().call(method, params, options, streams).await
    }

    /// Reads the result of `M`.
    pub(crate) fn decode<M: Method>(&self, result: &str) -> Result<M::Output, CallError> {
        typed_values::text(result).map_err(|mistake| match mistake {
            DecodeValueError::Data(reason) => CallError::InvalidResult { method: M::NAME.to_owned(), reason },
            DecodeValueError::Syntax(reason) => {
                self.shared().unreadable_result(M::NAME, &reason, result.as_bytes())
            }
        })
    }

    /// Calls a method by name with anything that can be serialised; the result stays raw.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_value<P: Serialize + Sync + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: impl Into<CallOptions>,
    ) -> Result<Box<RawValue>, CallError> {
        let result = self.call_text(method, params, options.into(), None).await?;
        self.raw(method, result)
    }

    /// [`call_value`](Peer::call_value), and the streams that the other side opens for this call, each with
    /// a buffer of `items` items (C-10). They come while the call waits for its answer, and may outlive it.
    /// After the answer no further ones come. At most 64 streams wait to be received.
    ///
    /// The call is made when its future is polled. Dropping that cancels the call, and not its streams.
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
            let result = self.call_text(method, params, options, Some(&queue)).await?;
            self.raw(method, result)
        };
        (streams, call)
    }

    /// Checks the text of a result.
    pub(crate) fn raw(&self, method: &str, result: String) -> Result<Box<RawValue>, CallError> {
        // A failed attempt consumes the text. Its beginning is kept for the error.
        let mut beginning = [0; BEGINNING_BYTES];
        let length = result.len().min(BEGINNING_BYTES);
        beginning[..length].copy_from_slice(&result.as_bytes()[..length]);
        RawValue::from_string(result).map_err(|error| {
            self.shared().unreadable_result(method, &error.to_string(), &beginning[..length])
        })
    }

    /// Sends a notification; waits for room, at most as long as the peer's timeout.
    ///
    /// # Errors
    /// When it cannot be serialised, there is no room in time, or the channel has ended. In each
    /// case it was not sent.
    pub async fn notify<N: Notification>(&self, params: &N::Params) -> Result<(), CallError> {
        self.notify_value(N::NAME, params).await
    }

    /// [`notify`](Peer::notify) by name.
    ///
    /// # Errors
    /// As [`notify`](Peer::notify).
    pub async fn notify_value<P: Serialize + Sync + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<(), CallError> {
        let shared = self.shared();
        shared.count_use();
        let wait = async || {
            let deadline = Deadline::of(method, shared.config.timeout)?;
            let turn = shared.turn(method, &deadline).await?;
            Ok((deadline, turn))
        };
        let mut next = None;
        if shared.outbox().is_waited_for() {
            next = Some(wait().await?);
        }
        let mut frame = {
            let mut frame = Scratch::take();
            shared.encode(&mut frame, None, method, params)?;
            match shared.outbox().try_room(&frame) {
                Ok(room) => return shared.sent(method, shared.outbox().put(room, &mut frame)),
                Err(_) => frame.into_vec(),
            }
        };
        let (deadline, _turn) = match next {
            Some(next) => next,
            None => wait().await?,
        };
        let room = deadline.bound(shared.outbox().room(&frame)).await;
        let room = room.ok_or_else(|| deadline.error(method, CallEffect::NotSent))?;
        shared.sent(method, shared.outbox().put(room, &mut frame))
    }

    /// Sends a notification if there is room now. `Ok(false)` means that there was none: it was
    /// dropped and counted (C-5).
    ///
    /// # Errors
    /// When it cannot be serialised or the channel has ended.
    pub fn try_notify<N: Notification>(&self, params: &N::Params) -> Result<bool, CallError> {
        self.try_notify_value(N::NAME, params)
    }

    /// [`try_notify`](Peer::try_notify) by name.
    ///
    /// # Errors
    /// As [`try_notify`](Peer::try_notify).
    pub fn try_notify_value<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<bool, CallError> {
        let shared = self.shared();
        shared.count_use();
        let mut frame = Scratch::take();
        shared.encode(&mut frame, None, method, params)?;
        match shared.outbox().try_room(&frame) {
            Ok(room) => shared.sent(method, shared.outbox().put(room, &mut frame)).map(|()| true),
            Err(_) => {
                shared.counters.dropped_notifications.increment();
                Ok(false)
            }
        }
    }
}

impl PeerShared {
    pub(crate) async fn call<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: CallOptions,
        streams: Option<&StreamBacklog>,
    ) -> Result<String, CallError> {
        if !options.unannounced && self.announced.get().is_some_and(|announced| !announced.contains(method)) {
            return Err(CallError::MethodNotSupported { method: method.to_owned() });
        }
        let deadline = Deadline::of(
            method,
            match options.timeout {
                Timeout::Never if options.unannounced => None,
                timeout => self.config.time_of(timeout),
            },
        )?
        .extended(options);
        let _own = (options.unannounced && !options.standing).then(|| self.begin_protocol_call());
        let _standing = options.standing.then(|| self.standing_call());
        let _permit = match self.call_limit.try_acquire() {
            _ if options.standing => None,
            Some(permit) => Some(permit),
            None => match deadline.bound(self.call_limit.acquire()).await {
                Some(Ok(permit)) => Some(permit),
                // What the process has asked, and the stop itself, come to their end.
                Some(Err(_)) if (options.unannounced || options.for_request) && self.is_retiring() => None,
                Some(Err(_)) => return Err(self.closed_error(method, CallEffect::NotSent)),
                None => return Err(deadline.error(method, CallEffect::NotSent)),
            },
        };

        let mut turn = None;
        if self.outbox().is_waited_for() {
            turn = Some(self.turn(method, &deadline).await?);
        }

        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let _cancellable = options.standing.then(|| self.expect_cancellation(id));
        let _expected = streams.map(|streams| self.expect_streams(id, streams.clone()));
        let caller = response_future::waker().await;
        let sent = {
            let mut frame = Scratch::take();
            match self.amended_params(id, params, options) {
                Some(params) => self.encode(&mut frame, Some(id), method, &params)?,
                None => self.encode(&mut frame, Some(id), method, params)?,
            }
            match self.outbox().try_room(&frame) {
                Ok(room) => Ok(self.send(method, id, caller, &deadline, room, &mut frame)?),
                Err(_) => Err(frame.into_vec()),
            }
        };
        let (reply, put) = match sent {
            Ok(sent) => sent,
            Err(mut frame) => {
                if turn.is_none() {
                    turn = Some(self.turn(method, &deadline).await?);
                }
                let room = deadline.bound(self.outbox().room(&frame)).await;
                let room = room.ok_or_else(|| deadline.error(method, CallEffect::NotSent))?;
                self.send(method, id, response_future::waker().await, &deadline, room, &mut frame)?
            }
        };
        drop(turn);
        if put == Enqueued::Closed && !self.channel.is_closed() {
            // Only the writer was closed, so nothing else would answer this call.
            reply.withdraw();
            return Err(self.closed_error(method, CallEffect::NotSent));
        }
        reply.await.map_err(|failure| match *failure {
            CallFailure::Remote(error) => CallError::Remote { method: method.to_owned(), error },
            CallFailure::Complaint(error) => CallError::Unattributed { method: method.to_owned(), error },
            CallFailure::Malformed(reason) => CallError::InvalidResult { method: method.to_owned(), reason },
            CallFailure::TooLarge { bytes } => CallError::AnswerDropped { method: method.to_owned(), bytes },
            CallFailure::Timeout => {
                let sent = matches!(put, Enqueued::At(_));
                deadline.error(method, if sent { CallEffect::Unknown } else { CallEffect::NotSent })
            }
            CallFailure::Closed => self.closed_error(method, self.effect_of(put)),
        })
    }

    /// Writes a request, or a notification if there is no id.
    fn encode<P: Serialize + ?Sized>(
        &self,
        frame: &mut Vec<u8>,
        id: Option<u64>,
        method: &str,
        params: &P,
    ) -> Result<(), CallError> {
        let max_bytes = self.max_outgoing;
        encode::request(frame, id, method, params, max_bytes).map_err(|reason| {
            let method = method.to_owned();
            match reason {
                EncodeError::Unserialisable(error) => {
                    CallError::InvalidParams { method, reason: error.to_string() }
                }
                EncodeError::TooLarge { bytes } => CallError::TooLarge { method, bytes, max_bytes },
            }
        })
    }

    /// The params of a request with what this side adds to them, if it adds anything: the wish for reports of
    /// progress, what the session has each request say, and the trace that the call belongs to.
    fn amended_params<P: Serialize + ?Sized>(
        &self,
        id: u64,
        params: &P,
        options: CallOptions,
    ) -> Option<Box<RawValue>> {
        let ask_progress = options.max_total.and(self.config.ask_progress.as_ref());
        let session = self.request_meta.get().map(|meta| &**meta).unwrap_or_default();
        // The protocol's own calls belong to no trace.
        let is_traced = self.config.has_meta && !options.unannounced;
        let trace = self.config.trace_context.as_ref().filter(|_| is_traced);
        if ask_progress.is_none() && session.is_empty() && trace.is_none() {
            return None;
        }
        // What cannot be serialised is reported when it is encoded.
        let params = to_raw_value(params).ok()?;
        let id = RequestId::Number(i64::try_from(id).ok()?);
        let asking = ask_progress.and_then(|hook| {
            let asked = catch_unwind(AssertUnwindSafe(|| hook(&id, &params)));
            asked.unwrap_or_else(|_| {
                self.panicked(format_args!("the hook that asks for progress panicked"));
                None
            })
        });
        let trace = trace.and_then(|hook| {
            let trace = catch_unwind(AssertUnwindSafe(|| hook()));
            trace.unwrap_or_else(|_| {
                self.panicked(format_args!("the hook that gives the trace context panicked"));
                None
            })
        });
        let trace: Vec<(&str, String)> = trace.iter().flat_map(TraceContext::members).collect();
        let added: Vec<MetaMember<'_>> = session
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .chain(trace.iter().map(|(name, value)| (*name, value.as_str())))
            .collect();
        with_meta(asking.as_deref().unwrap_or(&params), &added).or(asking)
    }

    /// The error of a call whose result is not JSON.
    fn unreadable_result(&self, method: &str, mistake: &str, text: &[u8]) -> CallError {
        let reason = unreadable(mistake, "it", text);
        self.unusable(format_args!("the result of `{method}` cannot be used: {}", one_line(&reason)));
        CallError::InvalidResult { method: method.to_owned(), reason }
    }

    /// Waits for the turn to wait for room.
    async fn turn(&self, method: &str, deadline: &Deadline) -> Result<OutboxTurn<'_>, CallError> {
        match deadline.bound(self.outbox().turn()).await {
            Some(Some(turn)) => Ok(turn),
            Some(None) => Err(self.closed_error(method, CallEffect::NotSent)),
            None => Err(deadline.error(method, CallEffect::NotSent)),
        }
    }

    /// Enters the call and puts its frame, in that order. If the channel has ended, the frame is
    /// not sent, and the call waits until the owner says how the process ended.
    fn send(
        &self,
        method: &str,
        id: u64,
        caller: Waker,
        deadline: &Deadline,
        room: OutboxPermit<'_>,
        frame: &mut Vec<u8>,
    ) -> Result<(ResponseFuture<'_>, Enqueued), CallError> {
        let Ok(reply) = ResponseFuture::enter(self, id, caller, deadline.at, deadline.extension.clone())
        else {
            return Err(self.closed_error(method, CallEffect::NotSent));
        };
        let put = if self.channel.has_ended() {
            Enqueued::Discarded
        } else {
            self.outbox().put_tagged(room, frame, id)
        };
        Ok((reply, put))
    }

    fn sent(&self, method: &str, put: Enqueued) -> Result<(), CallError> {
        match put {
            Enqueued::At(_) => Ok(()),
            Enqueued::Discarded | Enqueued::Closed => Err(self.closed_error(method, CallEffect::NotSent)),
        }
    }
}

/// How many streams of one call wait for its caller.
pub(crate) const STREAMS_OF_A_CALL: usize = 64;

/// How much of a result that cannot be read is kept for its error.
const BEGINNING_BYTES: usize = 128;

/// When a call times out, and the timeout that leads to it.
struct Deadline {
    after: Option<Duration>,
    at: Option<Instant>,
    /// How progress moves it, once the call is sent.
    extension: Option<Box<CallExtension>>,
}

impl Deadline {
    fn of(method: &str, after: Option<Duration>) -> Result<Deadline, CallError> {
        if after == Some(Duration::ZERO) {
            return Err(CallError::ZeroTimeout { method: method.to_owned() });
        }
        // A deadline beyond what the clock can express is none.
        let at = after.and_then(|after| Instant::now().checked_add(after));
        Ok(Deadline { after, at, extension: None })
    }

    /// With what progress may change.
    fn extended(mut self, options: CallOptions) -> Deadline {
        if let (Some(longest), Some(after)) = (options.max_total, self.after) {
            let (began, by) = (Instant::now(), options.extend_by.unwrap_or(after));
            self.extension = Some(Box::new(CallExtension { began, by, until: began.checked_add(longest) }));
        }
        self
    }

    async fn bound<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        match self.at {
            Some(at) => timeout_at(at, wait).await.ok(),
            None => Some(wait.await),
        }
    }

    fn error(&self, method: &str, effect: CallEffect) -> CallError {
        let after = match &self.extension {
            Some(extension) => extension.began.elapsed(),
            None => self.after.unwrap_or_default(),
        };
        CallError::Timeout { method: method.to_owned(), after, effect }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rpc::{config::PeerConfig, incoming::handler::NoHandler};

    #[tokio::test(start_paused = true)]
    async fn calls_that_wait_for_their_turn_fail_with_all_others() {
        // C-4
        let (near, _far) = tokio::io::duplex(64);
        let (reader, writer) = tokio::io::split(near);
        let config = PeerConfig { max_queued_bytes: 1000, write_stall: None, ..PeerConfig::default() };
        let peer = Peer::spawn(reader, writer, config, Arc::new(NoHandler));
        let call = || {
            let peer = peer.clone();
            tokio::spawn(async move {
                peer.call_value("m", &"x".repeat(900), CallOptions::timeout(Timeout::Never)).await
            })
        };
        // One is being written, one waits for its room, and one for the second to have it.
        let calls = [call(), call(), call()];
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.fail_calls();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let [first, second, third] = calls;
        assert!(!second.is_finished(), "it fails when it has room, or when the channel ends");
        let effect = async |call: tokio::task::JoinHandle<Result<_, CallError>>| {
            let ended = tokio::time::timeout(Duration::from_secs(60), call).await;
            ended.unwrap().unwrap().unwrap_err().effect()
        };
        assert_eq!(effect(first).await, CallEffect::Unknown);
        assert_eq!(effect(third).await, CallEffect::NotSent);
        drop(peer);
        second.abort();
    }
}
