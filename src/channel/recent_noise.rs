//! Lines between frames that are no messages (C-8): the newest of them ([`RecentNoise`]), and how
//! they are shortened.

use std::{fmt, sync::Mutex};

use crate::channel::lock::lock;

const SHOWN_CHARS: usize = 500;

/// The newest lines that were no messages, some 400 bytes of them: a program that ends at once may
/// have printed the reason there.
#[derive(Debug, Default)]
pub(crate) struct RecentNoise(Mutex<String>);

impl RecentNoise {
    const BYTES: usize = 400;

    pub(crate) fn keep(&self, line: &[u8]) {
        let mut kept = lock(&self.0);
        kept.push_str(&shortened_to(Self::BYTES, line));
        kept.push('\n');
        let excess = kept.len().saturating_sub(Self::BYTES);
        let cut = (excess..).find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
        kept.drain(..cut);
    }

    pub(crate) fn text(&self) -> String {
        lock(&self.0).clone()
    }
}

/// Describes a text that cannot be parsed: the mistake, its position, and how the text begins.
pub(crate) fn unreadable(mistake: &str, what: impl fmt::Display, text: &[u8]) -> String {
    const BEGINNING_CHARS: usize = 200;
    let beginning = shortened_to(BEGINNING_CHARS, text);
    format!("{what} cannot be read: {mistake}; it begins with `{beginning}`")
}

/// The beginning of a line as text.
pub(crate) fn shortened(line: &[u8]) -> String {
    shortened_to(SHOWN_CHARS, line)
}

fn shortened_to(chars: usize, line: &[u8]) -> String {
    // A character takes at most four bytes.
    let head = &line[..line.len().min(chars * 4)];
    let mut text: String = String::from_utf8_lossy(head).chars().take(chars).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}
