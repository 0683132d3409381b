//! [`OsLauncher`]: processes of the operating system.

use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};
use tokio::sync::oneshot;

use super::{
    exec_plan::ExecPlan,
    launch_rate::LaunchRate,
    launch_thread,
    program_lookup::never_started,
    sigchld,
    spawn::{self, SpawnError, SpawnWorkspace, SpawnedProcess, Technique},
};
#[cfg(target_os = "linux")]
use crate::process::stop::orphans::{self, ReapAdopted};
use crate::{
    containment::Containment,
    exit::{Exit, LaunchStage},
    process::{
        cgroup::{Cgroup, CgroupFactory, CgroupMode},
        command::{Command, CommandMistake, Limits},
        control::{ProcessControl, Unkillable},
        exit_status::ExitStatus,
        guardian,
        launcher::{Launcher, Process},
        reap_token::ReapToken,
        stdio::endpoints::{self, SocketMode, StdioLayout},
        stop::{
            exit_watch::ExitWatch,
            leader::{CpuLimit, Leader},
            reaper::{self, LeaderOwner},
        },
        sweeper,
        usage::UsageProbe,
    },
};

/// Launches real processes, each the leader of its own session, or at least of its own process group (P-4).
///
/// The cost of a launch does not grow with the host's memory (P-13): it never forks. Only stdio reaches the process
/// (P-5). On Linux the process is killed when the host is, even by `SIGKILL` (P-12), and is created with its limits
/// (P-6); what holds in the end is in [`ProcessControl::containment`].
///
/// Launches happen on a few threads that are started when they are first needed, are shared by all launchers and
/// never end (`procession-launch`): a program that is slow to load suspends one of those, never a worker of the
/// runtime.
///
/// Needs a tokio runtime with I/O and time enabled, else no launch succeeds; the process's streams belong to the runtime it was launched on.
#[derive(Clone, Debug)]
pub struct OsLauncher {
    technique: Technique,
    pace: Option<Arc<LaunchRate>>,
    groups: Arc<CgroupFactory>,
    sockets: SocketMode,
    pidfd: bool,
}

impl OsLauncher {
    /// A launcher that uses the best technique there is, as fast as it goes.
    pub fn new() -> OsLauncher {
        let groups = Arc::new(CgroupFactory::new(CgroupMode::default()));
        OsLauncher { technique: Technique::Auto, pace: None, groups, sockets: SocketMode::Auto, pidfd: true }
    }

    /// A launcher with settings.
    pub fn builder() -> OsLauncherBuilder {
        OsLauncherBuilder { launcher: OsLauncher::new() }
    }
}

impl Default for OsLauncher {
    fn default() -> OsLauncher {
        OsLauncher::new()
    }
}

/// The settings of an [`OsLauncher`].
#[derive(Clone, Debug)]
pub struct OsLauncherBuilder {
    launcher: OsLauncher,
}

impl OsLauncherBuilder {
    /// How processes are created; the best way there is by default.
    #[must_use]
    pub fn technique(mut self, technique: Technique) -> OsLauncherBuilder {
        self.launcher.technique = technique;
        self
    }

    /// Whether processes may have sockets as stdin and stdout; where that is safe, by default.
    #[must_use]
    pub fn sockets(mut self, sockets: SocketMode) -> OsLauncherBuilder {
        self.launcher.sockets = sockets;
        self
    }

    /// Whether each process gets a control group of its own: where that is possible, by default. With one, a stop of
    /// the process and every kill reach all of its descendants, also those in sessions of their own, which are out of
    /// reach otherwise. Which it is says [`ProcessControl::containment`].
    ///
    /// The first launch kills and removes what hosts that have died without a guardian have left in the same place.
    #[must_use]
    pub fn cgroup(mut self, mode: CgroupMode) -> OsLauncherBuilder {
        self.launcher.groups = Arc::new(CgroupFactory::new(mode));
        self
    }

