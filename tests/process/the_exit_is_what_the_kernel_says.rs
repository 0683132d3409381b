//! P-7, R-1: an exit is what the kernel reports, never what was inferred from a signal that was sent.

use procession::{
    exit::Exit,
    process::{ExitStatus, Signal, SuccessExitStatus},
};

use crate::common::*;

#[tokio::test]
async fn codes_and_signals_are_told_apart() {
    // R-1, P-7
    for (script, expected) in [
        ("exit 0", ExitStatus::code(0)),
        ("exit 3", ExitStatus::code(3)),
        ("exit 255", ExitStatus::code(255)),
        ("kill -KILL $$", ExitStatus::signal(9, false)),
        ("kill -TERM $$", ExitStatus::signal(15, false)),
    ] {
        let process = launch(sh(script)).await;
        assert_eq!(soon("exit", process.control.exited()).await, expected, "{script}");
        assert_eq!(reaped(&process).await, expected, "{script}");
        assert_eq!(process.control.exited().await, expected, "once more, after the reap");
    }
}

#[tokio::test]
async fn a_segmentation_fault_is_no_success() {
    //
    let process = launch(sh("ulimit -c 0; kill -SEGV $$")).await;
    let exited = soon("exit", process.control.exited()).await;
    assert_eq!(exited.exit(&SuccessExitStatus::default()), Exit::Signalled { signal: 11, core: false });
    reaped(&process).await;
}

#[tokio::test]
async fn a_sent_signal_that_is_ignored_is_no_exit() {
    // P-7
    let mut process = launch(sh("trap '' TERM; echo $$; read line; exit 7")).await;
    number(&mut process).await;
    process.control.signal(Signal::TERM).unwrap();
    drop(process.stdin);
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(7));
    soon("reap", process.control.reap(LONG)).await.unwrap();
}

#[tokio::test]
async fn the_leader_is_a_zombie_until_it_is_reaped_and_no_signal_is_sent_after() {
    // P-7
    let process = launch(sh("exit 0")).await;
    soon("exit", process.control.exited()).await;
    assert_eq!(state(process.pid as i32), Some('Z'));
    assert_eq!(process.control.pid(), process.pid);
    process.control.signal(Signal::HUP).expect("the zombie pins its group");
    reaped(&process).await;
    assert!(!exists(process.pid));
    let refused = process.control.signal(Signal::KILL).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::SRCH.raw_os_error()));
}

#[tokio::test]
async fn waiting_may_be_cancelled_and_repeated() {
    // P-7
    let process = launch(sh("read line; exit 4")).await;
    for _ in 0..3 {
        let wait = process.control.exited();
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), wait).await.is_err());
    }
    drop(process.stdin);
    let (a, b) = tokio::join!(process.control.exited(), process.control.exited());
    assert_eq!((a, b), (ExitStatus::code(4), ExitStatus::code(4)));
}

#[tokio::test]
async fn a_stopped_process_has_not_ended() {
    // P-7
    let mut process = launch(sh("echo $$; exec sleep 1000")).await;
    let pid = number(&mut process).await;
    process.control.signal(Signal::STOP).unwrap();
    until("stopped", || state(pid) == Some('T')).await;
    let wait = process.control.exited();
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), wait).await.is_err());
    process.control.signal(Signal::TERM).unwrap();
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::signal(15, false));
}
