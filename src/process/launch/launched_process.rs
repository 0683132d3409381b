//! [`LaunchedProcess`]: a process from its creation on a launch thread until a runtime takes it over.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, mpsc},
};

use rustix::{io::Errno, process::Pid};

use super::{
    exec_plan::ExecPlan,
    os_control::OsProcessControl,
    program_lookup::never_started,
    spawn::{self, SpawnError, SpawnWorkspace, SpawnedProcess, Technique},
};
#[cfg(target_os = "linux")]
use crate::process::stop::adopted_orphans;
use crate::{
    containment::Containment,
    exit::{Exit, LaunchStage},
    process::{
        cgroup::{Cgroup, CgroupFactory},
        command::{Command, Limits},
        guardian,
        held_until_reaped::HeldUntilReaped,
        launcher::Process,
        stdio::endpoints::{self, ChildEnds, HostEnds, HostStreams, StdioLayout},
        stop::{
            process_group::{CpuLimitsAtLaunch, ProcessGroup},
            reaper::KillGroupOnDrop,
        },
    },
};

/// How a launcher creates its processes.
#[derive(Clone, Debug)]
pub(super) struct LaunchSettings {
    pub(super) technique: Technique,
    pub(super) cgroups: Arc<CgroupFactory>,
    /// Always true outside of tests.
    pub(super) use_pidfd: bool,
}

/// A process that has just been launched and that no runtime knows yet. Dropping it kills the process.
pub(super) struct LaunchedProcess {
    owner: KillGroupOnDrop,
    /// The host's ends, if the launch thread has made them.
    host_ends: Option<HostEnds>,
    containment: Containment,
}

impl LaunchedProcess {
    /// Launches with the process's ends that come through `child_ends`, or makes both sides if none come.
    /// Blocks until the program has been executed or could not be.
    pub(super) fn new(
        command: &Command,
        settings: &LaunchSettings,
        held_until_reaped: HeldUntilReaped,
        (layout, child_ends): (StdioLayout, &mpsc::Receiver<ChildEnds>),
        workspace: &mut SpawnWorkspace,
    ) -> Result<LaunchedProcess, Exit> {
        let plan = ExecPlan::new(command)?;
        let failed = |stage, errno: Option<i32>| {
            never_started(stage, errno, format_args!("program `{}`", plan.path.to_string_lossy()))
        };
        let (child_ends, host_ends) = match child_ends.recv() {
            Ok(child_ends) => (child_ends, None),
            Err(_) => endpoints::make(layout)
                .map(|(child_ends, host_ends)| (child_ends, Some(host_ends)))
                .map_err(|error| failed(LaunchStage::Stdio, error.raw_os_error()))?,
        };
        #[cfg(target_os = "linux")]
        let _pending = adopted_orphans::LaunchInProgress::new();
        let (spawned, cgroup) = spawn_in_cgroup(settings, &plan, &child_ends, workspace)
            .map_err(|SpawnError { stage, errno, what }| never_started(stage, errno, what))?;
        drop(child_ends);
        let containment = Containment {
            guardian: guardian::active(),
            cgroup: cgroup.as_ref().map(Cgroup::path),
            ..spawned.containment
        };
        let (pidfd, pidfd_error) = match (settings.use_pidfd, spawned.pidfd) {
            (false, _) => (None, None),
            (true, Some(pidfd)) => (Some(pidfd), None),
            (true, None) => match open_pidfd(spawned.pid) {
                Ok(pidfd) => (pidfd, None),
                Err(error) => (None, Some(error)),
            },
        };
        let cpu_limits_at_launch =
            plan.limits.cpu_time().map(|soft| CpuLimitsAtLaunch { soft, hard: soft + Limits::CPU_GRACE });
        let owner = KillGroupOnDrop::new(ProcessGroup::new(
            spawned.pid,
            pidfd,
            cpu_limits_at_launch,
            cgroup,
            held_until_reaped,
        ));
        match pidfd_error {
            None => Ok(LaunchedProcess { owner, host_ends, containment }),
            // Dropping the owner ends the process.
            Some(errno) => Err(failed(LaunchStage::Spawn, Some(errno.raw_os_error()))),
        }
    }

