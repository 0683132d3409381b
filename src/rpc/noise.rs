//! Logs lines that were no JSON, shortened and at a bounded rate (C-8).

use crate::{
    foreign::{About, shown},
    rpc::link::Link,
};

const SHOWN_CHARS: usize = 500;

pub(crate) fn log_noise(link: &Link, line: &[u8]) {
    if link.log.admit(About::Noise) {
        let (path, incarnation) = (&link.config.path, link.config.incarnation.0);
        tracing::info!(%path, incarnation, "stdout: {}", shown(&shortened(line)));
    }
}

/// The beginning of a line as text.
pub(crate) fn shortened(line: &[u8]) -> String {
    // A char takes at most four bytes.
    let head = &line[..line.len().min(SHOWN_CHARS * 4)];
    let mut text: String = String::from_utf8_lossy(head).chars().take(SHOWN_CHARS).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}
