//! P-9: a process that has ended but cannot be reaped is given up after a bound, and reaped once that is
//! possible. A tracer that never waits stands in for an uninterruptible sleep: it does not release the
//! process either.

use std::time::{Duration, Instant};

use procession::process::{CgroupMode, Command, Launcher, OsLauncher, Unkillable};
use rustix::process::{Pid, Signal};

use crate::common::*;

/// Has itself traced by a child in a session of its own, which never waits, and prints the child's process
/// id.
const TRACED: &str = "
import ctypes, os, time
ready, tell = os.pipe()
tracer = os.fork()
if tracer == 0:
    os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    seized = libc.ptrace(0x4206, os.getppid(), None, None) == 0
    os.write(tell, b'y' if seized else b'n')
    time.sleep(1000)
seized = os.read(ready, 1)
print(tracer if seized == b'y' else 0, flush=True)
time.sleep(1000)
";

#[tokio::test]
async fn and_reaped_as_soon_as_that_is_possible() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    // A control group would end the tracer too.
    let launcher = OsLauncher::builder().cgroup(CgroupMode::Never).build();
    let (held_until_reaped, held) = held_value();
    let traced = Command::new("python3").args(["-c", TRACED]);
    let mut process = soon("launch", launcher.launch(&traced, held_until_reaped)).await.unwrap();
    let tracer = number(&mut process).await;
    if tracer == 0 {
        eprintln!("skipped: tracing is not permitted here");
        return;
    }
    let (pid, wait) = (process.pid, Duration::from_millis(300));
    let began = Instant::now();
    assert_eq!(process.control.reap(wait).await, Err(Unkillable { pid }));
    assert!(began.elapsed() >= wait && !held(), "the caller goes on without it");
    assert!(exists(pid), "a zombie");
    // The reaper has not forgotten it.
    rustix::process::kill_process(Pid::from_raw(tracer).unwrap(), Signal::KILL).unwrap();
    until("reaped", || !exists(pid)).await;
}
