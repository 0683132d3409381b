//! What one JSON text is: [`Message`].
//!
//! Pure. Params, results and errors stay raw: they are parsed once, by whoever knows their type. Lenient where the
//! meaning is clear (a missing `jsonrpc`, a response without a result, which is what a JavaScript server sends for
//! `undefined`); everything else that is no message is told apart by how it has to be answered (JSON-RPC 2.0, C-7).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::rpc::RequestId;

/// One message, borrowed from the frame it came in.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    Request {
        id: RequestId,
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    Notification {
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    Response {
        id: RequestId,
        body: Body<'a>,
    },
    /// JSON, but no message: −32600 with this id.
    Invalid {
        id: RequestId,
        reason: &'static str,
    },
}

#[derive(Debug)]
pub(crate) enum Body<'a> {
    Result(&'a RawValue),
    /// A response without `result` and `error`.
    Nothing,
    Error(&'a RawValue),
}

/// What one frame holds.
#[derive(Debug)]
pub(crate) enum Text<'a> {
    One(Message<'a>),
    Batch(Vec<&'a RawValue>),
    /// It meant to be JSON and is not: −32700.
    Broken(String),
    /// It never meant to be JSON.
    Noise,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Tells `null` from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&'de RawValue>::deserialize(deserializer).map(Some)
}

/// How many messages a batch may hold. Without a bound, a frame of tiny elements would cost many times its size.
pub(crate) const MAX_BATCH: usize = 4096;

/// The elements of an array; `None` when there are more than [`MAX_BATCH`].
struct Parts<'a>(Option<Vec<&'a RawValue>>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Vec::new();
                while parts.len() < MAX_BATCH {
                    match elements.next_element()? {
                        Some(part) => parts.push(part),
                        None => return Ok(Parts(Some(parts))),
                    }
                }
                let mut more = false;
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Parts((!more).then_some(parts)))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// Reads one frame, which has no blanks at its ends.
pub(crate) fn read(frame: &[u8]) -> Text<'_> {
    let error = match frame.first() {
        Some(b'{') => match serde_json::from_slice::<Envelope<'_>>(frame) {
            Ok(envelope) => return Text::One(classify(&envelope)),
            Err(error) => error,
        },
        Some(b'[') => match serde_json::from_slice::<Parts<'_>>(frame) {
            Ok(Parts(Some(parts))) => return Text::Batch(parts),
            Ok(Parts(None)) => return Text::One(invalid(RequestId::Null, "the batch is too large")),
            Err(error) => error,
        },
        _ => match serde_json::from_slice::<IgnoredAny>(frame) {
            Ok(_) => return Text::One(invalid(RequestId::Null, "a message is an object")),
            Err(error) => error,
        },
    };
    // JSON, but for instance with the same field twice; unless what follows is none.
    let error = match serde_json::from_slice::<IgnoredAny>(frame) {
        Ok(_) if error.is_data() => return Text::One(invalid(RequestId::Null, "a field occurs twice")),
        Ok(_) => error,
        Err(error) => error,
    };
    if means_json(frame) { Text::Broken(error.to_string()) } else { Text::Noise }
}

/// Reads one element of a batch.
pub(crate) fn read_part(part: &RawValue) -> Message<'_> {
    if !part.get().starts_with('{') {
        return invalid(RequestId::Null, "a message is an object");
    }
    match serde_json::from_str::<Envelope<'_>>(part.get()) {
        Ok(envelope) => classify(&envelope),
        Err(_) => invalid(RequestId::Null, "a field occurs twice"),
    }
}

/// Whether a text that is no JSON looks as if it was meant to be: `{"` and `[{` rather than `{x` and `[INFO]`.
fn means_json(frame: &[u8]) -> bool {
    let mut significant = frame.iter().filter(|b| !b.is_ascii_whitespace());
    matches!(
        (significant.next(), significant.next()),
        (Some(b'{'), Some(b'"' | b'}')) | (Some(b'['), Some(b'{'))
    )
}

fn invalid<'a>(id: RequestId, reason: &'static str) -> Message<'a> {
    Message::Invalid { id, reason }
}

fn classify<'a>(envelope: &Envelope<'a>) -> Message<'a> {
    let id = match envelope.id.map(RequestId::from_raw) {
        Some(None) => return invalid(RequestId::Null, "an id is a number, a string or null"),
        Some(Some(id)) => Some(id),
        None => None,
    };
    if let Some(method) = envelope.method {
        let answer_to = || id.clone().unwrap_or(RequestId::Null);
        if envelope.jsonrpc.is_some_and(|version| text(version).as_deref() != Some("2.0")) {
            return invalid(answer_to(), "jsonrpc is \"2.0\"");
        }
        let Some(method) = text(method) else { return invalid(answer_to(), "a method is a string") };
        let params = envelope.params;
        return match id {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notification { method, params },
        };
    }
    // Answered with a null id: the other side may have a request of its own with the same id, which an error with
    // that id would be taken for an answer to.
    let Some(id) = id else { return invalid(RequestId::Null, "neither a method nor an id") };
    let body = match (envelope.error, envelope.result) {
        (Some(error), _) => Body::Error(error),
        (None, Some(result)) => Body::Result(result),
        (None, None) => Body::Nothing,
    };
    Message::Response { id, body }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    match serde_json::from_str::<&str>(raw.get()) {
        Ok(text) => Some(Cow::Borrowed(text)),
        // With an escape in it.
        Err(_) => serde_json::from_str::<String>(raw.get()).ok().map(Cow::Owned),
    }
}
