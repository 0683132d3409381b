//! The id of a request on the wire: [`RequestId`].

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::untrusted::ID_BYTES;

/// The id of a request. `1` and `"1"` are different ids (C-13).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RequestId {
    /// An integer.
    Number(i64),
    /// A string.
    Text(String),
    /// Any other number, in its original notation.
    Other(String),
    /// `null`: legal, and answered with `null`, but useless for matching.
    Null,
}

impl RequestId {
    /// Reads an id; `None` if it is neither a number, a string nor null, or is longer than 1 KiB.
    pub fn from_raw(raw: &RawValue) -> Option<RequestId> {
        let text = raw.get();
        if RequestId::is_written_too_long(text) {
            return None;
        }
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(RequestId::Text),
            b'n' => Some(RequestId::Null),
            b'-' | b'0'..=b'9' => Some(match text.parse() {
                Ok(number) => RequestId::Number(number),
                Err(_) => RequestId::Other(text.to_owned()),
            }),
            _ => None,
        }
    }
}

impl RequestId {
    /// Whether an id with this text is certainly longer than an id may be. An escape takes six bytes for one.
    pub(crate) fn is_written_too_long(written: &str) -> bool {
        written.len() > 6 * ID_BYTES + 2
    }

    /// Whether it is longer than 1 KiB. Ids are kept and sent back, and are counted nowhere, so a
    /// longer one is refused.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, RequestId::Text(id) | RequestId::Other(id) if id.len() > ID_BYTES)
    }

    /// The call of this side that this id may belong to. `1.0` and `1e0` are the number 1, and so
    /// is `"1"`, since all ids of this side are numbers. Some servers return each id as a string,
    /// and the clients they are tested with accept that.
    pub(crate) fn as_call(&self) -> Option<u64> {
        /// Floats beyond this do not represent each integer, and longer texts are not ids of this side.
        const MOST: f64 = 9_007_199_254_740_992.0;
        const MOST_CHARS: usize = 64;
        match self {
            RequestId::Number(number) => u64::try_from(*number).ok(),
            RequestId::Text(text) => text.parse().ok().filter(|number: &u64| number.to_string() == *text),
            RequestId::Other(text) if text.len() <= MOST_CHARS => {
                let number = text.parse().ok().filter(|number: &f64| number.fract() == 0.0)?;
                // Just checked: it is an integer and fits.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                (0.0..=MOST).contains(&number).then_some(number as u64)
            }
            RequestId::Other(_) | RequestId::Null => None,
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RequestId::Number(number) => serializer.serialize_i64(*number),
            RequestId::Text(text) => serializer.serialize_str(text),
            // Written back digit for digit: 1.0 must not become 1.
            RequestId::Other(raw) => match RawValue::from_string(raw.clone()) {
                Ok(raw) => raw.serialize(serializer),
                Err(_) => serializer.serialize_unit(),
            },
            RequestId::Null => serializer.serialize_unit(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Number(number) => write!(f, "{number}"),
            RequestId::Text(text) => write!(f, "{text:?}"),
            RequestId::Other(raw) => f.write_str(raw),
            RequestId::Null => f.write_str("null"),
        }
    }
}

impl From<i64> for RequestId {
    fn from(id: i64) -> RequestId {
        RequestId::Number(id)
    }
}

impl From<&str> for RequestId {
    fn from(id: &str) -> RequestId {
        RequestId::Text(id.to_owned())
    }
}
