//! [`Command`]: the program to run and how (P-1), as plain data. With its parts [`Environment`] and
//! [`Limits`].

mod change;
mod environment;
mod limits;
mod serialized;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

pub use change::CommandChange;
pub use environment::Environment;
pub use limits::{Limits, LimitsError};
use serde::{Deserialize, Serialize};

use crate::untrusted::one_line;

/// A program with its arguments, directory and environment.
///
/// There is no shell and no splitting of strings: each argument reaches the program as it is written here.
/// A program without a slash is looked up on the `PATH` *that the process will see*; one with a slash, if
/// relative, is relative to the process's working directory.
///
/// The process does not inherit the host's environment. Only `PATH`, `HOME` and the like are passed (the
/// list is at [`Environment`]), plus the variables that are named here: a secret is passed only if
/// [`pass_env`](Command::pass_env)`("API_KEY")` names it. [`inherit_env`](Command::inherit_env) passes
/// everything.
///
/// Plain data that serde can read and write. In its serialised form every string is text, so a command with
/// parts that are not UTF-8 cannot be serialised. `Debug` shows neither arguments nor the values of
/// environment variables, which may be secrets.
///
/// ```
/// use procession::process::Command;
/// let command = Command::new("server").args(["--root", "/srv/with space"]);
/// let command = command.env("MODE", "quiet").pass_env("API_KEY");
/// let same: Command = serde_json::from_str(
///     r#"{"program": "server", "args": ["--root", "/srv/with space"],
///         "env": {"MODE": "quiet"}, "pass_env": ["API_KEY"]}"#,
/// )?;
/// assert_eq!(command, same);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    cwd: Option<PathBuf>,
    environment: Environment,
    transport: Option<StdioTransport>,
    /// Whether stdin and stdout are a channel. This decides if no transport was chosen.
    channel: bool,
    limits: Limits,
}

/// What a process gets as stdin and stdout. By default, sockets for a channel, and pipes for a worker whose
/// protocol has no channel (`NoChannel`, `ReadyLine`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdioTransport {
    /// One socket pair for each. They are faster for large messages, and a write to a process that has
    /// ended raises no signal.
    ///
    /// The host refuses descriptors that the process sends over them: its `sendmsg` fails with `EPERM`.
    /// Where the system cannot refuse them (Linux before 6.16, other systems), the process gets pipes
    /// instead. So does a process whose `SHLVL` the caller removed or set to a value that makes bash
    /// believe it is a remote shell (see [`Environment`]).
    Sockets,
    /// Pipes, of 256 KiB for a channel (where the system allows it), else of the usual size. For programs
    /// that re-open `/dev/stdin` or `/dev/stdout`, which fails with `ENXIO` on a socket.
    Pipes,
}

/// A mistake in a command that can be found without a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandMistake {
    /// The field, such as `limits.nice`.
    pub field: String,
    /// What is wrong with the field.
    pub problem: String,
}

impl CommandMistake {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> CommandMistake {
        CommandMistake { field: field.into(), problem: problem.into() }
    }
}

/// Why a serialised command is refused, or why a command cannot be serialised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandSerdeError {
    /// Every command needs a program.
    #[error("`program` must not be empty")]
    EmptyProgram,
    /// The serialised form is text.
    #[error("`{field}` of command {program:?} is not UTF-8, which the serialised form requires")]
    NotUtf8 {
        /// The field that cannot be written.
        field: &'static str,
        /// The command's program.
        program: OsString,
    },
}

impl CommandSerdeError {
    /// Whether the command must be changed. This is always so.
    pub fn is_misuse(&self) -> bool {
        true
    }

