//! The task that writes: takes all waiting frames, writes them in one go (C-11).
//!
//! The only one that touches the stream's input. Ends when the outbox is finished (the stream is then flushed and
//! shut down) or when it is aborted by the link's end (the stream is then dropped).

use std::{sync::Arc, sync::atomic::Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    channel::close_reason::CloseReason,
    rpc::{
        peer_shared::PeerShared,
        wire::encode::{KEEP_BYTES, Scratch},
    },
};

const LEAST_KEPT_BYTES: usize = 2 * 1024;

/// Why the writer stopped.
enum WriterStop {
    Failed(std::io::Error),
    Stalled(std::time::Duration),
}

pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(link: Arc<PeerShared>, mut writer: W) {
    // The latch is set also when this task is aborted.
    let done = WriterDone(link);
    let link = &done.0;
    let crowded = || link.in_flight.taken() > 1;
    let mut bytes = Vec::new();
    loop {
        // A buffer is kept as long as batches fill it: a worker that has gone quiet costs little. A large one goes to the
        // thread, whose next large frame needs one.
        if bytes.capacity() > KEEP_BYTES.min(4 * bytes.len().max(LEAST_KEPT_BYTES)) {
            Scratch::give(std::mem::take(&mut bytes));
        }
        bytes.clear();
        let Some(mut batch) = link.outbox.take(&mut bytes, crowded).await else { break };
        let mut at = 0;
        while at < bytes.len() {
            match progress(link, writer.write(&bytes[at..])).await {
                Ok(0) => return link.end(failed(&std::io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    at += n;
                    link.outbox.written(&mut batch, n);
                }
                Err(stop) => return link.end(stop.into_closed()),
            }
        }
        link.outbox.finished(batch);
        if let Err(stop) = progress(link, writer.flush()).await {
            return link.end(stop.into_closed());
        }
    }
    // The other side may have closed already; its end is noticed by reading.
    let _ = writer.shutdown().await;
}

/// Waits for one step of writing, at most `write_stall` as long as that is armed.
async fn progress<T>(
    link: &PeerShared,
    step: impl Future<Output = std::io::Result<T>>,
) -> Result<T, WriterStop> {
    let Some(limit) = link.config.write_stall else { return step.await.map_err(WriterStop::Failed) };
    let mut step = std::pin::pin!(step);
    loop {
        match tokio::time::timeout(limit, step.as_mut()).await {
            Ok(result) => return result.map_err(WriterStop::Failed),
            Err(_) if link.stall_armed.load(Ordering::Relaxed) => return Err(WriterStop::Stalled(limit)),
            Err(_) => {}
        }
    }
}

impl WriterStop {
    fn into_closed(self) -> CloseReason {
        match self {
            WriterStop::Failed(error) => failed(&error),
            WriterStop::Stalled(after) => CloseReason::WriteStalled { after },
        }
    }
}

fn failed(error: &std::io::Error) -> CloseReason {
    CloseReason::WriteFailed { reason: error.to_string() }
}

struct WriterDone(Arc<PeerShared>);

impl Drop for WriterDone {
    fn drop(&mut self) {
        self.0.writer_done.set();
    }
}
