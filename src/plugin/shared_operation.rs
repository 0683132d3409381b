//! [`SharedOperation`]: an operation that is carried out once and awaited by any number of callers.

use tokio::sync::watch;

use super::error::PluginError;
use crate::id::Incarnation;

/// The result of an operation; [`Incarnation::NONE`] if it has no incarnation to name.
pub(crate) type OperationResult = Result<Incarnation, PluginError>;

/// A running operation. It continues when no caller waits for it.
#[derive(Clone, Debug)]
pub(crate) struct SharedOperation(watch::Receiver<Option<OperationResult>>);

impl SharedOperation {
    /// Runs the operation as a task.
    pub(crate) fn spawn(work: impl Future<Output = OperationResult> + Send + 'static) -> SharedOperation {
        let (tx, rx) = watch::channel(None);
        tokio::spawn(async move {
            let outcome = work.await;
            tx.send_replace(Some(outcome));
        });
        SharedOperation(rx)
    }

    /// Its result; `None` if the runtime was shut down before it ended.
    pub(crate) async fn wait(&self) -> Option<OperationResult> {
        let mut rx = self.0.clone();
        let done = rx.wait_for(Option::is_some).await;
        done.ok().and_then(|outcome| outcome.clone())
    }
}
