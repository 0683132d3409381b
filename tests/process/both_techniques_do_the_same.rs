//! P-4 to P-11: all guarantees hold with `posix_spawn` and without sockets too. The whole test program runs
//! once more with each; this file also tests what differs.

use procession::{
    containment::Containment,
    exit::{Exit, LaunchStage},
    process::{Limits, SocketsForStdio, Technique},
};
use rustix::io::Errno;

use crate::common::*;

#[test]
fn everything_holds_with_posix_spawn_too() {
    // P-4, P-5, P-7, P-8, P-9, P-10
    once_more_with(POSIX_SPAWN);
}

#[test]
fn everything_holds_without_sockets_too() {
    // P-5, P-8, P-11
    once_more_with(NO_SOCKETS);
}

fn once_more_with(variable: &str) {
    if technique() == Technique::PosixSpawn || sockets() == SocketsForStdio::Never {
        return;
    }
    let me = std::env::current_exe().unwrap();
    let run = std::process::Command::new(me).env(variable, "1").output().unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && !out.contains(" 0 passed"), "{out}");
}

#[tokio::test]
async fn what_holds_the_process_is_reported_and_true() {
    // P-4, P-12
    let mut process = launch(sh("echo $(cut -d' ' -f6 /proc/$$/stat); exec sleep 1000")).await;
    let session = number(&mut process).await;
    let death_signal = technique() == Technique::Auto;
    let containment = process.control.containment();
    // Whether there is a control group depends on the machine; with posix_spawn there is never one.
    assert!(death_signal || containment.cgroup.is_none());
    let expected = Containment { session: true, death_signal, ..Containment::default() };
    assert_eq!(Containment { cgroup: None, ..containment }, expected);
    assert_eq!(session, process.pid as i32);
    reaped(&process).await;
}

#[tokio::test]
async fn limits_that_cannot_be_applied_are_refused() {
    // P-6
    if technique() == Technique::Auto {
        return;
    }
    let limits = Limits { no_new_privileges: true, ..Limits::default() };
    match refusal(sh("exit 0").limits(limits)).await {
        Exit::NeverStarted { errno, stage, reason } => {
            assert_eq!((errno, stage), (Some(Errno::OPNOTSUPP.raw_os_error()), LaunchStage::Command));
            assert!(reason.contains("limits"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
