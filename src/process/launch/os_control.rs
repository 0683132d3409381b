//! [`OsProcessControl`]: the [`ProcessControl`] of a process of the operating system.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rustix::process::Signal;

use crate::{
    containment::Containment,
    process::{
        control::{ProcessControl, Unkillable},
        exit_status::ExitStatus,
        held_until_reaped::HeldUntilReaped,
        stop::{
            exit_watch::ExitWatch,
            leader::Leader,
            reaper::{self, KillGroupOnDrop},
        },
        usage_probe::UsageProbe,
    },
};

#[derive(Debug)]
pub(super) struct OsProcessControl {
    watch: ExitWatch,
    owner: KillGroupOnDrop,
    containment: Containment,
}

impl OsProcessControl {
    /// Must be called within a runtime.
    pub(super) fn new(owner: KillGroupOnDrop, containment: Containment) -> OsProcessControl {
        OsProcessControl { watch: ExitWatch::new(owner.leader()), owner, containment }
    }

    /// Repeats a step of the reap until nothing is left or the time is over.
    async fn reap_by(
        &self,
        wait: Duration,
        step: impl Fn(&Leader) -> Option<ExitStatus>,
    ) -> Result<ExitStatus, Unkillable> {
        let leader = self.owner.leader();
        let reaped = async {
            // This kills. If the process has ended already and was alone, it also reaps, and no second step
            // is needed.
            if let Some(exited) = step(leader) {
                return exited;
            }
            self.exited().await;
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(exited) = step(leader) {
                    return exited;
                }
                leader.wait_for_progress(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        match tokio::time::timeout(wait, reaped).await {
            Ok(exited) => Ok(exited),
            Err(_) => {
                leader.give_up();
                reaper::reap_in_background(Arc::clone(leader));
                Err(Unkillable { pid: leader.pid() })
            }
        }
    }
}

#[async_trait]
impl ProcessControl for OsProcessControl {
    fn pid(&self) -> u32 {
        self.owner.leader().pid()
    }

    fn containment(&self) -> Containment {
        self.containment.clone()
    }

    fn usage_probe(&self) -> Option<UsageProbe> {
        let leader = Arc::downgrade(self.owner.leader());
        Some(UsageProbe::new(leader))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.owner.leader().signal(signal)
    }

    async fn exited(&self) -> ExitStatus {
        self.watch.exited(self.owner.leader()).await
    }

    async fn emptied(&self) {
        self.owner.leader().emptied().await;
    }

    async fn reap(&self, wait: Duration) -> Result<ExitStatus, Unkillable> {
        self.reap_by(wait, Leader::kill_and_reap).await
    }

    async fn reap_after_exit(
        &self,
        wait: Duration,
        held_until_swept: HeldUntilReaped,
    ) -> Result<ExitStatus, Unkillable> {
        let held_until_swept = Mutex::new(Some(held_until_swept));
        let step = |leader: &Leader| {
            // Nothing panics under the lock, which only this call uses.
            leader.reap_after_exit(&mut held_until_swept.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.reap_by(wait, step).await
    }
}