    /// Which orphans are reaped that this program adopts, if it is process 1 or a subreaper and has no guardian: those that
    /// belonged to a process of a launcher, by default. For the whole program; the last launcher that is built decides.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn reap_adopted(self, which: ReapAdopted) -> OsLauncherBuilder {
        orphans::reap(which);
        self
    }

    /// At most so many launches per second, evenly spaced, by this launcher and its clones together. No bound by
    /// default: restarts have back-offs of their own.
    #[must_use]
    pub fn max_per_second(mut self, launches: NonZeroU32) -> OsLauncherBuilder {
        self.launcher.pace = Some(Arc::new(LaunchRate::new(launches)));
        self
    }

    /// The launcher.
    pub fn build(self) -> OsLauncher {
        self.launcher
    }
}

#[async_trait]
impl Launcher for OsLauncher {
    async fn launch(&self, command: &Command, hold: ReapToken) -> Result<Process, Exit> {
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        // A process may be dropped outside of a runtime, and then threads must reap it and what it leaves. So there is no
        // process without them (P-10). Later there may be none to be had.
        reaper::start().and_then(|()| sweeper::start()).map_err(|error| no_thread(&error))?;
        sigchld::put_right();
        let (reply, birth) = oneshot::channel();
        let (give, ends) = mpsc::channel();
        let layout = StdioLayout::new(command, self.sockets);
        let (command, launcher) = (command.clone(), self.clone());
        let job = move |workspace: &mut SpawnWorkspace| {
            if reply.is_closed() {
                return;
            }
            // If nobody waits any more the result is dropped, here or with the channel: a process that was born too
            // late dies at once, because its owner does (P-10).
            let _ = reply.send(LaunchedProcess::new(&command, &launcher, hold, (layout, &ends), workspace));
        };
        let at_once = launch_thread::run(Box::new(job)).map_err(|error| no_thread(&error))?;
        // While that thread wakes up and looks for the program, the streams are made here, and while it waits for the
        // program to be executed, our ends are made known to the runtime: a launch takes as long as its longer half.
        // Not for launches that wait for their turn, for each would hold six descriptors meanwhile. Nothing is awaited
        // until the thread has got its half, or knows that it has to make both.
        let ours = if at_once { endpoints::make(layout).ok() } else { None }.map(|(inner, outer)| {
            let _ = give.send(inner);
            register(outer)
        });
        drop(give);
        match birth.await {
            Ok(newborn) => newborn?.adopt(ours),
            Err(_) => Err(never_started(LaunchStage::Spawn, None, "the launch panicked")),
        }
    }

    fn mistakes(&self, command: &Command) -> Vec<CommandMistake> {
        let mut mistakes = command.mistakes();
        mistakes.extend(limits_out_of_reach(self.technique, command.get_limits()));
        mistakes
    }
}

/// What is wrong with a command here, beside what is wrong with it everywhere.
fn limits_out_of_reach(technique: Technique, limits: &Limits) -> Vec<CommandMistake> {
    if limits.is_none() {
        return Vec::new();
    }
    if !spawn::has_limits(technique) {
        let problem = "cannot be applied: processes are created by posix_spawn here, which has no limits";
        return vec![CommandMistake::new("limits", problem)];
    }
    let beyond = limits.beyond_reach().into_iter();
    beyond.map(|(field, problem)| CommandMistake::new(format!("limits.{field}"), problem)).collect()
}

/// "Not now".
fn no_thread(error: &io::Error) -> Exit {
    let errno = error.raw_os_error().unwrap_or(Errno::AGAIN.raw_os_error());
    never_started(LaunchStage::Spawn, Some(errno), "no thread can be started to launch from")
}

/// A process that was just launched and is not known to a runtime yet. Dropping it kills the process.
struct LaunchedProcess {
    owner: LeaderOwner,
    /// The host's ends, if they were made here too.
    outer: Option<endpoints::HostEnds>,
    containment: Containment,
}

