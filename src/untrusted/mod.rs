//! What processes said, handled as untrusted input.
//!
//! * [`sanitize`]: text on its way to where people read it becomes one bounded line without control
//!   characters.
//! * [`json_scan`]: looks into JSON without building it.
//! * [`bounded_errors`]: reads a type from JSON without error messages that are longer than the input.
//!
//! Imported by every layer. It knows nothing of processes, channels or trees.

mod bounded_errors;
pub(crate) mod json_scan;
mod sanitize;

pub(crate) use bounded_errors::BoundedErrorDeserializer;
pub(crate) use sanitize::{
    ID_BYTES, LINE_BYTES, SHOWN_BYTES, escaped, into_one_line, last_lines, one_line, one_line_cow,
    one_line_up_to,
};
