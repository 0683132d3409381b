//! [`ScriptedLauncher`]: programs by name, and a table of all launches.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rustix::io::Errno;
use tokio::{
    io::{BufReader, duplex},
    sync::oneshot,
};

use super::{
    scripted_group::{LEADER, ScriptedGroup, ScriptedProcessControl},
    scripted_process::{ScriptExit, ScriptedProcess, ScriptedStdinEnd},
};
use crate::{
    exit::{Exit, LaunchStage},
    process::{Command, HeldUntilReaped, Launcher, Process, Signal, Stdin},
};

/// The first process id.
const FIRST_PID: u32 = 1000;
/// The capacity of each stream, which is that of a pipe.
const STREAM_BYTES: usize = 64 * 1024;

type ScriptFuture = Pin<Box<dyn Future<Output = ScriptExit> + Send>>;
type Script = Arc<dyn Fn(ScriptedProcess) -> ScriptFuture + Send + Sync>;

/// Launches scripts instead of programs. Cheap to clone: all clones are one launcher.
///
/// Programs are registered by the name that commands use, path or not; a program that is not registered fails
/// with `ENOENT`. Needs a tokio runtime; paused time is fine.
#[derive(Clone, Default)]
pub struct ScriptedLauncher {
    table: Arc<LaunchTable>,
}

/// One launch, as the launcher remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRecord {
    /// The program's name.
    pub program: OsString,
    /// The process id.
    pub pid: u32,
    /// Which launch of this program it was: 1 for the first.
    pub launch: u64,
}

/// What all clones of a launcher share.
#[derive(Default)]
struct LaunchTable {
    state: Mutex<LauncherState>,
}

#[derive(Default)]
struct LauncherState {
    programs: BTreeMap<OsString, Script>,
    failures: BTreeMap<OsString, VecDeque<Exit>>,
    host: BTreeMap<OsString, OsString>,
    launched: Vec<LaunchRecord>,
    /// Processes that have not been reaped yet.
    unreaped: BTreeMap<u32, Arc<ScriptedGroup>>,
}

impl LaunchTable {
    fn lock(&self) -> MutexGuard<'_, LauncherState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reaped(&self, pid: u32) {
        let gone = self.lock().unreaped.remove(&pid);
        drop(gone);
    }
}

impl ScriptedLauncher {
    /// A launcher without programs.
    pub fn new() -> ScriptedLauncher {
        ScriptedLauncher::default()
    }

    /// Registers a program, replacing an earlier one of that name. Its process exits when the script
    /// returns.
    pub fn program<F, Fut>(&self, name: impl Into<OsString>, script: F)
    where
        F: Fn(ScriptedProcess) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Into<ScriptExit>,
    {
        let script: Script = Arc::new(move |process| {
            let run = script(process);
            Box::pin(async move { run.await.into() })
        });
        self.table.lock().programs.insert(name.into(), script);
    }

    /// Makes the next launch of a program fail, registered or not. Several failures are used in their
    /// order.
    pub fn fail_next(&self, program: impl Into<OsString>, exit: Exit) {
        self.table.lock().failures.entry(program.into()).or_default().push_back(exit);
    }

    /// Sets a variable in the host's simulated environment, which is empty at first.
    pub fn host_env(&self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.table.lock().host.insert(name.into(), value.into());
    }

    /// Every launch that succeeded, in order.
    pub fn launched(&self) -> Vec<LaunchRecord> {
        self.table.lock().launched.clone()
    }

    /// The processes that are not reaped yet, zombies included, in the order of their launch.
    pub fn alive(&self) -> Vec<u32> {
        self.table.lock().unreaped.keys().copied().collect()
    }

    /// Sends a signal to one process from outside of the tree: its group does not get the signal.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process.
    pub fn kill(&self, pid: u32, signal: Signal) -> io::Result<()> {
        let group = self.table.lock().unreaped.get(&pid).cloned().ok_or(Errno::SRCH)?;
        group.deliver(Some(LEADER), signal)
    }

    /// Sets the resident memory that one process and its group use from now on. Before, it is not known.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process.
    pub fn set_rss_bytes(&self, pid: u32, bytes: u64) -> io::Result<()> {
        let group = self.table.lock().unreaped.get(&pid).cloned().ok_or(Errno::SRCH)?;
        group.set_rss_bytes(bytes);
        Ok(())
    }
}

#[async_trait]
impl Launcher for ScriptedLauncher {
    async fn launch(&self, command: &Command, held_until_reaped: HeldUntilReaped) -> Result<Process, Exit> {
        let program = command.get_program();
        let (stdin, their_stdin) = duplex(STREAM_BYTES);
        let (open, closed) = oneshot::channel();
        let (stdout, their_stdout) = duplex(STREAM_BYTES);
        let (stderr, their_stderr) = duplex(STREAM_BYTES);
        let (script, process) = {
            let mut state = self.table.lock();
            if let Some(exit) = state.failures.get_mut(program).and_then(VecDeque::pop_front) {
                return Err(exit);
            }
            let Some(script) = state.programs.get(program).map(Arc::clone) else {
                return Err(Exit::NeverStarted {
                    errno: Some(Errno::NOENT.raw_os_error()),
                    stage: LaunchStage::Program,
                    reason: format!("program `{}` is not registered", program.display()),
                });
            };
            let pid = FIRST_PID.saturating_add(u32::try_from(state.launched.len()).unwrap_or(u32::MAX));
            let launch = state.launched.iter().filter(|other| other.program == program).count() as u64 + 1;
            // Weak: the table holds the group.
            let table = Arc::downgrade(&self.table);
            let on_reaped = move || {
                if let Some(table) = table.upgrade() {
                    table.reaped(pid);
                }
            };
            let group = Arc::new(ScriptedGroup::new(pid, held_until_reaped, Box::new(on_reaped)));
            state.launched.push(LaunchRecord { program: program.to_owned(), pid, launch });
            state.unreaped.insert(pid, Arc::clone(&group));
            let process = ScriptedProcess {
                group,
                env: command.get_environment().resolve(state.host.clone()),
                command: command.clone(),
                launch,
                stdin: Some(BufReader::new(ScriptedStdinEnd { stream: their_stdin, _open: open })),
                partial: Vec::new(),
                stdout: Some(their_stdout),
                stderr: Some(their_stderr),
            };
            (script, process)
        };
        let group = Arc::clone(&process.group);
        // The script is called in its own task, so that a panic is a crash of the process and of nothing
        // else.
        let run = async move { script(process).await.exited() };
        tokio::spawn(Arc::clone(&group).run(LEADER, run));
        Ok(Process {
            pid: group.pid,
            stdin: Stdin::new(stdin).with_closed(async {
                // Nothing is sent on it: the sender is dropped with the process's end of stdin.
                let _ = closed.await;
            }),
            stdout: Box::new(stdout),
            stderr: Some(Box::new(stderr)),
            control: Box::new(ScriptedProcessControl(group)),
        })
    }
}

impl fmt::Debug for ScriptedLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.table.lock();
        f.debug_struct("ScriptedLauncher")
            .field("programs", &state.programs.keys())
            .field("unreaped", &state.unreaped.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LaunchTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LaunchTable")
    }
}
