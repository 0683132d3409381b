//! Looks up the program and the directory of a command in the host, so that errors are exact and say which
//! of the two is wrong.
//!
//! The launch itself would only report `ENOENT`, and for a lookup by the child the C library would have to
//! fork.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{fs::Access, io::Errno};

use crate::exit::{Exit, LaunchStage};

/// The directories that POSIX systems search if there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// The exit of a launch that failed.
pub(super) fn never_started(stage: LaunchStage, errno: Option<i32>, what: impl std::fmt::Display) -> Exit {
    let reason = match errno {
        Some(errno) => format!("{what}: {}", std::io::Error::from_raw_os_error(errno)),
        None => what.to_string(),
    };
    Exit::NeverStarted { errno, stage, reason }
}

/// Checks that a process may be started in `cwd` and returns it as an absolute path.
pub(super) fn directory(cwd: &Path) -> Result<PathBuf, Exit> {
    let failed = |error: std::io::Error| {
        never_started(
            LaunchStage::Directory,
            error.raw_os_error(),
            format_args!("working directory `{}`", cwd.display()),
        )
    };
    // The dot requires the same as chdir: a directory, and the permission to search it.
    std::fs::metadata(cwd.join(".")).map_err(failed)?;
    std::path::absolute(cwd).map_err(failed)
}

/// The absolute path of `program` for a process whose environment has `path` and whose working directory is
/// `cwd`.
///
/// Follows `execvp`: a name with a slash is taken as it is. Any other name means the first executable file
/// on the path. If only files that may not be executed are found, the error is `EACCES`.
pub(super) fn program(program: &OsStr, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, Exit> {
    let missing = |errno: Errno, how: &str| {
        let what = format!("program `{}`{how}", program.display());
        never_started(LaunchStage::Program, Some(errno.raw_os_error()), what)
    };
    if program.is_empty() {
        let enoent = Errno::NOENT.raw_os_error();
        return Err(never_started(LaunchStage::Command, Some(enoent), "the name of the program is empty"));
    }
    if program.as_bytes().contains(&b'/') {
        let found = cwd.join(program);
        return executable(&found).map(|()| found).map_err(|(errno, how)| missing(errno, how));
    }
    let default = OsString::from(DEFAULT_PATH);
    let (mut denied, mut other) = (None, None);
    for entry in std::env::split_paths(path.unwrap_or(&default)) {
        // By convention an empty entry is the working directory; `join` leaves that as it is.
        let candidate = cwd.join(entry).join(program);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err((Errno::ACCESS, _)) => denied = Some(Errno::ACCESS),
            Err((Errno::NOENT | Errno::NOTDIR, _)) => {}
            Err((errno, _)) => other = other.or(Some(errno)),
        }
    }
    Err(match (denied, other) {
        (Some(errno), _) => missing(errno, " is on the PATH but may not be executed"),
        (None, Some(errno)) => missing(errno, " cannot be looked up on the PATH"),
        (None, None) if program.as_bytes().contains(&b' ') => missing(
            Errno::NOENT,
            " is not on the PATH (a command is not split at blanks: pass its arguments as `args`)",
        ),
        (None, None) => missing(Errno::NOENT, " is not on the PATH"),
    })
}

/// The error, and words for it where the error alone would mislead.
fn executable(path: &Path) -> Result<(), (Errno, &'static str)> {
    let failed = |error: std::io::Error| (Errno::from_io_error(&error).unwrap_or(Errno::IO), "");
    let found = std::fs::metadata(path).map_err(failed)?;
    if found.is_dir() {
        return Err((Errno::ACCESS, " is a directory"));
    }
    if !found.is_file() {
        return Err((Errno::ACCESS, " is not a regular file"));
    }
    rustix::fs::access(path, Access::EXEC_OK).map_err(|errno| match errno {
        Errno::ACCESS => (errno, " may not be executed"),
        errno => (errno, ""),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    struct Dir(PathBuf);
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn playground(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("procession-lookup-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for (file, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("a/locked", 0o644)] {
            let file = dir.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(dir.join("a/folder")).unwrap();
        Dir(dir)
    }

    fn errno(result: Result<PathBuf, Exit>) -> (i32, LaunchStage) {
        match result.unwrap_err() {
            Exit::NeverStarted { errno: Some(errno), stage, .. } => (errno, stage),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_executable_file_on_the_path_is_taken() {
        // P-1
        let dir = playground("path");
        let path = OsString::from(format!("/nonexistent:{0}/a:{0}/b", dir.0.display()));
        let find = |name: &str| program(name.as_ref(), Some(&path), Path::new("/"));
        assert_eq!(find("tool").unwrap(), dir.0.join("b/tool"));
        assert_eq!(errno(find("locked")), (libc::EACCES, LaunchStage::Program));
        assert_eq!(errno(find("folder")), (libc::EACCES, LaunchStage::Program));
        assert_eq!(errno(find("absent")), (libc::ENOENT, LaunchStage::Program));
        assert_eq!(errno(find("")), (libc::ENOENT, LaunchStage::Command));
        let text = |name: &str| find(name).unwrap_err().to_string();
        assert!(text("tool --fast").contains("not split at blanks"), "{}", text("tool --fast"));
        assert!(!text("absent").contains("split"));
        let locked = dir.0.join("a/locked");
        assert!(text(locked.to_str().unwrap()).contains("/a/locked` may not be executed: "));
    }

    #[test]
    fn relative_names_and_empty_entries_are_relative_to_the_process() {
        // P-1
        let dir = playground("cwd");
        let b = dir.0.join("b");
        assert_eq!(program("./tool".as_ref(), None, &b).unwrap(), b.join("./tool"));
        assert_eq!(program("tool".as_ref(), Some(":/nonexistent".as_ref()), &b).unwrap(), b.join("tool"));
        assert_eq!(errno(program("tool/x".as_ref(), None, &b)), (libc::ENOTDIR, LaunchStage::Program));
    }

    #[test]
    fn a_bad_directory_is_named() {
        // P-1
        let dir = playground("dir");
        assert_eq!(errno(directory(&dir.0.join("absent"))), (libc::ENOENT, LaunchStage::Directory));
        assert_eq!(errno(directory(&dir.0.join("b/tool"))), (libc::ENOTDIR, LaunchStage::Directory));
        assert!(directory(&dir.0).is_ok());
    }
}
