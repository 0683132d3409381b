//! Functions that the tests share: marked families of processes, and conditions to wait for.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};

/// Far longer than any step takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The environment variable that marks all processes of one test. Every process passes it on to those that
/// it starts.
pub(crate) const MARK: &str = "PROCESSION_TEST_MARK";

pub(crate) fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(began.elapsed() < LONG, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Arguments of `unshare` for a process namespace of its own.
pub(crate) const NAMESPACE: &[&str] = &["--pid", "--fork", "--mount-proc"];

/// Whether such a namespace may be made here.
pub(crate) fn can_unshare() -> bool {
    let possible = Command::new("unshare").args(NAMESPACE).arg("true").output();
    possible.is_ok_and(|output| output.status.success())
}

pub(crate) fn me() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

/// The state letter of a process, `None` if there is no such process.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// A field of `/proc/<pid>/stat` after the name: 0 is the state, 1 the parent, 2 the group, 3 the session.
pub(crate) fn field(pid: i32, number: usize) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].split_ascii_whitespace().nth(number)?.parse().ok()
}

/// All processes that carry one mark. Dropping it kills those that are left.
pub(crate) struct Family {
    mark: String,
}

impl Family {
    pub(crate) fn new() -> Family {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Family { mark: format!("{}-{number}", std::process::id()) }
    }

    /// A command of this program in a role, carrying the mark.
    pub(crate) fn role(&self, role: &str, args: &[&str]) -> Command {
        self.marked(Command::new(me()), &[&[&*format!("role:{role}")], args].concat())
    }

    pub(crate) fn marked(&self, mut command: Command, args: &[&str]) -> Command {
        command.args(args).env(MARK, &self.mark).stdin(Stdio::null());
        command
    }

    /// The living members. A zombie has no environment, so it is not one of them.
    pub(crate) fn members(&self) -> Vec<i32> {
        let entry = format!("{MARK}={}", self.mark);
        let carries = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes())
        };
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(carries).collect()
    }

    /// A process has no environment for a moment while it executes a program, so one check is not enough.
    pub(crate) fn assert_gone(&self, what: &str) {
        for _ in 0..3 {
            let left = self.members();
            let names: Vec<_> =
                left.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline"))).collect();
            assert!(left.is_empty(), "{what}: {left:?} {names:?}");
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        until("what is left of a test is killed", || {
            let left = self.members();
            left.iter().for_each(|pid| signal(*pid, Signal::KILL));
            left.is_empty().then_some(())
        });
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// A program under a guardian, or without one, that reports what happens on stdout.
pub(crate) struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it with the signals of a terminal at their default action, because a test runner may ignore
    /// some of them.
    pub(crate) fn start(command: &mut Command) -> Program {
        use std::os::unix::process::CommandExt;
        // SAFETY: `signal` may be called between fork and exec; nothing is allocated.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| {
                for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Program { child, lines }
    }

    /// Its stdin, if the command says that it is a pipe.
    pub(crate) fn input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// The process id that was started.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        if self.lines.buffer().is_empty() {
            let mut wait = [PollFd::new(self.lines.get_ref(), PollFlags::IN)];
            let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
            assert_eq!(poll(&mut wait, Some(&limit)), Ok(1), "waited too long for a line");
        }
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line says `what` and a number.
    pub(crate) fn number(&mut self, what: &str) -> i32 {
        let line = self.line();
        let number = line.strip_prefix(what).and_then(|rest| rest.trim().parse().ok());
        number.unwrap_or_else(|| panic!("`{what}` was expected: {line:?}"))
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        until("the program ends", || self.child.try_wait().unwrap())
    }
}
