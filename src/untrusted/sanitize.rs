//! Makes text that a child wrote safe to show: [`one_line`] puts it on one line, without control
//! characters and with a bounded length.
//!
//! Otherwise a child that writes a reason, an error message or a log line could forge further lines of
//! this program's log, steer the terminal that shows it, or make each copy of an exit in events and
//! snapshots as large as a frame may be. This module does not know where the text goes; what is passed
//! on as data (results, `data` of errors, the tail of stderr) is left as it was received.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use super::borrowed_json;

/// How much of a reason or a message is shown, in bytes.
pub(crate) const SHOWN_BYTES: usize = 2 * 1024;
/// Longer lines are cut in the log.
pub(crate) const LINE_BYTES: usize = 16 * 1024;
/// The maximum length of an id: of a child, of a key or session of a pool, of a request.
pub(crate) const ID_BYTES: usize = 1024;

/// The beginning of a text, safe to show.
pub(crate) fn one_line(text: &str) -> OneLine<'_> {
    one_line_up_to(SHOWN_BYTES, text)
}

/// The same with another bound, in bytes of the text.
pub(crate) fn one_line_up_to(bytes: usize, text: &str) -> OneLine<'_> {
    let end = borrowed_json::floor_char_boundary(text, bytes);
    OneLine { text: &text[..end], more: text.len() - end }
}

/// The same as a string; nothing is copied if nothing has to change.
pub(crate) fn into_one_line(text: String) -> String {
    if text.len() <= SHOWN_BYTES && !text.contains(is_unsafe) { text } else { one_line(&text).to_string() }
}

/// The same for a text that rarely has to change.
pub(crate) fn one_line_cow(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_BYTES && !text.contains(is_unsafe) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(one_line(text).to_string())
    }
}

/// The end of a text, safe to show on one line.
pub(crate) fn last_lines(text: &str) -> String {
    let text = text.trim_end();
    let mut begin = text.len().saturating_sub(SHOWN_BYTES);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    let cut = if begin > 0 { "…" } else { "" };
    format!("{cut}{}", one_line(&text[begin..]))
}

/// Displays a text as described in the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OneLine<'a> {
    text: &'a str,
    /// How many bytes are not shown.
    more: usize,
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.chars().flat_map(escaped).try_for_each(|c| f.write_char(c))?;
        if self.more > 0 {
            write!(f, "… ({} bytes more)", self.more)?;
        }
        Ok(())
    }
}

/// One character as it is shown.
pub(crate) fn escaped(c: char) -> impl Iterator<Item = char> {
    let (escaped, other) = if is_unsafe(c) { (Some(c.escape_default()), None) } else { (None, Some(c)) };
    escaped.into_iter().flatten().chain(other)
}

/// Whether a character ends a line, steers a terminal, changes the reading order of what follows, or is
/// invisible: a text with a byte order mark in it looks like one without. (Joiners are left alone: some
/// scripts need them.)
fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        let forged = "fine\n2026-01-01 ERROR all is lost\r\u{1b}[31m\u{202e}\u{2028}\tend\0";
        assert_eq!(
            one_line_cow(forged).to_string(),
            "fine\\n2026-01-01 ERROR all is lost\\r\\u{1b}[31m\\u{202e}\\u{2028}\tend\\u{0}"
        );
        assert_eq!(into_one_line("plain, größer".to_owned()), "plain, größer");
        assert_eq!(
            one_line_cow("\u{feff}{}\u{200b}\u{200f}می\u{200c}خواهم"),
            "\\u{feff}{}\\u{200b}\\u{200f}می\u{200c}خواهم"
        );
    }

    #[test]
    fn what_is_long_is_cut_between_characters_and_says_so() {
        assert_eq!(one_line_up_to(4, "aaaé").to_string(), "aaa… (2 bytes more)");
        let long = into_one_line("é".repeat(5000));
        assert!(long.len() < 2100 && long.ends_with("é… (7952 bytes more)"), "{long}");
    }

    #[test]
    fn the_end_of_what_is_long_is_its_end() {
        assert_eq!(last_lines("one\ntwo \u{1b}[31m\n"), "one\\ntwo \\u{1b}[31m");
        let long = last_lines(&format!("begin {}", "é".repeat(5000)));
        assert!(long.starts_with("…é") && long.ends_with('é') && long.len() <= SHOWN_BYTES + 3, "{long}");
        assert!(matches!(one_line_cow("plain"), Cow::Borrowed("plain")));
        assert_eq!(one_line_cow("a\nb"), "a\\nb");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_said_it_is_one_line(text in any::<String>(), bound in 0usize..40) {
            let line = one_line_up_to(bound, &text).to_string();
            prop_assert!(!line.contains(is_unsafe));
            prop_assert_eq!(into_one_line(into_one_line(text.clone())), into_one_line(text));
        }
    }
}
