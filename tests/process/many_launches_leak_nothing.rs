//! P-7, R-6: launches, also those that fail, leak no descriptor, no process and no thread. Descriptors are
//! counted for the whole program, so each test runs in a host of its own.

use std::sync::Arc;

use procession::process::{Command, ExitStatus, HeldUntilReaped, Ladder, Launcher, terminate};
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
    let launcher = Arc::new(launcher());
    // The first launch starts threads that stay: those of the runtime and the reaper.
    drop(launcher.launch(&sh("exit 0"), HeldUntilReaped::none()).await.unwrap());
    until("reaped", || children().is_empty()).await;
    let before = descriptors();
    let mut all = JoinSet::new();
    for n in 0..200 {
        let launcher = Arc::clone(&launcher);
        all.spawn(async move {
            if n % 10 == 0 {
                let bad = Command::new(if n % 20 == 0 { "no-such-program" } else { "/etc/passwd" });
                assert!(launcher.launch(&bad, HeldUntilReaped::none()).await.is_err());
                return;
            }
            let mut process =
                launcher.launch(&sh("read line; exit 3"), HeldUntilReaped::none()).await.unwrap();
            match n % 3 {
                0 => drop(process),
                1 => {
                    drop(process.stdin);
                    let ended = terminate(&*process.control, &Ladder::default(), None).await.unwrap();
                    assert_eq!(ended.exited, ExitStatus::code(3));
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
    let launcher = launcher();
    drop(launcher.launch(&sh("exit 0"), HeldUntilReaped::none()).await.unwrap());
    until("reaped", || children().is_empty()).await;
    let before = descriptors();
    // One launch needs about eight. Each limit is exceeded at another step: stdio, spawn, the pidfd, the
    // runtime.
    let mut refused = 0;
    for room in 0..12 {
        let limit = before as u64 - 1 + room;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(4096) }).unwrap();
        match launcher.launch(&sh("exit 0"), HeldUntilReaped::none()).await {
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

#[test]
fn a_full_host_refuses_and_goes_on_when_there_is_room_again() {
    //
    host_of_its_own("", "many_launches_leak_nothing::inner_full_of_children");
}

/// Launches as many children as there are descriptors for; each takes four on the host's side.
#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_full_of_children() {
    fill(1000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "5,000 processes at once: cargo test --test process -- --ignored thousands_of_children"]
async fn thousands_of_children() {
    fill(20_000).await;
}

async fn fill(limit: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let launcher = launcher();
    drop(launcher.launch(&sh("exit 0"), HeldUntilReaped::none()).await.unwrap());
    until("reaped", || children().is_empty()).await;
    let before = descriptors();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    let sleeper = Command::new("sleep").arg("1000");
    let mut all = Vec::new();
    let refused = loop {
        match soon("a launch", launcher.launch(&sleeper, HeldUntilReaped::none())).await {
            Ok(process) => all.push(process),
            Err(exit) => break exit,
        }
    };
    let full = |exit: &procession::exit::Exit| {
        let emfile = Some(rustix::io::Errno::MFILE.raw_os_error());
        matches!(exit, procession::exit::Exit::NeverStarted { errno, .. } if *errno == emfile)
    };
    assert!(full(&refused), "{refused:?}");
    let expected = (limit as usize - before) / 4;
    assert!((expected - 3..=expected).contains(&all.len()), "{} of {expected}", all.len());
    for _ in 0..20 {
        assert!(
            full(&launcher.launch(&sleeper, HeldUntilReaped::none()).await.unwrap_err()),
            "nothing is lost to a refusal"
        );
    }
    all.truncate(all.len() - 3);
    let survivors = all.len();
    // An orderly stop, with the descriptor table full.
    let mut launched = None;
    for _ in 0..1000 {
        match launcher.launch(&sleeper, HeldUntilReaped::none()).await {
            Ok(process) => {
                launched = Some(process);
                break;
            }
            Err(exit) => assert!(full(&exit)),
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    all.extend(launched);
    assert_eq!(all.len(), survivors + 1);
    assert!(all.iter().all(|process| runs(process.pid as i32)));
    drop(all);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    until("nothing is left", || children().is_empty() && descriptors() <= before).await;
}

#[test]
fn children_that_end_at_once_are_all_accounted_for() {
    // P-7
    host_of_its_own("", "many_launches_leak_nothing::inner_of_the_short_lived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test, in a host of its own"]
async fn inner_of_the_short_lived() {
    let launcher = Arc::new(launcher());
    let mut all = JoinSet::new();
    for _ in 0..500 {
        let launcher = Arc::clone(&launcher);
        all.spawn(async move {
            let process = launcher.launch(&Command::new("true"), HeldUntilReaped::none()).await.unwrap();
            assert_eq!(process.control.exited().await, ExitStatus::code(0));
            assert_eq!(process.control.reap(LONG).await, Ok(ExitStatus::code(0)));
        });
    }
    while let Some(done) = soon("a launch", all.join_next()).await {
        done.unwrap();
    }
    assert_eq!(children(), "");
}

#[test]
fn a_host_without_room_for_a_thread_launches_later() {
    //
    host_of_its_own("", "many_launches_leak_nothing::inner_without_room_for_a_thread");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_without_room_for_a_thread() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let mapped: u64 = line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024;
    // The stack of a thread no longer fits; small allocations use memory that has been mapped already.
    setrlimit(Resource::As, Rlimit { current: Some(mapped + 128 * 1024), maximum: None }).unwrap();
    let refused = launcher().launch(&sh("exit 0"), HeldUntilReaped::none()).await;
    setrlimit(Resource::As, Rlimit { current: None, maximum: None }).unwrap();
    match refused.unwrap_err() {
        procession::exit::Exit::NeverStarted { errno, stage, .. } => {
            assert_eq!(errno, Some(rustix::io::Errno::AGAIN.raw_os_error()));
            assert_eq!(stage, procession::exit::LaunchStage::Spawn);
        }
        other => panic!("{other:?}"),
    }
    reaped(&launch(sh("exit 0")).await).await;
}