    /// Whether the same command may be accepted later. This is never so.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl Command {
    /// A command without arguments, in the host's working directory, with the default environment: a short
    /// list of the host's variables (see [`Environment`]). [`env`](Command::env),
    /// [`pass_env`](Command::pass_env) and [`inherit_env`](Command::inherit_env) add to it.
    ///
    /// An empty program is accepted here and refused by the launcher.
    pub fn new(program: impl Into<OsString>) -> Command {
        Command {
            program: program.into(),
            args: Vec::new(),
            cwd: None,
            environment: Environment::default(),
            transport: None,
            channel: true,
            limits: Limits::default(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Command {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The working directory. By default the host's.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Command {
        self.cwd = Some(directory.into());
        self
    }

    /// Sets an environment variable. It wins over the host's value.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Command {
        self.environment.set(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Command {
        self.environment.remove(name);
        self
    }

    /// Passes one more variable of the host's environment, if it is set at launch.
    #[must_use]
    pub fn pass_env(mut self, name: impl Into<OsString>) -> Command {
        self.environment.pass(name);
        self
    }

    /// Passes the whole environment of the host, secrets included.
    #[must_use]
    pub fn inherit_env(mut self, inherit: bool) -> Command {
        self.environment.inherit(inherit);
        self
    }

    /// What the process gets as stdin and stdout.
    #[must_use]
    pub fn transport(mut self, transport: StdioTransport) -> Command {
        self.transport = Some(transport);
        self
    }

    /// The same command for a process whose stdin and stdout are not a channel.
    pub(crate) fn without_channel(mut self) -> Command {
        self.channel = false;
        self
    }

    /// What the process may use. Nothing is limited by default. Values out of range are accepted here and
    /// refused by the launcher.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Command {
        self.limits = limits;
        self
    }

    /// The program as it was given.
    pub fn get_program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments, without the program's name.
    pub fn get_args(&self) -> &[OsString] {
        &self.args
    }

    /// The working directory, if it is not the host's.
    pub fn get_cwd(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// How the environment is built.
    pub fn get_environment(&self) -> &Environment {
        &self.environment
    }

    /// What the process gets as stdin and stdout.
    pub fn get_transport(&self) -> StdioTransport {
        self.transport.unwrap_or(if self.channel { StdioTransport::Sockets } else { StdioTransport::Pipes })
    }

    /// Whether stdin and stdout are a channel.
    pub(super) fn has_channel(&self) -> bool {
        self.channel
    }

    /// What the process may use.
    pub fn get_limits(&self) -> &Limits {
        &self.limits
    }

    /// All mistakes that fail the launch on every system: an empty program, a NUL byte, an invalid variable
    /// name, a limit out of its range. The command's own texts are not repeated, because they may be
    /// secrets.
    pub fn mistakes(&self) -> Vec<CommandMistake> {
        let mut mistakes = Vec::new();
        let mut add = |field: String, problem| mistakes.push(CommandMistake::new(field, problem));
        let nul = |text: &OsStr| text.as_bytes().contains(&0);
        const NUL: &str = "must not contain a NUL byte";
        if self.program.is_empty() {
            add("program".into(), "must not be empty");
        }
        if nul(&self.program) {
            add("program".into(), NUL);
        }
        for (i, _) in self.args.iter().enumerate().filter(|(_, arg)| nul(arg)) {
            add(format!("args[{i}]"), NUL);
        }
        if self.cwd.as_ref().is_some_and(|cwd| nul(cwd.as_os_str())) {
            add("cwd".into(), NUL);
        }
        for (name, value) in &self.environment.set {
            let field = || format!("env[{}]", one_line(&name.to_string_lossy()));
            if name.is_empty() || nul(name) || name.as_bytes().contains(&b'=') {
                add(field(), "is not a valid variable name (it is empty or contains `=` or NUL)");
            }
            if nul(value) {
                add(field(), NUL);
            }
        }
        let limits = self.limits.mistakes().map(|error| {
            let LimitsError { field, value, from, to } = error;
            CommandMistake::new(format!("limits.{field}"), format!("is {value}, but must be {from} to {to}"))
        });
        mistakes.extend(limits);
        mistakes
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &format_args!("[{} not shown]", self.args.len()))
            .field("cwd", &self.cwd)
            .field("environment", &self.environment)
            .field("transport", &self.transport)
            .field("limits", &self.limits)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn commands_survive_serialisation() {
        // P-1
        let command = Command::new("run")
            .args(["a b", "", "$HOME;'\""])
            .cwd("/srv")
            .env("A", "1")
            .env_remove("TZ")
            .pass_env("KEY")
            .inherit_env(true)
            .transport(StdioTransport::Pipes)
            .limits(Limits { open_files: Some(64), ..Limits::default() });
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        assert_eq!(serde_json::to_string(&Command::new("x")).unwrap(), r#"{"program":"x"}"#);
    }

    #[test]
    fn bad_commands_are_refused() {
        // P-1
        for bad in [
            r#"{}"#,
            r#"{"program":""}"#,
            r#"{"program":"x","argz":[]}"#,
            r#"{"program":"x","args":"a b"}"#,
            r#"{"program":"x","limits":{"nice":99}}"#,
        ] {
            assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
        }
        let odd = Command::new("x").arg(OsString::from_vec(vec![0xff]));
        assert!(serde_json::to_string(&odd).unwrap_err().to_string().contains("`args`"));
    }

    #[test]
    fn debug_hides_arguments_and_the_values_of_the_environment() {
        // P-1
        let shown = format!("{:?}", Command::new("x").arg("--password=hunter2").env("TOKEN", "hunter2"));
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
