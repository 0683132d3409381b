//! A stream of frames in both directions over any `AsyncRead` and `AsyncWrite`, which knows nothing of what a frame says.
//!
//! The layer beneath [`rpc`](crate::rpc): it cuts frames and hands them to a sink, queues frames and writes them, bounds
//! both, and says why a channel has ended. It must not know JSON-RPC, processes or workers.

pub(crate) mod close_reason;
pub(crate) mod framing;
pub(crate) mod latch;
pub(crate) mod noise;
pub(crate) mod outbox;
pub(crate) mod reader;
pub(crate) mod writer;
