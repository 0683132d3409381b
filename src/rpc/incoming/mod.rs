//! The answering half of a peer: dispatches the frames that were read, runs handlers, sends
//! their responses, and keeps the items of its streams.

pub(crate) mod dispatch;
pub(crate) mod handler;
pub(crate) mod method_router;
pub(crate) mod request_queue;
pub(crate) mod response_batch;
pub(crate) mod stream_acceptor;
pub(crate) mod stream_dispatch;
pub(crate) mod stream_listener;
pub(crate) mod stream_receiver;
pub(crate) mod stream_table;
pub(crate) mod unreadable_input;
