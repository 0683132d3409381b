//! A channel: frames in both directions over any `AsyncRead` and `AsyncWrite`, without a notion of
//! what a frame says.
//!
//! The layer beneath [`rpc`](crate::rpc). The reader cuts frames out of a stream and hands them to
//! a handler, the outbox bounds and queues frames, and the writer writes them. This folder also says
//! why a channel has ended and how a process's lifecycle controls one without knowing what is spoken on
//! it. It must not know JSON-RPC, processes or workers.

pub(crate) mod channel_callbacks;
pub(crate) mod channel_shared;
pub(crate) mod close_reason;
pub(crate) mod counter;
pub(crate) mod framing;
pub(crate) mod lifecycle;
pub(crate) mod lock;
pub(crate) mod outbox;
pub(crate) mod reader;
pub(crate) mod recent_noise;
pub(crate) mod scratch;
pub(crate) mod writer;
pub(crate) mod yield_budget;
