//! Logs lines that were no JSON, shortened and at a bounded rate (C-8).

use std::time::Duration;

use tokio::time::Instant;

use crate::{foreign::shown, rpc::PeerConfig};

const LINES_PER_WINDOW: u32 = 50;
const WINDOW: Duration = Duration::from_secs(1);
const SHOWN_CHARS: usize = 500;

#[derive(Debug, Default)]
pub(crate) struct NoiseLog {
    window: Option<Instant>,
    lines: u32,
}

impl NoiseLog {
    pub(crate) fn log(&mut self, config: &PeerConfig, line: &[u8]) {
        let now = Instant::now();
        if self.window.is_none_or(|begin| now.duration_since(begin) >= WINDOW) {
            (self.window, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        let (path, incarnation) = (&config.path, config.incarnation);
        if self.lines <= LINES_PER_WINDOW {
            tracing::info!(%path, %incarnation, "stdout: {}", shown(&shortened(line)));
        } else if self.lines == LINES_PER_WINDOW + 1 {
            tracing::warn!(%path, %incarnation, "more than {LINES_PER_WINDOW} lines of noise in a second; the rest is only counted");
        }
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