    /// Hands the process to the current runtime. `registered` are the host's ends if the launch thread did
    /// not make them.
    pub(super) fn attach_to_runtime(
        self,
        registered: Option<io::Result<HostStreams>>,
    ) -> Result<Process, Exit> {
        let LaunchedProcess { owner, host_ends, containment } = self;
        let pid = owner.group().pid();
        let streams = match host_ends {
            Some(host_ends) => register(host_ends),
            // One of the two is there: the launch thread makes the ends if it is not given any.
            None => registered.unwrap_or_else(|| Err(Errno::BADF.into())),
        };
        let (stdin, stdout, stderr) = streams.map_err(|error| {
            let (errno, what) = (error.raw_os_error(), format!("channel of process {pid}"));
            match errno {
                Some(_) => never_started(LaunchStage::Stdio, errno, what),
                None => never_started(LaunchStage::Stdio, None, format_args!("{what}: {error}")),
            }
        })?;
        let control = Box::new(OsProcessControl::new(owner, containment));
        Ok(Process { pid, stdin, stdout, stderr: Some(stderr), control })
    }
}

/// Registers the host's ends with the current runtime. If that has no I/O, tokio panics; this returns an
/// error then.
pub(super) fn register(host_ends: HostEnds) -> io::Result<HostStreams> {
    let register = std::panic::AssertUnwindSafe(|| host_ends.register());
    std::panic::catch_unwind(register).unwrap_or_else(|_| {
        Err(io::Error::other("it needs a tokio runtime with I/O enabled, as `enable_io` and `enable_all` do"))
    })
}

/// Creates the process, in a control group of its own where that is possible.
fn spawn_in_cgroup(
    settings: &LaunchSettings,
    plan: &ExecPlan,
    child_ends: &ChildEnds,
    workspace: &mut SpawnWorkspace,
) -> Result<(SpawnedProcess, Option<Cgroup>), SpawnError> {
    let mut spawn = |cgroup: Option<BorrowedFd<'_>>| {
        spawn::spawn(workspace, settings.technique, plan, &child_ends.fds, cgroup)
    };
    if settings.technique == Technique::Auto
        && let Some(cgroup) = settings.cgroups.make()
    {
        let spawned = match cgroup.open() {
            Ok(directory) => spawn(Some(directory.as_fd())),
            Err(_) => Err(SpawnError { stage: LaunchStage::Spawn, errno: None, what: String::new() }),
        };
        match spawned {
            Ok(spawned) => return Ok((spawned, Some(cgroup))),
            // The program is at fault, or the system has no room for any process.
            Err(error) if !cgroup_may_be_at_fault(&error) => {
                cgroup.remove();
                return Err(error);
            }
            Err(_) => cgroup.remove(),
        }
        let spawned = spawn(None)?;
        settings.cgroups.disable();
        return Ok((spawned, None));
    }
    Ok((spawn(None)?, None))
}

/// Whether a launch that failed with a control group may succeed without one.
fn cgroup_may_be_at_fault(error: &SpawnError) -> bool {
    let errno = error.errno.map(Errno::from_raw_os_error);
    !matches!(errno, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
        && matches!(error.stage, LaunchStage::Spawn | LaunchStage::Command)
}

/// A pidfd, if the system has pidfds.
///
/// # Errors
/// No descriptor or no memory is left. The launch has to fail then, because its next step would.
#[cfg(target_os = "linux")]
fn open_pidfd(pid: Pid) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
    // The process is our child and no other code reaps it, so the number cannot have a new owner yet.
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_pidfd(_: Pid) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
    Ok(None)
}
