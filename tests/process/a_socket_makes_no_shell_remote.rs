//! P-2: no shell reads a start-up file because its stdin is a socket. bash believes to be a remote shell
//! then and reads `~/.bashrc`, unless `SHLVL` tells it that it runs inside another shell.

use procession::process::{Command, StdioTransport};

use crate::common::*;

/// A home directory whose start-up file prints a line when it is read.
struct Home(std::path::PathBuf);

impl Home {
    fn new() -> Home {
        let home = std::env::temp_dir().join(format!("procession-home-{}-{:?}", std::process::id(), {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
        }));
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join(".bashrc"), "echo start-up file; export BACK=again\n").unwrap();
        Home(home)
    }

    fn shell(&self, shell: &str) -> Command {
        let script = "echo script $BACK; exec sh -c 'echo program $BACK'";
        Command::new(shell).args(["-c", script]).env("HOME", &self.0)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shells() -> impl Iterator<Item = &'static str> {
    let there = |shell: &&str| {
        let there = std::process::Command::new(shell).args(["-c", "exit 0"]).output().is_ok();
        if !there {
            eprintln!("skipped: there is no {shell}");
        }
        there
    };
    ["bash", "rbash"].into_iter().filter(there)
}

async fn said(command: Command) -> String {
    String::from_utf8(output(command).await).unwrap()
}

const EXPECTED: &str = "script\nprogram\n";

#[tokio::test]
async fn no_shell_reads_a_start_up_file_because_of_a_socket() {
    // P-2
    let home = Home::new();
    for shell in shells() {
        let command = home.shell(shell);
        for command in [
            command.clone(),
            command.clone().transport(StdioTransport::Sockets),
            command.clone().transport(StdioTransport::Pipes),
            // The caller's value is respected; then the process gets pipes.
            command.clone().env("SHLVL", "0"),
            command.clone().env("SHLVL", "999").transport(StdioTransport::Sockets),
            command.clone().env("SHLVL", ""),
            command.clone().env_remove("SHLVL"),
            command.clone().inherit_env(true).env_remove("SHLVL"),
        ] {
            let said = said(command.clone()).await;
            // A restricted shell may not use `exec`.
            assert!(said.starts_with("script\n"), "{command:?}: {said}");
            assert!(!said.contains("start-up") && !said.contains("again"), "{command:?}: {said}");
        }
    }
}

#[test]
fn whatever_the_host_itself_has() {
    // P-2: runs in a host of its own, because it needs a variable of its own.
    for prepare in
        ["unset SHLVL;", "SHLVL=0; export SHLVL;", "SHLVL=999; export SHLVL;", "SHLVL=x; export SHLVL;"]
    {
        host_of_its_own(prepare, "a_socket_makes_no_shell_remote::inner_whatever_the_host_has");
    }
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_whatever_the_host_has() {
    let home = Home::new();
    for shell in shells().filter(|shell| *shell == "bash") {
        for command in [
            home.shell(shell),
            home.shell(shell).inherit_env(true),
            home.shell(shell).pass_env("SHLVL"),
            // A shell that starts a shell has the same level again.
            Command::new("bash")
                .args(["-c", "exec bash -c \"exec bash -c 'echo script; echo program'\""])
                .env("HOME", &home.0)
                .inherit_env(true),
        ] {
            assert_eq!(said(command.clone()).await, EXPECTED, "{command:?}");
        }
    }
}

#[tokio::test]
async fn the_level_is_seen_and_the_transport_follows_a_callers_own() {
    // P-2
    let seen = |command: Command| async move { said(command).await };
    let script = "echo $SHLVL; readlink /proc/$$/fd/0";
    // dash does not change the variable.
    let default = seen(sh(script)).await;
    assert!(default.starts_with("1\n"), "{default}");
    assert_eq!(default.contains("socket:"), sockets_are_expected(), "{default}");
    let own = seen(sh(script).env("SHLVL", "0").transport(StdioTransport::Sockets)).await;
    assert!(own.contains("pipe:"), "{own}");
    let deep = seen(sh(script).env("SHLVL", "7")).await;
    assert_eq!(deep.contains("socket:"), sockets_are_expected(), "{deep}");
}
