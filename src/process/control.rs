//! [`ProcessControl`]: control over a running process and its group. Implemented for processes of the
//! operating system and for scripted ones.

use std::{fmt, io, time::Duration};

use async_trait::async_trait;
use rustix::process::Signal;

use super::{exit_status::ExitStatus, held_until_reaped::HeldUntilReaped, usage_probe::UsageProbe};
use crate::containment::Containment;

/// How long a reap waits by default for a process that has been sent `SIGKILL`.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// The process was killed and could not be reaped in time, normally because it is in an uninterruptible
/// sleep. A background reaper keeps trying. The [`HeldUntilReaped`](super::HeldUntilReaped) is
/// released, so that the tree goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process {pid} was killed but has not ended yet; it is still waited for in the background")]
pub struct Unkillable {
    /// The process id.
    pub pid: u32,
}

/// Control over one process, the leader of a group, and over that group.
///
/// **Dropping it at any moment kills the group at once; the leader is reaped in the background** (P-10),
/// also when the drop happens outside a runtime or while one shuts down. All methods may be called from
/// several tasks at once.
#[async_trait]
pub trait ProcessControl: Send + Sync + fmt::Debug {
    /// The process id, which is also the id of its group. It is not reused by the system before
    /// [`ProcessControl::reap`] has returned.
    fn pid(&self) -> u32;

    /// What prevents the process and its descendants from outliving the host (P-12).
    fn containment(&self) -> Containment {
        Containment::default()
    }

    /// Reads what the process uses, while it lives. `None` if usage is not measured.
    fn usage_probe(&self) -> Option<UsageProbe> {
        None
    }

    /// Sends a signal to the whole group. `SIGTERM` is followed by `SIGCONT`, since a stopped process does
    /// not see the former.
    ///
    /// # Errors
    /// `ESRCH` once the leader has been reaped: a reaped id may belong to a stranger (P-7). `EPERM` if no
    /// member of the group may be signalled.
    fn signal(&self, signal: Signal) -> io::Result<()>;

    /// Waits until the leader has ended. It stays a zombie that pins its ids until
    /// [`ProcessControl::reap`]. Cancel-safe; returns at once when called again. Members of the group that
    /// live on do not delay it (P-8).
    async fn exited(&self) -> ExitStatus;

    /// Waits until the group has no living member but the leader. Meaningful once the leader has exited.
    /// Cancel-safe.
    ///
    /// With a control group, this means that nothing else in it is alive; without one, nothing else in its
    /// group and its session. In the latter case the process table is scanned every 50 ms on Linux; on
    /// other systems this returns at once.
    async fn emptied(&self);

    /// Kills what is left of the group, reaps the leader, and waits until the killed members have ended too.
    ///
    /// When this returns `Ok`, nothing of the group is left and the held value has been released.
    /// Concurrent callers all get the same result. Cancel-safe.
    ///
    /// # Errors
    /// [`Unkillable`] after `wait` (usually [`KILL_WAIT`]). A background reaper goes on.
    async fn reap(&self, wait: Duration) -> Result<ExitStatus, Unkillable>;

    /// As [`ProcessControl::reap`], for a process whose successor is launched at once. When this returns,
    /// nothing of the *group* is left. Processes that have left the group but not the session are killed a
    /// moment later if finding them takes a scan of all processes of the system; `held_until_swept` is kept
    /// until then.
    ///
    /// # Errors
    /// As [`ProcessControl::reap`].
    async fn reap_after_exit(
        &self,
        wait: Duration,
        held_until_swept: HeldUntilReaped,
    ) -> Result<ExitStatus, Unkillable> {
        let reaped = self.reap(wait).await;
        drop(held_until_swept);
        reaped
    }
}
