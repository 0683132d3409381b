//! Writes messages as JSON: [`request`] and [`response`].
//!
//! Serialising runs code of the user, so it happens before any lock is taken. Raw line breaks and
//! U+2028/U+2029 are never sent (C-13): they can only stand where a blank or an escape means the
//! same.

use std::io;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::rpc::{
    error::{RpcError, error_codes},
    wire::request_id::RequestId,
};

/// Why no frame was made.
#[derive(Debug)]
pub(crate) enum EncodeError {
    Unserialisable(serde_json::Error),
    /// The frame would have this many bytes.
    TooLarge {
        bytes: usize,
    },
}

/// A buffer that takes bytes up to a bound and only counts those beyond it, so that a frame that is
/// too large need not be in memory.
struct BoundedWriter<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
    beyond: usize,
}

impl BoundedWriter<'_> {
    #[cold]
    fn count(&mut self, bytes: &[u8]) {
        self.beyond += bytes.len();
    }
}

impl io::Write for BoundedWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.beyond == 0 && bytes.len() <= self.end.saturating_sub(self.out.len()) {
            self.out.extend_from_slice(bytes);
        } else {
            self.count(bytes);
        }
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a request to `out`, or a notification if there is no id; fails if it has more than `max_bytes`.
pub(crate) fn request<P: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    method: &str,
    params: &P,
    max_bytes: usize,
) -> Result<(), EncodeError> {
    let frame = out.len();
    match id {
        Some(id) => {
            out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
            number(out, id);
            out.extend_from_slice(br#","method":"#);
        }
        None => out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#),
    }
    let begin = out.len();
    string(out, method).map_err(EncodeError::Unserialisable)?;
    let before = out.len();
    out.extend_from_slice(PARAMS);
    let start = before + PARAMS.len();
    // The closing bracket takes the last byte. There is always room for `null`, which is removed again.
    let end = frame.saturating_add(max_bytes.saturating_sub(1)).max(start + b"null".len());
    let mut bounded = BoundedWriter { end, out: &mut *out, beyond: 0 };
    serde_json::to_writer(&mut bounded, params).map_err(EncodeError::Unserialisable)?;
    let beyond = bounded.beyond;
    if beyond == 0 && &out[start..] == b"null" {
        out.truncate(before);
    }
    out.push(b'}');
    if beyond == 0 {
        flatten(out, begin);
    }
    // Escapes may have made it larger.
    let bytes = out.len() - frame + beyond;
    if bytes > max_bytes {
        out.truncate(frame);
        return Err(EncodeError::TooLarge { bytes });
    }
    Ok(())
}

const PARAMS: &[u8] = br#","params":"#;

fn number(out: &mut Vec<u8>, mut number: u64) {
    // The largest number has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Names of methods rarely need an escape; without one they need no serialiser.
fn string(out: &mut Vec<u8>, text: &str) -> Result<(), serde_json::Error> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if !text.bytes().all(plain) {
        return serde_json::to_writer(out, text);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Appends a response. One larger than `max_bytes` becomes an error response that says so, and
/// `Err` returns the size that it would have had.
pub(crate) fn response(
    out: &mut Vec<u8>,
    id: &RequestId,
    result: &Result<Box<RawValue>, RpcError>,
    max_bytes: usize,
) -> Result<(), usize> {
    let begin = out.len();
    // A response that is certainly too large is not copied first.
    let least = match result {
        Ok(result) => result.get().len(),
        Err(error) => error.message.len() + error.data.as_ref().map_or(0, |data| data.get().len()),
    };
    let mut bytes = least;
    if least <= max_bytes {
        write_flat(out, id, result);
        bytes = out.len() - begin;
    }
    if bytes <= max_bytes {
        return Ok(());
    }
    out.truncate(begin);
    let (code, what) = match result {
        Ok(_) => (error_codes::INTERNAL_ERROR, "result"),
        Err(error) => (error.code, "error"),
    };
    let message =
        format!("the {what} is too large to be sent: {bytes} bytes, of which {max_bytes} are allowed");
    write_flat(out, id, &Err(RpcError::new(code, message)));
    Err(bytes)
}

/// Appends an error response whose error is short.
pub(crate) fn small_response(out: &mut Vec<u8>, id: &RequestId, error: RpcError) {
    write_flat(out, id, &Err(error));
}

fn write_flat(out: &mut Vec<u8>, id: &RequestId, result: &Result<Box<RawValue>, RpcError>) {
    let begin = out.len();
    if write_response(out, id, result).is_err() {
        // Writing to memory does not fail; if it did, the other side would still get an answer.
        out.truncate(begin);
        out.extend_from_slice(
            br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}"#,
        );
    }
    flatten(out, begin);
}

fn write_response(
    out: &mut Vec<u8>,
    id: &RequestId,
    result: &Result<Box<RawValue>, RpcError>,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    serde_json::to_writer(&mut *out, id)?;
    match result {
        Ok(result) => {
            out.extend_from_slice(br#","result":"#);
            out.extend_from_slice(result.get().as_bytes());
        }
        Err(error) => {
            out.extend_from_slice(br#","error":"#);
            serde_json::to_writer(&mut *out, error)?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// Replaces raw line breaks (blanks between tokens of a raw value) and escapes U+2028 and U+2029.
fn flatten(out: &mut Vec<u8>, from: usize) {
    let mut at = from;
    while let Some(found) = memchr::memchr3(b'\n', b'\r', 0xE2, &out[at..]) {
        at += found;
        match out[at..] {
            [b'\n' | b'\r', ..] => out[at] = b' ',
            [_, 0x80, 0xA8 | 0xA9, ..] => return escape(out, at),
            _ => {}
        }
        at += 1;
    }
}

/// The rest of [`flatten`] from the first separator on; moves each byte once, however many there are.
fn escape(out: &mut Vec<u8>, from: usize) {
    let tail = out.split_off(from);
    let mut rest = &tail[..];
    while let Some(at) = memchr::memchr3(b'\n', b'\r', 0xE2, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (written, used): (&[u8], usize) = match rest {
            [b'\n' | b'\r', ..] => (b" ", 1),
            [_, 0x80, 0xA8, ..] => (b"\\u2028", 3),
            [_, 0x80, 0xA9, ..] => (b"\\u2029", 3),
            other => (&other[..1], 1),
        };
        out.extend_from_slice(written);
        rest = &rest[used..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn requests_are_what_a_serialiser_makes_of_them() {
        // C-2
        for id in [None, Some(0), Some(1), Some(10), Some(1_234_567_890), Some(u64::MAX)] {
            for method in
                ["", "echo", "a/b.c~", "quo\"te", "back\\slash", "l\u{1}ne\n", "sépa\u{2028}rateur", "\u{7f}"]
            {
                for params in
                    [json!(null), json!(["x", null]), json!({"a": 1.5, "b": "\u{2029}\n"}), json!("null")]
                {
                    let mut frame = b"before".to_vec();
                    request(&mut frame, id, method, &params, usize::MAX).unwrap();
                    let frame = std::str::from_utf8(frame.strip_prefix(b"before").unwrap()).unwrap();
                    let mut expected = json!({"jsonrpc": "2.0", "method": method});
                    if let Some(id) = id {
                        expected["id"] = id.into();
                    }
                    if !params.is_null() {
                        expected["params"] = params;
                    }
                    assert_eq!(serde_json::from_str::<Value>(frame).unwrap(), expected, "{frame}");
                    assert!(!frame.contains(['\n', '\r', '\u{2028}', '\u{2029}']), "{frame}");
                }
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_large_is_counted_and_not_made() {
        // C-1
        let text = "\u{2028}".repeat(100);
        let params = json!({"a": text, "list": [1, 2, 3]});
        let mut whole = Vec::new();
        request(&mut whole, Some(1), "m", &params, usize::MAX).unwrap();
        for max in 0..=whole.len() {
            let mut frame = b"before".to_vec();
            let made = request(&mut frame, Some(1), "m", &params, max);
            if max == whole.len() {
                made.unwrap();
                assert_eq!(frame[6..], whole);
                continue;
            }
            let Err(EncodeError::TooLarge { bytes }) = made else { panic!("{max}: {made:?}") };
            // What is not made is not escaped either.
            assert!(bytes > max && (whole.len() - 300..=whole.len()).contains(&bytes), "{max}: {bytes}");
            assert_eq!(frame, b"before");
        }
        let mut frame = Vec::new();
        let large = vec!["0123456789"; 10_000_000];
        let made = request(&mut frame, None, "m", &large, 1000);
        assert!(matches!(made, Err(EncodeError::TooLarge { bytes }) if bytes > 130_000_000));
        assert!(frame.capacity() < 4000, "{}", frame.capacity());
        // Nothing at all, which is written as `null` and left out.
        request(&mut frame, None, "m", &(), 40).unwrap();
        assert_eq!(frame, br#"{"jsonrpc":"2.0","method":"m"}"#);
    }
}
