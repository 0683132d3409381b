//! An operation that is carried out once and awaited by anybody: [`SharedOperation`].

use tokio::sync::watch;

use super::error::PluginError;
use crate::id::Incarnation;

/// What an operation comes to; [`Incarnation::NONE`] where there is none to name.
pub(crate) type OperationResult = Result<Incarnation, PluginError>;

/// A running operation. It goes on when nobody waits for it.
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

    /// What it came to; `None` if the runtime was shut down under it.
    pub(crate) async fn wait(&self) -> Option<OperationResult> {
        let mut rx = self.0.clone();
        let done = rx.wait_for(Option::is_some).await;
        done.ok().and_then(|outcome| outcome.clone())
    }
}
