//! How soon the end of a process is noticed, among few and many children.

use std::{
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
    time::{Duration, Instant},
};

use procession::process::{Command, HeldUntilReaped, Launcher, OsLauncher, Process};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use crate::{
    BOUND,
    child::Child,
    figures::{kill, launcher, report, runtime},
};

/// Reports when a process has ended, and for which sample.
type Deaths = mpsc::UnboundedSender<Instant>;

async fn watched(launcher: &OsLauncher, command: &Command, deaths: &Deaths) -> u32 {
    let process = launcher.launch(command, HeldUntilReaped::none()).await.unwrap();
    let (pid, deaths) = (process.pid, deaths.clone());
    tokio::spawn(async move {
        let Process { control, stdin, .. } = process;
        control.exited().await;
        let _ = deaths.send(Instant::now());
        control.reap(BOUND).await.unwrap();
        drop(stdin);
    });
    pid
}

pub(crate) fn register(pid: Pid) -> AsyncFd<OwnedFd> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    // SAFETY: the value owns its descriptor.
    #[allow(unsafe_code)]
    unsafe { AsyncFd::register(pidfd) }.unwrap()
}

/// The floor: one task, one descriptor, one system call.
fn watched_barely(child: &Child, deaths: &Deaths) -> u32 {
    let spawned = std::process::Command::new(&child.0).stdin(Stdio::piped()).spawn().unwrap();
    let (pid, deaths) = (spawned.id(), deaths.clone());
    let raw = Pid::from_raw(pid as i32).unwrap();
    tokio::spawn(async move {
        let pidfd = register(raw);
        let _ = pidfd.readable().await.unwrap();
        waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED).unwrap();
        let _ = deaths.send(Instant::now());
        drop(spawned);
    });
    pid
}

pub(crate) fn death(child: &Child, n: usize, rounds: usize) {
    let command = child.command();
    let launcher = launcher();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for (samples, procession) in [(&mut bare, false), (&mut ours, true)] {
        runtime().block_on(async {
            let (deaths, mut died) = mpsc::unbounded_channel();
            let bear = async || match procession {
                true => watched(&launcher, &command, &deaths).await,
                false => watched_barely(child, &deaths),
            };
            let mut pids = Vec::new();
            for _ in 0..n {
                pids.push(bear().await);
            }
            for round in 0..rounds {
                let victim = round * 7 % n;
                tokio::time::sleep(Duration::from_millis(2)).await;
                let pid = pids[victim];
                // Called on a thread that is not a worker of the runtime, so the task has to be woken up.
                let killed = tokio::task::spawn_blocking(move || {
                    let now = Instant::now();
                    kill(pid);
                    now
                });
                let at = died.recv().await.unwrap();
                samples.push(at.duration_since(killed.await.unwrap()).as_secs_f64() * 1e6);
                pids[victim] = bear().await;
            }
            for pid in pids {
                kill(pid);
                died.recv().await.unwrap();
            }
        });
    }
    report(&format!("death noticed, {n} children"), &mut ours, ("pidfd loop", &mut bare), 1.3);
}
