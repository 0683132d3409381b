//! The answering half of a peer: dispatches the frames that were read, runs handlers, and sends
//! their responses.

pub(crate) mod dispatch;
pub(crate) mod handler;
pub(crate) mod request_queue;
pub(crate) mod response_batch;
pub(crate) mod router;
pub(crate) mod unreadable_input;
