//! The figures of a peer: [`PeerStats`], and the counters they are read from.

use serde::{Deserialize, Serialize};

use crate::channel::counter::Counter;

/// The figures of one peer at one moment. Reading them is cheap and blocks nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerStats {
    /// Calls that wait for an answer.
    pub in_flight: usize,
    /// Bytes that wait to be written, or for the rest of their batch.
    pub bytes_queued: usize,
    /// Requests of the other side that run or wait for a handler.
    pub requests_open: usize,
    /// Frames read.
    pub frames_in: u64,
    /// Frames handed to the writer.
    pub frames_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Answers to calls that had timed out or been dropped.
    pub late_replies: u64,
    /// Answers to calls that were never made, or a second answer to one.
    pub unknown_replies: u64,
    /// Errors whose id is null, empty or missing: the other side could not use a message of this one.
    pub complaints: u64,
    /// Droppable notifications that found no room.
    pub dropped_notifications: u64,
    /// Lines that were not messages: not JSON, or JSON that neither asks for anything nor answers anything.
    pub noise_lines: u64,
    /// Requests and answers that could not be used: damaged, or not valid JSON-RPC.
    pub invalid_frames: u64,
    /// Requests that were answered with −32000.
    pub overloaded: u64,
    /// Handlers of requests or notifications, and acceptors of streams, that panicked.
    pub panics: u64,
    /// Streams that the other side has opened and that have not ended.
    pub streams_open: usize,
    /// What the items that wait for the consumers of streams count as.
    pub stream_bytes: usize,
    /// Items of streams that were kept for their consumers.
    pub stream_items: u64,
    /// Items that were dropped: their stream had ended, or was never opened, or they found no room.
    pub dropped_stream_items: u64,
    /// Streams that were ended because an item found no room.
    pub overflowed_streams: u64,
    /// Streams that were not opened: nothing took them, they were too many, or the request was not valid.
    pub refused_streams: u64,
}

#[derive(Debug, Default)]
pub(crate) struct PeerCounters {
    pub(crate) late_replies: Counter,
    pub(crate) unknown_replies: Counter,
    pub(crate) complaints: Counter,
    pub(crate) dropped_notifications: Counter,
    pub(crate) invalid_frames: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) panics: Counter,
    pub(crate) stream_items: Counter,
    pub(crate) dropped_stream_items: Counter,
    pub(crate) overflowed_streams: Counter,
    pub(crate) refused_streams: Counter,
}
