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
            process_group::ProcessGroup,
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
        OsProcessControl { watch: ExitWatch::new(owner.group()), owner, containment }
    }

    /// Repeats a step of the reap until nothing is left or the time is over.
    async fn reap_by(
        &self,
        wait: Duration,
        step: impl Fn(&ProcessGroup) -> Option<ExitStatus>,
    ) -> Result<ExitStatus, Unkillable> {
        let group = self.owner.group();
        let reaped = async {
            // This kills. If the process has ended already and was alone, it also reaps, and no second step
            // is needed.
            if let Some(exited) = step(group) {
                return exited;
            }
            self.exited().await;
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(exited) = step(group) {
                    return exited;
                }
                group.wait_for_progress(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        };
        match tokio::time::timeout(wait, reaped).await {
            Ok(exited) => Ok(exited),
            Err(_) => {
                group.give_up();
                reaper::reap_in_background(Arc::clone(group));
                Err(Unkillable { pid: group.pid() })
            }
        }
    }
}

#[async_trait]
impl ProcessControl for OsProcessControl {
    fn pid(&self) -> u32 {
        self.owner.group().pid()
    }

    fn containment(&self) -> Containment {
        self.containment.clone()
    }

    fn usage_probe(&self) -> Option<UsageProbe> {
        let group = Arc::downgrade(self.owner.group());
        Some(UsageProbe::new(group))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.owner.group().signal(signal)
    }

    async fn exited(&self) -> ExitStatus {
        self.watch.exited(self.owner.group()).await
    }

    async fn emptied(&self) {
        self.owner.group().emptied().await;
    }

    async fn reap(&self, wait: Duration) -> Result<ExitStatus, Unkillable> {
        self.reap_by(wait, ProcessGroup::kill_and_reap).await
    }

    async fn reap_after_exit(
        &self,
        wait: Duration,
        held_until_swept: HeldUntilReaped,
    ) -> Result<ExitStatus, Unkillable> {
        let held_until_swept = Mutex::new(Some(held_until_swept));
        let step = |group: &ProcessGroup| {
            // Nothing panics under the lock, which only this call uses.
            group.reap_after_exit(&mut held_until_swept.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.reap_by(wait, step).await
    }
}
