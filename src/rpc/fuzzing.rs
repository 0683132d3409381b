//! What the fuzzers hold the pure parts of the channel to: [`framing`] and [`message`].
//!
//! Each takes any bytes and panics where a property does not hold. Compiled for tests, which run
//! the stored inputs, and for the fuzzers (`cfg(fuzzing)`); no part of the API.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    channel::framing::{FrameStep, Framer, Framing, MAX_HEADER_BYTES},
    rpc::wire::{
        message::{self, FrameContent, MAX_BATCH, Message, ResponseBody},
        request_id::RequestId,
        response_fast_path, salvage,
    },
};

/// C-1: a stream means the same however it is cut, and no more than the bound is ever kept.
///
/// The first byte chooses framing and bound, the second how the stream is cut.
pub fn framing(data: &[u8]) {
    let Some((&[mode, size], stream)) = data.split_first_chunk::<2>() else { return };
    let framing = if mode & 1 == 0 { Framing::Lines } else { Framing::ContentLength };
    let max_bytes = 1 + 4 * usize::from(mode >> 1);
    let whole = frames(framing, max_bytes, stream, stream.len());
    assert_eq!(whole, frames(framing, max_bytes, stream, 1), "byte by byte");
    assert_eq!(whole, frames(framing, max_bytes, stream, usize::from(size)), "in pieces of {size}");
}

/// What a stream was cut into, the noise between frames marked, and the error that ended it.
type Cut = (Vec<(bool, Vec<u8>)>, Option<String>);

fn frames(framing: Framing, max_bytes: usize, stream: &[u8], piece: usize) -> Cut {
    let mut framer = Framer::new(framing, max_bytes);
    let (mut found, mut buf) = (Vec::new(), Vec::new());
    for piece in stream.chunks(piece.max(1)) {
        buf.extend_from_slice(piece);
        loop {
            let used = match framer.next(&buf) {
                Ok(FrameStep::Frame { body, used }) => {
                    assert!(!body.is_empty() && body.len() <= max_bytes && body.end <= used);
                    found.push((true, buf[body].to_vec()));
                    used
                }
                Ok(FrameStep::Noise { line, used }) => {
                    assert!(!line.is_empty() && line.end <= used && framing == Framing::ContentLength);
                    found.push((false, buf[line].to_vec()));
                    used
                }
                Ok(FrameStep::Skip { used }) => used,
                Ok(FrameStep::More { missing }) => {
                    assert!(missing > 0 && buf.len() <= max_bytes.max(MAX_HEADER_BYTES));
                    break;
                }
                Err(error) => return (found, Some(error.to_string())),
            };
            buf.drain(..used);
        }
    }
    let rest = framer.rest(&buf);
    found.push((true, buf[rest].to_vec()));
    (found, None)
}

/// C-2, C-7, C-13: what a frame is agrees with a naive reading of it as a [`Value`], and that is
/// written as serde_json does.
pub fn message(frame: &[u8]) {
    let frame = frame.trim_ascii();
    assert_eq!(
        response_fast_path::response(frame),
        response_fast_path::scan(frame, None),
        "the short way and the long way"
    );
    let read = message::read(frame);
    // Whatever it is, what is left of it can be looked for.
    let legible = salvage::objects(frame).count();
    assert!(legible <= frame.len() / 2, "an object takes two bytes at least");
    let Ok(value) = serde_json::from_slice::<Value>(frame) else {
        // A value that need not be parsed may be more than serde accepts: deeper, larger,
        // with half a character.
        if !matches!(read, FrameContent::Damaged(_)) {
            serde_json::from_slice::<IgnoredAny>(frame).expect("only JSON is a message");
        }
        return;
    };
    if let Some((id, result)) = response_fast_path::response(frame) {
        assert_eq!(value["id"], id);
        assert_eq!(value["result"], serde_json::from_str::<Value>(result).expect("a part of JSON"));
    }
    match (read, &value) {
        (FrameContent::Damaged(damage), Value::Array(parts)) => {
            assert!(damage.is_json && parts.len() > MAX_BATCH);
        }
        (FrameContent::Damaged(damage), _) => assert!(damage.is_json && has_field_twice(frame), "{damage:?}"),
        (FrameContent::One(message), Value::Array(parts)) => {
            assert!(matches!(message, Message::Noise) && !parts.iter().any(Value::is_object));
        }
        (FrameContent::One(message), _) => agrees(&message, &value, frame),
        (FrameContent::Batch(parts), Value::Array(values)) => {
            assert_eq!(parts.len(), values.len());
            for (part, value) in parts.into_iter().zip(values) {
                let text = part.get().as_bytes();
                match message::read_part(part) {
                    Ok(message) => agrees(&message, value, text),
                    Err(damage) => assert!(damage.is_json && has_field_twice(text), "{damage:?}"),
                }
            }
        }
        (other, _) => panic!("{other:?} was {value}"),
    }
}

