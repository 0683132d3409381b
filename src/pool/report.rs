//! [`PoolReport`]: a pool with its workers' processes (rule L-8). Plain data; making a report does not
//! count as use (rule L-9).

use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

use super::{
    core::PoolCore,
    ledger::{GivenUpKey, LifetimeTotals, PoolStatus, WantedKeyStatus, WorkerStatus},
};
use crate::{clock::TreeInstant, exit::Exit, id::TreePath};

/// A pool at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Where it is in the tree.
    pub path: TreePath,
    /// When the report was made. [`Snapshot::time_of`](crate::snapshot::Snapshot::time_of) converts it
    /// to a time of day.
    pub at: TreeInstant,
    /// The workers that occupy a slot, by key.
    pub workers: Vec<WorkerReport>,
    /// Keyed pools: keys that callers wait for and that have no slot, the longest waiting first.
    pub wanted: Vec<WantedKeyStatus>,
    /// Keys that were given up and are not retried yet. Nothing is started for them, and their callers
    /// are refused at once.
    pub given_up: Vec<GivenUpKey>,
    /// Workers that are kept alive even when idle; zero in a keyed pool.
    pub min: usize,
    /// The cap.
    pub max: usize,
    /// Slots in use: starting, ready, waiting for a restart and stopping.
    pub used: usize,
    /// Ready workers.
    pub ready: usize,
    /// Ready workers without leases.
    pub idle: usize,
    /// Leases held.
    pub leases: usize,
    /// Callers that wait for any reason.
    pub waiting: usize,
    /// No more leases are granted.
    pub draining: bool,
    /// What has happened since this incarnation of the pool began.
    pub totals: LifetimeTotals,
}

/// One worker of a pool and its process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// What the pool knows about it: key, state, session, leases, queue, last use.
    #[serde(flatten)]
    pub status: WorkerStatus,
    /// Calls made through leases since the key got its slot.
    pub calls: u64,
    /// Calls that have not been answered yet.
    pub calls_in_flight: usize,
    /// The live process.
    pub pid: Option<u32>,
    /// How long the process has been running.
    #[serde(with = "crate::human_duration::option", default)]
    pub uptime: Option<Duration>,
    /// Failures since the key got its slot.
    pub failures: u64,
    /// How its last incarnation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
}

impl PoolReport {
    pub(super) fn of(core: &Arc<PoolCore>) -> PoolReport {
        let (status, calls) = core.status();
        let PoolStatus {
            workers,
            wanted,
            given_up,
            min,
            max,
            used,
            ready,
            idle,
            leases,
            waiting,
            draining,
            totals,
        } = status;
        let worker = |status: WorkerStatus| {
            let node = core.node.child(&status.key).map(|node| node.snapshot());
            let process = node.as_ref().and_then(|node| node.worker.as_ref());
            WorkerReport {
                calls: calls.get(&status.key).copied().unwrap_or_default(),
                calls_in_flight: process.map(|p| p.calls_in_flight).unwrap_or_default(),
                pid: process.and_then(|p| p.pid),
                uptime: process.and_then(|p| p.uptime),
                failures: node.as_ref().map(|node| node.total_failures).unwrap_or_default(),
                last_exit: node.as_ref().and_then(|node| node.last_exit.clone()),
                status,
            }
        };
        PoolReport {
            path: core.node.path().clone(),
            at: core.clock.now(),
            workers: workers.into_iter().map(worker).collect(),
            wanted,
            given_up,
            min,
            max,
            used,
            ready,
            idle,
            leases,
            waiting,
            draining,
            totals,
        }
    }
}
