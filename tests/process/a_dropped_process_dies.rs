//! P-10: dropping a process, or cancelling its launch, kills its whole group and reaps it, outside of a
//! runtime too.

use std::time::Duration;

use procession::process::Launcher;

use crate::common::*;

const FAMILY: &str = "trap '' TERM HUP; sleep 1000 & echo $!; wait";

#[tokio::test]
async fn with_its_whole_group_and_the_reap_token_is_kept_until_it_is_reaped() {
    // P-10
    let (held_until_reaped, held) = held_value();
    let mut process = launcher().launch(&sh(FAMILY), held_until_reaped).await.unwrap();
    let (pid, grandchild) = (process.pid, number(&mut process).await);
    assert!(runs(grandchild));
    drop(process);
    until("the held value is released", || !held()).await;
    assert!(!exists(pid) && !runs(grandchild), "released only when all is gone");
}

#[test]
fn outside_of_a_runtime() {
    // P-10
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (held_until_reaped, held) = held_value();
    let (process, grandchild) = runtime.block_on(async {
        let mut process = launcher().launch(&sh(FAMILY), held_until_reaped).await.unwrap();
        let grandchild = number(&mut process).await;
        (process, grandchild)
    });
    runtime.shutdown_timeout(LONG);
    let pid = process.pid;
    assert!(runs(grandchild) && held());
    std::thread::spawn(move || drop(process)).join().unwrap();
    block_until("the held value is released", || !held());
    assert!(!exists(pid) && !runs(grandchild));
}

#[test]
fn with_the_runtime_that_owns_it() {
    // P-10
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (held_until_reaped, held) = held_value();
    let pid = runtime.block_on(async {
        let process = launcher().launch(&sh("sleep 1000"), held_until_reaped).await.unwrap();
        let pid = process.pid;
        tokio::spawn(async move { process.control.exited().await });
        pid
    });
    drop(runtime);
    block_until("the held value is released", || !held());
    assert!(!exists(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_its_launch_is_cancelled_at_any_moment() {
    // P-10
    let launcher = launcher();
    let mut tokens_held = Vec::new();
    for round in 0..60u64 {
        let (held_until_reaped, held) = held_value();
        let command = sh("sleep 1000");
        let launch = launcher.launch(&command, held_until_reaped);
        let _ = tokio::time::timeout(Duration::from_micros(round * 40), launch).await;
        tokens_held.push(held);
    }
    // The held value is released when the process has been reaped, or was never created.
    until("all are gone", || tokens_held.iter().all(|held| !held())).await;
}