impl LaunchedProcess {
    /// Launches, with the process's ends if they are given, else with new ones. Blocks until the program has been executed or could not be.
    fn new(
        command: &Command,
        launcher: &OsLauncher,
        hold: ReapToken,
        (layout, ends): (StdioLayout, &mpsc::Receiver<endpoints::ChildEnds>),
        workspace: &mut SpawnWorkspace,
    ) -> Result<LaunchedProcess, Exit> {
        let plan = ExecPlan::new(command)?;
        let failed = |stage, errno: Option<i32>| {
            never_started(stage, errno, format_args!("program `{}`", plan.path.to_string_lossy()))
        };
        let (inner, outer) = match ends.recv() {
            Ok(inner) => (inner, None),
            Err(_) => endpoints::make(layout)
                .map(|(inner, outer)| (inner, Some(outer)))
                .map_err(|error| failed(LaunchStage::Stdio, error.raw_os_error()))?,
        };
        #[cfg(target_os = "linux")]
        let _birth = orphans::PendingLaunch::new();
        let (born, group) = spawn_in_cgroup(launcher, &plan, &inner, workspace)
            .map_err(|SpawnError { stage, errno, what }| never_started(stage, errno, what))?;
        drop(inner);
        let containment = Containment {
            guardian: guardian::active(),
            cgroup: group.as_ref().map(Cgroup::path),
            ..born.containment
        };
        let (pidfd, lacking) = match (launcher.pidfd, born.pidfd) {
            (false, _) => (None, None),
            (true, Some(pidfd)) => (Some(pidfd), None),
            (true, None) => match open_pidfd(born.pid) {
                Ok(pidfd) => (pidfd, None),
                Err(error) => (None, Some(error)),
            },
        };
        let owner = LeaderOwner::new(Leader::new(
            born.pid,
            pidfd,
            plan.limits.cpu_time().map(|soft| CpuLimit { soft, hard: soft + Limits::CPU_GRACE }),
            group,
            hold,
        ));
        match lacking {
            None => Ok(LaunchedProcess { owner, outer, containment }),
            // Dropping the owner ends the process.
            Some(errno) => Err(failed(LaunchStage::Spawn, Some(errno.raw_os_error()))),
        }
    }

    /// Hands the process to the current runtime, which may know the host's ends already.
    fn adopt(self, known: Option<io::Result<endpoints::HostStreams>>) -> Result<Process, Exit> {
        let LaunchedProcess { owner, outer, containment } = self;
        let pid = owner.leader().pid();
        let streams = match outer {
            Some(outer) => register(outer),
            // One of the two is there: what was not given was made.
            None => known.unwrap_or_else(|| Err(Errno::BADF.into())),
        };
        let (stdin, stdout, stderr) = streams.map_err(|error| {
            let (errno, what) = (error.raw_os_error(), format!("channel of process {pid}"));
            match errno {
                Some(_) => never_started(LaunchStage::Stdio, errno, what),
                None => never_started(LaunchStage::Stdio, None, format_args!("{what}: {error}")),
            }
        })?;
        let watch = ExitWatch::new(owner.leader());
        let control = Box::new(OsProcessControl { watch, owner, containment });
        Ok(Process { pid, stdin, stdout, stderr: Some(stderr), control })
    }
}

/// Makes our ends known to the current runtime, which may have no I/O: then tokio panics.
fn register(outer: endpoints::HostEnds) -> io::Result<endpoints::HostStreams> {
    let register = std::panic::AssertUnwindSafe(|| outer.register());
    std::panic::catch_unwind(register).unwrap_or_else(|_| {
        Err(io::Error::other("it needs a tokio runtime with I/O enabled, as `enable_io` and `enable_all` do"))
    })
}

/// Creates the process, in a control group of its own where that is possible.
fn spawn_in_cgroup(
    launcher: &OsLauncher,
    plan: &ExecPlan,
    inner: &endpoints::ChildEnds,
    workspace: &mut SpawnWorkspace,
) -> Result<(SpawnedProcess, Option<Cgroup>), SpawnError> {
    let mut spawn = |cgroup: Option<BorrowedFd<'_>>| {
        spawn::spawn(workspace, launcher.technique, plan, &inner.fds, cgroup)
    };
    if launcher.technique == Technique::Auto
        && let Some(group) = launcher.groups.make()
    {
        let born = match group.open() {
            Ok(directory) => spawn(Some(directory.as_fd())),
            Err(_) => Err(SpawnError { stage: LaunchStage::Spawn, errno: None, what: String::new() }),
        };
        match born {
            Ok(born) => return Ok((born, Some(group))),
            // The program is at fault, or there is no room for any process.
            Err(failure) if !may_be_the_group(&failure) => {
                group.remove();
                return Err(failure);
            }
            Err(_) => group.remove(),
        }
        let born = spawn(None)?;
        launcher.groups.give_up();
        return Ok((born, None));
    }
    Ok((spawn(None)?, None))
}

