//! JSON-RPC messages as text. Reads what a frame holds, writes frames, and salvages ids from
//! damaged ones. Pure: no I/O, no tasks.

pub(crate) mod encode;
pub(crate) mod message;
pub(crate) mod params_meta;
pub(crate) mod request_id;
pub(crate) mod response_fast_path;
pub(crate) mod salvage;
pub(crate) mod typed_values;
