//! Creates a process, by the best technique that the system offers. Knows nothing of how a process is
//! watched or stopped.
//!
//! | technique | where | cost | what it can set |
//! |---|---|---|---|
//! | `clone3` | Linux 5.9 on x86-64 and aarch64, unless a filter forbids it | grows with the descriptors, not with the memory | everything |
//! | `posix_spawn` | Linux, Apple systems | the same | session or group, stdio, directory, signals |
//! | the standard library | elsewhere | as with `std::process` | group, stdio, directory |
//!
//! None of them forks.

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
))]
mod arch;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
))]
mod child;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
))]
mod clone3;
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
)))]
#[path = "clone3_unsupported.rs"]
mod clone3;
mod describe_exec_error;
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
mod posix_spawn;
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
#[path = "std.rs"]
mod posix_spawn;
mod spawned_process;

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::io::Errno;

pub(super) use spawned_process::{SpawnError, SpawnedProcess};

use super::exec_plan::ExecPlan;
use crate::exit::LaunchStage;

/// How processes are created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Technique {
    /// The best that the system offers: `clone3` where it exists and is allowed, else as
    /// [`Technique::PosixSpawn`].
    #[default]
    Auto,
    /// Never `clone3`. There is no death signal then (P-12), and a command with limits is refused (P-6).
    PosixSpawn,
}

/// What a launch thread keeps between launches.
#[derive(Debug, Default)]
pub(super) struct SpawnWorkspace {
    stack: Option<clone3::Stack>,
}

/// Creates a process that leads a session or at least a group, with `stdio` as its only descriptors, an
/// empty signal mask and every signal's default action. If `cgroup` is given, the directory of a control
/// group, it is created in that group.
///
/// Blocks until the program has been executed or could not be. Where the technique has a death signal, the
/// process is killed when the *calling thread* ends.
///
/// # Errors
/// No process is left. A limit or a control group that the technique cannot apply is an error.
pub(super) fn spawn(
    workspace: &mut SpawnWorkspace,
    technique: Technique,
    plan: &ExecPlan,
    stdio: &[OwnedFd; 3],
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<SpawnedProcess, SpawnError> {
    if technique == Technique::Auto
        && let Some(spawned) = clone3::spawn(&mut workspace.stack, plan, stdio, cgroup)
    {
        return spawned;
    }
    let program = || format!("program `{}`", plan.path.to_string_lossy());
    let unsupported = if !plan.limits.is_none() { Some("limits") } else { cgroup.map(|_| "control groups") };
    if let Some(what) = unsupported {
        let what = format!("{what} of {} cannot be applied by posix_spawn", program());
        return Err(SpawnError::new(LaunchStage::Command, Some(Errno::OPNOTSUPP.raw_os_error()), what));
    }
    posix_spawn::spawn(plan, stdio).map_err(|error| {
        let stage = stage_of(&error);
        let what = match (stage, error.raw_os_error()) {
            (LaunchStage::Exec, Some(errno)) => describe_exec_error::describe_exec_error(plan, errno),
            _ => program(),
        };
        SpawnError::new(stage, error.raw_os_error(), what)
    })
}

/// Whether this technique can apply limits, as far as that shows without a launch.
pub(super) fn has_limits(technique: Technique) -> bool {
    technique == Technique::Auto && clone3::is_available()
}

/// `posix_spawn` does not report which step failed. Directory and program were checked before, so either
/// the image or the system is at fault.
fn stage_of(error: &io::Error) -> LaunchStage {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => LaunchStage::Spawn,
        _ => LaunchStage::Exec,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::process::{
        command::Command,
        stdio::endpoints::{self, SocketsForStdio, StdioLayout},
    };

    #[test]
    fn a_control_group_that_is_none_is_a_failed_launch_and_no_verdict_on_the_technique() {
        // P-6
        let command = Command::new("true");
        let plan = ExecPlan::new(&command).unwrap();
        let (child_ends, _host_ends) =
            endpoints::make(StdioLayout::new(&command, SocketsForStdio::Never)).unwrap();
        let mut workspace = SpawnWorkspace::default();
        let mut spawn = |cgroup| spawn(&mut workspace, Technique::Auto, &plan, &child_ends.fds, cgroup);
        let no_cgroup = std::fs::File::open("/dev/null").unwrap();
        let failure = spawn(Some(no_cgroup.as_fd())).unwrap_err();
        assert_ne!(failure.errno, Some(Errno::OPNOTSUPP.raw_os_error()), "{failure:?}");
        assert_eq!(failure.stage, LaunchStage::Spawn, "{failure:?}");
        let spawned = spawn(None).unwrap();
        assert!(spawned.containment.death_signal);
        let status = rustix::process::waitpid(Some(spawned.pid), rustix::process::WaitOptions::empty());
        assert_eq!(status.unwrap().unwrap().1.exit_status(), Some(0));
    }
}
