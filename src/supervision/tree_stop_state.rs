//! [`TreeStopState`]: tells every part of a tree that the whole tree, or its host, is being stopped.
//!
//! A stop goes through a tree in order, and the last children are told long after the first. A
//! service manager or a terminal signals all processes at once. So when its process ends, a worker
//! needs to know more than whether it has been told to stop: whether the whole tree has begun to
//! stop, and whether the host has been told to.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// One per tree.
pub(crate) struct TreeStopState {
    stopping: watch::Sender<bool>,
    host: Mutex<HostStopSignal>,
}

/// Whether the host has been told to stop since the last call.
pub(crate) type HostProbe = Box<dyn FnMut() -> bool + Send>;

#[derive(Default)]
struct HostStopSignal {
    probe: Option<HostProbe>,
    told: Option<Instant>,
}

impl TreeStopState {
    /// How long a signal to the host counts. The stop that it causes begins at once. A signal that
    /// causes none, because the program has left `run_until_signal`, must not delay exits for the
    /// rest of the program.
    const SIGNAL_COUNTS_FOR: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> TreeStopState {
        TreeStopState { stopping: watch::Sender::new(false), host: Mutex::default() }
    }

    /// The root has begun to stop its children.
    pub(crate) fn set_stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns when the root has begun to stop its children.
    pub(crate) async fn stopping(&self) {
        // The sender lives in `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// From now on `probe` says whether the host has been told to stop.
    pub(crate) fn watch_host(&self, probe: HostProbe) {
        self.host().probe = Some(probe);
    }

    /// Whether the host was told to stop a moment ago.
    ///
    /// A signal is first pending for the process, then handled by a thread, then seen by the driver
    /// of the runtime. A signal that was sent before this call is found at one of these stages.
    pub(crate) async fn host_is_told_to_stop(&self) -> bool {
        if self.host().probe.is_none() {
            return false;
        }
        if self.probe_host() {
            return true;
        }
        // The driver runs when every runnable task has had its turn.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        self.probe_host()
    }

    fn probe_host(&self) -> bool {
        let HostStopSignal { probe, told } = &mut *self.host();
        if probe.as_mut().is_some_and(|probe| probe()) {
            *told = Some(Instant::now());
        }
        told.is_some_and(|told| told.elapsed() < Self::SIGNAL_COUNTS_FOR)
    }

    fn host(&self) -> std::sync::MutexGuard<'_, HostStopSignal> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TreeStopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeStopState").field("stopping", &*self.stopping.borrow()).finish_non_exhaustive()
    }
}
