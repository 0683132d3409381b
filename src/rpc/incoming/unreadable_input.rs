//! What the reader does with what cannot be used: fails the calls that it was meant to answer, refuses what was a request,
//! and answers nothing else (C-7, C-13).

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    channel::{
        noise::{shortened, unreadable},
        reader::YieldBudget,
    },
    rpc::{
        error::{RpcError, error_codes},
        incoming::{dispatch::Dispatcher, response_batch::ResponseBatch},
        outgoing::pending_calls::CallFailure,
        peer_shared::lock,
        wire::{
            encode,
            message::ParseFailure,
            request_id::RequestId,
            salvage::{self, Salvaged},
        },
    },
    untrusted::{ID_BYTES, one_line},
};

/// Ids are kept and sent back: a longer one is refused, since they are counted nowhere.
pub(super) fn has_fitting_length(id: &RequestId) -> bool {
    !matches!(id, RequestId::Text(id) | RequestId::Other(id) if id.len() > ID_BYTES)
}

impl Dispatcher {
    /// Makes the best of a text that cannot be read: fails the calls that it was an answer to (C-13), and refuses what was
    /// a request (C-7). `false` if it was neither.
    pub(super) async fn damaged(
        &self,
        text: &[u8],
        damage: &ParseFailure,
        batch: Option<&Arc<ResponseBatch>>,
    ) -> bool {
        let mut turn = YieldBudget::new(&self.link);
        let mut is_message = false;
        let mut refused = None;
        for object in salvage::objects(text) {
            turn.pass(0).await;
            match object {
                Salvaged::Answer(id, other) => {
                    for id in [Some(id), other].into_iter().flatten() {
                        self.unreadable(&id, text, damage);
                    }
                }
                // Of several in one text, no one is the one that is refused.
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
                let id = id.filter(has_fitting_length).unwrap_or(RequestId::Null);
                self.refuse(id, code, &format!("{what}: {}", damage.reason), batch);
            }
            None if is_message => self.link.counters.invalid_frames.one(),
            None => {}
        }
        is_message
    }

    /// Fails the call that has been answered with something that cannot be read.
    fn unreadable(&self, id: &RequestId, text: &[u8], damage: &ParseFailure) {
        let mark = if salvage::has_byte_order_mark(text) { " behind a byte order mark" } else { "" };
        let reason = unreadable(&damage.reason, format_args!("the answer{mark}"), text);
        self.link.unusable(format_args!("call {}: {}", one_line(&id.to_string()), one_line(&reason)));
        self.settle(id, id.as_call(), Err(Box::new(CallFailure::Malformed(reason))));
    }

    /// An error that names no request. The only call that it can be about fails with it; usually there is none.
    pub(super) fn complaint(&self, error: &RawValue) {
        self.link.counters.complaints.one();
        self.link.unusable(format_args!(
            "the other side reports an error that names no request: {}",
            one_line(&shortened(error.get().as_bytes()))
        ));
        let Some(call) = self.link.outbox.last_call() else { return };
        let Ok(error) = RpcError::read(error) else { return };
        let caller = lock(&self.link.pending).blame(call, Err(Box::new(CallFailure::Complaint(error))));
        if let Some(caller) = caller {
            caller.wake();
            self.link.call_is_done();
        }
    }

    /// Answers without a handler, and without waiting.
    pub(super) fn refuse(&self, id: RequestId, code: i64, message: &str, batch: Option<&Arc<ResponseBatch>>) {
        if code != error_codes::OVERLOADED {
            self.link.counters.invalid_frames.one();
            self.link.unusable(format_args!("refused: {}", one_line(message)));
            // Such an error may itself be what the other side cannot use, and answers with an error. Only what asks for
            // something is answered at all, so both would have to be odd in the same way; this is what bounds them then.
            if lock(&self.errors).admit().is_none() {
                return;
            }
        }
        let mut frame = encode::Scratch::take();
        encode::small_response(&mut frame, &id, RpcError::new(code, message));
        match batch {
            None => self.link.send_now(&mut frame),
            Some(batch) => self.keep(batch, &frame),
        }
    }

    /// Adds a response that cannot be refused to a batch; the reserve that is used up by them ends the channel (C-6).
    pub(super) fn keep(&self, batch: &ResponseBatch, response: &[u8]) {
        let limit = self.link.config.max_queued_bytes.saturating_mul(2);
        match batch.push(response, &self.link.batched, limit, self.link.max_outgoing) {
            Ok(Some(full)) => self.send_batch_now(full),
            Ok(None) => {}
            Err(_) => self.link.end_of_room(),
        }
    }
}
