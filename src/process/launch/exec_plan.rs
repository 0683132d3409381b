//! [`ExecPlan`]: a command, looked up and laid out as the system wants it.

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

/// What to execute, ready for the system call.
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
    /// What is wrong with the command, as far as that shows without a process.
    pub(super) fn new(command: &Command) -> Result<ExecPlan, Exit> {
        let limits = command.get_limits().clone();
        limits.check().map_err(|error| invalid(error.to_string()))?;
        // Before anything is looked up by them: no look at a file could name the mistake.
        for (name, what) in [
            (Some(command.get_program()), "program"),
            (command.get_cwd().map(Path::as_os_str), "working directory"),
        ] {
            if let Some(name) = name.filter(|name| name.as_bytes().contains(&0)) {
                text(name.to_owned(), what)?;
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
            path: text(program.into_os_string(), "program")?,
            argv: argv.map(|arg| text(arg.to_owned(), "argument")).collect::<Result<_, _>>()?,
            envp: envp(environment)?,
            cwd: cwd.map(|cwd: PathBuf| text(cwd.into_os_string(), "working directory")).transpose()?,
            limits,
        })
    }
}

fn envp(environment: BTreeMap<OsString, OsString>) -> Result<Vec<CString>, Exit> {
    let entry = |(name, value): (OsString, OsString)| {
        let bad = name.is_empty() || name.as_bytes().contains(&b'=') || name.as_bytes().contains(&0);
        if bad || value.as_bytes().contains(&0) {
            return Err(invalid(format!("environment variable {name:?} cannot be passed")));
        }
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        text(entry, "environment variable")
    };
    environment.into_iter().map(entry).collect()
}

fn text(text: OsString, what: &str) -> Result<CString, Exit> {
    // It is not repeated: it may be a secret.
    CString::new(text.into_vec())
        .map_err(|error| invalid(format!("{what} contains a NUL byte, at {}", error.nul_position())))
}

fn invalid(what: String) -> Exit {
    never_started(LaunchStage::Command, Some(Errno::INVAL.raw_os_error()), what)
}
