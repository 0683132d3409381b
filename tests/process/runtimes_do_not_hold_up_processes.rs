//! P-9, P-10, P-13: a runtime that is busy or not driven does not delay launches and reaps of another
//! runtime's processes.

use procession::process::{CgroupMode, ExitStatus, HeldUntilReaped, KILL_WAIT, Launcher, OsLauncher};

use crate::common::*;

/// Lets a current-thread runtime do a few turns of work.
async fn some_turns() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_runtime_that_is_not_driven_holds_up_no_other() {
    for launcher in
        [OsLauncher::new(), OsLauncher::builder().max_per_second(1000.try_into().unwrap()).build()]
    {
        let idle = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for _ in 0..200 {
            let launcher = launcher.clone();
            idle.spawn(async move {
                let _ = launcher.launch(&sh("exit 0"), HeldUntilReaped::none()).await;
            });
        }
        // Their launches have been requested; from here on they are not polled.
        idle.block_on(some_turns());
        let driven = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        driven.block_on(async {
            let process =
                soon("launch", launcher.launch(&sh("exit 3"), HeldUntilReaped::none())).await.unwrap();
            assert_eq!(soon("exit", process.control.exited()).await, ExitStatus::code(3));
            assert_eq!(reaped(&process).await, ExitStatus::code(3));
        });
    }
}

#[test]
fn a_blocking_pool_that_is_busy_makes_nothing_unkillable() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || wait.recv());
    runtime.block_on(async {
        // Without a control group, a scan has to find out whether the rest of the group has ended.
        let launcher = OsLauncher::builder().cgroup(CgroupMode::Never).build();
        let process =
            launcher.launch(&sh("sleep 1000 & sleep 1000 & exit 3"), HeldUntilReaped::none()).await.unwrap();
        assert_eq!(process.control.exited().await, ExitStatus::code(3));
        assert_eq!(process.control.reap(20 * KILL_WAIT).await, Ok(ExitStatus::code(3)));
    });
    drop(release);
}
