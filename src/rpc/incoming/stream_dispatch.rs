//! The three methods by which the other side sends streams (C-10, G-5): `streams.open`, `streams.emit` and
//! `streams.close`. Handled by the reader itself, so that items keep their order and wait for no handler.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    channel::lock::lock,
    rpc::{
        error::{RpcError, error_codes},
        incoming::{
            dispatch::Dispatcher,
            response_batch::ResponseBatch,
            stream_acceptor::{OfferedStream, StreamAcceptor as _},
            stream_receiver::StreamOpenParams,
            stream_table::{ItemRoom, StreamOpenRefusal},
        },
        stream_end::StreamEnd,
        wire::request_id::RequestId,
    },
    untrusted::{
        SHOWN_BYTES,
        borrowed_json::{members, text},
        one_line,
    },
};

const OPEN: &str = "streams.open";
const EMIT: &str = "streams.emit";
const CLOSE: &str = "streams.close";

/// The longest name of a channel or a scope, in bytes.
const NAME_BYTES: usize = 512;

impl Dispatcher {
    /// Whether this method is a notification about a stream here.
    pub(super) fn is_stream_notification(&self, method: &str) -> bool {
        self.shared.has_streams && matches!(method, EMIT | CLOSE)
    }

    /// Handles a request to open a stream. `false` if it is none, and a handler has to answer it.
    pub(super) fn take_stream_request(
        &self,
        id: &RequestId,
        method: &str,
        params: Option<&RawValue>,
        batch: Option<&Arc<ResponseBatch>>,
    ) -> bool {
        if !self.shared.has_streams || method != OPEN {
            return false;
        }
        let answer = |answer: Result<Option<usize>, RpcError>| self.answer_opening(id, answer, batch);
        let refuse = |code: i64, reason: &str| {
            self.shared.counters.refused_streams.increment();
            answer(Err(RpcError::new(code, reason)));
        };
        let opening = match read_opening(params) {
            Ok(opening) => opening,
            Err(reason) => {
                refuse(error_codes::INVALID_PARAMS, &format!("invalid params: {reason}"));
                return true;
            }
        };
        let allowed = lock(&self.shared.streams).check(&opening.id);
        match allowed {
            Ok(()) => self.offer(OfferedStream::new(self.shared.clone(), opening, Box::new(answer))),
            Err(StreamOpenRefusal::IdUsed) => {
                refuse(error_codes::INVALID_PARAMS, "invalid params: `stream` was used before");
            }
            Err(StreamOpenRefusal::TooMany) => {
                refuse(error_codes::OVERLOADED, "overloaded: too many streams are open");
            }
            Err(StreamOpenRefusal::Closed) => {}
        }
        true
    }

    /// Offers a stream to the caller that waits for streams of the call it names, or else to the
    /// acceptor of the peer. While the channel is being left, only streams of calls are taken:
    /// others would come for ever.
    fn offer(&self, offered: OfferedStream<'_>) {
        let call = offered.call().and_then(RequestId::as_call);
        let caller = call.and_then(|call| self.shared.caller_of_streams(call));
        let offered = match caller {
            Some(caller) => caller.open(offered),
            None => Some(offered),
        };
        let (Some(offered), Some(acceptor), false) =
            (offered, &self.shared.config.stream_acceptor, self.shared.is_retiring())
        else {
            return;
        };
        // A stream that is dropped is refused.
        if catch_unwind(AssertUnwindSafe(|| drop(acceptor.open(offered)))).is_err() {
            self.shared.panicked(format_args!("the acceptor of streams panicked"));
        }
    }

    /// Answers without a handler, and without waiting.
    fn answer_opening(
        &self,
        id: &RequestId,
        answer: Result<Option<usize>, RpcError>,
        batch: Option<&Arc<ResponseBatch>>,
    ) {
        #[derive(Serialize)]
        struct Opened {
            ok: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            credit: Option<usize>,
        }
        let answer =
            answer.and_then(|credit| to_raw_value(&Opened { ok: true, credit }).map_err(RpcError::internal));
        self.answer_now(id, &answer, batch);
    }

    /// Handles a notification about a stream. `false` if it is none.
    pub(super) fn take_stream_notification(&self, method: &str, params: Option<&RawValue>) -> bool {
        if !self.shared.has_streams {
            return false;
        }
        match method {
            EMIT => self.emit(params),
            CLOSE => self.close_stream(params),
            OPEN => self.invalid_stream_message(OPEN, "it has no id to be answered to"),
            _ => return false,
        }
        true
    }

