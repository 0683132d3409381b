//! The answering half of a peer: what becomes of a frame that was read.

pub(crate) mod dispatch;
pub(crate) mod handler;
pub(crate) mod response_batch;
pub(crate) mod router;
pub(crate) mod unreadable_input;
