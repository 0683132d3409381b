//! The task that reads: cuts frames out of the stream and hands them on, waiting for nothing but bytes (C-6).

use std::{future::poll_fn, io, pin::pin, sync::Arc};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    channel::{
        close_reason::CloseReason,
        framing::{FrameStep, Framer, MAX_HEADER_BYTES},
        noise::{log_noise, shortened},
    },
    rpc::{config::Noise, incoming::dispatch::Dispatcher, peer_shared::PeerShared},
};

const LEAST_READ_BYTES: usize = 4 * 1024;
const MOST_READ_BYTES: usize = 64 * 1024;

/// Lets other tasks run after some work: 256 messages, each of which counts as one more for every KiB. A runtime's own turns
/// end after 128 reads, and one read may bring tens of thousands of messages.
#[derive(Debug)]
pub(crate) struct YieldBudget<'a> {
    link: &'a PeerShared,
    work: usize,
}

impl YieldBudget<'_> {
    const WORK: usize = 256;

    pub(crate) fn new(link: &PeerShared) -> YieldBudget<'_> {
        YieldBudget { link, work: 0 }
    }

    /// To be called once for each message of so many bytes.
    pub(crate) async fn pass(&mut self, bytes: usize) {
        self.work += 1 + bytes / 1024;
        if self.work >= YieldBudget::WORK {
            self.work = 0;
            tokio::task::yield_now().await;
            self.link.counters.turns.one();
        }
    }
}

pub(crate) async fn read_frames<R: AsyncRead + Unpin>(inbound: Arc<Dispatcher>, mut reader: R) {
    let done = ReaderDone(inbound.link().clone());
    let link = &*done.0;
    let mut framer = Framer::new(link.config.framing, link.config.max_frame_bytes);
    let mut buf = Vec::new();
    let mut want = LEAST_READ_BYTES;
    let mut turn = YieldBudget::new(link);
    loop {
        let mut at = 0;
        let missing = loop {
            let bytes = &buf[at..];
            let used = match framer.next(bytes) {
                Ok(FrameStep::Frame { body, used }) => {
                    link.counters.frames_in.one();
                    if !inbound.accept(&bytes[body]).await {
                        return;
                    }
                    used
                }
                Ok(FrameStep::Noise { line, used }) => {
                    if !handle_noise(link, &bytes[line]) {
                        return;
                    }
                    used
                }
                Ok(FrameStep::Skip { used }) => used,
                Ok(FrameStep::More { missing }) => break missing,
                Err(error) => return link.end(CloseReason::Violation { reason: error.to_string() }),
            };
            at += used;
            turn.pass(used).await;
        };
        buf.drain(..at);
        let most = link.config.max_frame_bytes.saturating_add(MAX_HEADER_BYTES);
        match read(&mut reader, &mut buf, want.max(missing.min(MOST_READ_BYTES)), most).await {
            Ok(0) => {
                let rest = framer.rest(&buf);
                if !rest.is_empty() {
                    link.counters.frames_in.one();
                    inbound.accept_last(&buf[rest]).await;
                }
                return link.end(CloseReason::Eof);
            }
            Ok(n) => {
                link.counters.bytes_in.add(n as u64);
                if n >= want {
                    want = (want * 4).min(MOST_READ_BYTES);
                } else if n < want / 4 {
                    want = (want / 2).max(LEAST_READ_BYTES);
                }
            }
            // A process that dies with unread input resets its end after its last output.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return link.end(CloseReason::Eof);
            }
            Err(error) => return link.end(CloseReason::ReadFailed { reason: error.to_string() }),
        }
    }
}

/// Reads, with room for at least `want` bytes. A buffer that is much larger is kept while bytes keep coming, but not while
/// none do: a worker that has gone quiet costs little. One that grows does so up to `most` bytes and what is to be read:
/// a frame costs what it is long, and no power of two.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    buf: &mut Vec<u8>,
    want: usize,
    most: usize,
) -> io::Result<usize> {
    poll_fn(|cx| {
        if buf.capacity() - buf.len() < want {
            let doubled = buf.capacity().saturating_mul(2).min(most);
            buf.reserve_exact(doubled.saturating_sub(buf.len()).max(want));
        }
        let read = pin!(reader.read_buf(buf)).poll(cx);
        if read.is_pending() && buf.is_empty() && buf.capacity() > 4 * want {
            *buf = Vec::new();
        }
        read
    })
    .await
}

/// Counts, and logs or refuses, a line that is no message. `false` when the channel has ended.
pub(crate) fn handle_noise(link: &PeerShared, line: &[u8]) -> bool {
    link.counters.noise_lines.one();
    match link.config.noise {
        Noise::Log => {
            log_noise(link, line);
            true
        }
        Noise::Violation => {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
            let what = if is_json { "no message" } else { "not JSON" };
            let line = shortened(&line[..line.len().min(80)]);
            link.end(CloseReason::Violation { reason: format!("{what}: {line}") });
            false
        }
    }
}

/// Tells that nothing more will be read, also when the task is aborted.
struct ReaderDone(Arc<PeerShared>);

impl Drop for ReaderDone {
    fn drop(&mut self) {
        self.0.reader_done.set();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_large_buffer_is_kept_only_while_bytes_come() {
        // C-1
        let (mut theirs, mut ours) = duplex(64);
        let mut buf = Vec::with_capacity(1024 * 1024);
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(read(&mut ours, &mut buf, 4096, 1 << 20).await.unwrap(), 1);
        assert_eq!(buf.capacity(), 1024 * 1024);
        buf.clear();
        let reading = async {
            let n = read(&mut ours, &mut buf, 4096, 1 << 20).await.unwrap();
            (n, buf.capacity())
        };
        let writing = async {
            tokio::task::yield_now().await;
            theirs.write_all(b"yz").await.unwrap();
        };
        let ((n, capacity), ()) = tokio::join!(reading, writing);
        assert_eq!(n, 2);
        assert!((4096..8192).contains(&capacity), "{capacity}");
        assert_eq!(buf, b"yz");
    }
}
