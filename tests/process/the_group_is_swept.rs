//! P-4, P-8, P-9, S-19, S-21: nothing of a process's group survives its reap, and the held value is kept
//! until then.

use std::sync::Arc;

use procession::process::{ExitStatus, HeldUntilReaped, KILL_WAIT, Launcher, ProcessControl};
use tokio::io::AsyncReadExt;

use crate::common::*;

#[tokio::test]
async fn a_grandchild_does_not_survive_a_clean_exit() {
    // P-4
    let (held_until_reaped, held) = held_value();
    let mut process =
        launcher().launch(&sh("sleep 1000 & echo $!; exit 0"), held_until_reaped).await.unwrap();
    let grandchild = number(&mut process).await;
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(0));
    assert!(runs(grandchild) && held());
    assert_eq!(reaped(&process).await, ExitStatus::code(0), "the sweep does not change the status");
    assert!(!runs(grandchild), "gone when the reap returns, not a little later");
    assert!(!held());
}

#[tokio::test]
async fn a_grandchild_that_holds_stdout_does_not_delay_the_exit() {
    // P-8
    let mut process = launch(sh("sleep 1000 & echo $!; exit 5")).await;
    number(&mut process).await;
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(5));
    let mut rest = Vec::new();
    let read = process.stdout.read_to_end(&mut rest);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), read).await.is_err(), "still open");
    reaped(&process).await;
    soon("end of file", process.stdout.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn emptied_waits_for_the_last_member() {
    // P-4
    let mut process = launch(sh("(read line; sleep 0.2) <&0 & echo $!; exit 0")).await;
    let grandchild = number(&mut process).await;
    soon("exit", process.control.exited()).await;
    let wait = process.control.emptied();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(120), wait).await.is_err());
    assert!(runs(grandchild));
    drop(process.stdin);
    soon("the group is empty", process.control.emptied()).await;
    assert!(!runs(grandchild));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_caller_of_reap_gets_the_same_result() {
    // P-9, S-19
    let mut process = launch(sh("trap '' TERM; sleep 1000 & echo $!; wait")).await;
    let grandchild = number(&mut process).await;
    let (pid, control) = (process.pid, Arc::<dyn ProcessControl>::from(process.control));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let control = Arc::clone(&control);
            tokio::spawn(async move {
                let exited = control.reap(KILL_WAIT).await;
                (exited, runs(grandchild), exists(pid))
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(soon("reap", caller).await.unwrap(), (Ok(ExitStatus::signal(9, false)), false, false));
    }
}

#[tokio::test]
async fn a_cancelled_reap_may_be_repeated() {
    // P-9
    for micros in (0..3000).step_by(100) {
        let (held_until_reaped, held) = held_value();
        let process = launcher().launch(&sh("sleep 1000 & sleep 1000"), held_until_reaped).await.unwrap();
        let first = process.control.reap(KILL_WAIT);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(micros), first).await;
        assert_eq!(reaped(&process).await, ExitStatus::signal(9, false));
        assert!(!held(), "a caller that is told of the end does not find it still held");
    }
}

#[tokio::test]
async fn the_reap_token_is_released_by_the_reap_and_not_before() {
    // S-21
    let (held_until_reaped, held) = held_value();
    let process = launcher().launch(&sh("exit 0"), held_until_reaped.clone()).await.unwrap();
    drop(held_until_reaped);
    soon("exit", process.control.exited()).await;
    soon("empty", process.control.emptied()).await;
    assert!(held(), "a zombie is left");
    reaped(&process).await;
    assert!(!held());
    drop((process, HeldUntilReaped::none()));
}

#[tokio::test]
async fn a_reap_that_gives_up_is_finished_in_the_background() {
    // P-9, S-19
    let (held_until_reaped, held) = held_value();
    let process = launcher().launch(&sh("sleep 1000"), held_until_reaped).await.unwrap();
    // Under paused time the bound is reached as soon as no task has anything else to do.
    tokio::time::pause();
    let reap = process.control.reap(KILL_WAIT).await;
    tokio::time::resume();
    match reap {
        Ok(exited) => assert_eq!(exited, ExitStatus::signal(9, false)),
        Err(unkillable) => assert_eq!(unkillable.pid, process.pid),
    }
    assert!(!held(), "the tree goes on at once");
    until("it is reaped", || !exists(process.pid)).await;
    assert_eq!(reaped(&process).await, ExitStatus::signal(9, false));
}

/// Makes a member of the leader's group whose parent is outside of it and does not reap it, so that it
/// stays a zombie.
const NEGLECTED: &str = "the_group_is_swept::inner_neglected_";

fn inner(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{NEGLECTED}{name}"), "--ignored", "--nocapture"]);
    command
}

#[test]
#[ignore = "run by another test: the leader"]
#[allow(clippy::zombie_processes)] // That is what it is for.
fn inner_neglected_leader() {
    use std::os::unix::process::CommandExt;
    let me = std::process::id().to_string();
    let parent = inner("parent").process_group(0).env("LEADER", me).spawn().unwrap();
    println!("parent: {}", parent.id());
    std::thread::park();
}

#[test]
#[ignore = "run by another test: the leader's child in a group of its own"]
#[allow(clippy::zombie_processes)] // That is what it is for.
fn inner_neglected_parent() {
    use std::os::unix::process::CommandExt;
    let leader = std::env::var("LEADER").unwrap().parse().unwrap();
    let member = std::process::Command::new("sleep").arg("1000").process_group(leader).spawn().unwrap();
    println!("member: {}", member.id());
    std::thread::park();
}

#[test]
fn a_host_that_cannot_read_the_process_table_waits_for_a_group_but_not_for_ever() {
    // P-9
    host_of_its_own("", "the_group_is_swept::inner_without_process_table");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_without_process_table() {
    use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
    let leader = procession::process::Command::new(std::env::current_exe().unwrap()).args([
        "--exact",
        &format!("{NEGLECTED}leader"),
        "--ignored",
        "--nocapture",
    ]);
    let mut process = launch(leader).await;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(&mut process.stdout));
    let (mut parent, mut member) = (None, None);
    while parent.is_none() || member.is_none() {
        let line = soon("a line", lines.next_line()).await.unwrap().unwrap();
        let pid = |name| Some(line.split_once(name)?.1.trim().parse::<i32>().unwrap());
        parent = parent.or(pid("parent: "));
        member = member.or(pid("member: "));
    }
    let full = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..full }).unwrap();
    // The killed member is a zombie as long as its parent lives, and the host cannot see that it is one.
    let at_once = process.control.reap(std::time::Duration::from_millis(50)).await;
    let in_the_end = soon("reap", process.control.reap(LONG)).await;
    setrlimit(Resource::Nofile, full).unwrap();
    assert_eq!(state(member.unwrap()), Some('Z'));
    kill_process(Pid::from_raw(parent.unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(at_once.is_err(), "{at_once:?}");
    assert_eq!(in_the_end, Ok(ExitStatus::signal(9, false)));
}