/// Whether a member that means something occurs twice.
fn has_field_twice(object: &[u8]) -> bool {
    let fields = fields(object);
    let known = ["jsonrpc", "id", "method", "params", "result", "error"];
    known.iter().any(|name| fields.iter().filter(|field| field == name).count() > 1)
}

fn agrees(message: &Message<'_>, value: &Value, text: &[u8]) {
    assert!(!has_field_twice(text));
    let Value::Object(object) = value else {
        return assert!(matches!(message, Message::Noise), "{message:?} was {value}");
    };
    let id = object.get("id");
    let null = Value::Null;
    if let Some(method) = object.get("method") {
        return agrees_with_request(message, object, method);
    }
    let error = object.get("error").filter(|error| !error.is_null());
    let result = object.get("result");
    let is_error = error.is_some_and(|error| error.is_object() && error["code"].is_i64());
    let bare = object.keys().all(|name| name == "id" || name == "error");
    match message {
        Message::Complaint { error: raw } => {
            assert!(is_error && id.is_none_or(|id| id.is_null() || id == ""));
            assert_eq!(Some(&read(raw)), error);
        }
        Message::Response { id: found, body } => {
            assert!(!(is_error && id.is_some_and(|id| id.is_null() || id == "")));
            same_id(found, id.unwrap_or(&null));
            match body {
                ResponseBody::Error(raw) => assert_eq!(Some(&read(raw)), error),
                ResponseBody::Result(raw) => assert_eq!((error, Some(&read(raw))), (None, result)),
                ResponseBody::Nothing => {
                    assert_eq!((error, result), (None, None));
                    assert!(bare || object.contains_key("jsonrpc"));
                }
            }
        }
        Message::Noise => {
            let is_id = matches!(id, Some(Value::Null | Value::Number(_) | Value::String(_)));
            let answers = error.is_some() || result.is_some() || bare || object.contains_key("jsonrpc");
            assert!(!(is_id && answers), "{value}");
            assert!(!(is_error && id.is_none()), "{value}");
        }
        _ => panic!("{message:?} was {value}"),
    }
}

fn agrees_with_request(message: &Message<'_>, object: &serde_json::Map<String, Value>, method: &Value) {
    let (id, null) = (object.get("id"), Value::Null);
    if matches!(id, Some(Value::Bool(_) | Value::Array(_) | Value::Object(_))) {
        return assert!(matches!(message, Message::Invalid { id: RequestId::Null, .. }), "{message:?}");
    }
    let version = object.get("jsonrpc").is_none_or(|version| version == "2.0");
    let (Some(name), true) = (method.as_str(), version) else {
        let Message::Invalid { id: found, .. } = message else { panic!("{message:?}") };
        return same_id(found, id.unwrap_or(&null));
    };
    let expected = object.get("params").unwrap_or(&null);
    let (found, params) = match (message, id) {
        (Message::Request { id: found, method, params }, Some(id)) => {
            same_id(found, id);
            (method, params)
        }
        (Message::Notification { method, params }, None) => (method, params),
        _ => panic!("{message:?}"),
    };
    assert_eq!(found, name);
    assert_eq!(&params.map_or(Value::Null, read), expected);
}

/// C-13: an id goes back as it came.
fn same_id(found: &RequestId, expected: &Value) {
    let found = serde_json::to_value(found).expect("an id can be written");
    let same = match expected {
        Value::Number(number) => found.as_f64() == number.as_f64(),
        other => found == *other,
    };
    assert!(same, "{found} was {expected}");
}

fn read(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).expect("a part of JSON")
}

/// The names of an object's fields as they stand; none for anything else.
fn fields(text: &[u8]) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
            struct Collect;
            impl<'de> Visitor<'de> for Collect {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, IgnoredAny)) = map.next_entry()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }
    serde_json::from_slice::<Names>(text).map_or_else(|_| Vec::new(), |names| names.0)
}

#[cfg(test)]
#[path = "../../tests/corpus/mod.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::corpus::each;

    // C-1
    #[test]
    fn stored_streams_mean_the_same_however_they_are_cut() {
        each("framing", super::framing);
    }

    // C-2, C-7, C-13
    #[test]
    fn stored_frames_are_what_a_naive_reader_makes_of_them() {
        each("message", super::message);
    }
}
