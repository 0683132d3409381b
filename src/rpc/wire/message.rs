//! Parses one JSON text as a [`Message`].
//!
//! Pure. Params, results and errors stay raw: code that knows their type parses them, once. Lenient
//! where the meaning is clear (a missing `jsonrpc`; a response without a result, which a JavaScript
//! server sends for `undefined`). Only a message with a `method` asks for something, so nothing
//! else is ever answered (C-7): programs also write their logs as JSON, and two sides that answer
//! each other's errors would never stop.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{rpc::wire::request_id::RequestId, untrusted::borrowed_json::members};

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
        body: ResponseBody<'a>,
    },
    /// An error that does not name its request: its id is null, empty or missing.
    Complaint {
        error: &'a RawValue,
    },
    /// An object with a method that is not a valid request: to be answered with −32600 and this id.
    Invalid {
        id: RequestId,
        reason: &'static str,
    },
    /// JSON, but not a message, such as the line of a JSON logger.
    Noise,
}

#[derive(Debug)]
pub(crate) enum ResponseBody<'a> {
    Result(&'a RawValue),
    /// A response with neither `result` nor `error`.
    Nothing,
    Error(&'a RawValue),
}

/// What one frame holds.
#[derive(Debug)]
pub(crate) enum FrameContent<'a> {
    One(Message<'a>),
    Batch(Vec<&'a RawValue>),
    /// It cannot be parsed as a whole. Its ids may still be legible.
    Damaged(ParseFailure),
}

/// Why a text cannot be parsed.
#[derive(Debug)]
pub(crate) struct ParseFailure {
    /// The mistake and its position.
    pub(crate) reason: String,
    /// Whether it is JSON nevertheless.
    pub(crate) is_json: bool,
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

/// Keeps a present `null` apart from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&'de RawValue>::deserialize(deserializer).map(Some)
}

/// How long the text of a name may be: 1 KiB, with each byte escaped.
const MAX_NAME_BYTES: usize = 6 * 1024 + 2;

/// How many messages a batch may hold. Without a bound, a frame of tiny elements would cost many
/// times its size.
pub(crate) const MAX_BATCH: usize = 4096;

/// The elements of an array; `None` when there are more than [`MAX_BATCH`].
struct BatchElements<'a>(Option<Vec<&'a RawValue>>);

impl<'de> Deserialize<'de> for BatchElements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = BatchElements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<BatchElements<'de>, A::Error> {
                let mut parts = Vec::new();
                while parts.len() < MAX_BATCH {
                    match elements.next_element()? {
                        Some(part) => parts.push(part),
                        None => return Ok(BatchElements(Some(parts))),
                    }
                }
                let mut more = false;
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(BatchElements((!more).then_some(parts)))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// Parses one frame, which has no blanks at its ends.
pub(crate) fn read(frame: &[u8]) -> FrameContent<'_> {
    let error = match frame.first() {
        Some(b'{') => match serde_json::from_slice::<Envelope<'_>>(frame) {
            Ok(envelope) => return FrameContent::One(classify(&envelope, frame)),
            Err(error) => error,
        },
        Some(b'[') => match serde_json::from_slice::<BatchElements<'_>>(frame) {
            Ok(BatchElements(Some(parts))) if parts.iter().any(|part| is_object(part)) => {
                return FrameContent::Batch(parts);
            }
            Ok(BatchElements(Some(_))) => return FrameContent::One(Message::Noise),
            Ok(BatchElements(None)) => {
                let reason = format!("the batch holds more than {MAX_BATCH} messages");
                return FrameContent::Damaged(ParseFailure { reason, is_json: true });
            }
            Err(error) => error,
        },
        _ => match serde_json::from_slice::<IgnoredAny>(frame) {
            Ok(_) => return FrameContent::One(Message::Noise),
            Err(error) => error,
        },
    };
    // It may be JSON, for instance with the same field twice.
    FrameContent::Damaged(match serde_json::from_slice::<IgnoredAny>(frame) {
        Ok(_) => ParseFailure { reason: error.to_string(), is_json: error.is_data() },
        Err(error) => ParseFailure { reason: error.to_string(), is_json: false },
    })
}

