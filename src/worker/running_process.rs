//! [`RunningProcess`]: a process with its channel and the tasks that read its output. Owned by the process
//! lifecycle.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::AbortHandle};
use tracing::Instrument;

use crate::{channel::lifecycle::ChannelLifecycle, process::ProcessControl, rpc::Peer};

/// After a death: how long the pipes may be silent before they count as drained, and for how long they
/// are read at most (rule P-8).
const DRAIN_QUIET: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// The running process with everything around it.
pub(super) struct RunningProcess {
    pub(super) control: Box<dyn ProcessControl>,
    /// The life of the channel on its stdin and stdout, if they are one.
    pub(super) channel: Option<Arc<dyn ChannelLifecycle>>,
    /// The same channel, to speak JSON-RPC on it.
    pub(super) peer: Option<Peer>,
    pub(super) stderr: Option<OwnedTask>,
    pub(super) stdout: Option<OwnedTask>,
    /// Waits until the process closes a stdin that is a channel.
    pub(super) stdin: Option<OwnedTask>,
}

impl RunningProcess {
    /// Reads what is left in the pipes.
    pub(super) async fn drain(&self) {
        let rest = async {
            for task in [&self.stdout, &self.stderr].into_iter().flatten() {
                task.ended().await;
            }
        };
        let channel = async {
            if let Some(channel) = &self.channel {
                channel.drain(DRAIN_QUIET, DRAIN_MAX).await;
            }
        };
        // A grandchild may hold stderr open, so it is not awaited for longer than the silence.
        let _ = tokio::join!(channel, tokio::time::timeout(DRAIN_QUIET, rest));
    }
}

/// A task that is aborted when this is dropped.
pub(super) struct OwnedTask {
    abort: AbortHandle,
    /// Closed when the task has ended.
    running: watch::Receiver<()>,
}

impl OwnedTask {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> OwnedTask {
        let (tx, running) = watch::channel(());
        // An async block holds room for a future that it was given twice.
        let work = Box::pin(work);
        let task = async move {
            work.await;
            drop(tx);
        };
        OwnedTask { abort: tokio::spawn(task.in_current_span()).abort_handle(), running }
    }

    pub(super) async fn ended(&self) {
        while self.running.clone().changed().await.is_ok() {}
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.abort.abort();
    }
}
