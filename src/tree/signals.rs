//! What a service does on `SIGTERM` and `SIGINT` (rule T-4).

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::Tree;
use crate::exit::Exit;

impl Tree {
    /// The default deadline of [`Tree::run_until_signal`]: 25 s, within the 30 s that service managers and container
    /// runtimes allow or the larger part of them.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(25);

    /// Runs until the tree ends or the process is told to: `SIGTERM` or `SIGINT` stops everything in order within
    /// `deadline`, a second one kills the rest at once. Returns how the tree ended; nothing of it is left then.
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
        tokio::select! {
            biased;
            exit = self.shutdown(deadline) => return Ok(exit),
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::warn!(target: "procession", "told to stop again: killing what is left");
        Ok(self.root().kill().await)
    }
}
