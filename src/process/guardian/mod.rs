//! [`guardian`]: a small process above the host that outlives it for a moment and leaves nothing behind
//! (P-12).
//!
//! ```text
//! shell, service manager ──► guardian            the pid that was started; subreaper; forwards signals
//!                              └─ host           everything else: runtime, tree, launches
//!                                   ├─ worker    leads its own group
//!                                   └─ worker ── grandchild … the guardian, not init, adopts orphans
//! ```
//!
//! `fork_host` makes the guardian, `event_loop` is its work while the host lives, `kill_descendants`
//! its work at the end, and `signals` has the system calls about signals that need `unsafe`. None of
//! that but `fork_host` runs in the host. The guardian is forked from a program with a single thread,
//! so it may do what any program may. While the host lives it still uses only system calls and its
//! stack. Its memory then stays shared with what the host was at the very start, and nothing can fail
//! because memory is short.

mod errors;
#[cfg(target_os = "linux")]
mod event_loop;
#[cfg(target_os = "linux")]
mod fork_host;
#[cfg(target_os = "linux")]
mod kill_descendants;
#[cfg(target_os = "linux")]
mod signals;

pub use errors::GuardianError;
#[cfg(target_os = "linux")]
pub(super) use fork_host::active;

/// Puts the program under a guardian: **once the host has ended, in whatever way, `SIGKILL` included, none
/// of its descendants is left** (P-12). Linux only.
///
/// Call it first in `main`, before any thread exists and before the runtime is built:
///
/// ```no_run
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     procession::guardian()?;
///     // From here on this is the host, a child of the guardian.
///     tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())
/// }
///
/// async fn serve() -> Result<(), Box<dyn std::error::Error>> {
///     let tree = procession::tree::Tree::builder().start().await?; // … with its children
///     tree.run_until_signal(procession::tree::Tree::DEFAULT_DEADLINE).await?.into_result()?;
///     Ok(())
/// }
/// ```
///
/// The program forks. The parent keeps the process id of the program that was started, becomes the guardian
/// and never returns. The child continues as the *host* and returns from here. A second call in the host
/// does nothing.
///
/// # What the guardian does
///
/// * **It ends as the host ends**: with the same exit code, or by the same signal (without a core dump of
///   its own). The program's parent sees no difference.
/// * **Before that it kills every descendant that is left**, including those in sessions of their own and
///   those that were orphaned by a double fork, even after an orderly end of the host. A process that
///   `SIGKILL` does not end, because it is in an uninterruptible sleep, is given up after five seconds in
///   which no process ended. So a guardian does not suit a program that means to leave a daemon behind.
/// * **It adopts orphans while the host lives**, in place of init. It reaps them when they end and leaves
///   them alone otherwise.
/// * **It forwards signals** that are sent to it: all that can be caught, real-time signals with their
///   value. A terminal's signals (Ctrl-C, Ctrl-\, Ctrl-Z, a change of its size) go to the whole foreground
///   group, which includes the host, and are not sent again. `SIGCONT` is forwarded to a stopped host only.
/// * **It stops when the host stops**, if it was started by a shell with job control, so that the shell
///   gets the terminal back; `fg` and `bg` continue both.
/// * **If it is killed itself**, by `SIGKILL`, the kernel kills the host. (A host that changes its user or
///   group after this call is exempt, because the kernel disarms the signal then: change them before. The
///   host's direct children are killed with it if their [`Containment`](crate::containment::Containment)
///   has a death signal.)
///
/// It holds no files (its stdio is `/dev/null`) and no directory, so it keeps no pipe open and no file
/// system busy. It needs a few hundred KiB of memory, because it is forked before the host has allocated
/// any. Tools that show names show it as `guardian`.
///
/// # Where it runs
///
/// * **From a shell**: as the program itself would.
/// * **In a container** the guardian is process 1. It reaps orphans that no other process reaps. Signals
///   have no default action in process 1, so it forwards them to the host, where they have. If the host is
///   ended by a signal, the guardian exits with code 128 + signal, because process 1 cannot kill itself.
/// * **Under a service manager** the main process is the guardian. For systemd, set `KillMode=mixed`, so
///   that the stop signal is sent to the guardian alone (with the default, `control-group`, the host gets
///   it twice: directly and forwarded). With `Type=notify`, set `NotifyAccess=all`, because the host is not
///   the main process. `LISTEN_PID`, `WATCHDOG_PID` and `SYSTEMD_EXEC_PID` are corrected by this function.
///   A `kill` of the whole process group also reaches the host twice. `Tree::run_until_signal` treats such
///   a pair as one signal.
///
/// The only processes that escape it are those that another service starts on behalf of a descendant (a
/// service manager, a container daemon, cron).
///
/// # Errors
/// [`GuardianError`]. Nothing has changed then, and the program may continue without a guardian.
pub fn guardian() -> Result<(), GuardianError> {
    #[cfg(target_os = "linux")]
    return fork_host::guardian();
    #[cfg(not(target_os = "linux"))]
    Err(GuardianError::Unsupported)
}

/// Whether this program runs under a guardian.
#[cfg(not(target_os = "linux"))]
pub(super) fn active() -> bool {
    false
}
