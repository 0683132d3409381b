//! What is known about a process that has ended: [`ExitReport`]; and [`StderrExcerpt`], the end of
//! its stderr on one line.
//!
//! Plain data, created where the end was noticed, and shown by every error that such an end causes.

use std::fmt;

use super::Exit;
use crate::untrusted::escaped;

/// How a process ended, and what it wrote last.
///
/// Its `Display` is one line: the exit, and the end of `stderr_tail`, escaped and shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// How the process ended.
    pub exit: Exit,
    /// The last lines it wrote to stderr, unchanged; empty if it wrote none.
    pub stderr_tail: String,
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.exit, StderrExcerpt(&self.stderr_tail))
    }
}

/// The end of what a process wrote to stderr, as the end of a one-line message; empty if it wrote
/// nothing.
///
/// On one line: see [`untrusted`](crate::untrusted).
#[derive(Clone, Copy, Debug)]
pub(crate) struct StderrExcerpt<'a>(pub(crate) &'a str);

impl StderrExcerpt<'_> {
    /// More than this is not shown.
    const MAX_BYTES: usize = 400;
}

impl fmt::Display for StderrExcerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.trim();
        if text.is_empty() {
            return Ok(());
        }
        let (mut begin, mut length) = (text.len(), 0);
        for (at, c) in text.char_indices().rev() {
            length += escaped(c).map(char::len_utf8).sum::<usize>();
            if length > Self::MAX_BYTES {
                break;
            }
            begin = at;
        }
        f.write_str(if begin == 0 { "; its stderr ends with `" } else { "; its stderr ends with `…" })?;
        text[begin..].chars().flat_map(escaped).try_for_each(|c| fmt::Write::write_char(f, c))?;
        f.write_str("`")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn excerpt(text: &str) -> String {
        let lost = ExitReport { exit: Exit::Failed { code: 3 }, stderr_tail: text.to_owned() };
        lost.to_string().strip_prefix("failed with exit code 3").unwrap().to_owned()
    }

    #[test]
    fn last_words_are_one_line() {
        assert_eq!(excerpt(" \n"), "");
        assert_eq!(
            excerpt("no `db` in \"a.toml\"\r\nbye\n"),
            "; its stderr ends with `no `db` in \"a.toml\"\\r\\nbye`"
        );
        assert_eq!(excerpt("\u{1b}[31mred\u{202e}"), "; its stderr ends with `\\u{1b}[31mred\\u{202e}`");
        let long = excerpt(&format!("first {}", "é".repeat(1000)));
        assert_eq!(long, format!("; its stderr ends with `…{}`", "é".repeat(200)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_was_written_is_bounded_and_shows(text in any::<String>(), times in 1usize..100) {
            let excerpt = excerpt(&text.repeat(times));
            prop_assert!(excerpt.len() <= StderrExcerpt::MAX_BYTES + 30);
            prop_assert!(!excerpt.contains(|c: char| c.is_control() && c != '\t'));
        }
    }
}
