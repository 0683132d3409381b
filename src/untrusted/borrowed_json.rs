//! Looks into JSON that a process wrote, without building values: [`members`], [`elements`], [`text`],
//! [`display_text`].
//!
//! A value costs many times the bytes of its JSON text, and serde's messages about a value of the wrong
//! type contain the whole of it. So what is only compared, forwarded or dropped is borrowed, and what
//! is kept is cut first.

use std::{fmt, fmt::Write as _};

use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members with these names, each as it was written; `None` if the value is not an object. Of
/// several members with one name the last counts. Nothing is allocated, whatever else the object
/// contains.
pub(crate) fn members<'a, const N: usize>(
    raw: &'a RawValue,
    names: [&str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    struct Find<'n, const N: usize>([&'n str; N]);
    impl<'de, const N: usize> Visitor<'de> for Find<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(key) = members.next_key::<&'de RawValue>()? {
                match self.0.iter().position(|name| is_name(key.get(), name)) {
                    Some(at) => found[at] = Some(members.next_value()?),
                    None => drop(members.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found)
        }
    }
    // Checked first: serde's message about anything else would contain all of it.
    raw.get().starts_with('{').then_some(())?;
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Find(names)).ok()
}

/// Whether a key, as it is written, is this name. Escapes in the key are understood.
fn is_name(key: &str, name: &str) -> bool {
    let Some(written) = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) else { return false };
    // An escape takes at most six bytes for one.
    let may_be_escaped = written.len() <= 6 * name.len() && written.contains('\\');
    written == name || (may_be_escaped && serde_json::from_str::<String>(key).is_ok_and(|key| key == name))
}

/// Passes each element of an array to `each`, in order, until that returns `false`. `None` if the value
/// is not an array, `false` if `each` stopped early.
pub(crate) fn elements<'a>(raw: &'a RawValue, each: impl FnMut(&'a RawValue) -> bool) -> Option<bool> {
    struct Each<F>(F);
    impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for Each<F> {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<bool, A::Error> {
            while let Some(element) = elements.next_element()? {
                if !(self.0)(element) {
                    while elements.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
    raw.get().starts_with('[').then_some(())?;
    serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Each(each)).ok()
}

/// The text of a string, at most `bytes` of it as it is written, followed by how much is left out;
/// `None` for anything but a string.
pub(crate) fn text(raw: &RawValue, bytes: usize) -> Option<String> {
    let written = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    let end = cut(written, bytes);
    let part = &written[..end];
    let mut text = if !part.contains('\\') {
        part.to_owned()
    } else if end == written.len() {
        serde_json::from_str(raw.get()).unwrap_or_else(|_| part.to_owned())
    } else {
        // With an unpaired surrogate it is shown as it is written.
        serde_json::from_str(&format!("\"{part}\"")).unwrap_or_else(|_| part.to_owned())
    };
    add_rest(&mut text, written.len() - end);
    Some(text)
}

/// A value as text for people: the text of a string, anything else as it is written, at most `bytes` of
/// it, followed by how much is left out.
pub(crate) fn display_text(raw: &RawValue, bytes: usize) -> String {
    text(raw, bytes).unwrap_or_else(|| {
        let end = floor_char_boundary(raw.get(), bytes);
        let mut text = raw.get()[..end].to_owned();
        add_rest(&mut text, raw.get().len() - end);
        text
    })
}

fn add_rest(text: &mut String, more: usize) {
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "… ({more} bytes more)");
    }
}

pub(super) fn floor_char_boundary(text: &str, bytes: usize) -> usize {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// Where the inside of a string can be cut: at most `bytes` from its beginning, and not within an
/// escape or between the two halves of a surrogate pair.
fn cut(written: &str, bytes: usize) -> usize {
    if written.len() <= bytes {
        return written.len();
    }
    let end = floor_char_boundary(written, bytes);
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &written.as_bytes()[at..end]) {
        let escape = at + found;
        let rest = &written.as_bytes()[escape..];
        let is_high = |s: &[u8]| {
            s.starts_with(br"\u")
                && matches!(s.get(2..4), Some([b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B']))
        };
        let length = match rest.get(1) {
            Some(b'u') if is_high(rest) && rest.get(6..8) == Some(br"\u") => 12,
            Some(b'u') => 6,
            _ => 2,
        };
        at = escape + length;
        if at > end {
            return escape;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn members_are_found_as_they_are_written() {
        let json = raw(r#"{"a": [1, {"b": 2}], "\u0062" : "x\n", "c": null, "a": 3, "d": 4, "\ud800": 5}"#);
        let [a, b, c, missing] = members(&json, ["a", "b", "c", "e"]).unwrap();
        assert_eq!((a.unwrap().get(), b.unwrap().get(), c.unwrap().get()), ("3", r#""x\n""#, "null"));
        assert!(missing.is_none());
        for other in ["[]", "1", "null", r#""a""#] {
            assert!(members(&raw(other), ["a"]).is_none(), "{other}");
        }
    }

    #[test]
    fn elements_come_in_order_until_there_are_enough() {
        let json = raw(r#"[1, "x", [2]]"#);
        let mut seen = Vec::new();
        let done = elements(&json, |element| {
            seen.push(element.get().to_owned());
            seen.len() < 2
        });
        assert_eq!((done, seen.join(" ").as_str()), (Some(false), r#"1 "x""#));
        assert_eq!(elements(&json, |_| true), Some(true));
        assert_eq!(elements(&raw("{}"), |_| true), None);
    }

    #[test]
    fn a_text_is_cut_between_escapes() {
        let smile = r#""ab\ud83d\ude00cd""#;
        assert_eq!(text(&raw(smile), 100).unwrap(), "ab😀cd");
        for bytes in 2..14 {
            let expected = format!("ab… ({} bytes more)", smile.len() - 4);
            assert_eq!(text(&raw(smile), bytes).unwrap(), expected, "{bytes}");
        }
        assert_eq!(text(&raw(smile), 14).unwrap(), "ab😀… (2 bytes more)");
        assert_eq!(text(&raw(r#""\\\\""#), 3).unwrap(), "\\… (2 bytes more)");
        assert_eq!(text(&raw(r#""\ud800x""#), 100).unwrap(), r"\ud800x");
        assert_eq!(text(&raw("12"), 100), None);
        assert_eq!(display_text(&raw("[1,2,3]"), 3), "[1,… (4 bytes more)");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_the_beginning_is_what_it_says(said in any::<String>(), ascii in any::<bool>(), bytes in 0usize..40) {
            let json = serde_json::to_string(&Value::from(said.clone())).unwrap();
            let json = if ascii {
                json.chars().map(|c| if c.is_ascii() { c.to_string() } else {
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                }).collect()
            } else { json };
            let one_line = text(&raw(&json), bytes).unwrap();
            let begin = one_line.rsplit_once("… (").map_or(one_line.as_str(), |(begin, _)| begin);
            if json.len() <= bytes + 2 {
                prop_assert_eq!(one_line, said);
            } else {
                prop_assert!(said.starts_with(begin), "{} {}", said, one_line);
            }
        }
    }
}
