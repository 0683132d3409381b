//! The calling half of a peer: calls, the table of those that wait for an answer, their deadlines
//! and their limit.

pub(crate) mod announced_methods;
pub(crate) mod call;
pub(crate) mod call_limit;
pub(crate) mod pending_calls;
pub(crate) mod response_future;
pub(crate) mod sequential_id_map;
pub(crate) mod timer_task;
