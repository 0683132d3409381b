//! [`OsLauncher`]: processes of the operating system.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};
use tokio::sync::Semaphore;

use super::{
    Command, Control, Exited, Hold, Launcher, Process, Unkillable, group, guardian,
    leader::{Leader, Owner},
    lookup::{self, never_started},
    reaper, spawn, stdio,
    watch::Watch,
};
use crate::{
    containment::Containment,
    exit::{Exit, LaunchStage},
};

/// Launches real processes, each the leader of its own process group.
///
/// The cost of a launch does not grow with the host's memory (P-13): it never forks. Only stdio reaches the process
/// (P-5). A launch blocks a thread of tokio's blocking pool for the time of one spawn; at most twice as many as
/// there are processors run at once, the others wait in the order in which they came.
///
/// Needs a tokio runtime with I/O and time enabled; the process's streams belong to the runtime it was launched on.
#[derive(Clone, Debug)]
pub struct OsLauncher {
    turn: Arc<Semaphore>,
    pidfd: bool,
}

impl OsLauncher {
    /// A launcher.
    pub fn new() -> OsLauncher {
        let width = std::thread::available_parallelism().map_or(2, |n| n.get() * 2);
        OsLauncher { turn: Arc::new(Semaphore::new(width)), pidfd: true }
    }
}

impl Default for OsLauncher {
    fn default() -> OsLauncher {
        OsLauncher::new()
    }
}

#[async_trait]
impl Launcher for OsLauncher {
    async fn launch(&self, command: &Command, hold: Hold) -> Result<Process, Exit> {
        // The semaphore is never closed; without a turn the launch would merely not be bounded.
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok();
        let (command, pidfd) = (command.clone(), self.pidfd);
        let birth = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Newborn::new(&command, pidfd, hold)
        });
        // If this future is dropped here, the closure's result is dropped as soon as it is there: a process that is
        // born later dies at once, because its owner does.
        let newborn = match birth.await {
            Ok(newborn) => newborn?,
            Err(_) => return Err(never_started(LaunchStage::Spawn, None, "the runtime is shutting down")),
        };
        newborn.adopt()
    }
}

/// What to execute, ready for the system call.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    pub(super) envp: Vec<CString>,
    pub(super) cwd: Option<CString>,
}

impl Plan {
    fn new(command: &Command) -> Result<Plan, Exit> {
        let environment = command.get_environment().resolve(std::env::vars_os());
        let cwd = command.get_cwd().map(lookup::directory).transpose()?;
        let here = cwd.as_deref().unwrap_or(Path::new("."));
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let program = lookup::program(command.get_program(), path, here)?;
        let argv =
            std::iter::once(command.get_program()).chain(command.get_args().iter().map(OsString::as_os_str));
        Ok(Plan {
            path: text(program.into_os_string(), "program")?,
            argv: argv.map(|arg| text(arg.to_owned(), "argument")).collect::<Result<_, _>>()?,
            envp: envp(environment)?,
            cwd: cwd.map(|cwd: PathBuf| text(cwd.into_os_string(), "working directory")).transpose()?,
        })
    }
}

fn envp(environment: BTreeMap<OsString, OsString>) -> Result<Vec<CString>, Exit> {
    let entry = |(name, value): (OsString, OsString)| {
        let bad = name.is_empty() || name.as_bytes().contains(&b'=') || name.as_bytes().contains(&0);
        if bad || value.as_bytes().contains(&0) {
            let what = format!("environment variable {name:?} cannot be passed");
            return Err(never_started(LaunchStage::Command, Some(Errno::INVAL.raw_os_error()), what));
        }
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        text(entry, "environment variable")
    };
    environment.into_iter().map(entry).collect()
}

fn text(text: OsString, what: &str) -> Result<CString, Exit> {
    let invalid = Some(Errno::INVAL.raw_os_error());
    CString::new(text.into_vec()).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).into_owned();
        never_started(LaunchStage::Command, invalid, format_args!("{what} {text:?} contains a NUL byte"))
    })
}

/// A process that was just launched and is not known to a runtime yet. Dropping it kills the process.
struct Newborn {
    owner: Owner,
    outer: stdio::Outer,
}

