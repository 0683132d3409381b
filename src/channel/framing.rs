//! Cuts a byte stream into frames: [`Framing`], [`Framer`].
//!
//! Pure: bytes in, ranges out. It remembers how far it has searched, so a frame that arrives in
//! many pieces is scanned once, and it refuses a frame that is too large before that frame is in
//! memory. Owned by the reader; it knows nothing of JSON.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How frames are told apart on the wire (C-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Framing {
    /// One JSON text per line; CR LF and blank lines are accepted.
    #[default]
    Lines,
    /// `Content-Length` headers, as in the Language Server Protocol. Other headers are accepted
    /// after that one.
    ContentLength,
}

/// The longest line in a header section.
pub(crate) const MAX_HEADER_BYTES: usize = 8 * 1024;

/// How a frame begins. If it follows other text on the same line, that text was printed without a line break.
const CONTENT_LENGTH: &[u8] = b"Content-Length:";

/// What the framer found at the start of the bytes it was shown. Ranges are relative to that start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameStep {
    /// A frame; drop `used` bytes after handling it.
    Frame { body: Range<usize>, used: usize },
    /// A line between frames that belongs to none.
    Noise { line: Range<usize>, used: usize },
    /// Nothing of interest (a header, a blank line).
    Skip { used: usize },
    /// The frame is not complete; at least this many bytes are missing.
    More { missing: usize },
}

/// The other side broke the framing; nothing after this point can be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("a frame is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    #[error("a header line is longer than {MAX_HEADER_BYTES} bytes")]
    HeaderTooLarge,
    #[error("`{0}` is not a valid Content-Length, or contradicts an earlier one")]
    BadLength(String),
}

#[derive(Debug)]
pub(crate) struct Framer {
    framing: Framing,
    max_bytes: usize,
    /// Bytes already searched for the end of a line.
    searched: usize,
    /// `Content-Length` of the header section that is being read.
    length: Option<usize>,
    /// The header section is over, the body follows.
    in_body: bool,
}

impl Framer {
    pub(crate) fn new(framing: Framing, max_bytes: usize) -> Framer {
        Framer { framing, max_bytes, searched: 0, length: None, in_body: false }
    }

    /// Searches the unconsumed bytes. Call it again with the same bytes and more, or with the rest
    /// after `used`.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<FrameStep, FramingError> {
        match self.framing {
            Framing::Lines => self.next_line(bytes),
            Framing::ContentLength => self.next_block(bytes),
        }
    }

    /// What is left when the stream has ended: the last line of a stream that does not end with a newline.
    pub(crate) fn rest(&self, bytes: &[u8]) -> Range<usize> {
        match self.framing {
            Framing::Lines => trim(bytes, 0..bytes.len()),
            Framing::ContentLength => 0..0,
        }
    }

    fn next_line(&mut self, bytes: &[u8]) -> Result<FrameStep, FramingError> {
        let Some(end) = self.line_end(bytes) else {
            if bytes.len() > self.max_bytes {
                return Err(FramingError::TooLarge { max_bytes: self.max_bytes });
            }
            return Ok(FrameStep::More { missing: 1 });
        };
        if end > self.max_bytes {
            return Err(FramingError::TooLarge { max_bytes: self.max_bytes });
        }
        let body = trim(bytes, 0..end);
        let used = end + 1;
        Ok(if body.is_empty() { FrameStep::Skip { used } } else { FrameStep::Frame { body, used } })
    }

    fn next_block(&mut self, bytes: &[u8]) -> Result<FrameStep, FramingError> {
        if self.in_body {
            let length = self.length.unwrap_or(0);
            if bytes.len() < length {
                return Ok(FrameStep::More { missing: length - bytes.len() });
            }
            (self.in_body, self.length) = (false, None);
            return Ok(if length == 0 {
                FrameStep::Skip { used: 0 }
            } else {
                FrameStep::Frame { body: 0..length, used: length }
            });
        }
        let Some(end) = self.line_end(bytes) else {
            if bytes.len() > MAX_HEADER_BYTES {
                return Err(FramingError::HeaderTooLarge);
            }
            return Ok(FrameStep::More { missing: 1 });
        };
        if end > MAX_HEADER_BYTES {
            return Err(FramingError::HeaderTooLarge);
        }
        let used = end + 1;
        let line = trim(bytes, 0..end);
        let text = &bytes[line.clone()];
        if text.is_empty() {
            // The end of a section that had no length is a blank line between log lines.
            self.in_body = self.length.is_some();
            return Ok(FrameStep::Skip { used });
        }
        if let Some(at) = memchr::memmem::find(text, CONTENT_LENGTH).filter(|at| *at > 0) {
            let end = line.start + at;
            return Ok(FrameStep::Noise { line: trim(bytes, line.start..end), used: end });
        }
        let Some((name, value)) = header(text) else { return Ok(FrameStep::Noise { line, used }) };
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = String::from_utf8_lossy(value);
            let length: usize = match value.trim().parse() {
                Ok(length) if self.length.is_none_or(|seen| seen == length) => length,
                _ => return Err(FramingError::BadLength(value.trim().chars().take(40).collect())),
            };
            if length > self.max_bytes {
                return Err(FramingError::TooLarge { max_bytes: self.max_bytes });
            }
            self.length = Some(length);
        } else if self.length.is_none() && !name.eq_ignore_ascii_case(b"content-type") {
            // The Language Server Protocol defines these two. Others are accepted after a length,
            // where a header section has certainly begun. Anywhere else the line is more likely to
            // be a printed `Warning: …`.
            return Ok(FrameStep::Noise { line, used });
        }
        Ok(FrameStep::Skip { used })
    }

    /// The position of the next newline, looking at every byte once.
    fn line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = self.searched.min(bytes.len());
        match memchr::memchr(b'\n', &bytes[from..]) {
            Some(at) => {
                self.searched = 0;
                Some(from + at)
            }
            None => {
                self.searched = bytes.len();
                None
            }
        }
    }
}

/// A header line `Name: value`, with a name as in RFC 7230 (`token`).
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    (!name.is_empty() && name.iter().all(token)).then_some((name, value))
}

/// The range without blanks at both ends.
fn trim(bytes: &[u8], mut range: Range<usize>) -> Range<usize> {
    while range.start < range.end && bytes[range.start].is_ascii_whitespace() {
        range.start += 1;
    }
    while range.start < range.end && bytes[range.end - 1].is_ascii_whitespace() {
        range.end -= 1;
    }
    range
}
