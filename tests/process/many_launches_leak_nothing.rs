//! Descriptors are counted for the whole program, so this runs in a host of its own.

use std::sync::Arc;

use procession::process::{Command, Exited, Hold, Ladder, Launcher, OsLauncher, terminate};
use tokio::{io::AsyncReadExt, task::JoinSet};

use crate::common::*;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> String {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default())
        .collect()
}

#[test]
fn in_a_host_of_its_own() {
    host_of_its_own("", "many_launches_leak_nothing::inner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test, in a host of its own"]
async fn inner() {
    let launcher = Arc::new(OsLauncher::new());
    // The first launch starts what stays: the runtime's threads and the reaper.
    drop(launcher.launch(&sh("exit 0"), Hold::none()).await.unwrap());
    until("reaped", || children().is_empty()).await;
    let before = descriptors();
    let mut all = JoinSet::new();
    for n in 0..200 {
        let launcher = Arc::clone(&launcher);
        all.spawn(async move {
            if n % 10 == 0 {
                let bad = Command::new(if n % 20 == 0 { "no-such-program" } else { "/etc/passwd" });
                assert!(launcher.launch(&bad, Hold::none()).await.is_err());
                return;
            }
            let mut process = launcher.launch(&sh("read line; exit 3"), Hold::none()).await.unwrap();
            match n % 3 {
                0 => drop(process),
                1 => {
                    drop(process.stdin);
                    let ended = terminate(&*process.control, &Ladder::default(), None).await.unwrap();
                    assert_eq!(ended.exited, Exited::code(3));
                    process.stdout.read_to_end(&mut Vec::new()).await.unwrap();
                }
                _ => {
                    process.control.reap(LONG).await.unwrap();
                }
            }
        });
    }
    while let Some(done) = soon("a launch", all.join_next()).await {
        done.unwrap();
    }
    until("all are reaped", || children().is_empty()).await;
    until("all descriptors are closed", || descriptors() <= before).await;
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_without_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let launcher = OsLauncher::new();
    drop(launcher.launch(&sh("exit 0"), Hold::none()).await.unwrap());
    until("reaped", || children().is_empty()).await;
    let before = descriptors();
    // One launch needs eight or so. Each limit is too low in its own place: stdio, spawn, the pidfd, the runtime.
    let mut refused = 0;
    for room in 0..12 {
        let limit = before as u64 - 1 + room;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(4096) }).unwrap();
        match launcher.launch(&sh("exit 0"), Hold::none()).await {
            Ok(process) => drop(process),
            Err(procession::exit::Exit::NeverStarted { errno, .. }) => {
                assert_eq!(errno, Some(rustix::io::Errno::MFILE.raw_os_error()));
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        setrlimit(Resource::Nofile, Rlimit { current: Some(4096), maximum: Some(4096) }).unwrap();
        until("nothing is left", || children().is_empty() && descriptors() <= before).await;
    }
    assert!((5..12).contains(&refused), "{refused}");
}

#[test]
fn nor_do_launches_that_run_out_of_descriptors() {
    //
    host_of_its_own("", "many_launches_leak_nothing::inner_without_descriptors");
}
