//! The stdout of a process without a channel: log lines, and possibly the line that makes the process
//! ready.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    process::{LineLogger, Stdout, Tail, let_others_run, read_chunk},
    protocol::{Ready, strip_ansi},
    untrusted::{LINE_BYTES, one_line_up_to},
};

/// For how long nothing more must be printed until a line without a line end counts.
const PAUSE: Duration = Duration::from_secs(1);
/// At most this many pauses are awaited if something more is printed in each.
const PAUSES: u32 = 3;
/// How much of the last printed line is shown.
const SHOWN_BYTES: usize = 200;

/// Finds the line that a start waits for.
pub(crate) struct ReadyLineFinder {
    ready: Ready,
    seen: oneshot::Sender<Arc<str>>,
    pause: Duration,
    /// The line that is being printed; bytes beyond the bound are dropped.
    line: Vec<u8>,
    /// When the first and the last part of it were printed.
    printed: Option<(Instant, Instant)>,
}

impl ReadyLineFinder {
    /// The finder, and the receiver of the line. `within` is the timeout of the whole start.
    pub(crate) fn new(ready: Ready, within: Duration) -> (ReadyLineFinder, oneshot::Receiver<Arc<str>>) {
        let (seen, line) = oneshot::channel();
        let pause = PAUSE.min(within / 4);
        (ReadyLineFinder { ready, seen, pause, line: Vec::new(), printed: None }, line)
    }

    /// Takes output; returns the awaited line once it is complete.
    fn write(&mut self, mut bytes: &[u8]) -> Option<Arc<str>> {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.append(&bytes[..end]);
            let line = self.judge();
            if line.is_some() {
                return line;
            }
            (self.line, self.printed) = (Vec::new(), None);
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
        None
    }

    fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let room = LINE_BYTES - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let now = Instant::now();
        self.printed = Some((self.printed.map_or(now, |(first, _)| first), now));
    }

    fn judge(&self) -> Option<Arc<str>> {
        self.ready.line(&String::from_utf8_lossy(&self.line))
    }

    /// When the unfinished line should be checked.
    fn due(&self) -> Option<Instant> {
        let (first, last) = self.printed?;
        Some((last + self.pause).min(first + self.pause * PAUSES))
    }

    /// Checks the unfinished line. If it is not the awaited one, more output makes it due again, after
    /// another pause.
    fn look(&mut self) -> Option<Arc<str>> {
        let line = self.judge();
        self.printed = None;
        line
    }
}

/// Reads stdout to its end, so that the process never blocks on it. Memory is bounded, whatever the
/// process writes. Everything goes into `tail` and into the log. Reports once which line makes the
/// process ready.
pub(crate) async fn log_lines(
    mut log: LineLogger,
    mut stdout: Stdout,
    tail: Tail,
    mut finder: Option<ReadyLineFinder>,
) {
    loop {
        let due = [log.due(), finder.as_ref().and_then(ReadyLineFinder::due)].into_iter().flatten().min();
        let mut line = None;
        let chunk = read_chunk(&mut stdout, |bytes| {
            tail.push(bytes);
            log.write(bytes);
            line = finder.as_mut().and_then(|finder| finder.write(bytes));
        });
        let read = match due {
            None => chunk.await,
            Some(due) => match timeout_at(due, chunk).await {
                Ok(read) => read,
                Err(_) => {
                    let now = Instant::now();
                    if log.due().is_some_and(|due| due <= now) {
                        log.report();
                    }
                    if finder.as_ref().and_then(ReadyLineFinder::due).is_some_and(|due| due <= now) {
                        let line = finder.as_mut().and_then(ReadyLineFinder::look);
                        tell(&mut finder, line);
                    }
                    continue;
                }
            },
        };
        let Ok(n @ 1..) = read else { break };
        tell(&mut finder, line);
        let_others_run(n).await;
    }
    let line = finder.as_ref().and_then(ReadyLineFinder::judge);
    tell(&mut finder, line);
    log.finish();
}

fn tell(finder: &mut Option<ReadyLineFinder>, line: Option<Arc<str>>) {
    if let Some(line) = line
        && let Some(finder) = finder.take()
    {
        // If the receiver is gone, the start was given up.
        let _ = finder.seen.send(line);
    }
}

/// Says which line was awaited, and what was printed instead.
pub(crate) fn awaited(ready: &Ready, tail: &Tail) -> Option<String> {
    let Ready::Line(prefix) = ready else { return None };
    let text = tail.text();
    let last = text.rsplit(['\n', '\r']).map(strip_ansi).find(|line| !line.is_empty());
    let last = match last {
        Some(last) => format!("the last line is `{}`", one_line_up_to(SHOWN_BYTES, &last)),
        None => "nothing was printed".to_owned(),
    };
    Some(format!("no line of its stdout begins with `{}`; {last}", one_line_up_to(SHOWN_BYTES, prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_lines_leaves_others_their_turns() {
        // P-11
        let lines: &'static [u8] = b"a\n".repeat(500_000).leak();
        let tail = Tail::default();
        let (finder, _line) = ReadyLineFinder::new(Ready::Line("READY".into()), Duration::from_secs(1000));
        let reading =
            tokio::spawn(log_lines(LineLogger::of_stdout(), Box::new(lines), tail.clone(), Some(finder)));
        let (mut before, mut most) = (0, 0);
        while !reading.is_finished() {
            tokio::task::yield_now().await;
            let now = tail.dropped_bytes();
            most = most.max(now - before);
            before = now;
        }
        assert!(tail.dropped_bytes() > 0 && most < 64 * 1024, "{most} bytes in a turn");
    }
}
