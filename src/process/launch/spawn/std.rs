//! Creates a process by the standard library, where the C library's `posix_spawn` cannot change the
//! directory.
//!
//! Weaker than `posix_spawn.rs`: the program inherits the mask and the ignored signals of the launch thread,
//! and descriptors that are not close-on-exec.

use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::Command,
};

use rustix::process::Pid;

use super::spawned_process::SpawnedProcess;
use crate::{containment::Containment, process::launch::exec_plan::ExecPlan};

/// Creates a process that leads its own group, with `stdio` as its stdin, stdout and stderr. Blocks until the
/// program has been executed or could not be.
///
/// # Errors
/// The system's error. No process is left.
pub(super) fn spawn(plan: &ExecPlan, stdio: &[OwnedFd; 3]) -> io::Result<SpawnedProcess> {
    let [stdin, stdout, stderr] = stdio;
    let (name, args) = plan.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(text(&plan.path));
    command.arg0(text(name)).args(args.iter().map(|arg| text(arg))).env_clear().process_group(0);
    command.envs(plan.envp.iter().filter_map(|entry| variable(entry)));
    command.stdin(stdin.try_clone()?).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    if let Some(cwd) = &plan.cwd {
        command.current_dir(text(cwd));
    }
    // Dropping the handle neither waits for the process nor ends it.
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the system created a process without an id"))?;
    Ok(SpawnedProcess { pid, pidfd: None, containment: Containment::default() })
}

fn text(text: &CStr) -> &OsStr {
    OsStr::from_bytes(text.to_bytes())
}

fn variable(entry: &CString) -> Option<(&OsStr, &OsStr)> {
    let bytes = entry.to_bytes();
    let equals = memchr::memchr(b'=', bytes)?;
    Some((OsStr::from_bytes(&bytes[..equals]), OsStr::from_bytes(&bytes[equals + 1..])))
}
