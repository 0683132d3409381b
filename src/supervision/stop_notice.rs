//! What every part of a tree can know of the tree's own end: [`StopNotice`].
//!
//! A stop goes through a tree in order, and its last children hear of it long after its first. A service manager or a
//! terminal signals everybody at once. So a worker whose process ends needs to know more than whether its own turn has
//! come: whether the whole tree has begun to stop, and whether the host has been told to.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// One per tree.
pub(crate) struct StopNotice {
    stopping: watch::Sender<bool>,
    host: Mutex<HostStop>,
}

/// Whether the host has been told to stop since the last look.
pub(crate) type HostProbe = Box<dyn FnMut() -> bool + Send>;

#[derive(Default)]
struct HostStop {
    probe: Option<HostProbe>,
    told: Option<Instant>,
}

impl StopNotice {
    /// How long a signal that the host has got counts. The stop that it causes begins at once; one that causes none, since
    /// the program has left `run_until_signal`, must not make exits wait for the rest of its life.
    const SIGNAL_COUNTS_FOR: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> StopNotice {
        StopNotice { stopping: watch::Sender::new(false), host: Mutex::default() }
    }

    /// The root has begun to stop its children.
    pub(crate) fn set_stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns when the root has begun to stop its children.
    pub(crate) async fn stopping(&self) {
        // Its sender is here.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// From now on `probe` says whether the host has been told to stop.
    pub(crate) fn watch_host(&self, probe: HostProbe) {
        self.host().probe = Some(probe);
    }

    /// Whether the host has been told to stop a moment ago.
    ///
    /// A signal is on its way to the process, then with the thread that takes it, then with the runtime, whose driver has
    /// to look for it. One that was sent before the call is found in one of these places.
    pub(crate) async fn host_is_told_to_stop(&self) -> bool {
        if self.host().probe.is_none() {
            return false;
        }
        if self.probe_host() {
            return true;
        }
        // The driver gets its turn when all that is runnable has had one.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        self.probe_host()
    }

    fn probe_host(&self) -> bool {
        let HostStop { probe, told } = &mut *self.host();
        if probe.as_mut().is_some_and(|probe| probe()) {
            *told = Some(Instant::now());
        }
        told.is_some_and(|told| told.elapsed() < Self::SIGNAL_COUNTS_FOR)
    }

    fn host(&self) -> std::sync::MutexGuard<'_, HostStop> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StopNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopNotice").field("stopping", &*self.stopping.borrow()).finish_non_exhaustive()
    }
}
