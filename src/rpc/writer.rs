//! The task that writes: takes all waiting frames, writes them in one go (C-11).
//!
//! The only one that touches the stream's input. Ends when the outbox is finished (the stream is then flushed and
//! shut down) or when it is aborted by the link's end (the stream is then dropped).

use std::{sync::Arc, sync::atomic::Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::rpc::{
    Closed,
    encode::{KEEP_BYTES, Scratch},
    link::Link,
};

const LEAST_KEPT_BYTES: usize = 2 * 1024;

/// Why the writer stopped.
enum Stop {
    Failed(std::io::Error),
    Stalled(std::time::Duration),
}

pub(crate) async fn write_frames<W: AsyncWrite + Unpin>(link: Arc<Link>, mut writer: W) {
    // The latch is set also when this task is aborted.
    let done = Done(link);
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
async fn progress<T>(link: &Link, step: impl Future<Output = std::io::Result<T>>) -> Result<T, Stop> {
    let Some(limit) = link.config.write_stall else { return step.await.map_err(Stop::Failed) };
    let mut step = std::pin::pin!(step);
    loop {
        match tokio::time::timeout(limit, step.as_mut()).await {
            Ok(result) => return result.map_err(Stop::Failed),
            Err(_) if link.stall_armed.load(Ordering::Relaxed) => return Err(Stop::Stalled(limit)),
            Err(_) => {}
        }
    }
}

impl Stop {
    fn into_closed(self) -> Closed {
        match self {
            Stop::Failed(error) => failed(&error),
            Stop::Stalled(after) => Closed::WriteStalled { after },
        }
    }
}

fn failed(error: &std::io::Error) -> Closed {
    Closed::WriteFailed { reason: error.to_string() }
}

struct Done(Arc<Link>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.writer_done.set();
    }
}
