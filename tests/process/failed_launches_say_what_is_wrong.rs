//! P-1, R-6: a failed launch reports the stage, the error number and the name of what is wrong.

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
    check(Command::new("true").arg("x".repeat(1 << 20)), (Exec, Errno::TOOBIG), "too long").await;
}

#[tokio::test]
async fn a_failure_that_every_later_launch_repeats_has_its_reason() {
    //
    use LaunchStage::{Command as Bad, Directory, Exec, Program};
    let dir = Dir::new("never");
    // These are checked before anything is looked up by such a name.
    check(Command::new("tr\0ue"), (Bad, Errno::INVAL), "NUL").await;
    check(Command::new("/bin/tr\0ue"), (Bad, Errno::INVAL), "NUL").await;
    check(Command::new("true").cwd("/tm\0p"), (Bad, Errno::INVAL), "working directory").await;
    check(Command::new("true").env("A", "x\0y"), (Bad, Errno::INVAL), "environment variable \"A\"").await;
    // Names.
    let ring = dir.0.join("ring");
    std::os::unix::fs::symlink(&ring, &ring).unwrap();
    check(Command::new(&ring), (Program, Errno::LOOP), "ring").await;
    check(Command::new("ring").env("PATH", &dir.0), (Program, Errno::LOOP), "PATH").await;
    check(Command::new("true").cwd(&ring), (Directory, Errno::LOOP), "ring").await;
    let long = "x".repeat(5000);
    check(Command::new(format!("/{long}")), (Program, Errno::NAMETOOLONG), "xxx").await;
    check(Command::new(&long), (Program, Errno::NAMETOOLONG), "PATH").await;
    // Files.
    check(Command::new("/"), (Program, Errno::ACCESS), "is a directory").await;
    check(Command::new("/dev/null"), (Program, Errno::ACCESS), "not a regular file").await;
    let script = dir.file("no-first-line", "echo hello\n", 0o755);
    check(Command::new(&script), (Exec, Errno::NOEXEC), "`#!/bin/sh`").await;
    let empty = dir.file("empty", "", 0o755);
    check(Command::new(&empty), (Exec, Errno::NOEXEC), "which is empty").await;
    let cut = dir.file("cut", "\u{7f}ELF\u{2}\u{1}\u{1}", 0o755);
    check(Command::new(&cut), (Exec, Errno::NOEXEC), "cut").await;
    // An interpreter that is a script that is its own interpreter.
    let own = dir.0.join("own");
    dir.file("own", &format!("#!{}\n", own.display()), 0o755);
    check(Command::new(&own), (Exec, Errno::LOOP), "own").await;
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
async fn a_failed_launch_releases_the_reap_token() {
    // S-21
    let (held_until_reaped, held) = held_value();
    let launched = launcher().launch(&Command::new("no-such-program"), held_until_reaped).await;
    assert!(launched.is_err() && !held());
}
