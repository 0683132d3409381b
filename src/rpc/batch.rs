//! Collects the responses to one incoming batch: [`Batch`].
//!
//! JSON-RPC 2.0 §6: the responses to a batch go back as one array, in any order; when there are none, nothing is
//! sent. So a batch is answered when its slowest request is.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::rpc::link::lock;

pub(crate) struct Batch {
    responses: Mutex<Vec<u8>>,
    /// Requests without a response, and one for the reader while it goes through the batch.
    open: AtomicUsize,
}

impl Batch {
    pub(crate) fn new() -> Arc<Batch> {
        Arc::new(Batch { responses: Mutex::default(), open: AtomicUsize::new(1) })
    }

    /// One more request will be answered.
    pub(crate) fn expect(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a response that was not expected.
    pub(crate) fn push(&self, response: &[u8]) {
        let mut responses = lock(&self.responses);
        let separator = if responses.is_empty() { b'[' } else { b',' };
        responses.push(separator);
        responses.extend_from_slice(response);
    }

    /// Adds an expected response. Returns the frame when it was the last.
    pub(crate) fn add(&self, response: &[u8]) -> Option<Vec<u8>> {
        self.push(response);
        self.release()
    }

    /// One less is expected. Returns the frame when that was the last and there is something to send.
    pub(crate) fn release(&self) -> Option<Vec<u8>> {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let mut frame = std::mem::take(&mut *lock(&self.responses));
        if frame.is_empty() {
            return None;
        }
        frame.push(b']');
        Some(frame)
    }
}
