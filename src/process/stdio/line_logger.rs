//! [`LineLogger`]: logs a stream line by line. [`drain`] reads stderr (P-3) into one and into a [`Tail`].

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, timeout_at},
};

use super::tail::Tail;
use crate::{
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    log_limiter::LogLimiter,
    untrusted::{LINE_BYTES, one_line_up_to},
};

/// Reads a process's stderr to its end, so that the process never blocks on it.
///
/// Everything goes into `tail`. Each line becomes an event of target `procession::stderr` at level info, in
/// the current span, with `path` and `incarnation` if it is a worker's. At most 100 lines per second are
/// logged; the rest is counted, and the count is logged. Memory is bounded whatever the process writes: lines
/// are cut at 16 KiB. An error while reading ends it like an end of file.
///
/// Dropping the future stops the draining; the tail keeps what it has.
pub async fn drain(stderr: impl AsyncRead + Unpin, tail: Tail) {
    drain_into(LineLogger::new(), stderr, tail).await;
}

/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;

/// As [`drain`], into the given log.
pub(crate) async fn drain_into(mut log: LineLogger, mut stderr: impl AsyncRead + Unpin, tail: Tail) {
    loop {
        let due = log.due();
        let chunk = read_chunk(&mut stderr, |bytes| {
            tail.push(bytes);
            log.write(bytes);
        });
        let read = match due {
            None => chunk.await,
            Some(due) => match timeout_at(due, chunk).await {
                Ok(read) => read,
                Err(_) => {
                    log.report();
                    continue;
                }
            },
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(n) => let_others_run(n).await,
        }
    }
    log.finish();
}

/// Reads once, and hands the bytes to `take` before it returns. Cancel-safe.
///
/// The bytes are on the stack: a buffer that is kept while no bytes come would be the largest part of what a
/// quiet process costs.
pub(crate) async fn read_chunk(
    stream: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        take(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// Call this after each read of `read` bytes. If the read was as large as one may be, more is probably
/// waiting, and other tasks have their turn first: tokio itself would end this task's turn only after 128
/// reads, which may hold half a million lines.
pub(crate) async fn let_others_run(read: usize) {
    if read == READ_BYTES {
        tokio::task::yield_now().await;
    }
}

/// Cuts a stream of bytes into lines and logs them, in bounded memory and at a bounded rate: stderr to target
/// `procession::stderr`, the stdout of processes without a channel to `procession::stdout`.
#[derive(Debug)]
pub struct LineLogger {
    line: Vec<u8>,
    /// Bytes of the current line that were not kept.
    cut: usize,
    rate: LogLimiter,
    stream: LoggedStream,
    /// The worker whose lines they are, if it is one.
    owner: Option<(TreePath, Incarnation)>,
}

#[derive(Clone, Copy, Debug)]
enum LoggedStream {
    Stdout,
    Stderr,
}

/// Emits an event with the stream's target, which `tracing` requires at compile time.
macro_rules! event {
    ($log:expr, $level:ident, $($event:tt)*) => {
        match ($log.stream, &$log.owner) {
            (LoggedStream::Stdout, Some((path, incarnation))) => {
                log_event!($level, target: "procession::stdout", path, *incarnation, $($event)*)
            }
            (LoggedStream::Stderr, Some((path, incarnation))) => {
                log_event!($level, target: "procession::stderr", path, *incarnation, $($event)*)
            }
            // The process does not belong to a worker.
            (LoggedStream::Stdout, None) => tracing::$level!(target: "procession::stdout", $($event)*),
            (LoggedStream::Stderr, None) => tracing::$level!(target: "procession::stderr", $($event)*),
        }
    };
}

impl LineLogger {
    /// An empty log of stderr. Must be called where tokio's clock runs.
    pub fn new() -> LineLogger {
        let (line, rate) = (Vec::new(), LogLimiter::default());
        LineLogger { line, cut: 0, rate, stream: LoggedStream::Stderr, owner: None }
    }

    /// An empty log of stdout. Must be called where tokio's clock runs.
    pub fn of_stdout() -> LineLogger {
        LineLogger { stream: LoggedStream::Stdout, ..LineLogger::new() }
    }

    /// Marks each line as this worker's.
    #[must_use]
    pub fn of(mut self, path: TreePath, incarnation: Incarnation) -> LineLogger {
        self.owner = Some((path, incarnation));
        self
    }

    /// Takes the next bytes of the stream.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.append(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    /// Logs what is left: the unterminated line and the number of suppressed lines.
    pub fn finish(&mut self) {
        self.end_line();
        self.report();
    }

    /// When the number of suppressed lines should be reported, if there are any.
    pub fn due(&self) -> Option<Instant> {
        self.rate.due()
    }

    /// Logs the number of suppressed lines, if there are any.
    pub fn report(&mut self) {
        let suppressed = self.rate.take_suppressed();
        report(self, suppressed);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES - self.line.len();
        let kept = &bytes[..bytes.len().min(room)];
        self.line.extend_from_slice(kept);
        self.cut += bytes.len() - kept.len();
    }

    fn end_line(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        let whole = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if !whole.is_empty()
            && let Some(suppressed) = self.rate.admit()
        {
            report(self, suppressed);
            let text = String::from_utf8_lossy(whole);
            match cut {
                0 => event!(self, info, "{}", one_line_up_to(usize::MAX, &text)),
                cut => {
                    event!(self, info, cut_bytes = cut, "{}…", one_line_up_to(usize::MAX, &text))
                }
            }
        }
        self.line.clear();
    }
}

fn report(log: &LineLogger, suppressed: u64) {
    if suppressed > 0 {
        event!(log, warn, suppressed, "{suppressed} lines suppressed");
    }
}

impl Default for LineLogger {
    fn default() -> LineLogger {
        LineLogger::new()
    }
}
