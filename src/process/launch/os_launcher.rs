//! [`OsLauncher`]: launches processes of the operating system.

use std::{
    io,
    num::NonZeroU32,
    sync::{Arc, mpsc},
};

use async_trait::async_trait;
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::{
    launch_rate::LaunchRate,
    launch_thread,
    launched_process::{LaunchSettings, LaunchedProcess, register},
    program_lookup::never_started,
    sigchld,
    spawn::{self, SpawnWorkspace, Technique},
};
#[cfg(target_os = "linux")]
use crate::process::stop::adopted_orphans::{self, AdoptedOrphansToReap};
use crate::{
    exit::{Exit, LaunchStage},
    process::{
        cgroup::{CgroupFactory, CgroupMode},
        cleanup_thread,
        command::{Command, CommandMistake, Limits},
        held_until_reaped::HeldUntilReaped,
        launcher::{Launcher, Process},
        stdio::endpoints::{self, SocketsForStdio, StdioLayout},
        stop::reaper,
    },
};

/// Launches real processes, each the leader of its own session, or at least of its own process group (P-4).
///
/// The cost of a launch does not grow with the host's memory (P-13): it never forks. Only stdio reaches the
/// process (P-5). On Linux the process is killed when the host is, even by `SIGKILL` (P-12), and is created
/// with its limits (P-6). [`ProcessControl::containment`](crate::process::ProcessControl::containment)
/// reports which of these layers a process really has.
///
/// Launches happen on a few threads (`procession-launch`) that are started when they are first needed, are
/// shared by all launchers and never end. A program that is slow to load suspends one of those threads,
/// never a worker of the runtime.
///
/// Needs a tokio runtime with I/O and time enabled; without one, no launch succeeds. The process's streams
/// belong to the runtime that it was launched on.
#[derive(Clone, Debug)]
pub struct OsLauncher {
    settings: LaunchSettings,
    rate: Option<Arc<LaunchRate>>,
    sockets: SocketsForStdio,
}

impl OsLauncher {
    /// A launcher that uses the best technique available, with no bound on the launch rate.
    pub fn new() -> OsLauncher {
        let cgroups = Arc::new(CgroupFactory::new(CgroupMode::default()));
        let settings = LaunchSettings { technique: Technique::Auto, cgroups, use_pidfd: true };
        OsLauncher { settings, rate: None, sockets: SocketsForStdio::Auto }
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
    /// How processes are created. By default, the best technique available.
    #[must_use]
    pub fn technique(mut self, technique: Technique) -> OsLauncherBuilder {
        self.launcher.settings.technique = technique;
        self
    }

    /// Whether processes may have sockets as stdin and stdout. By default, where that is safe.
    #[must_use]
    pub fn sockets(mut self, sockets: SocketsForStdio) -> OsLauncherBuilder {
        self.launcher.sockets = sockets;
        self
    }

    /// Whether each process gets a control group of its own. By default, where that is possible. With one,
    /// a stop of the process and every kill reach all of its descendants. Without one, descendants in
    /// sessions of their own are out of reach.
    /// [`ProcessControl::containment`](crate::process::ProcessControl::containment) reports the group.
    ///
    /// The first launch also kills and removes what hosts that died without a guardian have left in the
    /// same parent group.
    #[must_use]
    pub fn cgroup(mut self, mode: CgroupMode) -> OsLauncherBuilder {
        self.launcher.settings.cgroups = Arc::new(CgroupFactory::new(mode));
        self
    }

    /// Which of the orphans that this program adopts are reaped, if it is process 1 or a subreaper and has
    /// no guardian. By default, those that belonged to a process of a launcher. This is a setting of the
    /// whole program: the call that was made last decides.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn reap_adopted(self, which: AdoptedOrphansToReap) -> OsLauncherBuilder {
        adopted_orphans::set_policy(which);
        self
    }

    /// At most this many launches per second, evenly spaced, by this launcher and its clones together.
    /// Unbounded by default: restarts have back-offs of their own.
    #[must_use]
    pub fn max_per_second(mut self, launches: NonZeroU32) -> OsLauncherBuilder {
        self.launcher.rate = Some(Arc::new(LaunchRate::new(launches)));
        self
    }

    /// The launcher.
    pub fn build(self) -> OsLauncher {
        self.launcher
    }
}

