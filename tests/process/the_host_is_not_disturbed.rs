//! P-7: the host's other children and its signal handlers are left alone.

use procession::process::{ExitStatus, ExitStatusKind, Launcher, Signal};

use crate::common::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_children_are_left_to_it() {
    // P-7: this crate never waits for "any child" and does not handle SIGCHLD.
    let own = std::thread::spawn(|| {
        for code in 0..60 {
            let mut child =
                std::process::Command::new("/bin/sh").arg("-c").arg(format!("exit {code}")).spawn().unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
    });
    for code in 0..30 {
        let process = launch(sh(&format!("exit {code}"))).await;
        assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(code));
        drop(process);
    }
    tokio::task::spawn_blocking(|| own.join().unwrap()).await.unwrap();
}

#[test]
fn a_host_that_reaps_strangers_loses_the_status_and_nothing_else() {
    // P-7
    host_of_its_own("", "the_host_is_not_disturbed::inner_that_reaps");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_that_reaps() {
    let (held_until_reaped, held) = held_value();
    let mut process =
        launcher().launch(&sh("sleep 1000 & echo $!; exit 3"), held_until_reaped).await.unwrap();
    let grandchild = number(&mut process).await;
    let pid = rustix::process::Pid::from_raw(process.pid as i32);
    let stolen = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
    assert_eq!(stolen.unwrap().1.exit_status(), Some(3));
    assert!(process.control.signal(Signal::TERM).is_err(), "its number may belong to a stranger");
    assert_eq!(soon("exit", process.control.exited()).await, ExitStatus { status: ExitStatusKind::Lost });
    soon("reap", process.control.reap(LONG)).await.unwrap();
    assert!(!runs(grandchild) && !held());
}

#[test]
fn one_that_ignores_the_end_of_its_children_gets_their_statuses_again() {
    // P-7
    let told = host_of_its_own("", "the_host_is_not_disturbed::inner_that_ignores");
    assert_eq!(told.matches("this program ignored SIGCHLD").count(), 1, "{told}");
    assert_eq!(told.matches("had SA_NOCLDWAIT set for SIGCHLD").count(), 1, "{told}");
}

#[tokio::test]
#[ignore = "run by another test, in a host of its own"]
async fn inner_that_ignores() {
    tracing_subscriber::fmt().with_ansi(false).init();
    // As a host that has inherited the setting.
    // SAFETY: no handler is installed.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    for (script, exited) in [
        ("exit 0", ExitStatus::code(0)),
        ("exit 3", ExitStatus::code(3)),
        ("kill -9 $$", ExitStatus::signal(9, false)),
    ] {
        let process = launch(sh(script)).await;
        assert_eq!(soon("exit", process.control.exited()).await, exited);
        assert_eq!(reaped(&process).await, exited);
    }
    // The other way to ignore their end, with a handler.
    extern "C" fn handler(_: libc::c_int) {}
    // SAFETY: zeroes are a valid action, and the handler does nothing.
    #[allow(unsafe_code)]
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_NOCLDWAIT;
        assert_eq!(libc::sigaction(libc::SIGCHLD, &action, std::ptr::null_mut()), 0);
        let process = launch(sh("exit 7")).await;
        assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(7));
        assert_eq!(reaped(&process).await, ExitStatus::code(7));
        assert_eq!(libc::sigaction(libc::SIGCHLD, std::ptr::null(), &mut action), 0);
        assert_eq!(action.sa_sigaction, handler as *const () as usize, "it is the host's");
    }
}
