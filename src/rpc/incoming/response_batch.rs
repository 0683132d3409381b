//! Collects the responses to one incoming batch: [`ResponseBatch`].
//!
//! JSON-RPC 2.0 §6: the responses to a batch go back as one array, in any order; if there are none,
//! nothing is sent. So a batch is answered when its slowest request is, and its responses are kept
//! until then. The bytes that all batches of a peer keep are counted ([`KeptResponseBytes`]) and bounded
//! like other replies that wait (C-6).

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::channel::{lock::lock, scratch::append};

/// A count of the response bytes that a peer keeps.
#[derive(Debug, Default)]
pub(crate) struct KeptResponseBytes(AtomicUsize);

impl KeptResponseBytes {
    /// Counts `bytes` more, if they fit into `limit`.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        let more = |kept: usize| kept.checked_add(bytes).filter(|kept| *kept <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// The same, but bytes beyond the limit are accepted if nothing else is kept.
    pub(crate) fn take_or_alone(&self, bytes: usize, limit: usize) -> bool {
        self.take(bytes, limit)
            || self.0.compare_exchange(0, bytes, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Counts `bytes` less.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// There is no room for another response.
#[derive(Debug)]
pub(crate) struct BatchFull;

pub(crate) struct ResponseBatch {
    responses: Mutex<Vec<u8>>,
    /// Requests without a response, plus one while the reader goes through the batch.
    open: AtomicUsize,
}

impl ResponseBatch {
    pub(crate) fn new() -> Arc<ResponseBatch> {
        Arc::new(ResponseBatch { responses: Mutex::default(), open: AtomicUsize::new(1) })
    }

    /// One more response is expected.
    pub(crate) fn expect(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a response, if all batches together then keep no more than `limit` bytes. Call
    /// [`release`](ResponseBatch::release) after it if it was expected. If the response does not
    /// fit into one frame of `max_bytes` with the present ones, those are returned as a frame of
    /// their own, as `release` does: the other side finds each by its id, and a batch cannot be
    /// refused in part.
    pub(crate) fn push(
        &self,
        response: &[u8],
        kept: &KeptResponseBytes,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Option<Vec<u8>>, BatchFull> {
        // With the bracket or comma before it.
        if !kept.take(response.len() + 1, limit) {
            return Err(BatchFull);
        }
        let mut responses = lock(&self.responses);
        // With the bracket or comma before it, and the bracket at the end.
        let full = !responses.is_empty() && responses.len() + response.len() + 2 > max_bytes;
        let full = full.then(|| {
            let mut frame = std::mem::take(&mut *responses);
            frame.push(b']');
            frame
        });
        let separator = if responses.is_empty() { b'[' } else { b',' };
        append(&mut responses, &[separator]);
        append(&mut responses, response);
        Ok(full)
    }

    /// One response less is expected. Returns the frame if that was the last and there is something
    /// to send. The frame gives back its length minus one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_full_when_the_next_response_would_make_it_too_large() {
        // C-1: two responses of four bytes make `[aaaa,bbbb]`.
        for (max_bytes, frames) in [(11, 1), (10, 2)] {
            let (batch, kept) = (ResponseBatch::new(), KeptResponseBytes::default());
            assert_eq!(batch.push(b"aaaa", &kept, 100, max_bytes).unwrap(), None);
            let full = batch.push(b"bbbb", &kept, 100, max_bytes).unwrap();
            let last = batch.release().unwrap();
            let sent: Vec<Vec<u8>> = full.into_iter().chain([last]).collect();
            assert_eq!(sent.len(), frames, "{max_bytes}");
            assert!(sent.iter().all(|frame| frame.len() <= max_bytes), "{sent:?}");
            // What each frame gives back adds up.
            sent.iter().for_each(|frame| kept.give_back(frame.len() - 1));
            assert_eq!(kept.bytes(), 0);
        }
    }
}
