//! P-4, P-8, P-9, P-10: a control group holds the descendants that have left the process group and the
//! session.

use std::{path::PathBuf, time::Duration};

use procession::process::{
    CgroupMode, Command, HeldUntilReaped, Ladder, Launcher, OsLauncher, Process, Rung, terminate,
};

use crate::common::*;

/// Starts a daemon in a session of its own whose parents have ended, prints its process id, and then runs
/// `rest`.
fn with_daemon(daemon: &str, rest: &str) -> Command {
    sh(&format!("(setsid sh -c '{daemon}' </dev/null &); {rest}"))
}

const STUBBORN: &str = "trap \"\" TERM; echo $$; while :; do sleep 1000; done";

/// Whether control groups may be made here. Check this before starting a daemon that nothing else would end.
async fn possible() -> bool {
    let process = launch(sh("exit 0")).await;
    let possible = directory(&process).is_some();
    reaped(&process).await;
    if !possible {
        println!("skipped: no control group may be made here");
    }
    possible
}

/// The directory of the process's control group; `None` where there cannot be one.
fn directory(process: &Process) -> Option<PathBuf> {
    let path = process.control.containment().cgroup?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let directory = PathBuf::from(format!("{}{path}", mount.split(' ').nth(1).unwrap()));
    assert!(directory.is_dir());
    Some(directory)
}

#[tokio::test]
async fn a_daemon_does_not_survive_an_exit() {
    // P-4, P-8
    if !possible().await {
        return;
    }
    let (held_until_reaped, held) = held_value();
    let mut process =
        OsLauncher::new().launch(&with_daemon(STUBBORN, "wait"), held_until_reaped).await.unwrap();
    let Some(directory) = directory(&process) else { return };
    let daemon = number(&mut process).await;
    soon("exit", process.control.exited()).await;
    assert!(runs(daemon) && held());
    reaped(&process).await;
    assert!(!runs(daemon) && !held() && !directory.exists(), "gone when the reap returns");
}

#[tokio::test]
async fn nor_a_drop() {
    // P-10
    if !possible().await {
        return;
    }
    let (held_until_reaped, held) = held_value();
    let mut process =
        OsLauncher::new().launch(&with_daemon(STUBBORN, "sleep 1000"), held_until_reaped).await.unwrap();
    let Some(directory) = directory(&process) else { return };
    let daemon = number(&mut process).await;
    drop(process);
    until("the held value is released", || !held()).await;
    assert!(!runs(daemon) && !directory.exists(), "released only when all is gone");
}

#[tokio::test]
async fn nor_an_orderly_stop_which_asks_it_to_end() {
    // P-9: `rung` is the one at which the last member ended
    if !possible().await {
        return;
    }
    let polite = "trap \"exit 0\" TERM; echo $$; while :; do sleep 0.05; done";
    for (daemon, rung) in [("echo $$; sleep 0.1", Rung::Drain), (polite, Rung::Term), (STUBBORN, Rung::Kill)]
    {
        let mut process = launch(with_daemon(daemon, "read line")).await;
        let Some(directory) = directory(&process) else { return };
        let daemon = number(&mut process).await;
        drop(process.stdin);
        let drain = if rung == Rung::Drain { LONG } else { Duration::from_millis(200) };
        let term_grace = if rung == Rung::Term { LONG } else { Duration::from_millis(200) };
        let ladder = Ladder { drain, term_grace, kill_wait: LONG };
        let ended = soon("stop", terminate(&*process.control, &ladder, None)).await.unwrap();
        assert_eq!(ended.rung, rung);
        assert!(!runs(daemon) && !directory.exists());
    }
}

#[tokio::test]
async fn emptied_waits_for_the_daemon() {
    // P-4
    if !possible().await {
        return;
    }
    let mut process = launch(with_daemon("echo $$; sleep 0.2", "exit 0")).await;
    let Some(_) = directory(&process) else { return };
    let daemon = number(&mut process).await;
    soon("exit", process.control.exited()).await;
    let wait = process.control.emptied();
    assert!(tokio::time::timeout(Duration::from_millis(20), wait).await.is_err());
    soon("the group is empty", process.control.emptied()).await;
    assert!(!runs(daemon));
    reaped(&process).await;
}

#[tokio::test]
async fn groups_that_the_process_has_made_go_with_it() {
    // P-4
    if !possible().await {
        return;
    }
    let script = "g=$(echo /proc/self/cgroup); g=$1$(sed -n 's/^0:://p' /proc/self/cgroup); \
                  mkdir -p $g/inner/most; (setsid sh -c 'echo $$ >$1/inner/most/cgroup.procs; echo $$; exec sleep 1000' \
                  sh $g </dev/null &); sleep 1000";
    let mount = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(mount) = mount.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")) else { return };
    let mut process =
        launch(Command::new("/bin/sh").args(["-c", script, "sh", mount.split(' ').nth(1).unwrap()])).await;
    let Some(directory) = directory(&process) else { return };
    let daemon = number(&mut process).await;
    assert!(directory.join("inner/most").is_dir());
    reaped(&process).await;
    assert!(!runs(daemon) && !directory.exists());
}

#[tokio::test]
async fn a_launch_that_fails_leaves_no_group() {
    // P-10
    if !possible().await {
        return;
    }
    let process = launch(sh("exit 0")).await;
    let Some(directory) = directory(&process) else { return };
    let others = || std::fs::read_dir(directory.parent().unwrap()).unwrap().count();
    for _ in 0..50 {
        let _ = refusal(Command::new("/dev/null/no-such-program")).await;
        let _ = refusal(Command::new("/etc/passwd")).await;
    }
    // Other tests have groups in the same parent group for short times.
    until("the groups are gone", || others() < 50).await;
    reaped(&process).await;
}

#[tokio::test]
async fn they_are_a_choice() {
    // P-6
    let launcher = OsLauncher::builder().cgroup(CgroupMode::Never).build();
    let mut process = launcher.launch(&with_daemon(STUBBORN, "wait"), HeldUntilReaped::none()).await.unwrap();
    assert_eq!(process.control.containment().cgroup, None);
    let daemon = number(&mut process).await;
    reaped(&process).await;
    assert!(runs(daemon), "out of reach");
    // It leads a session and has a child.
    rustix::process::kill_process_group(
        rustix::process::Pid::from_raw(daemon).unwrap(),
        procession::process::Signal::KILL,
    )
    .unwrap();
    until("it is gone", || !runs(daemon)).await;
}