/// Whether a process may come into being without a control group that did not with one.
fn may_be_the_group(failure: &SpawnError) -> bool {
    let want = failure.errno.map(Errno::from_raw_os_error);
    !matches!(want, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
        && matches!(failure.stage, LaunchStage::Spawn | LaunchStage::Command)
}

/// A pidfd, if the system has such a thing.
///
/// # Errors
/// When there are no descriptors or no memory left: the launch has to fail, for the next step would.
#[cfg(target_os = "linux")]
fn open_pidfd(pid: Pid) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
    // The process is our child and is reaped nowhere else, so the number cannot have a new owner yet.
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

/// Control over a process of the operating system.
#[derive(Debug)]
struct OsProcessControl {
    watch: ExitWatch,
    owner: LeaderOwner,
    containment: Containment,
}

#[async_trait]
impl ProcessControl for OsProcessControl {
    fn pid(&self) -> u32 {
        self.owner.leader().pid()
    }

    fn containment(&self) -> Containment {
        self.containment.clone()
    }

    fn gauge(&self) -> Option<UsageProbe> {
        let leader = Arc::downgrade(self.owner.leader());
        Some(UsageProbe::new(leader))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.owner.leader().signal(signal)
    }

    async fn exited(&self) -> ExitStatus {
        self.watch.exited(self.owner.leader()).await
    }

    async fn emptied(&self) {
        self.owner.leader().emptied().await;
    }

    async fn reap(&self, wait: Duration) -> Result<ExitStatus, Unkillable> {
        self.end(wait, Leader::finish).await
    }

    async fn reap_after_exit(&self, wait: Duration, trail: ReapToken) -> Result<ExitStatus, Unkillable> {
        let trail = std::sync::Mutex::new(Some(trail));
        let step = |leader: &Leader| {
            // Nothing panics under the lock, which is this call's alone.
            leader.reap_after_exit(&mut trail.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        };
        self.end(wait, step).await
    }
}

impl OsProcessControl {
    /// Step by step, until nothing is left or the time is over.
    async fn end(
        &self,
        wait: Duration,
        step: impl Fn(&Leader) -> Option<ExitStatus>,
    ) -> Result<ExitStatus, Unkillable> {
        let leader = self.owner.leader();
        let ended = async {
            // The kill; if the process is dead already and was alone, this is all.
            if let Some(exited) = step(leader) {
                return exited;
            }
            self.exited().await;
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(exited) = step(leader) {
                    return exited;
                }
                leader.progress(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        match tokio::time::timeout(wait, ended).await {
            Ok(exited) => Ok(exited),
            Err(_) => {
                leader.release();
                reaper::keep(Arc::clone(leader));
                Err(Unkillable { pid: leader.pid() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::control::KILL_WAIT;

    /// Where there are no pidfds, a thread waits.
    #[tokio::test]
    async fn exits_are_seen_without_a_pidfd() {
        // P-7
        let launcher = OsLauncher { pidfd: false, ..OsLauncher::new() };
        for (script, exited) in [
            ("exit 3", ExitStatus::code(3)),
            ("kill -9 $$", ExitStatus::signal(9, false)),
            ("read x; exit 4", ExitStatus::code(4)),
        ] {
            let command = Command::new("/bin/sh").args(["-c", script]);
            let process = launcher.launch(&command, ReapToken::none()).await.unwrap();
            drop(process.stdin);
            assert_eq!(process.control.exited().await, exited);
            assert_eq!(process.control.exited().await, exited);
            process.control.signal(Signal::HUP).unwrap();
            assert_eq!(process.control.reap(KILL_WAIT).await, Ok(exited));
            assert!(process.control.signal(Signal::HUP).is_err());
        }
        let process = launcher.launch(&Command::new("sleep").arg("1000"), ReapToken::none()).await.unwrap();
        assert_eq!(process.control.reap(KILL_WAIT).await, Ok(ExitStatus::signal(9, false)));
    }
}
