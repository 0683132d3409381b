//! Lines that a program prints for people, as they look on a terminal. The ready line of a program
//! without a channel is found in them (see [`Ready::Line`](super::Ready::Line)).

use std::borrow::Cow;

/// The visible part of a line: without colours and other escape sequences, and without a byte order
/// mark, other control characters and blanks at its beginning.
pub(crate) fn strip_ansi(line: &str) -> Cow<'_, str> {
    let invisible = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    match line.contains(['\u{1b}', '\u{9b}']) {
        false => Cow::Borrowed(line.trim_start_matches(invisible)),
        true => Cow::Owned(without_escapes(line).trim_start_matches(invisible).to_owned()),
    }
}

/// Removes escape sequences as ECMA-48 defines them. An unfinished sequence extends to the end of the
/// line.
fn without_escapes(line: &str) -> String {
    let mut seen = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{9b}' => control(&mut chars),
            '\u{1b}' => match chars.next() {
                Some('[') => control(&mut chars),
                // Strings: titles of windows, links.
                Some(']' | 'P' | 'X' | '^' | '_') => string(&mut chars),
                // Character sets and the like: intermediates, then one that ends it.
                Some(' '..='/') => {
                    chars.find(|c| !matches!(c, ' '..='/'));
                }
                _ => {}
            },
            c => seen.push(c),
        }
    }
    seen
}

/// Parameters and intermediates, then one that ends it.
fn control(chars: &mut std::str::Chars<'_>) {
    chars.find(|c| matches!(c, '@'..='~'));
}

/// Ends with BEL, or with ESC and a backslash.
fn string(chars: &mut std::str::Chars<'_>) {
    while let Some(c) = chars.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next();
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_seen_is_taken_away() {
        // W-7
        for (line, seen) in [
            ("ready", "ready"),
            ("  ready \t", "ready \t"),
            ("\u{feff}ready", "ready"),
            ("\u{1b}[32mready\u{1b}[0m on \u{1b}[1;4;38;5;208m:80\u{1b}[m", "ready on :80"),
            ("\u{1b}[2K\u{1b}[1Gready", "ready"),
            ("\u{1b}]0;a title\u{7}ready", "ready"),
            ("\u{1b}]8;;http://x\u{1b}\\ready\u{1b}]8;;\u{1b}\\", "ready"),
            ("\u{1b}(B\u{1b}7ready\u{9b}0m", "ready"),
            ("\u{1b}[?25l\u{1b}[32m\u{feff} ready\u{1b}[", "ready"),
            ("\0\u{8}ready\u{1b}", "ready"),
            ("größer: ∞", "größer: ∞"),
        ] {
            assert_eq!(strip_ansi(line), seen, "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_was_printed_no_escape_is_left(line in "[\u{1b}\u{9b}a-c\\[\\];m0-9 \\\\\u{7}(]{0,24}") {
            // W-7
            let seen = strip_ansi(&line);
            let left = seen.contains(['\u{1b}', '\u{9b}']);
            prop_assert!(!left);
            prop_assert_eq!(strip_ansi(&seen), seen.clone());
        }
    }
}
