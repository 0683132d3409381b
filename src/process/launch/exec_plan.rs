//! [`ExecPlan`]: a command with its program looked up, laid out as `execve` takes it.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::program_lookup::{self, never_started};
use crate::{
    exit::{Exit, LaunchStage},
    process::command::{Command, Limits},
};

/// The arguments of the system call.
#[derive(Debug)]
pub(super) struct ExecPlan {
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    pub(super) envp: Vec<CString>,
    pub(super) cwd: Option<CString>,
    pub(super) limits: Limits,
}

impl ExecPlan {
    /// # Errors
    /// A mistake in the command that shows without a process.
    pub(super) fn new(command: &Command) -> Result<ExecPlan, Exit> {
        let limits = command.get_limits().clone();
        limits.check().map_err(|error| invalid(error.to_string()))?;
        // Checked before anything is looked up, because a lookup could not name the mistake.
        for (name, what) in [
            (Some(command.get_program()), "program"),
            (command.get_cwd().map(Path::as_os_str), "working directory"),
        ] {
            if let Some(name) = name.filter(|name| name.as_bytes().contains(&0)) {
                c_string(name.to_owned(), what)?;
            }
        }
        let environment = command.get_environment().resolve(std::env::vars_os());
        let cwd = command.get_cwd().map(program_lookup::directory).transpose()?;
        let here = cwd.as_deref().unwrap_or(Path::new("."));
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let program = program_lookup::program(command.get_program(), path, here)?;
        let argv =
            std::iter::once(command.get_program()).chain(command.get_args().iter().map(OsString::as_os_str));
        Ok(ExecPlan {
            path: c_string(program.into_os_string(), "program")?,
            argv: argv.map(|arg| c_string(arg.to_owned(), "argument")).collect::<Result<_, _>>()?,
            envp: envp(environment)?,
            cwd: cwd.map(|cwd: PathBuf| c_string(cwd.into_os_string(), "working directory")).transpose()?,
            limits,
        })
    }
}

/// The file that a launch of this command would execute now; `None` if there is none.
#[cfg(feature = "watch")]
pub(crate) fn program_of(command: &Command) -> Option<PathBuf> {
    let environment = command.get_environment().resolve(std::env::vars_os());
    let cwd = command.get_cwd().map(program_lookup::directory).transpose().ok()?;
    let here = cwd.as_deref().unwrap_or(Path::new("."));
    let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
    program_lookup::program(command.get_program(), path, here).ok()
}

fn envp(environment: BTreeMap<OsString, OsString>) -> Result<Vec<CString>, Exit> {
    let entry = |(name, value): (OsString, OsString)| {
        let is_bad_name = name.is_empty() || name.as_bytes().contains(&b'=') || name.as_bytes().contains(&0);
        if is_bad_name || value.as_bytes().contains(&0) {
            let problem = "its name is empty or contains `=` or NUL, or its value contains NUL";
            return Err(invalid(format!("environment variable {name:?} cannot be passed: {problem}")));
        }
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        c_string(entry, "environment variable")
    };
    environment.into_iter().map(entry).collect()
}

fn c_string(text: OsString, what: &str) -> Result<CString, Exit> {
    // The error does not repeat the text, which may be a secret.
    CString::new(text.into_vec())
        .map_err(|error| invalid(format!("{what} contains a NUL byte, at {}", error.nul_position())))
}

fn invalid(what: String) -> Exit {
    never_started(LaunchStage::Command, Some(Errno::INVAL.raw_os_error()), what)
}