/// Parses one element of a batch.
pub(crate) fn read_part(part: &RawValue) -> Result<Message<'_>, ParseFailure> {
    if !is_object(part) {
        return Ok(Message::Noise);
    }
    match serde_json::from_str::<Envelope<'_>>(part.get()) {
        Ok(envelope) => Ok(classify(&envelope, part.get().as_bytes())),
        Err(error) => Err(ParseFailure { reason: error.to_string(), is_json: error.is_data() }),
    }
}

fn is_object(part: &RawValue) -> bool {
    part.get().starts_with('{')
}

fn classify<'a>(envelope: &Envelope<'a>, object: &[u8]) -> Message<'a> {
    let id = envelope.id.map(RequestId::from_raw);
    if let Some(method) = envelope.method {
        return request(envelope, id, method);
    }
    match (id, envelope.error, envelope.result) {
        (None | Some(Some(RequestId::Null)), Some(error), _) if is_error(error) => {
            Message::Complaint { error }
        }
        (Some(Some(RequestId::Text(id))), Some(error), _) if id.is_empty() && is_error(error) => {
            Message::Complaint { error }
        }
        (Some(Some(id)), Some(error), _) => Message::Response { id, body: ResponseBody::Error(error) },
        (Some(Some(id)), None, Some(result)) => Message::Response { id, body: ResponseBody::Result(result) },
        // Without a version it might be anything that has an id, for instance a line of a log.
        (Some(Some(id)), None, None) if envelope.jsonrpc.is_some() || is_bare(object) => {
            Message::Response { id, body: ResponseBody::Nothing }
        }
        _ => Message::Noise,
    }
}

/// Classifies a message with a method, which therefore asks for something.
fn request<'a>(envelope: &Envelope<'a>, id: Option<Option<RequestId>>, method: &'a RawValue) -> Message<'a> {
    let id = match id {
        Some(None) => {
            let reason = "an id is a number, a string or null";
            return Message::Invalid { id: RequestId::Null, reason };
        }
        Some(id) => id,
        None => None,
    };
    let invalid =
        |id: Option<RequestId>, reason| Message::Invalid { id: id.unwrap_or(RequestId::Null), reason };
    let is_2 =
        |version: &RawValue| version.get().len() <= MAX_NAME_BYTES && text(version).as_deref() == Some("2.0");
    if envelope.jsonrpc.is_some_and(|version| !is_2(version)) {
        return invalid(id, "jsonrpc is \"2.0\"");
    }
    if method.get().len() > MAX_NAME_BYTES {
        return invalid(id, "a method is a string of at most 1 KiB");
    }
    let Some(method) = text(method) else { return invalid(id, "a method is a string") };
    let params = envelope.params;
    match id {
        Some(id) => Message::Request { id, method, params },
        None => Message::Notification { method, params },
    }
}

/// Whether an object has an id and nothing else of meaning.
fn is_bare(object: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct OnlyId {
        #[serde(rename = "id")]
        _id: IgnoredAny,
        #[serde(default, rename = "error")]
        _error: Option<IgnoredAny>,
    }
    // A longer id is not valid, and serde's error would repeat all of it.
    object.len() <= 2 * MAX_NAME_BYTES && serde_json::from_slice::<OnlyId>(object).is_ok()
}

/// Whether this is an error object, and not just a member of a log line.
fn is_error(raw: &RawValue) -> bool {
    let code = members(raw, ["code"]).and_then(|[code]| code);
    code.is_some_and(|code| code.get().parse::<i64>().is_ok())
}

/// The value of a short string; see [`MAX_NAME_BYTES`].
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let written = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if written.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(written))
    }
}
