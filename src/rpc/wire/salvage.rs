//! Salvages ids from a text that cannot be parsed: [`objects`].
//!
//! An answer with a mistake in it (`NaN`, bytes that are not UTF-8, a comma too many, a missing
//! end) is not an answer, but it usually still names its call, and that call need not wait for its
//! timeout (C-13). So this finds the members of the outermost objects without checking that the
//! text between them is JSON: strings are skipped, brackets are counted. Zero bytes are ignored,
//! which makes UTF-16 legible too.
//!
//! Pure; one pass over the text, and no memory beyond an id and a name. Only a text that has failed
//! to parse comes here. A process that writes such texts can only fail calls that were made to it.
//! A text that is nothing like JSON is not searched: a program that prints its messages for
//! debugging, in the notation of its own language or after the word "sending", also sends them
//! properly.

use std::borrow::Cow;

use crate::{rpc::wire::request_id::RequestId, untrusted::ID_BYTES};

/// Names that matter are short, even with escapes in them.
const NAME_BYTES: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What an object seems to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Salvaged {
    /// An answer to this call, or to one of these two: a text with two ids answers neither.
    Answer(RequestId, Option<RequestId>),
    /// It has a method. The id is present only if there is exactly one.
    Request(Option<RequestId>),
}

/// Classifies the objects of a damaged frame: its only one, the elements of a batch, or several
/// without a line break between them. Objects that are neither requests nor answers are left out.
pub(crate) fn objects(frame: &[u8]) -> impl Iterator<Item = Salvaged> {
    let mut text = SalvageCursor { bytes: frame.strip_prefix(BYTE_ORDER_MARK).unwrap_or(frame), at: 0 };
    if matches!(text.bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        text.at = 2;
    }
    std::iter::from_fn(move || text.object()).flatten()
}

