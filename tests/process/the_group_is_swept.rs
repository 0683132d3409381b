use std::sync::Arc;

use procession::process::{Control, Exited, Hold, KILL_WAIT, Launcher};
use tokio::io::AsyncReadExt;

use crate::common::*;

#[tokio::test]
async fn a_grandchild_does_not_survive_a_clean_exit() {
    // P-4
    let (hold, held) = token();
    let mut process = launcher().launch(&sh("sleep 1000 & echo $!; exit 0"), hold).await.unwrap();
    let grandchild = number(&mut process).await;
    assert_eq!(soon("exit", process.control.exited()).await, Exited::code(0));
    assert!(runs(grandchild) && held());
    assert_eq!(reaped(&process).await, Exited::code(0), "the sweep does not change the status");
    assert!(!runs(grandchild), "gone when the reap returns, not a little later");
    assert!(!held());
}

#[tokio::test]
async fn a_grandchild_that_holds_stdout_does_not_delay_the_exit() {
    // P-8
    let mut process = launch(sh("sleep 1000 & echo $!; exit 5")).await;
    number(&mut process).await;
    assert_eq!(soon("exit", process.control.exited()).await, Exited::code(5));
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
async fn every_caller_of_reap_gets_the_same_answer() {
    // P-9, S-19
    let mut process = launch(sh("trap '' TERM; sleep 1000 & echo $!; wait")).await;
    let grandchild = number(&mut process).await;
    let (pid, control) = (process.pid, Arc::<dyn Control>::from(process.control));
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
        assert_eq!(soon("reap", caller).await.unwrap(), (Ok(Exited::signal(9, false)), false, false));
    }
}

#[tokio::test]
async fn a_cancelled_reap_may_be_repeated() {
    // P-9
    for micros in (0..3000).step_by(100) {
        let (hold, held) = token();
        let process = launcher().launch(&sh("sleep 1000 & sleep 1000"), hold).await.unwrap();
        let first = process.control.reap(KILL_WAIT);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(micros), first).await;
        assert_eq!(reaped(&process).await, Exited::signal(9, false));
        assert!(!held(), "who is told that it is over does not find the hold");
    }
}

#[tokio::test]
async fn the_hold_is_released_by_the_reap_and_not_before() {
    // S-21
    let (hold, held) = token();
    let process = launcher().launch(&sh("exit 0"), hold.clone()).await.unwrap();
    drop(hold);
    soon("exit", process.control.exited()).await;
    soon("empty", process.control.emptied()).await;
    assert!(held(), "a zombie is left");
    reaped(&process).await;
    assert!(!held());
    drop((process, Hold::none()));
}

#[tokio::test]
async fn a_reap_that_gives_up_is_finished_in_the_background() {
    // P-9, S-19
    let (hold, held) = token();
    let process = launcher().launch(&sh("sleep 1000"), hold).await.unwrap();
    // Under paused time the bound is reached as soon as there is nothing else to do.
    tokio::time::pause();
    let reap = process.control.reap(KILL_WAIT).await;
    tokio::time::resume();
    match reap {
        Ok(exited) => assert_eq!(exited, Exited::signal(9, false)),
        Err(unkillable) => assert_eq!(unkillable.pid, process.pid),
    }
    assert!(!held(), "the tree goes on at once");
    until("it is reaped", || !exists(process.pid)).await;
    assert_eq!(reaped(&process).await, Exited::signal(9, false));
}
