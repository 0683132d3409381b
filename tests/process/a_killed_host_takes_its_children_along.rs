//! P-12: when the host is killed, the kernel kills its direct children, and no child dies earlier with a
//! thread or a runtime of the host.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use procession::process::{Launcher, Process, Technique};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::{Builder, Handle};

use crate::common::*;

const CHILDREN: usize = 20;

/// Kills what is left, so that the test leaves nothing behind in any case.
struct Family(Vec<i32>);

impl Drop for Family {
    fn drop(&mut self) {
        for pid in self.0.iter().filter(|pid| runs(**pid)) {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
    }
}

/// A copy of this program that has launched children and waits to be killed.
fn host() -> (Child, Family) {
    let me = std::env::current_exe().unwrap();
    let mut host = std::process::Command::new(me)
        .args(["--exact", "a_killed_host_takes_its_children_along::inner_host", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines();
    // The line may begin with what the test harness writes.
    let pids = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("pids: ")?.1.to_owned()));
    let pids = pids.unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    (host, Family(pids))
}

#[test]
fn no_direct_child_survives() {
    // P-12
    if technique() == Technique::PosixSpawn {
        return;
    }
    let (mut host, family) = host();
    assert_eq!(family.0.len(), CHILDREN);
    assert!(family.0.iter().all(|pid| runs(*pid)));
    host.kill().unwrap();
    host.wait().unwrap();
    block_until("its children are gone", || !family.0.iter().any(|pid| runs(*pid)));
}

#[test]
#[ignore = "run by another test, in a host of its own"]
fn inner_host() {
    // Launched from threads that have ended long before the host is killed.
    let runtime =
        Builder::new_multi_thread().thread_keep_alive(Duration::from_millis(1)).enable_all().build();
    let all: Vec<Process> = runtime.unwrap().block_on(async {
        let mut all = Vec::new();
        for _ in 0..CHILDREN {
            // Ignores the end of its stdin and all signals that can be ignored.
            let deaf = sh("trap '' HUP INT TERM PIPE; exec sleep 1000");
            let work = || Handle::current().block_on(launch(deaf));
            all.push(tokio::task::spawn_blocking(work).await.unwrap());
        }
        all
    });
    println!("pids: {}", all.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>().join(" "));
    loop {
        std::thread::park();
    }
}

#[test]
fn no_child_dies_with_a_thread_or_a_runtime() {
    // P-12: the death signal belongs to the thread that launched.
    let mut kept = Vec::new();
    for round in 0..20 {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_keep_alive(Duration::from_millis(1))
            .enable_all()
            .build()
            .unwrap();
        let launched: Vec<Process> = runtime.block_on(async {
            let tasks: Vec<_> = (0..50)
                .map(|n| {
                    let launch = async || {
                        launcher()
                            .launch(&sh("exec sleep 1000"), procession::process::HeldUntilReaped::none())
                            .await
                            .unwrap()
                    };
                    match n % 3 {
                        0 => tokio::spawn(async move { launch().await }),
                        1 => tokio::task::spawn_blocking(move || Handle::current().block_on(launch())),
                        _ => tokio::spawn(async move {
                            tokio::task::block_in_place(|| Handle::current().block_on(launch()))
                        }),
                    }
                })
                .collect();
            let mut launched = Vec::new();
            for task in tasks {
                launched.push(soon("a launch", task).await.unwrap());
            }
            launched
        });
        drop(runtime);
        // A few of each round, so that there are not too many.
        kept.extend(launched.into_iter().skip(round % 10).step_by(10));
    }
    assert_eq!(kept.len(), 100);
    for process in &kept {
        assert!(runs(process.pid as i32), "{process:?}");
    }
    let pids: Vec<_> = kept.iter().map(|process| process.pid).collect();
    drop(kept);
    block_until("all are reaped", || !pids.iter().any(|pid| exists(*pid)));
}
