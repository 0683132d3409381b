//! Handles input that cannot be used: fails the calls that it was meant to answer, refuses
//! requests, and answers nothing else (C-7, C-13).

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    channel::{
        lock::lock,
        recent_noise::{shortened, unreadable},
        scratch::Scratch,
        yield_budget::YieldBudget,
    },
    rpc::{
        error::{RpcError, error_codes},
        incoming::{dispatch::Dispatcher, response_batch::ResponseBatch},
        outgoing::pending_calls::CallFailure,
        wire::{
            encode,
            message::ParseFailure,
            request_id::RequestId,
            salvage::{self, Salvaged},
        },
    },
    untrusted::one_line,
};

impl Dispatcher {
    /// Handles a text that cannot be parsed: fails the calls that it was an answer to (C-13), and
    /// refuses it if it was a request (C-7). `false` if it was neither.
    pub(super) async fn handle_damaged(
        &self,
        text: &[u8],
        damage: &ParseFailure,
        batch: Option<&Arc<ResponseBatch>>,
    ) -> bool {
        let mut budget = YieldBudget::new(&self.shared.channel);
        let mut is_message = false;
        let mut refused = None;
        for object in salvage::objects(text) {
            budget.spend(0).await;
            match object {
                Salvaged::Answer(id, other) => {
                    for id in [Some(id), other].into_iter().flatten() {
                        self.unreadable(&id, text, damage);
                    }
                }
                // If a text holds several, the refusal names none of them.
                Salvaged::Request(id) => {
                    refused = Some(id.filter(|_| !is_message && !text.starts_with(b"[")))
                }
            }
            is_message = true;
        }
        match refused {
            Some(id) => {
                let (code, what) = if damage.is_json {
                    (error_codes::INVALID_REQUEST, "invalid request")
                } else {
                    (error_codes::PARSE_ERROR, "parse error")
                };
                let id = id.filter(|id| !id.is_too_long()).unwrap_or(RequestId::Null);
                self.refuse(id, code, &format!("{what}: {}", damage.reason), batch);
            }
            None if is_message => self.shared.counters.invalid_frames.increment(),
            None => {}
        }
        is_message
    }

    /// Fails the call whose answer cannot be read.
    fn unreadable(&self, id: &RequestId, text: &[u8], damage: &ParseFailure) {
        let mark = if salvage::has_byte_order_mark(text) { " behind a byte order mark" } else { "" };
        let reason = unreadable(&damage.reason, format_args!("the answer{mark}"), text);
        self.shared.unusable(format_args!("call {}: {}", one_line(&id.to_string()), one_line(&reason)));
        self.deliver(id, id.as_call(), Err(Box::new(CallFailure::Malformed(reason))));
    }

    /// Handles an error that names no request. If it can be about one call only, that call fails
    /// with it; usually it cannot.
    pub(super) fn handle_complaint(&self, error: &RawValue) {
        self.shared.counters.complaints.increment();
        self.shared.unusable(format_args!(
            "the other side reported an error that names no request: {}",
            one_line(&shortened(error.get().as_bytes()))
        ));
        let Some(call) = self.shared.outbox().last_tag() else { return };
        let Ok(error) = RpcError::read(error) else { return };
        let caller =
            lock(&self.shared.pending).answer_only_call(call, Err(Box::new(CallFailure::Complaint(error))));
        if let Some(caller) = caller {
            caller.wake();
            self.shared.call_is_done();
        }
    }

    /// Answers without a handler, and without waiting.
    pub(super) fn refuse(&self, id: RequestId, code: i64, message: &str, batch: Option<&Arc<ResponseBatch>>) {
        if code != error_codes::OVERLOADED {
            self.shared.counters.invalid_frames.increment();
            self.shared.unusable(format_args!("refused: {}", one_line(message)));
            // The other side may be unable to use this error and answer it with one of its own.
            // Since only messages with a method are answered, both sides would have to be odd in
            // the same way; this rate bounds them then.
            if lock(&self.errors).admit().is_none() {
                return;
            }
        }
        let mut frame = Scratch::take();
        encode::small_response(&mut frame, &id, RpcError::new(code, message));
        match batch {
            None => self.shared.send_now(&mut frame),
            Some(batch) => self.keep(batch, &frame),
        }
    }

    /// Adds a response that cannot be refused to a batch. If such responses use up the reserve, the
    /// channel ends (C-6).
    pub(super) fn keep(&self, batch: &ResponseBatch, response: &[u8]) {
        let limit = self.shared.config.max_queued_bytes.saturating_mul(2);
        match batch.push(response, &self.shared.batched, limit, self.shared.max_outgoing) {
            Ok(Some(full)) => self.send_batch_now(full),
            Ok(None) => {}
            Err(_) => self.shared.end_of_room(),
        }
    }
}
