//! What a service does on `SIGTERM` and `SIGINT` (rule T-4).

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use tokio::time::Instant;

use super::Tree;
use crate::{exit::Exit, process};

/// Under a guardian, what is sent to a whole group reaches the host twice: directly, and passed on.
const ECHO: Duration = Duration::from_millis(250);

impl Tree {
    /// The default deadline of [`Tree::run_until_signal`]: 25 s, within the 30 s that service managers and container
    /// runtimes allow or the larger part of them.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(25);

    /// Runs until the tree ends or the process is told to: `SIGTERM` or `SIGINT` stops everything in order within
    /// `deadline`, a second one kills the rest at once. Returns how the tree ended; nothing of it is left then.
    ///
    /// That the tree has given up is no `Err` of this call: whoever drops the [`Exit`] ends with success. In `main`:
    ///
    /// ```no_run
    /// # use procession::tree::Tree;
    /// # async fn run(tree: Tree) -> Result<(), Box<dyn std::error::Error>> {
    /// // `Ok` if it was told to stop; else the reason, with the whole chain of causes.
    /// tree.run_until_signal(Tree::DEFAULT_DEADLINE).await?.into_result()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// How long an orderly stop takes is said at [`Tree::shutdown`]. A signal that comes before the first call, during
    /// the start for example, ends the program by its default action: see
    /// [`TreeBuilder::start`](super::TreeBuilder::start).
    ///
    /// Under a [`guardian`](crate::guardian()), a second signal within 250 ms of the first is its echo and does not count.
    ///
    /// The first call installs handlers for both signals for the rest of the process's life, as tokio does.
    ///
    /// # Errors
    /// When a handler cannot be installed; the tree goes on.
    pub async fn run_until_signal(&self, deadline: Duration) -> io::Result<Exit> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        tokio::select! {
            biased;
            exit = self.wait() => return Ok(exit),
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!(target: "procession", ?deadline, "told to stop: stopping in order");
        let echo = process::has_guardian().then(|| Instant::now() + ECHO);
        let mut shutdown = std::pin::pin!(self.shutdown(deadline));
        loop {
            tokio::select! {
                biased;
                exit = &mut shutdown => return Ok(exit),
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if echo.is_none_or(|end| Instant::now() >= end) {
                break;
            }
        }
        tracing::warn!(target: "procession", "told to stop again: killing what is left");
        Ok(self.root().kill().await)
    }
}
