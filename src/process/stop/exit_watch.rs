//! [`ExitWatch`]: waits until a process has ended, without reaping it and without `SIGCHLD`.

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, WaitId, WaitIdOptions};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

use super::process_group::ProcessGroup;
use crate::process::exit_status::ExitStatus;

/// How often a process is checked when neither a pidfd nor a thread is available.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(in crate::process) enum ExitWatch {
    /// Linux: the pidfd of the process becomes readable when it ends.
    Pidfd(AsyncFd<SharedFd>),
    /// A thread that only waits for this one process.
    Thread(watch::Receiver<()>),
    /// Neither: the process is checked from time to time.
    Poll,
}

/// A pidfd that others use too.
#[derive(Debug)]
pub(in crate::process) struct SharedFd(Arc<OwnedFd>);

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl ExitWatch {
    /// Must be called within a runtime.
    pub(in crate::process) fn new(group: &ProcessGroup) -> ExitWatch {
        match group.pidfd() {
            Some(fd) => register(fd).map_or(ExitWatch::Poll, ExitWatch::Pidfd),
            None => thread(group.raw_pid()).map_or(ExitWatch::Poll, ExitWatch::Thread),
        }
    }

    /// Waits until the leader has ended. Cancel-safe.
    pub(in crate::process) async fn exited(&self, group: &ProcessGroup) -> ExitStatus {
        loop {
            if let Some(exited) = group.exited() {
                return exited;
            }
            match self {
                ExitWatch::Pidfd(fd) => match fd.readable().await {
                    // Readiness is kept until it is cleared, which is done only if it did not announce the
                    // exit.
                    Ok(mut ready) => match group.exited() {
                        Some(exited) => return exited,
                        None => ready.clear_ready(),
                    },
                    // The runtime that the pidfd is registered with has shut down.
                    Err(_) => tokio::time::sleep(POLL).await,
                },
                ExitWatch::Thread(ended) => {
                    // An error means that the thread has ended, which it does when the process has.
                    if ended.clone().changed().await.is_err() && group.exited().is_none() {
                        tokio::time::sleep(POLL).await;
                    }
                }
                ExitWatch::Poll => tokio::time::sleep(POLL).await,
            }
        }
    }
}

fn register(pidfd: &Arc<OwnedFd>) -> Option<AsyncFd<SharedFd>> {
    let pidfd = SharedFd(Arc::clone(pidfd));
    // SAFETY: the value owns its descriptor, so it stays open, and the same, for as long as the value
    // lives; and it always gives the same number.
    #[allow(unsafe_code)]
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.ok()
}

/// A thread that ends when the process has. It leaves the zombie in place.
fn thread(pid: Pid) -> Option<watch::Receiver<()>> {
    let (alive, ended) = watch::channel(());
    let wait = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options) {}
        drop(alive);
    };
    let name = format!("procession-wait-{pid}");
    std::thread::Builder::new().name(name).stack_size(64 * 1024).spawn(wait).ok()?;
    Some(ended)
}
