//! What processes said, handled as untrusted input.
//!
//! * [`sanitize`]: text on its way to where people read it becomes one bounded line without control
//!   characters.
//! * [`borrowed_json`]: looks into JSON without building it.
//! * [`bounded_error_deserializer`]: reads a type from JSON without error messages that are longer
//!   than the input.
//!
//! Imported by every layer. It knows nothing of processes, channels or trees.

pub(crate) mod borrowed_json;
mod bounded_error_deserializer;
mod sanitize;

pub(crate) use bounded_error_deserializer::BoundedErrorDeserializer;
pub(crate) use sanitize::{
    ID_BYTES, LINE_BYTES, SHOWN_BYTES, escaped, into_one_line, last_lines, one_line, one_line_cow,
    one_line_up_to,
};
