//! The task that writes: takes the waiting frames and writes them in one go (C-11).
//!
//! The only one that writes to the stream. It ends when the outbox is finished (the stream is then
//! flushed and shut down), or when the close of the channel aborts it (the stream is then dropped).

use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::channel::{
    channel_callbacks::ChannelCallbacks,
    channel_shared::ChannelShared,
    close_reason::CloseReason,
    scratch::{KEEP_BYTES, Scratch},
};

const LEAST_KEPT_BYTES: usize = 2 * 1024;

/// Why the writer stopped.
enum WriteFailure {
    Failed(std::io::Error),
    Stalled(std::time::Duration),
}

/// Writes what is put into the channel's outbox until that is finished or the channel ends.
pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(
    callbacks: Arc<impl ChannelCallbacks>,
    mut writer: W,
) {
    // Says that the writer is done also when this task is aborted.
    let done = MarkWriterDoneOnDrop(callbacks);
    let callbacks = &*done.0;
    let channel = callbacks.channel();
    let crowded = || callbacks.expects_more_frames();
    let mut bytes = Vec::new();
    loop {
        // A buffer is kept only as long as batches fill it, so that a quiet worker costs little. A
        // large one goes to the thread, which needs one for its next large frame.
        if bytes.capacity() > KEEP_BYTES.min(4 * bytes.len().max(LEAST_KEPT_BYTES)) {
            Scratch::give(std::mem::take(&mut bytes));
        }
        bytes.clear();
        let Some(mut room) = channel.outbox.take(&mut bytes, crowded).await else { break };
        let mut at = 0;
        while at < bytes.len() {
            match progress(channel, writer.write(&bytes[at..])).await {
                Ok(0) => return callbacks.end(failed(&std::io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    at += n;
                    channel.outbox.written(&mut room, n);
                }
                Err(failure) => return callbacks.end(failure.into_closed()),
            }
        }
        channel.outbox.finished(room);
        if let Err(failure) = progress(channel, writer.flush()).await {
            return callbacks.end(failure.into_closed());
        }
    }
    // The other side may have closed already; the reader notices that.
    let _ = writer.shutdown().await;
}

/// Waits for one step of writing, at most `write_stall` while writes are watched.
async fn progress<T>(
    channel: &ChannelShared,
    step: impl Future<Output = std::io::Result<T>>,
) -> Result<T, WriteFailure> {
    let Some(limit) = channel.config.write_stall else { return step.await.map_err(WriteFailure::Failed) };
    let mut step = std::pin::pin!(step);
    loop {
        match tokio::time::timeout(limit, step.as_mut()).await {
            Ok(result) => return result.map_err(WriteFailure::Failed),
            Err(_) if channel.writes_are_watched() => return Err(WriteFailure::Stalled(limit)),
            Err(_) => {}
        }
    }
}

impl WriteFailure {
    fn into_closed(self) -> CloseReason {
        match self {
            WriteFailure::Failed(error) => failed(&error),
            WriteFailure::Stalled(after) => CloseReason::WriteStalled { after },
        }
    }
}

fn failed(error: &std::io::Error) -> CloseReason {
    CloseReason::WriteFailed { reason: error.to_string() }
}

struct MarkWriterDoneOnDrop<O: ChannelCallbacks>(Arc<O>);

impl<O: ChannelCallbacks> Drop for MarkWriterDoneOnDrop<O> {
    fn drop(&mut self) {
        let _ = self.0.channel().writer_done.set(());
    }
}
