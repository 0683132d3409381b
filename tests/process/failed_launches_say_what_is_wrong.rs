use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use procession::{
    exit::{Exit, LaunchStage},
    process::{Command, Launcher},
};
use rustix::io::Errno;

use crate::common::*;

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("procession-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

async fn check(command: Command, expected: (LaunchStage, Errno), names: &str) {
    match refusal(command).await {
        Exit::NeverStarted { errno: Some(errno), stage, reason } => {
            assert_eq!((stage, Errno::from_raw_os_error(errno)), expected, "{reason}");
            assert!(reason.contains(names), "{reason} should name {names}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_failure_has_its_number_and_its_stage() {
    // P-1, R-6
    use LaunchStage::{Command as Bad, Directory, Exec, Program};
    let dir = Dir::new("refused");
    let script = dir.file("no-shebang", "echo hello\n", 0o755);
    let locked = dir.file("locked", "#!/bin/sh\n", 0o644);
    let lost = dir.file("lost-interpreter", "#!/nonexistent/interpreter\n", 0o755);
    check(Command::new("no-such-program"), (Program, Errno::NOENT), "no-such-program").await;
    check(Command::new("/no/such/program"), (Program, Errno::NOENT), "/no/such/program").await;
    check(Command::new(locked.join("x")), (Program, Errno::NOTDIR), "locked/x").await;
    check(Command::new(&locked), (Program, Errno::ACCESS), "locked").await;
    check(Command::new("locked").env("PATH", &dir.0), (Program, Errno::ACCESS), "locked").await;
    check(Command::new(&dir.0), (Program, Errno::ACCESS), "refused").await;
    check(Command::new(&script), (Exec, Errno::NOEXEC), "no-shebang").await;
    check(Command::new(&lost), (Exec, Errno::NOENT), "/nonexistent/interpreter").await;
    check(Command::new("true").cwd("/no/such/dir"), (Directory, Errno::NOENT), "/no/such/dir").await;
    check(Command::new("true").cwd(&locked), (Directory, Errno::NOTDIR), "locked").await;
    check(Command::new(""), (Bad, Errno::NOENT), "empty").await;
    check(Command::new("true").arg("a\0b"), (Bad, Errno::INVAL), "NUL").await;
    check(Command::new("true").env("A=B", "x"), (Bad, Errno::INVAL), "A=B").await;
    check(Command::new("true").arg("x".repeat(1 << 20)), (Exec, Errno::TOOBIG), "true").await;
}

#[tokio::test]
async fn a_program_that_is_being_written_is_busy() {
    //
    let dir = Dir::new("busy");
    let copy = dir.0.join("true");
    fs::copy("/bin/true", &copy).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&copy).unwrap();
    check(Command::new(&copy), (LaunchStage::Exec, Errno::TXTBSY), "true").await;
    drop(writer);
    until("no launch of another test holds the descriptor", || {
        std::process::Command::new(&copy).status().is_ok_and(|status| status.success())
    })
    .await;
}

#[tokio::test]
async fn a_failed_launch_releases_the_hold() {
    // S-21
    let (hold, held) = token();
    let launched = launcher().launch(&Command::new("no-such-program"), hold).await;
    assert!(launched.is_err() && !held());
}
