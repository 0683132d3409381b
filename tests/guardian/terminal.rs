//! A terminal, and a shell with job control on it: as much of one as a test needs.

use std::{
    fs::File,
    io::{BufRead, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
};

use rustix::{
    process::{self as sys, Pid, Signal, WaitOptions},
    pty, termios,
};

use crate::common::{Family, Program, me};

/// A shell on a terminal of its own, with one job in the foreground.
pub(crate) struct Terminal {
    keyboard: File,
    commands: std::process::ChildStdin,
    pub(crate) shell: Program,
}

impl Terminal {
    /// Starts a shell whose job is this program in `role`.
    pub(crate) fn start(family: &Family, role: &str) -> Terminal {
        let flags = pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY | pty::OpenptFlags::CLOEXEC;
        let keyboard = pty::openpt(flags).unwrap();
        pty::grantpt(&keyboard).unwrap();
        pty::unlockpt(&keyboard).unwrap();
        let name = pty::ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let mut command = family.role("shell", &[&name, role]);
        let mut shell = Program::start(command.stdin(Stdio::piped()));
        Terminal { keyboard: keyboard.into(), commands: shell.input(), shell }
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// A command to the shell: `fg` or `bg`.
    pub(crate) fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }
}

/// Plays the shell. The stdin of its job is the terminal; both write to the test.
pub(crate) fn shell(terminal: &str, role: &str) -> ExitCode {
    sys::setsid().unwrap();
    let terminal = File::options().read(true).write(true).open(terminal).unwrap();
    sys::ioctl_tiocsctty(&terminal).unwrap();
    // SAFETY: no handler is installed. With the signal ignored, a background process can choose the
    // foreground group.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
    }
    let keyboard = Stdio::from(terminal.try_clone().unwrap());
    let job =
        Command::new(me()).arg(format!("role:{role}")).stdin(keyboard).process_group(0).spawn().unwrap();
    let job = Pid::from_child(&job);
    termios::tcsetpgrp(&terminal, job).unwrap();
    let mut commands = std::io::stdin().lock().lines();
    loop {
        let status = sys::waitpid(Some(job), WaitOptions::UNTRACED).unwrap().unwrap().1;
        termios::tcsetpgrp(&terminal, sys::getpgrp()).unwrap();
        match status.stopping_signal() {
            Some(signal) => println!("stopped {signal}"),
            None => {
                println!("exited {}", status.exit_status().unwrap());
                return ExitCode::SUCCESS;
            }
        }
        if commands.next().unwrap().unwrap() == "fg" {
            termios::tcsetpgrp(&terminal, job).unwrap();
        }
        sys::kill_process_group(job, Signal::CONT).unwrap();
    }
}