#[async_trait]
impl Launcher for OsLauncher {
    async fn launch(&self, command: &Command, held_until_reaped: HeldUntilReaped) -> Result<Process, Exit> {
        if let Some(rate) = &self.rate {
            rate.wait_for_turn().await;
        }
        // A process may be dropped outside of a runtime, and then threads must reap it and sweep what it
        // leaves. So no process is launched before they run (P-10). The system may refuse to start them
        // later.
        reaper::start().and_then(|()| cleanup_thread::start()).map_err(|error| no_thread(&error))?;
        sigchld::keep_exit_statuses();
        let (result_tx, result) = oneshot::channel();
        let (child_ends_tx, child_ends) = mpsc::channel();
        let layout = StdioLayout::new(command, self.sockets);
        let (command, settings) = (command.clone(), self.settings.clone());
        let job = move |workspace: &mut SpawnWorkspace| {
            if result_tx.is_closed() {
                return;
            }
            // If the caller no longer waits, the result is dropped, here or with the channel. A process
            // that was created too late dies at once then, because its owner is dropped (P-10).
            let ends = (layout, &child_ends);
            let _ =
                result_tx.send(LaunchedProcess::new(&command, &settings, held_until_reaped, ends, workspace));
        };
        let starts_now = launch_thread::run(Box::new(job)).map_err(|error| no_thread(&error))?;
        // While that thread wakes up and looks the program up, the streams are made here. While it waits
        // for the program to be executed, our ends are registered with the runtime. A launch takes as long
        // as its longer half. Launches that wait for a free thread do not do this, because each would hold
        // six descriptors meanwhile. Nothing is awaited until the thread has got its half, or knows that it
        // has to make both.
        let made = if starts_now { endpoints::make(layout).ok() } else { None };
        let registered = made.map(|(child_ends, host_ends)| {
            let _ = child_ends_tx.send(child_ends);
            register(host_ends)
        });
        drop(child_ends_tx);
        match result.await {
            Ok(launched) => launched?.attach_to_runtime(registered),
            Err(_) => Err(never_started(LaunchStage::Spawn, None, "the launch panicked")),
        }
    }

    fn mistakes(&self, command: &Command) -> Vec<CommandMistake> {
        let mut mistakes = command.mistakes();
        mistakes.extend(inapplicable_limits(self.settings.technique, command.get_limits()));
        mistakes
    }
}

/// Limits that are valid but cannot be applied by this technique or on this host.
fn inapplicable_limits(technique: Technique, limits: &Limits) -> Vec<CommandMistake> {
    if limits.is_none() {
        return Vec::new();
    }
    if !spawn::has_limits(technique) {
        let problem = "cannot be applied: processes are created by posix_spawn here, which cannot set limits";
        return vec![CommandMistake::new("limits", problem)];
    }
    let forbidden = limits.beyond_privileges().into_iter();
    forbidden.map(|(field, problem)| CommandMistake::new(format!("limits.{field}"), problem)).collect()
}

/// The error of a launch that may succeed later.
fn no_thread(error: &io::Error) -> Exit {
    let errno = error.raw_os_error().unwrap_or(Errno::AGAIN.raw_os_error());
    never_started(LaunchStage::Spawn, Some(errno), "no thread can be started to launch from")
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;
    use crate::process::{control::KILL_WAIT, exit_status::ExitStatus};

    /// Without pidfds, a thread waits.
    #[tokio::test]
    async fn exits_are_seen_without_a_pidfd() {
        // P-7
        let mut launcher = OsLauncher::new();
        launcher.settings.use_pidfd = false;
        for (script, exited) in [
            ("exit 3", ExitStatus::code(3)),
            ("kill -9 $$", ExitStatus::signal(9, false)),
            ("read x; exit 4", ExitStatus::code(4)),
        ] {
            let command = Command::new("/bin/sh").args(["-c", script]);
            let process = launcher.launch(&command, HeldUntilReaped::none()).await.unwrap();
            drop(process.stdin);
            assert_eq!(process.control.exited().await, exited);
            assert_eq!(process.control.exited().await, exited);
            process.control.signal(Signal::HUP).unwrap();
            assert_eq!(process.control.reap(KILL_WAIT).await, Ok(exited));
            assert!(process.control.signal(Signal::HUP).is_err());
        }
        let process =
            launcher.launch(&Command::new("sleep").arg("1000"), HeldUntilReaped::none()).await.unwrap();
        assert_eq!(process.control.reap(KILL_WAIT).await, Ok(ExitStatus::signal(9, false)));
    }
}
