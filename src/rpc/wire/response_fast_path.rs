//! Recognises a plain response without parsing what is in it: [`response`].
//!
//! Responses are the hot path of a caller, and the caller parses the result anyway, since it knows
//! the type. So the envelope is only scanned: strings are skipped with vector instructions,
//! brackets are counted. Everything that is not plainly `{"jsonrpc":…,"id":<digits>,"result":…}`,
//! in any order, is left to the parser. A result that is not JSON then fails its call instead of
//! the frame, which is better: the call does not wait in vain.

/// How most responses begin: serialisers put no blanks there, and most put the result last.
const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
const RESULT: &[u8] = br#","result":"#;

/// The id and the text of the result.
pub(crate) fn response(frame: &[u8]) -> Option<(u64, &str)> {
    scan(frame, head(frame))
}

/// The id of a response that begins as most do, and where its result begins. A shortcut of the scan
/// key by key, which must find the same.
fn head(frame: &[u8]) -> Option<(u64, usize)> {
    let rest = frame.strip_prefix(HEAD)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (id, rest) = rest.split_at(digits);
    rest.starts_with(RESULT).then_some(())?;
    Some((number(id)?, HEAD.len() + digits + RESULT.len()))
}

/// [`response`], given the result of [`head`]; `None` is always correct.
pub(crate) fn scan(frame: &[u8], head: Option<(u64, usize)>) -> Option<(u64, &str)> {
    let mut scan = Scan { bytes: frame, at: 0 };
    let (mut id, mut result) = (None, None);
    let mut more = true;
    if let Some((number, at)) = head {
        scan.at = at;
        scan.blanks();
        (id, result) = (Some(number), Some(scan.value()?));
        more = scan.more()?;
    } else {
        scan.expect(b'{')?;
    }
    while more {
        scan.blanks();
        // The keys are most of a small response, so they are compared at once, not searched for their ends.
        if scan.skip(b"\"jsonrpc\"") {
            scan.colon()?;
            if !scan.skip(b"\"2.0\"") {
                scan.value()?;
            }
        } else if id.is_none() && scan.skip(b"\"id\"") {
            scan.colon()?;
            id = Some(number(scan.value()?)?);
        } else if result.is_none() && scan.skip(b"\"result\"") {
            scan.colon()?;
            result = Some(scan.value()?);
        } else {
            return None;
        }
        more = scan.more()?;
    }
    Some((id?, std::str::from_utf8(result?).ok()?))
}

fn number(text: &[u8]) -> Option<u64> {
    // Ids of this side are shorter.
    if text.is_empty() || text.len() > 18 || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    text.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Skips `text` if it stands here.
    fn skip(&mut self, text: &[u8]) -> bool {
        let here = self.bytes[self.at..].starts_with(text);
        if here {
            self.at += text.len();
        }
        here
    }

    fn colon(&mut self) -> Option<()> {
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Some(())
    }

    /// Skips the separator after a value. `true` if another key follows, `false` at the end of the
    /// object and the frame.
    fn more(&mut self) -> Option<bool> {
        self.blanks();
        match self.next()? {
            b',' => Some(true),
            b'}' if self.at == self.bytes.len() => Some(false),
            _ => None,
        }
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The text of the value that begins here; never empty.
    fn value(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        match self.next()? {
            b'"' => self.string()?,
            b'{' | b'[' => {
                let mut depth = 1_usize;
                while depth > 0 {
                    match self.next()? {
                        b'"' => self.string()?,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                }
            }
            b',' | b':' | b'}' | b']' => return None,
            _ => {
                while !matches!(self.bytes.get(self.at)?, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                    self.at += 1;
                }
            }
        }
        Some(&self.bytes[begin..self.at])
    }

    /// Skips to the end of a string whose opening quote has been skipped.
    fn string(&mut self) -> Option<()> {
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            if self.next()? == b'"' {
                return Some(());
            }
            self.next()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{response, scan};

    #[test]
    fn only_plain_responses_are_recognised() {
        assert_eq!(response(br#"{"jsonrpc":"2.0","id":7,"result":[1,"}"]}"#), Some((7, r#"[1,"}"]"#)));
        assert_eq!(response(br#"{"jsonrpc":"2.0","id":7,"result": 1 }"#), Some((7, "1")));
        assert_eq!(response(b"{ \"result\" : null , \"id\" : 0 }"), Some((0, "null")));
        assert_eq!(response(br#"{"id":1,"result":"\\"}"#), Some((1, r#""\\""#)));
        assert_eq!(response(br#"{"id":1,"result":"\""}"#), Some((1, r#""\"""#)));
        for other in [
            r#"{"id":"1","result":1}"#,
            r#"{"id":-1,"result":1}"#,
            r#"{"id":01,"result":1}"#,
            r#"{"id":1.0,"result":1}"#,
            r#"{"id":9999999999999999999,"result":1}"#,
            r#"{"id":1,"result":1,"error":null}"#,
            r#"{"id":1,"id":1,"result":1}"#,
            r#"{"id":1,"result":1,"result":1}"#,
            r#"{"id":1,"result":1} "#,
            r#"{"id":1,"result":1}x"#,
            r#"{"id":1,"result":}"#,
            r#"{"id":1,"result":"#,
            r#"{"id":1,"result":"\"#,
            r#"{"id":1}"#,
            r#"{"id":1,"result":1"#,
            r#"{"id":1,"method":"result"}"#,
            r#"{"jsonrpc":"2.0","id":,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":01,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1"#,
            "{}",
            "{",
            "",
        ] {
            assert_eq!(response(other.as_bytes()), None, "{other}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((".*", inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_result_is_the_one_the_parser_finds(id in 0..1_u64 << 50, value in json(), pretty in any::<bool>()) {
            let message = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": value});
            let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) };
            let text = text.unwrap();
            let (found, result) = response(text.as_bytes()).unwrap();
            prop_assert_eq!(found, id);
            prop_assert_eq!(serde_json::from_str::<Value>(result).unwrap(), value);
        }

        /// What begins as most responses do and is not quite one.
        #[test]
        fn the_short_way_finds_what_the_long_way_does(
            id in "(0|[1-9][0-9]{0,19}|[0-9]{1,3}|-1|1\\.5|\"1\"|)",
            blank in " {0,1}",
            value in json(),
            tail in prop_oneof![
                4 => Just("}".to_owned()),
                1 => Just(r#","error":null}"#.to_owned()),
                1 => Just(r#","id":1}"#.to_owned()),
                1 => Just(r#", "jsonrpc":"2.0"}"#.to_owned()),
                1 => "[{}\\[\\]\",:a1 ]{0,6}",
            ],
            change in proptest::option::of((any::<proptest::sample::Index>(), proptest::option::of(any::<u8>()))),
        ) {
            let value = serde_json::to_string(&value).unwrap();
            let mut frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{blank}{value}{tail}"#).into_bytes();
            if let Some((at, byte)) = change {
                let at = at.index(frame.len());
                drop(frame.splice(at..=at, byte));
            }
            prop_assert_eq!(response(&frame), scan(&frame, None));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in r#"[{}\[\]",:\\a1 ]{0,60}"#) {
            let _ = response(&bytes);
            let _ = response(text.as_bytes());
        }
    }
}
