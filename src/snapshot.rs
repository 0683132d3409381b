//! What a tree looks like at one moment: [`Snapshot`], plain data with a readable text form.
//!
//! It is a separate type from the live state: it is what leaves the process, and keeps its shape
//! when the internals change.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    clock::TreeInstant,
    containment::Containment,
    exit::Exit,
    human_duration,
    id::{ChildId, Incarnation, TreePath},
    state::{ChildKind, ChildState, SecondIncarnationRole, Strategy},
    untrusted::one_line,
};

/// A whole tree, or a part of it, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    pub at: TreeInstant,
    /// The same moment by the wall clock of the host, in milliseconds since the Unix epoch.
    /// [`Snapshot::time_of`] uses it to turn the instants in a snapshot and in events into times of
    /// day. Nothing in a tree depends on it.
    #[serde(default)]
    pub unix_ms: u64,
    /// The root supervisor.
    pub root: NodeSnapshot,
}

/// One node of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Where it is.
    pub path: TreePath,
    /// What it is.
    pub kind: ChildKind,
    /// What it is doing.
    pub state: ChildState,
    /// Since when.
    pub since: TreeInstant,
    /// Its primary incarnation, which the state is about; its last one, if none is alive.
    pub incarnation: Incarnation,
    /// The incarnation beside it, if there is one, or a spare that waits for its next start (S-27).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondSnapshot>,
    /// Whether a demand starts it, and not its supervisor (S-28).
    #[serde(default)]
    pub on_demand: bool,
    /// Whether an operator has stopped it and has not started it again since.
    #[serde(default)]
    pub stopped_by_operator: bool,
    /// Failures in a row, as an exit at this moment would find them: none if the child has been
    /// healthy since.
    pub consecutive_failures: u32,
    /// Failures in all, or since an operator restarted it after it was stopped or given up.
    pub total_failures: u64,
    /// Restarts in all, or since an operator restarted it after it was stopped or given up.
    pub total_restarts: u32,
    /// How its last incarnation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// Present for supervisors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<SupervisorSnapshot>,
    /// Present for process workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSnapshot>,
    /// The children, in start order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<NodeSnapshot>,
}

/// An incarnation beside the primary one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondSnapshot {
    /// Its number; that of the one before, while a spare waits for its next start.
    pub incarnation: Incarnation,
    /// What it is there for.
    pub role: SecondIncarnationRole,
    /// What it is doing.
    pub state: ChildState,
    /// How the spare before it ended, if that ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
}

/// The part of a [`NodeSnapshot`] that supervisors have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupervisorSnapshot {
    /// Which siblings restart with a child that failed.
    pub strategy: Strategy,
    /// Restarts allowed in `period`; `u32::MAX` if their number is not limited, since each child pays for its
    /// own.
    pub max_restarts: u32,
    /// The sliding window.
    #[serde(with = "human_duration")]
    pub period: Duration,
    /// Restarts made in the window that ends now.
    pub restarts_used: u32,
    /// Restarts left in it.
    pub restarts_left: u32,
}

/// The part of a [`NodeSnapshot`] that process workers have. What is not known is `None` or zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerSnapshot {
    /// The program.
    pub program: String,
    /// The protocol spoken on its channel.
    pub protocol: String,
    /// The live process.
    pub pid: Option<u32>,
    /// What keeps the live process and its descendants from outliving the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containment: Option<Containment>,
    /// How long the process has been running.
    #[serde(with = "human_duration::option")]
    pub uptime: Option<Duration>,
    /// How long it has been ready.
    #[serde(with = "human_duration::option")]
    pub ready_for: Option<Duration>,
    /// Calls that have no answer yet.
    pub calls_in_flight: usize,
    /// Bytes that wait to be written to it.
    pub bytes_queued: usize,
    /// The newest part of what it wrote to stderr; that of the previous incarnation until this one
    /// has written something.
    pub stderr_tail: String,
    /// The newest part of what it wrote to stdout, for a worker without a channel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout_tail: String,
    /// The line on stdout that made the newest incarnation ready, where one was waited for; escaped
    /// and shortened. `WorkerRef::ready_line` returns all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_line: Option<String>,
    /// Why the last start failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_start_error: Option<Exit>,
    /// Resident memory of the live process, its descendants not counted. Read when the snapshot is taken
    /// (some ten microseconds for each worker); known on Linux only.
    pub rss_bytes: Option<u64>,
    /// Processor time it has used, user and system, as `rss_bytes` is.
    #[serde(with = "human_duration::option")]
    pub cpu_time: Option<Duration>,
}

/// To the tenth of a second.
fn short(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

impl Snapshot {
    /// The wall-clock time of an instant of the tree, provided the wall clock has not been set meanwhile.
    pub fn time_of(&self, at: TreeInstant) -> SystemTime {
        let epoch = SystemTime::UNIX_EPOCH;
        let taken = epoch.checked_add(Duration::from_millis(self.unix_ms)).unwrap_or(epoch);
        let time = match at >= self.at {
            true => taken.checked_add(at.since(self.at)),
            false => taken.checked_sub(self.at.since(at)),
        };
        time.unwrap_or(taken)
    }

    /// The wall clock, for [`Snapshot::unix_ms`].
    pub(crate) fn wall_clock() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl NodeSnapshot {
    /// This node and all below it, parents before children, children in start order.
    pub fn walk(&self) -> impl Iterator<Item = &NodeSnapshot> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            stack.extend(node.children.iter().rev());
            Some(node)
        })
    }

    /// The node at a path at or below this one.
    pub fn find(&self, path: &TreePath) -> Option<&NodeSnapshot> {
        self.walk().find(|node| node.path == *path)
    }

    /// The id of the node; `/` for the root.
    pub fn id(&self) -> ChildId {
        self.path.last().unwrap_or_else(|| "/".into())
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        now: Option<TreeInstant>,
        stem: &str,
        mark: &str,
    ) -> fmt::Result {
        let mut line = format!("{stem}{mark}{} {}", one_line(self.id().as_str()), self.incarnation);
        while line.chars().count() < 34 {
            line.push(' ');
        }
        write!(f, "{line} ")?;
        match (&self.state, now) {
            // An instant means nothing to a reader who does not know the current time of the tree.
            (ChildState::BackingOff { until, attempt }, Some(now)) => {
                write!(f, "backing off for {} (failure {attempt})", short(until.since(now)))?;
            }
            (ChildState::CoolingOff { until }, Some(now)) => {
                write!(f, "cooling off for {}", short(until.since(now)))?;
            }
            (state, _) => write!(f, "{}", state.doing(None))?,
        }
        if let Some(pid) = self.worker.as_ref().and_then(|w| w.pid) {
            write!(f, ", pid {pid}")?;
        }
        if let Some(s) = &self.supervisor {
            write!(f, ", {}", s.strategy)?;
            if s.max_restarts != u32::MAX {
                write!(f, ", {} of {} restarts used", s.restarts_used, s.max_restarts)?;
            }
        }
        if self.total_failures > 0 {
            write!(f, ", failures {}", self.total_failures)?;
        }
        if let Some(exit) = self.last_exit.as_ref().filter(|exit| **exit != Exit::Requested) {
            write!(f, ", last: {exit}")?;
        }
        writeln!(f)?;
        let stem = match mark {
            "" => String::new(),
            "└─ " => format!("{stem}   "),
            _ => format!("{stem}│  "),
        };
        for (i, child) in self.children.iter().enumerate() {
            let last = i + 1 == self.children.len();
            child.write(f, now, &stem, if last { "└─ " } else { "├─ " })?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None, "", "")
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.write(f, Some(self.at), "", "")
    }
}
