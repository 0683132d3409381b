//! The requests of the other side that run or wait for a handler: [`RequestQueue`].
//!
//! Pure bookkeeping: counts and bounds of one peer's requests (C-6). It runs nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde_json::value::RawValue;
use tokio::sync::SetOnce;

use crate::rpc::{config::PeerConfig, incoming::response_batch::ResponseBatch, wire::request_id::RequestId};

#[derive(Default)]
pub(super) struct RequestQueue {
    pub(super) running: usize,
    /// Bytes of the requests that run.
    pub(super) running_bytes: usize,
    pub(super) waiting: VecDeque<QueuedRequest>,
    /// Bytes of the requests that wait.
    pub(super) waiting_bytes: usize,
    /// Open requests that the other side may cancel. Only looked up by id, so its order decides nothing.
    pub(super) cancels: HashMap<RequestId, Arc<SetOnce<()>>>,
}

/// One request with the values it owns while it waits and runs.
pub(super) struct QueuedRequest {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) batch: Option<Arc<ResponseBatch>>,
    pub(super) cancel: Option<Arc<SetOnce<()>>>,
}

impl QueuedRequest {
    pub(super) fn bytes(&self) -> usize {
        request_bytes(&self.method, self.params.as_deref())
    }
}

/// The size that a request counts as.
pub(super) fn request_bytes(method: &str, params: Option<&RawValue>) -> usize {
    method.len() + params.map_or(0, |params| params.get().len())
}

impl RequestQueue {
    /// Whether a request of this size may run beside those that are running.
    pub(super) fn has_room(&self, bytes: usize, config: &PeerConfig) -> bool {
        self.running == 0
            || (self.running < config.max_handlers.max(1)
                && self.running_bytes.saturating_add(bytes) <= config.max_handler_bytes)
    }

    pub(super) fn run(&mut self, bytes: usize) {
        self.running += 1;
        self.running_bytes += bytes;
    }

    /// The next waiting request, if it may run now. Requests run in order of arrival.
    pub(super) fn next(&mut self, config: &PeerConfig) -> Option<QueuedRequest> {
        let bytes = self.waiting.front()?.bytes();
        if !self.has_room(bytes, config) {
            return None;
        }
        self.waiting_bytes -= bytes;
        self.run(bytes);
        self.waiting.pop_front()
    }
}