impl Newborn {
    /// Launches. Blocks for the time of one spawn.
    fn new(command: &Command, pidfd: bool, hold: Hold) -> Result<Newborn, Exit> {
        let plan = Plan::new(command)?;
        let name = || plan.path.to_string_lossy().into_owned();
        let failed = |stage, error: io::Error| {
            never_started(stage, error.raw_os_error(), format_args!("program `{}`", name()))
        };
        let (inner, outer) =
            stdio::make(command.get_wiring()).map_err(|error| failed(LaunchStage::Stdio, error))?;
        let pid = spawn::spawn(&plan, &inner.fds).map_err(|error| failed(stage_of(&error), error))?;
        drop(inner);
        let (pidfd, lacking) = match open_pidfd(pid, pidfd) {
            Ok(pidfd) => (pidfd, None),
            Err(error) => (None, Some(error)),
        };
        let owner = Owner::new(Leader::new(pid, pidfd, hold));
        match lacking {
            None => Ok(Newborn { owner, outer }),
            // Dropping the owner ends the process.
            Some(error) => Err(failed(LaunchStage::Spawn, error.into())),
        }
    }

    /// Hands the process to the current runtime.
    fn adopt(self) -> Result<Process, Exit> {
        let Newborn { owner, outer } = self;
        let pid = owner.leader().pid();
        let (stdin, stdout, stderr) = outer.register().map_err(|error| {
            never_started(LaunchStage::Stdio, error.raw_os_error(), format_args!("channel of process {pid}"))
        })?;
        let watch = Watch::new(owner.leader());
        let control = Box::new(OsControl { watch, owner });
        Ok(Process { pid, stdin, stdout, stderr: Some(stderr), control })
    }
}

/// A pidfd, if the system has such a thing.
///
/// # Errors
/// When there are no descriptors or no memory left: the launch has to fail, for the next step would.
#[cfg(target_os = "linux")]
fn open_pidfd(pid: Pid, wanted: bool) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
    if !wanted {
        return Ok(None);
    }
    // The process is our child and is reaped nowhere else, so the number cannot have a new owner yet.
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_pidfd(_: Pid, _: bool) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
    Ok(None)
}

/// Directory and program have been looked at before, so what is left is the image or the system.
fn stage_of(error: &io::Error) -> LaunchStage {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => LaunchStage::Spawn,
        _ => LaunchStage::Exec,
    }
}

/// Control over a process of the operating system.
#[derive(Debug)]
struct OsControl {
    watch: Watch,
    owner: Owner,
}

#[async_trait]
impl Control for OsControl {
    fn pid(&self) -> u32 {
        self.owner.leader().pid()
    }

    fn containment(&self) -> Containment {
        Containment { guardian: guardian::active(), ..Containment::default() }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.owner.leader().signal(signal)
    }

    async fn exited(&self) -> Exited {
        self.watch.exited(self.owner.leader()).await
    }

    async fn emptied(&self) {
        group::emptied(self.owner.leader().raw_pid()).await;
    }

    async fn reap(&self, wait: Duration) -> Result<Exited, Unkillable> {
        let leader = self.owner.leader();
        let ended = async {
            // The kill; if the process is dead already and was alone, this is all.
            if let Some(exited) = leader.finish(false) {
                return exited;
            }
            self.exited().await;
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(exited) = leader.finish(false) {
                    return exited;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
                let leader = Arc::clone(leader);
                if let Ok(Some(exited)) = tokio::task::spawn_blocking(move || leader.finish(true)).await {
                    return exited;
                }
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

    /// Where there are no pidfds, a thread waits.
    #[tokio::test]
    async fn exits_are_seen_without_a_pidfd() {
        // P-7
        let launcher = OsLauncher { pidfd: false, ..OsLauncher::new() };
        for (script, exited) in [
            ("exit 3", Exited::code(3)),
            ("kill -9 $$", Exited::signal(9, false)),
            ("read x; exit 4", Exited::code(4)),
        ] {
            let command = Command::new("/bin/sh").args(["-c", script]);
            let process = launcher.launch(&command, Hold::none()).await.unwrap();
            drop(process.stdin);
            assert_eq!(process.control.exited().await, exited);
            assert_eq!(process.control.exited().await, exited);
            process.control.signal(Signal::HUP).unwrap();
            assert_eq!(process.control.reap(super::super::KILL_WAIT).await, Ok(exited));
            assert!(process.control.signal(Signal::HUP).is_err());
        }
        let process = launcher.launch(&Command::new("sleep").arg("1000"), Hold::none()).await.unwrap();
        assert_eq!(process.control.reap(super::super::KILL_WAIT).await, Ok(Exited::signal(9, false)));
    }
}
