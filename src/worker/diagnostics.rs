//! [`WorkerDiagnostics`]: what an incarnation of a worker shows of itself, through its node status.

use std::{
    any::Any,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::session_info::WorkerSessionInfo;
use crate::{
    channel::lifecycle::ChannelLifecycle,
    clock::TreeInstant,
    containment::Containment,
    exit::Exit,
    id::{Incarnation, TreePath},
    log_event_macro::log_event,
    process::{ProcessControl, Tail, Usage, UsageProbe},
    protocol::SessionInfo,
    rpc::ExitReport,
    snapshot::WorkerSnapshot,
    supervision::WorkerSnapshotSource,
    untrusted::{last_lines, one_line},
};

/// Belongs to one incarnation and outlives it in the node status, until the next one replaces it.
#[derive(Debug)]
pub(crate) struct WorkerDiagnostics {
    pub(crate) program: String,
    pub(crate) protocol: String,
    /// The end of stderr.
    pub(crate) tail: Tail,
    /// The end of stdout of a process without a channel.
    pub(crate) stdout_tail: Tail,
    ready_line: OnceLock<Arc<str>>,
    session: OnceLock<WorkerSessionInfo>,
    /// What later incarnations show of this one.
    pub(crate) history: Arc<Mutex<WorkerHistory>>,
    state: Mutex<ProcessFacts>,
}

/// Kept across the incarnations of a worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerHistory {
    /// Why the last start failed; `None` after a successful one.
    start_error: Option<Exit>,
    /// The end of stderr of the last incarnation that has ended.
    tail: String,
    /// The session of the last incarnation before the present one that had one.
    session: Option<WorkerSessionInfo>,
}

#[derive(Clone, Debug, Default)]
struct ProcessFacts {
    pid: Option<u32>,
    containment: Option<Containment>,
    usage_probe: Option<UsageProbe>,
    launched: Option<TreeInstant>,
    ready: Option<TreeInstant>,
    /// Only until the incarnation ends: the node status outlives it, and must not keep what its channel
    /// holds.
    channel: Option<Arc<dyn ChannelLifecycle>>,
}

impl WorkerDiagnostics {
    pub(crate) fn new(
        program: String,
        protocol: String,
        tail_bytes: usize,
        history: Arc<Mutex<WorkerHistory>>,
    ) -> WorkerDiagnostics {
        WorkerDiagnostics {
            program,
            protocol,
            tail: Tail::new(tail_bytes),
            stdout_tail: Tail::new(tail_bytes),
            ready_line: OnceLock::new(),
            session: OnceLock::new(),
            history,
            state: Mutex::default(),
        }
    }

    /// Sets the line that made the incarnation ready.
    pub(crate) fn set_ready_line(&self, line: Arc<str>) {
        // An incarnation becomes ready only once.
        let _ = self.ready_line.set(line);
    }

    pub(crate) fn ready_line(&self) -> Option<&Arc<str>> {
        self.ready_line.get()
    }

    /// Sets what its handshake has found out.
    pub(crate) fn set_session(&self, incarnation: Incarnation, info: SessionInfo) {
        // An incarnation has one handshake.
        let _ = self.session.set(WorkerSessionInfo::new(incarnation, info.into_bounded()));
    }

    /// The session of this incarnation, once its handshake is done; until then, or without one, that of
    /// the last one before.
    pub(crate) fn last_session(&self) -> Option<WorkerSessionInfo> {
        self.session().cloned().or_else(|| self.history().session.clone())
    }

    /// The session of this incarnation.
    pub(crate) fn session(&self) -> Option<&WorkerSessionInfo> {
        self.session.get()
    }

    /// The history for the next incarnation at the same node, which this one belongs to from now on.
    pub(crate) fn pass_on_history(&self) -> Arc<Mutex<WorkerHistory>> {
        if let Some(session) = self.session() {
            self.history().session = Some(session.clone());
        }
        self.history.clone()
    }

    fn with<T>(&self, f: impl FnOnce(&mut ProcessFacts) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn history(&self) -> std::sync::MutexGuard<'_, WorkerHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn launched(&self, control: &dyn ProcessControl, at: TreeInstant) {
        let containment = Some(control.containment());
        let (pid, usage_probe) = (Some(control.pid()), control.usage_probe());
        self.with(|s| {
            *s =
                ProcessFacts { pid, containment, usage_probe, launched: Some(at), ready: None, channel: None }
        });
    }

    pub(crate) fn connected(&self, channel: Arc<dyn ChannelLifecycle>) {
        self.with(|s| s.channel = Some(channel));
    }

    pub(crate) fn ready(&self, at: TreeInstant) {
        self.with(|s| s.ready = Some(at));
        self.history().start_error = None;
    }

    pub(crate) fn start_failed(&self, path: &TreePath, incarnation: Incarnation, exit: &Exit) {
        let tail = self.tail.text();
        let stdout = Some(last_lines(&self.stdout_tail.text())).filter(|text| !text.is_empty());
        log_event!(warn, path, incarnation, stderr = %last_lines(&tail), stdout = stdout.map(tracing::field::display), "did not become ready: {exit}");
        let mut history = self.history();
        (history.start_error, history.tail) = (Some(exit.clone()), tail);
    }

    pub(crate) fn ended(&self) {
        // Dropped outside of the lock.
        let _figures = self.with(std::mem::take);
        self.history().tail = self.tail.text();
    }

    /// The actor and its process lifecycle were dropped: nothing else would answer the calls under
    /// way. Without effect after an orderly end.
    pub(crate) fn actor_dropped(&self) {
        self.history().tail = self.tail.text();
        if let Some(channel) = self.with(std::mem::take).channel {
            let report = ExitReport { exit: Exit::ActorKilled, stderr_tail: self.tail.text() };
            channel.close(report.into());
        }
    }

    pub(crate) fn usage_probe(&self) -> Option<UsageProbe> {
        self.with(|s| s.usage_probe.clone())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.with(|s| s.pid)
    }
}

impl WorkerSnapshotSource for WorkerDiagnostics {
    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn stderr_tail(&self) -> String {
        self.history().tail.clone()
    }

    fn worker(&self, now: TreeInstant) -> WorkerSnapshot {
        let facts = self.with(|s| s.clone());
        let stats = facts.channel.as_ref().map(|channel| channel.stats()).unwrap_or_default();
        let usage: Option<Usage> = facts.usage_probe.and_then(|probe| probe.read());
        WorkerSnapshot {
            program: self.program.clone(),
            protocol: self.protocol.clone(),
            pid: facts.pid,
            containment: facts.containment,
            uptime: facts.launched.map(|at| now.since(at)),
            ready_for: facts.ready.map(|at| now.since(at)),
            calls_in_flight: stats.calls_in_flight,
            bytes_queued: stats.bytes_queued,
            stderr_tail: if self.tail.is_empty() { self.history().tail.clone() } else { self.tail.text() },
            stdout_tail: self.stdout_tail.text(),
            ready_line: self.ready_line().map(|line| one_line(line).to_string()),
            last_start_error: self.history().start_error.clone(),
            rss_bytes: usage.map(|usage| usage.rss_bytes),
            cpu_time: usage.map(|usage| usage.cpu_time),
        }
    }
}
