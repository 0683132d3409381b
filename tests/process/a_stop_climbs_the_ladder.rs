//! P-9: a stop climbs the ladder from drain to `SIGTERM` to `SIGKILL`, as far as the group makes it
//! necessary.

use std::time::Duration;

use procession::process::{
    ExitStatus, KILL_WAIT, Ladder, Process, ProcessControl, Rung, Signal, StopOutcome, kill, terminate,
};
use tokio::time::Instant;

use crate::common::*;

fn ladder(drain: u64, term_grace: u64) -> Ladder {
    let millis = Duration::from_millis;
    Ladder { drain: millis(drain), term_grace: millis(term_grace), kill_wait: KILL_WAIT }
}

async fn stop(control: &dyn ProcessControl, ladder: Ladder) -> (StopOutcome, Duration) {
    let began = Instant::now();
    let ended = soon("stop", terminate(control, &ladder, None)).await.unwrap();
    (ended, began.elapsed())
}

const MINUTE: u64 = 60_000;

async fn ready(script: &str) -> (Process, i32) {
    let mut process = launch(sh(script)).await;
    let number = number(&mut process).await;
    (process, number)
}

#[tokio::test]
async fn a_process_that_ends_by_itself_is_not_signalled() {
    // P-9
    let (process, _) = ready("trap 'exit 99' TERM; echo $$; read line; sleep 0.3; exit 6").await;
    drop(process.stdin);
    let (ended, took) = stop(&*process.control, ladder(MINUTE, MINUTE)).await;
    assert_eq!(ended, StopOutcome { exited: ExitStatus::code(6), rung: Rung::Drain });
    assert!(took >= Duration::from_millis(250) && took < LONG);
}

#[tokio::test]
async fn drain_is_granted_in_full() {
    // P-9: an acknowledgement shortens nothing.
    let (process, _) = ready("trap 'exit 8' TERM; echo $$; while :; do sleep 0.02; done").await;
    let (ended, took) = stop(&*process.control, ladder(600, MINUTE)).await;
    assert_eq!(ended, StopOutcome { exited: ExitStatus::code(8), rung: Rung::Term });
    assert!(took >= Duration::from_millis(600), "{took:?}");
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed() {
    // P-9
    let (process, pid) = ready("trap '' TERM; echo $$; while :; do sleep 0.02; done").await;
    let (ended, took) = stop(&*process.control, ladder(0, 300)).await;
    assert_eq!(ended, StopOutcome { exited: ExitStatus::signal(9, false), rung: Rung::Kill });
    assert!(took >= Duration::from_millis(300) && !exists(pid as u32));
}

#[tokio::test]
async fn a_leader_that_goes_first_shortens_nothing_for_its_group() {
    // P-4, P-9
    let (process, member) =
        ready("(trap 'sleep 0.4; exit 0' TERM; while :; do sleep 0.02; done) & echo $!; exit 0").await;
    soon("exit", process.control.exited()).await;
    let (ended, took) = stop(&*process.control, ladder(100, MINUTE)).await;
    assert_eq!(ended, StopOutcome { exited: ExitStatus::code(0), rung: Rung::Term });
    assert!(took >= Duration::from_millis(450), "the member had its time: {took:?}");
    assert!(!runs(member));
}

#[tokio::test]
async fn a_member_that_ignores_everything_is_killed_after_its_leader() {
    // P-4, P-9
    let (process, member) = ready("(trap '' TERM; while :; do sleep 0.02; done) & echo $!; exit 0").await;
    let (ended, took) = stop(&*process.control, ladder(100, 200)).await;
    assert_eq!(ended, StopOutcome { exited: ExitStatus::code(0), rung: Rung::Kill });
    assert!(took >= Duration::from_millis(300) && !runs(member), "{took:?}");
}

#[tokio::test]
async fn a_stopped_process_gets_its_sigterm() {
    // P-9
    let (process, pid) = ready("echo $$; exec sleep 1000").await;
    process.control.signal(Signal::STOP).unwrap();
    until("stopped", || state(pid) == Some('T')).await;
    let (ended, _) = stop(&*process.control, ladder(0, MINUTE)).await;
    assert_eq!(ended, StopOutcome { exited: ExitStatus::signal(15, false), rung: Rung::Term });
}

#[tokio::test]
async fn a_deadline_cuts_the_ladder_short() {
    // S-20
    let (process, _) = ready("echo $$; exec sleep 1000").await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let slow = ladder(MINUTE, MINUTE);
    let ended = soon("stop", terminate(&*process.control, &slow, Some(deadline))).await.unwrap();
    assert_eq!(ended, StopOutcome { exited: ExitStatus::signal(9, false), rung: Rung::Kill });
    assert!(Instant::now() >= deadline);
}

#[tokio::test]
async fn a_hard_stop_overtakes_an_orderly_one_and_both_agree() {
    // P-9
    let (process, _) = ready("trap '' TERM; echo $$; while :; do sleep 0.02; done").await;
    let orderly = ladder(MINUTE, MINUTE);
    let (slow, fast) = tokio::join!(
        soon("orderly stop", terminate(&*process.control, &orderly, None)),
        soon("hard stop", kill(&*process.control, KILL_WAIT)),
    );
    assert_eq!(slow.unwrap().exited, fast.unwrap().exited);
}