/// Whether a text that cannot be parsed begins with a byte order mark, which is then its first mistake.
pub(crate) fn has_byte_order_mark(frame: &[u8]) -> bool {
    frame.starts_with(BYTE_ORDER_MARK) || matches!(frame, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

/// What has been seen of one object.
#[derive(Default)]
struct SeenObject {
    id: Option<RequestId>,
    other_id: Option<RequestId>,
    /// There is an `id` member that is not a valid id.
    bad_id: bool,
    version: bool,
    method: bool,
    answer: bool,
}

impl SeenObject {
    fn meaning(self) -> Option<Salvaged> {
        if self.method {
            let only = self.id.filter(|_| self.other_id.is_none() && !self.bad_id);
            return Some(Salvaged::Request(only));
        }
        // With a version it is certainly a message; without one it may be a log line with an id.
        (self.answer || self.version).then_some(Salvaged::Answer(self.id?, self.other_id))
    }

    fn id(&mut self, id: Option<RequestId>) {
        match id {
            None => self.bad_id = true,
            Some(id) if self.id.is_none() => self.id = Some(id),
            Some(id) if self.id.as_ref() != Some(&id) => self.other_id = Some(id),
            Some(_) => {}
        }
    }

    /// A name whose end is missing: guesses the rest.
    fn half_a_name(&mut self, name: &str) {
        self.method |= "method".starts_with(name) && !name.is_empty();
        self.answer |= !name.is_empty() && ["result", "error"].iter().any(|whole| whole.starts_with(name));
    }
}

struct SalvageCursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SalvageCursor<'a> {
    /// The next object; `None` at the end, or where something else stands. (The inner `None` is an
    /// object of no interest.)
    fn object(&mut self) -> Option<Option<Salvaged>> {
        // The brackets and commas of a batch.
        while matches!(self.peek(), Some(byte) if is_blank(byte) || matches!(byte, b'[' | b']' | b',')) {
            self.at += 1;
        }
        if self.peek()? != b'{' {
            return None;
        }
        self.at += 1;
        let mut seen = SeenObject::default();
        // It ends at its bracket, or where nothing more is legible.
        while let Some(()) = self.member(&mut seen) {}
        Some(seen.meaning())
    }

    /// Skips one member; `None` at the end of the object, or of what is legible.
    fn member(&mut self, seen: &mut SeenObject) -> Option<()> {
        self.blanks();
        while self.peek()? == b',' {
            self.at += 1;
            self.blanks();
        }
        let byte = self.peek()?;
        self.at += 1;
        if byte != b'"' {
            // After anything but the closing bracket, the search ends.
            if byte != b'}' {
                self.at = self.bytes.len();
            }
            return None;
        }
        let begin = self.at;
        if self.string().is_none() {
            if let Some(name) = plain(&self.bytes[begin..]) {
                seen.half_a_name(&name);
            }
            return None;
        }
        let name = text(&self.bytes[begin..self.at - 1]);
        self.blanks();
        if self.peek()? != b':' {
            self.at = self.bytes.len();
            return None;
        }
        self.at += 1;
        self.blanks();
        let begin = self.at;
        match name.as_deref() {
            Some("jsonrpc") => seen.version = true,
            Some("method") => seen.method = true,
            Some("result" | "error") => seen.answer = true,
            Some("id") => {
                // An id whose end is missing may have been longer.
                let whole = self.value();
                seen.id(whole.then(|| id(&self.bytes[begin..self.at])).flatten());
                return whole.then_some(());
            }
            _ => {}
        }
        self.value().then_some(())
    }

    /// Skips a value, up to the comma or bracket that ends it; `false` if there is none.
    fn value(&mut self) -> bool {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => return false,
                Some(b',' | b'}' | b']') if depth == 0 => return true,
                Some(b'"') => {
                    self.at += 1;
                    if self.string().is_none() {
                        return false;
                    }
                    continue;
                }
                Some(b'/') if self.comment() => continue,
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
    }

    /// Skips to the end of a string whose opening quote has been skipped.
    fn string(&mut self) -> Option<()> {
        loop {
            match memchr::memchr2(b'"', b'\\', &self.bytes[self.at..]) {
                None => {
                    self.at = self.bytes.len();
                    return None;
                }
                Some(found) => self.at += found + 1,
            }
            if self.bytes[self.at - 1] == b'"' {
                return Some(());
            }
            // In UTF-16 a zero precedes the escaped character.
            while self.peek() == Some(0) {
                self.at += 1;
            }
            self.at = (self.at + 1).min(self.bytes.len());
        }
    }

    fn blanks(&mut self) {
        while let Some(byte) = self.peek() {
            if is_blank(byte) {
                self.at += 1;
            } else if !self.comment() {
                return;
            }
        }
    }

    /// Skips a comment, if one begins here.
    fn comment(&mut self) -> bool {
        let rest = &self.bytes[self.at..];
        let length = if rest.starts_with(b"//") {
            memchr::memchr(b'\n', rest)
        } else if rest.starts_with(b"/*") {
            memchr::memmem::find(&rest[2..], b"*/").map(|end| end + 4)
        } else {
            return false;
        };
        self.at += length.unwrap_or(rest.len());
        true
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0
}

/// A short text without its zero bytes; `None` if it is long or not UTF-8.
fn plain(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if bytes.len() > 2 * NAME_BYTES {
        return None;
    }
    if !bytes.contains(&0) {
        return std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
    }
    String::from_utf8(bytes.iter().copied().filter(|byte| *byte != 0).collect()).ok().map(Cow::Owned)
}

/// The text of a short string, without its quotes.
fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let text = plain(bytes)?;
    if text.contains('\\') {
        return serde_json::from_str(&format!("\"{text}\"")).ok().map(Cow::Owned);
    }
    Some(text)
}

/// The id that stands here; `None` if it is not a valid id.
fn id(bytes: &[u8]) -> Option<RequestId> {
    if bytes.len() > 2 * ID_BYTES {
        return None;
    }
    let mut text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    if text.first() != Some(&b'"') {
        // A blank or a comment follows it.
        let end = text.iter().position(|byte| is_blank(*byte) || *byte == b'/');
        text.truncate(end.unwrap_or(text.len()));
    }
    let raw = serde_json::from_slice::<&serde_json::value::RawValue>(&text).ok()?;
    RequestId::from_raw(raw).filter(|id| *id != RequestId::Null)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(frame: impl AsRef<[u8]>) -> Vec<Salvaged> {
        objects(frame.as_ref()).collect()
    }

    fn answer(id: i64) -> Salvaged {
        Salvaged::Answer(id.into(), None)
    }

    #[test]
    fn the_id_of_a_damaged_answer_is_legible() {
        // C-13
        for damaged in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"v":NaN}}"#,
            r#"{"id":7,"result":{"v":NaN},"error":null}"#,
            r#"{"result":[Infinity,-Infinity],"took":3,"id":7}"#,
            r#"{"id":7,"result":1,"\ud800":2}"#,
            r#"{"id":7,"result":1,"result":2}"#,
            r#"{"id":7,"id":7,"result":2}"#,
            r#"{"id":7,"result":1,}"#,
            r#"{"id":7,,"result":1}"#,
            "{ \"result\": /* } , */ 1, \"id\" : 7 // and so on\n }",
            r#"{"id":7,"result":{"a":[1,2"#,
            r#"{"id":7,"result":"trunc"#,
            r#"{"id":7,"res"#,
            r#"{"jsonrpc":"2.0","id":7"#.replace('7', "7,").as_str(),
            r#"{"result":"he said "hi"","id":7}"#,
            r#"{"\u0069d":7,"result":NaN}"#,
            r#"{"id":7,"result":1} and more"#,
            r#"{"id":7,"error":{"code":1,"message":"m","data":NaN}}"#,
            "\u{feff}{\"id\":7,\"result\":1}",
            "{\"id\":7,\"result\":\"a\tb\nc\",}",
        ] {
            assert_eq!(read(damaged), [answer(7)], "{damaged}");
        }
        assert_eq!(read(b"{\"id\":7,\"result\":\"caf\xe9\"}"), [answer(7)]);
        let float = read(r#"{"id":7.0,"result":NaN}"#);
        assert!(matches!(&float[..], [Salvaged::Answer(id, None)] if id.as_call() == Some(7)), "{float:?}");
    }

    #[test]
    fn utf_16_is_legible() {
        // C-13
        let text = r#"{"id":7,"result":"\"ä"}"#;
        for mark in [false, true] {
            let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
            let (little, big): (Vec<_>, Vec<_>) =
                units.map(|unit| (unit.to_le_bytes(), unit.to_be_bytes())).unzip();
            assert_eq!(read(little.concat()), [answer(7)]);
            assert_eq!(read(big.concat()), [answer(7)]);
            // As a line feed that was cut off leaves it.
            assert_eq!(read([&[0], &*little.concat()].concat()), if mark { vec![] } else { vec![answer(7)] });
        }
    }

    #[test]
    fn two_ids_and_several_objects_are_all_told() {
        // C-13
        assert_eq!(read(r#"{"id":7,"result":1,"id":8}"#), [Salvaged::Answer(7.into(), Some(8.into()))]);
        assert_eq!(read(r#"{"id":7,"result":1}{"id":8,"result":1}"#), [answer(7), answer(8)]);
        assert_eq!(read(r#"[{"id":7,"result":1},{"id":8,"result":NaN}]"#), [answer(7), answer(8)]);
        assert_eq!(read(r#"[{"id":7,"result":1},{"id":8,"resu"#), [answer(7), answer(8)]);
    }

    #[test]
    fn requests_are_told_from_answers() {
        // C-7
        let request = |id| [Salvaged::Request(id)];
        assert_eq!(read(r#"{"id":7,"method":"m","params":NaN}"#), request(Some(7.into())));
        assert_eq!(read(r#"{"id":"7","params":NaN,"method":"m"}"#), request(Some("7".into())));
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":7,"meth"#), request(Some(7.into())));
        assert_eq!(read(r#"{"method":"m","params":NaN}"#), request(None));
        assert_eq!(read(r#"{"id":1,"id":2,"method":"m"}"#), request(None));
        assert_eq!(read(r#"{"id":[],"method":"m","method":"m"}"#), request(None));
    }

    #[test]
    fn what_is_no_message_is_left_alone() {
        // C-7, C-8
        for noise in [
            "",
            "{",
            "[",
            "{}",
            "[INFO] ready",
            "starting {\"id\":1,\"result\":1}",
            "{not json}",
            r#"{"level":"info","v":NaN}"#,
            r#"{"level":"info","v":NaN,"id":7}"#,
            r#"{"level":"info","v":{"id":7,"result":1},"#,
            r#"{"id":7"#,
            r#"{"id":7,"result":1"#.replace("7", "").as_str(),
            r#"{"id":null,"result":NaN}"#,
            r#"{"id":[7],"result":NaN}"#,
            r#"{"id":07,"result":NaN}"#,
            // The notation of other languages, as a program prints it.
            "{'jsonrpc': '2.0', 'id': 7, 'result': None}",
            "{ jsonrpc: '2.0', id: 7, result: {} }",
        ] {
            assert_eq!(read(noise), [], "{noise}");
        }
    }

    #[test]
    fn it_takes_one_pass() {
        // C-13: what would take seconds if any part of it were looked at again.
        for part in ["{\"id\":1,", "[", "\"", "{", "/*", "{\"a\":/*", "{\"id\":\"\\", "{\"result\":1}"] {
            let text = part.repeat((4 << 20) / part.len());
            let begin = std::time::Instant::now();
            let _ = objects(text.as_bytes()).count();
            assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{part}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in r#"[{}\[\]",:\\a1/* id]{0,60}"#) {
            let _ = read(bytes);
            let _ = read(text);
        }

        /// One byte changed anywhere, and the call still has its answer or its failure: but where
        /// the id itself was hit.
        #[test]
        fn one_wrong_byte_behind_the_id_hides_nothing(
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>().prop_filter("ends nothing", |byte| !matches!(byte, b'}' | b'\\' | b'"' | b',')),
        ) {
            let head = r#"{"jsonrpc":"2.0","id":7,"#;
            let mut frame = format!(r#"{head}"result":{{"text":"abc","list":[1,2,3]}},"took":3}}"#).into_bytes();
            let at = head.len() + at.index(frame.len() - head.len());
            frame[at] = byte;
            prop_assert_eq!(read(&frame), [answer(7)]);
        }
    }
}
