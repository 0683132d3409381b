//! [`Launcher`], the seam between this crate and processes, and [`Process`], which a launch returns.

use std::fmt;

use super::{
    command::{Command, CommandMistake},
    control::ProcessControl,
    held_until_reaped::HeldUntilReaped,
    stdio::{Stderr, Stdin, Stdout},
};
use crate::exit::Exit;
use async_trait::async_trait;

/// Turns a [`Command`] into a running [`Process`].
#[async_trait]
pub trait Launcher: Send + Sync + fmt::Debug {
    /// Launches the command. `held_until_reaped` is kept until the process has been reaped and nothing of its
    /// group is left. It is dropped if the launch fails.
    ///
    /// Cancelling the launch at any moment leaves no process behind (P-10).
    ///
    /// # Errors
    /// [`Exit::NeverStarted`], with the system's error number and the stage that failed. Nothing is leaked.
    async fn launch(&self, command: &Command, held_until_reaped: HeldUntilReaped) -> Result<Process, Exit>;

    /// All mistakes in a command that can be found without a launch. Declarations are checked with this. By
    /// default, the mistakes that fail a launch on every system ([`Command::mistakes`]).
    fn mistakes(&self, command: &Command) -> Vec<CommandMistake> {
        command.mistakes()
    }
}

/// A running process: its streams and the control over it.
///
/// Dropping it kills the process group and reaps it in the background, because that is what dropping
/// [`Process::control`] does. Dropping `stdin` is an end of file for the process.
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// What the process reads. A write after the process has ended fails with `BrokenPipe` or
    /// `ConnectionReset`.
    pub stdin: Stdin,
    /// What the process writes. Everything that it wrote before it ended can be read.
    pub stdout: Stdout,
    /// What the process writes to stderr. Always drain it, see [`drain`](super::drain).
    pub stderr: Option<Stderr>,
    /// Control over the process and its group.
    pub control: Box<dyn ProcessControl>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}
