//! The task that reads: cuts frames out of the stream and hands them to a [`FrameHandler`]. It waits
//! only for bytes (C-6).

use std::{future::poll_fn, io, pin::pin, sync::Arc};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::channel::{
    channel_callbacks::ChannelCallbacks,
    close_reason::CloseReason,
    framing::{FrameStep, Framer, MAX_HEADER_BYTES},
    yield_budget::YieldBudget,
};

const LEAST_READ_BYTES: usize = 4 * 1024;
const MOST_READ_BYTES: usize = 64 * 1024;

/// Takes what the reader finds. Never called through a vtable.
pub(crate) trait FrameHandler: Send + Sync + 'static {
    type Callbacks: ChannelCallbacks;

    fn callbacks(&self) -> &Arc<Self::Callbacks>;

    /// Handles one frame. `false` when the channel has ended and the rest must not be read.
    fn accept(&self, frame: &[u8]) -> impl Future<Output = bool> + Send;

    /// Handles what stands behind the last frame of a stream that has ended.
    fn accept_last(&self, rest: &[u8]) -> impl Future<Output = ()> + Send;

    /// Handles a line between frames that belongs to none. `false` when the channel has ended because of it.
    fn accept_noise(&self, line: &[u8]) -> bool;
}

/// Reads until the stream or the channel ends.
pub(crate) async fn read_frames<R: AsyncRead + Unpin>(handler: impl FrameHandler, mut reader: R) {
    let done = MarkReaderDoneOnDrop(handler.callbacks().clone());
    let callbacks = &*done.0;
    let channel = callbacks.channel();
    let mut framer = Framer::new(channel.config.framing, channel.config.max_frame_bytes);
    let mut buf = Vec::new();
    let mut want = LEAST_READ_BYTES;
    let mut budget = YieldBudget::new(channel);
    loop {
        let mut at = 0;
        let missing = loop {
            let bytes = &buf[at..];
            let used = match framer.next(bytes) {
                Ok(FrameStep::Frame { body, used }) => {
                    channel.counters.frames_in.increment();
                    if !handler.accept(&bytes[body]).await {
                        return;
                    }
                    used
                }
                Ok(FrameStep::Noise { line, used }) => {
                    if !handler.accept_noise(&bytes[line]) {
                        return;
                    }
                    used
                }
                Ok(FrameStep::Skip { used }) => used,
                Ok(FrameStep::More { missing }) => break missing,
                Err(error) => return callbacks.end(CloseReason::Violation { reason: error.to_string() }),
            };
            at += used;
            budget.spend(used).await;
        };
        buf.drain(..at);
        let most = channel.config.max_frame_bytes.saturating_add(MAX_HEADER_BYTES);
        match read(&mut reader, &mut buf, want.max(missing.min(MOST_READ_BYTES)), most).await {
            Ok(0) => {
                let rest = framer.rest(&buf);
                if !rest.is_empty() {
                    channel.counters.frames_in.increment();
                    handler.accept_last(&buf[rest]).await;
                }
                return callbacks.end(CloseReason::Eof);
            }
            Ok(n) => {
                channel.counters.bytes_in.add(n as u64);
                if n >= want {
                    want = (want * 4).min(MOST_READ_BYTES);
                } else if n < want / 4 {
                    want = (want / 2).max(LEAST_READ_BYTES);
                }
            }
            // A process that dies with unread input resets its end after its last output.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return callbacks.end(CloseReason::Eof);
            }
            Err(error) => return callbacks.end(CloseReason::ReadFailed { reason: error.to_string() }),
        }
    }
}

/// Reads, with room for at least `want` bytes. A much larger buffer is kept only while bytes keep
/// coming, so that a quiet worker costs little. The buffer doubles up to `most` bytes and then
/// grows by what is to be read, so that a large frame costs its own length and not the next power
/// of two.
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

/// Says that nothing more will be read, also when the task is aborted.
struct MarkReaderDoneOnDrop<O: ChannelCallbacks>(Arc<O>);

impl<O: ChannelCallbacks> Drop for MarkReaderDoneOnDrop<O> {
    fn drop(&mut self) {
        let _ = self.0.channel().reader_done.set(());
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
