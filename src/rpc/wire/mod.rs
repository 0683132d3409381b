//! JSON-RPC messages as text: what a frame holds, and what is written into one. Pure.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod message;
pub(crate) mod request_id;
pub(crate) mod response_scan;
pub(crate) mod salvage;
