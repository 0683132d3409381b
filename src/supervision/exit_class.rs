//! Reduces an exit to the [`ExitClass`] that the restart policy sees.

use rustix::io::Errno;

use crate::{
    exit::{Exit, LaunchStage},
    restart::{ExitClass, RestartType},
};

/// The program, its interpreter or its directory does not exist, may not be used, or is not a
/// program (yet).
const MISSING: [Errno; 4] = [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS, Errno::NOEXEC];

/// The file is being written, cannot be read completely, or was replaced while in use.
const BUSY: [Errno; 3] = [Errno::TXTBSY, Errno::IO, Errno::STALE];

/// Errors that every later launch of the same command will meet: too long, too many symbolic links
/// or interpreters, not a regular file, an image that the system cannot load, not permitted.
const PERMANENT: [Errno; 6] =
    [Errno::TOOBIG, Errno::NAMETOOLONG, Errno::LOOP, Errno::ISDIR, Errno::INVAL, Errno::PERM];

/// What a failed launch means for the next one (rule R-6). The errors are those of execve(2),
/// chdir(2) and of looking at the file. All others (EAGAIN, ENOMEM, EMFILE, ENFILE, …), and all
/// errors of other stages, depend on the system at that moment.
fn classify_launch(errno: Option<i32>, stage: LaunchStage) -> ExitClass {
    match (stage, errno.map(Errno::from_raw_os_error)) {
        (LaunchStage::Command, _) => ExitClass::Permanent,
        (LaunchStage::Program | LaunchStage::Directory | LaunchStage::Exec, Some(errno)) => match errno {
            errno if MISSING.contains(&errno) || is_bad_library(errno) => ExitClass::Missing,
            errno if BUSY.contains(&errno) => ExitClass::Busy,
            errno if PERMANENT.contains(&errno) => ExitClass::Permanent,
            _ => ExitClass::Failure,
        },
        _ => ExitClass::Failure,
    }
}

/// The program's ELF interpreter has a format that the system does not know.
#[cfg(target_os = "linux")]
fn is_bad_library(errno: Errno) -> bool {
    errno.raw_os_error() == libc::ELIBBAD
}

#[cfg(not(target_os = "linux"))]
fn is_bad_library(_: Errno) -> bool {
    false
}

/// Whether a child that ended like this fails again at every start until its declaration or the
/// system is changed. For a supervisor, the child that caused the exit counts.
pub(crate) fn never_starts(exit: &Exit) -> bool {
    let Some(Exit::NeverStarted { errno, stage, .. }) = exit.chain().last() else { return false };
    matches!(classify_launch(*errno, *stage), ExitClass::Permanent | ExitClass::Missing)
}

/// Reduces an exit to what the restart policy needs.
///
/// A supervisor that gave up is abnormal for a permanent child and *shutdown* for a transient one (rule S-17,
/// as OTP).
pub(crate) fn classify(exit: &Exit, restart: RestartType) -> ExitClass {
    match exit {
        Exit::Requested => ExitClass::Requested,
        Exit::Clean { .. } | Exit::Ignored | Exit::ActorStopped { .. } | Exit::AutoShutdown { .. } => {
            ExitClass::Clean
        }
        Exit::IntensityExceeded { .. } if restart == RestartType::Transient => ExitClass::Clean,
        Exit::NeverStarted { errno, stage, .. } => classify_launch(*errno, *stage),
        _ => ExitClass::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_a_launch_has_its_meaning() {
        // execve(2), one by one.
        use ExitClass::{Busy, Failure, Missing, Permanent};
        let table = [
            (libc::E2BIG, Permanent),
            (libc::EACCES, Missing),
            (libc::EAGAIN, Failure),
            (libc::EINVAL, Permanent),
            (libc::EIO, Busy),
            (libc::EISDIR, Permanent),
            #[cfg(target_os = "linux")]
            (libc::ELIBBAD, Missing),
            (libc::ELOOP, Permanent),
            (libc::EMFILE, Failure),
            (libc::ENAMETOOLONG, Permanent),
            (libc::ENFILE, Failure),
            (libc::ENOENT, Missing),
            (libc::ENOEXEC, Missing),
            (libc::ENOMEM, Failure),
            (libc::ENOTDIR, Missing),
            (libc::EPERM, Permanent),
            (libc::ESTALE, Busy),
            (libc::ETXTBSY, Busy),
        ];
        for (errno, meaning) in table {
            for stage in [LaunchStage::Program, LaunchStage::Directory, LaunchStage::Exec] {
                assert_eq!(classify_launch(Some(errno), stage), meaning, "{errno} at {stage:?}");
            }
            // The command is not to blame.
            for stage in [LaunchStage::Stdio, LaunchStage::Spawn] {
                assert_eq!(classify_launch(Some(errno), stage), Failure, "{errno} at {stage:?}");
            }
            assert_eq!(classify_launch(Some(errno), LaunchStage::Command), Permanent);
        }
        assert_eq!(classify_launch(None, LaunchStage::Command), Permanent);
        assert_eq!(classify_launch(None, LaunchStage::Spawn), Failure);
    }
}