    fn emit(&self, params: Option<&RawValue>) {
        let read = params.and_then(|params| members(params, ["stream", "item"]));
        let (Some(id), Some(item)) =
            (read.and_then(|[id, _]| stream_id(id?)), read.and_then(|[_, item]| item))
        else {
            return self.invalid_stream_message(EMIT, "it has no `stream` or no `item`");
        };
        let shared = &self.shared;
        let room = lock(&shared.streams).room(&id, item.get().len());
        match room {
            ItemRoom::Free(number) => {
                // A large copy, so it is made outside of the lock. Only this task adds items, so that the
                // room stays free.
                let item = item.to_owned();
                let pushed = lock(&shared.streams).push(number, item);
                match pushed {
                    Ok(consumer) => {
                        shared.counters.stream_items.increment();
                        wake(consumer);
                    }
                    Err(_cancelled) => shared.counters.dropped_stream_items.increment(),
                }
            }
            ItemRoom::Overflow(consumer) => {
                shared.counters.dropped_stream_items.increment();
                shared.counters.overflowed_streams.increment();
                shared.send_stream_close(&id, "overflow");
                wake(consumer);
                shared.stream_is_done();
            }
            ItemRoom::NotOpen { has_ended } => {
                shared.counters.dropped_stream_items.increment();
                if !has_ended {
                    shared.unusable(format_args!(
                        "dropped an item of the stream {}, which was never opened",
                        one_line(&id.to_string())
                    ));
                }
            }
        }
    }

    fn close_stream(&self, params: Option<&RawValue>) {
        let read = params.and_then(|params| members(params, ["stream", "error"]));
        let Some(id) = read.and_then(|[id, _]| stream_id(id?)) else {
            return self.invalid_stream_message(CLOSE, "it has no `stream`");
        };
        let error = read.and_then(|[_, error]| error).filter(|error| error.get() != "null");
        let end = error.map_or(StreamEnd::Closed, |error| StreamEnd::Failed(read_error(error)));
        let (ended, known) = {
            let mut streams = lock(&self.shared.streams);
            (streams.end(&id, end), streams.has_ended(&id))
        };
        match ended {
            Some(consumer) => {
                self.shared.count_use();
                wake(consumer);
                self.shared.stream_is_done();
            }
            // Both sides may have closed it at the same time.
            None if known => {}
            None => self.invalid_stream_message(CLOSE, "no such stream is open"),
        }
    }

    fn invalid_stream_message(&self, method: &str, why: &str) {
        self.shared.counters.invalid_frames.increment();
        self.shared.unusable(format_args!("ignored `{method}`: {why}"));
    }
}

fn wake(consumer: Option<std::task::Waker>) {
    if let Some(consumer) = consumer {
        consumer.wake();
    }
}

/// The id of a stream: a number or a string of at most 1 KiB.
fn stream_id(raw: &RawValue) -> Option<RequestId> {
    RequestId::from_raw(raw).filter(|id| *id != RequestId::Null && !id.is_too_long())
}

fn read_opening(params: Option<&RawValue>) -> Result<StreamOpenParams, &'static str> {
    let names = ["stream", "channel", "scope", "request", "credit"];
    let read = params.and_then(|params| members(params, names)).ok_or("not an object")?;
    let [id, channel, scope, call, credit] = read.map(|member| member.filter(|it| it.get() != "null"));
    let id = id.and_then(stream_id).ok_or("`stream` is not a number or a string of at most 1 KiB")?;
    let channel = channel.and_then(name).ok_or("`channel` is not a string of at most 512 bytes")?;
    let scope = scope.map(|scope| name(scope).ok_or("`scope` is not a string of at most 512 bytes"));
    let call = call.map(|call| stream_id(call).ok_or("`request` is not the id of a request"));
    let wants_credit = match credit.map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("`credit` is neither true nor false"),
    };
    Ok(StreamOpenParams { id, channel, scope: scope.transpose()?, call: call.transpose()?, wants_credit })
}

/// A name of a channel or a scope. An escape takes six bytes for one.
fn name(raw: &RawValue) -> Option<String> {
    let name = (raw.get().len() <= 6 * NAME_BYTES + 2).then(|| text(raw, 6 * NAME_BYTES))??;
    (name.len() <= NAME_BYTES).then_some(name)
}

/// The error that a stream failed with. Whatever the other side wrote, the stream has failed.
fn read_error(raw: &RawValue) -> RpcError {
    let [code, message] = members(raw, ["code", "message"]).unwrap_or_default();
    let code = code.and_then(|code| code.get().parse().ok()).unwrap_or(error_codes::INTERNAL_ERROR);
    let message = message.and_then(|message| text(message, SHOWN_BYTES)).unwrap_or_default();
    RpcError::new(code, message)
}
