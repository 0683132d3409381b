//! [`ProcessLifecycle`]: one process from launch to reap. Owned by the worker actor. If it is dropped, at any
//! moment, it leaves nothing behind, since dropping a process kills its group.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::unconstrained,
};
use tracing::Instrument;

#[cfg(feature = "watch")]
use super::file_watch::KnownFiles;
use super::{
    diagnostics::WorkerDiagnostics,
    handler::WorkerHandler,
    live_worker::LiveWorker,
    recycling::recycle_when_due,
    running_process::{OwnedTask, RunningProcess},
    spec::{Liveness, WorkerSpec},
    stdout_lines::{self, ReadyLineFinder},
};
use crate::{
    channel::lifecycle::ChannelLifecycle,
    exit::Exit,
    log_event_macro::log_event,
    process::{self, Command, ExitStatus, HeldUntilReaped, LineLogger, Process},
    protocol::{self, ChildIdentity, ProbeState, Protocol, Ready, StdioUse},
    rpc::{CloseReason, ExitReport, Peer},
    supervision::{LiveAttachment as _, StartContext, StopRequest},
};

/// A process that closes its end of the channel gets this long to exit before that counts as a lost
/// channel: a dying process closes its files shortly before it is dead.
const CLOSING_GRACE: Duration = Duration::from_millis(500);

pub(crate) struct ProcessLifecycle {
    pub(crate) spec: Arc<WorkerSpec>,
    pub(crate) cx: StartContext,
    pub(crate) diagnostics: Arc<WorkerDiagnostics>,
    pub(crate) live: Arc<LiveWorker>,
    pub(crate) ready: Option<oneshot::Sender<()>>,
    pub(crate) stop: watch::Receiver<Option<StopRequest>>,
}

/// Why the process has ended or is to be ended.
enum EndCause {
    /// The process ended by itself.
    Exited(ExitStatus),
    /// The process must be killed, and this is its exit.
    Kill(Exit),
    /// A stop was requested.
    Stop,
}

impl EndCause {
    /// Whether the process, or its channel, has ended by itself.
    fn is_end_of_process(&self) -> bool {
        matches!(self, EndCause::Exited(_) | EndCause::Kill(Exit::ChannelLost { .. }))
    }
}

/// Without the feature there are none.
#[cfg(not(feature = "watch"))]
type KnownFiles = std::convert::Infallible;

/// Resolves to the line that makes a process without a channel ready.
type AwaitedLine = oneshot::Receiver<Arc<str>>;

impl ProcessLifecycle {
    /// Runs the process to its end and returns its exit. When this returns, nothing of the process is
    /// left.
    pub(crate) async fn run(self) -> Exit {
        let span = tracing::info_span!(
            target: "procession", "worker",
            path = self.cx.node.path().as_str(), incarnation = self.cx.incarnation.0
        );
        self.drive().instrument(span).await
    }

    /// The steps of a start and of an end are boxed: otherwise an idle worker would hold room for the largest
    /// of them.
    async fn drive(mut self) -> Exit {
        let command = self.spec.command_of(self.cx.incarnation);
        #[cfg(feature = "watch")]
        let known_files = KnownFiles::before_launch(self.spec.watch.as_ref(), &command);
        #[cfg(not(feature = "watch"))]
        let known_files = None;
        let mut probe = Arc::new(ProbeState::default());
        let (running, end_cause, was_ready) = loop {
            let process = match self.launch(&command).await {
                Ok(process) => process,
                Err(exit) => return exit,
            };
            // Stdin is kept open for protocols without a channel. It is not part of the running process,
            // which is shared by reference.
            let (running, ready_line, _stdin) = self.attach_streams(process, &probe);
            match Box::pin(self.become_ready(&running, ready_line, &probe)).await {
                Ok(()) => {
                    if probe.end() {
                        self.retract();
                    }
                    self.diagnostics.ready(self.cx.tree.clock().now());
                    if let Some(channel) = &running.channel {
                        channel.watch_writes(true);
                    }
                    if let Some(ready) = self.ready.take() {
                        // If the receiver is gone, a stop is on its way.
                        let _ = ready.send(());
                    }
                    let end_cause = self.until_end(&running, known_files).await;
                    break (running, end_cause, true);
                }
                Err(end_cause) if probe.is_under_way() && end_cause.is_end_of_process() => {
                    if let Err(exit) = Box::pin(self.reap_before_relaunch(&running, end_cause)).await {
                        break (running, EndCause::Kill(exit), false);
                    }
                    probe = Arc::new(ProbeState::after_fatal_probe());
                }
                Err(end_cause) => break (running, end_cause, false),
            }
        };
        // First of all: from here on no call goes to this incarnation.
        self.retract();
        let by_itself = matches!(end_cause, EndCause::Exited(_)).then(|| self.cx.tree.clock().now());
        let exit = self.end(&running, end_cause, was_ready).await;
        let exit = if was_ready {
            exit
        } else {
            exit.before_ready().with_printed(&self.non_message_output(&running))
        }
        .with_one_line_reasons();
        // Done before the exit is classified, so that neither callers nor snapshots wait for that.
        self.diagnostics.ended();
        self.close_channel(&running, &exit);
        let exit = match by_itself {
            Some(since) => Box::pin(self.judge(exit, since)).await,
            None => exit,
        };
        if exit == Exit::Requested {
            // If the whole tree stops, this worker is stopped in its turn. Until then it is neither
            // restarted nor replaced.
            stop_asked(&mut self.stop).await;
        } else if !was_ready {
            self.diagnostics.start_failed(self.cx.node.path(), self.cx.incarnation, &exit);
        }
        exit
    }

    /// From now on no call goes to this incarnation.
    fn retract(&self) {
        self.cx.node.retract_failing(self.cx.incarnation);
        // If another thread is retracting it, it may not have told the channel yet.
        self.live.retracted();
    }

    /// Launches the process, unless a stop comes first.
    async fn launch(&mut self, command: &Command) -> Result<Process, Exit> {
        let held_until_reaped = HeldUntilReaped::new(self.cx.wait_group.clone());
        let launched = tokio::select! {
            biased;
            () = stop_asked(&mut self.stop) => return Err(Exit::Requested),
            launched = self.spec.launcher.launch(command, held_until_reaped) => launched,
        };
        match launched {
            Ok(process) => {
                self.diagnostics.launched(&*process.control, self.cx.tree.clock().now());
                Ok(process)
            }
            Err(exit) => {
                let exit = exit.with_one_line_reasons();
                self.diagnostics.start_failed(self.cx.node.path(), self.cx.incarnation, &exit);
                Err(exit)
            }
        }
    }

    /// The process ended because of a probe. Nothing of it may be left when it is launched again.
    ///
    /// # Errors
    /// [`Exit::Unkillable`].
    async fn reap_before_relaunch(
        &mut self,
        running: &RunningProcess,
        end_cause: EndCause,
    ) -> Result<(), Exit> {
        let exit = self.end(running, end_cause, false).await;
        self.close_channel(running, &exit);
        if matches!(exit, Exit::Unkillable { .. }) {
            return Err(exit);
        }
        // Until the next launch, and if there is none, no snapshot shows this process.
        self.diagnostics.ended();
        log_event!(
            info,
            self.cx.node.path(),
            self.cx.incarnation,
            "it ended when it was asked which protocol it speaks, and is launched once more: {exit}"
        );
        Ok(())
    }

    /// Ends the process, or what is left of it, and returns its exit.
    async fn end(&mut self, running: &RunningProcess, end_cause: EndCause, was_ready: bool) -> Exit {
        match end_cause {
            EndCause::Exited(exited) => Box::pin(self.reap_after_exit(running, exited)).await,
            EndCause::Kill(exit) => Box::pin(self.kill(running, exit)).await,
            EndCause::Stop => Box::pin(self.stop_in_order(running, was_ready)).await,
        }
    }

    /// Answers all calls that are open with this exit.
    fn close_channel(&self, running: &RunningProcess, exit: &Exit) {
        if let Some(channel) = &running.channel {
            let report = ExitReport { exit: exit.clone(), stderr_tail: self.diagnostics.tail.text() };
            channel.close(report.into());
        }
    }

    /// Connects the streams.
    fn attach_streams(
        &self,
        process: Process,
        probe: &Arc<ProbeState>,
    ) -> (RunningProcess, Option<AwaitedLine>, Option<process::Stdin>) {
        let Process { stdin, stdout, stderr, control, .. } = process;
        let mine = |log: LineLogger| log.of(self.cx.node.path().clone(), self.cx.incarnation);
        let stderr = stderr.map(|stderr| {
            OwnedTask::spawn(process::drain_into(
                mine(LineLogger::new()),
                stderr,
                self.diagnostics.tail.clone(),
            ))
        });
        let mut running =
            RunningProcess { control, channel: None, peer: None, stderr, stdout: None, stdin: None };
        let mut kept = None;
        let mut ready_line = None;
        match self.spec.protocol.stdio_use() {
            StdioUse::Rpc(framing) => {
                let mut config = self.spec.peer.clone();
                protocol::fill_peer_config(&self.spec.protocol, framing, &mut config);
                if let Some(streams) = &self.spec.streams {
                    config.stream_acceptor = Some(streams.clone());
                }
                config.hold_pending = true;
                config.path = self.cx.node.path().clone();
                config.incarnation = self.cx.incarnation;
                // The reader notices most ends first, and calls must not go to this incarnation while
                // its exit is awaited.
                let (node, incarnation) = (self.cx.node.downgrade(), self.cx.incarnation);
                // Weak, because the channel holds the peer.
                let live = Arc::downgrade(&self.live);
                let probe = probe.clone();
                config.at_end = Some(Arc::new(move || {
                    if probe.channel_ended() {
                        // The incarnation may go on with another process. If it does not, its lifecycle
                        // retracts it.
                        return;
                    }
                    if let Some(node) = node.upgrade() {
                        node.retract_failing(incarnation);
                    }
                    // If another thread is retracting it, it may not have told the channel yet.
                    if let Some(live) = live.upgrade() {
                        live.retracted();
                    }
                }));
                let handler = WorkerHandler::new(&self.spec);
                let (stdin, closed) = stdin.into_parts();
                let peer = Peer::spawn(stdout, stdin, config, Arc::new(handler));
                let channel: Arc<dyn ChannelLifecycle> = Arc::new(peer.clone());
                let watched = channel.clone();
                running.stdin = Some(OwnedTask::spawn(async move {
                    closed.await;
                    watched.input_closed();
                }));
                channel.watch_writes(false);
                self.diagnostics.connected(channel.clone());
                (running.channel, running.peer) = (Some(channel), Some(peer));
            }
            StdioUse::Output(ready) => {
                let finder = match ready {
                    Ready::Launched => None,
                    ready => {
                        let (finder, line) = ReadyLineFinder::new(ready, self.spec.handshake_bound());
                        ready_line = Some(line);
                        Some(finder)
                    }
                };
                kept = Some(stdin);
                let tail = self.diagnostics.stdout_tail.clone();
                let log = mine(LineLogger::of_stdout());
                running.stdout = Some(OwnedTask::spawn(stdout_lines::log_lines(log, stdout, tail, finder)));
            }
        }
        (running, ready_line, kept)
    }

    /// The handshake, raced against the exit, a stop and the timeout (rule W-1).
    async fn become_ready(
        &mut self,
        running: &RunningProcess,
        ready_line: Option<AwaitedLine>,
        probe: &Arc<ProbeState>,
    ) -> Result<(), EndCause> {
        let protocol = self.spec.protocol.clone();
        let after = self.spec.handshake_bound();
        let handshake = async {
            if let Some(line) = ready_line {
                match line.await {
                    Ok(line) => self.diagnostics.set_ready_line(line),
                    // Stdout was closed without that line: only the exit or the timeout can end this.
                    Err(_) => std::future::pending::<()>().await,
                }
            }
            if let Some(peer) = &running.peer {
                let identity = ChildIdentity::new(self.cx.node.path().clone(), self.cx.incarnation);
                let mut identity = identity.with_probe(probe.clone());
                identity.pid = self.diagnostics.pid();
                identity.previous_session = self.diagnostics.last_session().map(|session| session.info);
                identity.host = self.spec.host.clone();
                let session = protocol.handshake(peer, &identity).await?;
                if let Some(methods) = &session.methods {
                    peer.set_announced_methods(methods);
                }
                if let Some(on_ready) = &self.spec.on_ready {
                    let done = on_ready.on_ready(peer, self.cx.incarnation).await;
                    done.map_err(|reason| Exit::HandshakeFailed { reason })?;
                }
                self.diagnostics.set_session(self.cx.incarnation, session);
            }
            Ok(())
        };
        let mut shaking = pin!(tokio::time::timeout(after, handshake));
        let shaken = tokio::select! {
            biased;
            () = stop_asked(&mut self.stop) => return Err(EndCause::Stop),
            shaken = &mut shaking => shaken,
            closed = channel_closed(running) => return Err(self.classify_channel_close(running, closed).await),
            exited = running.control.exited() => {
                // What makes it ready may be in its last output, which was written before its end.
                running.drain().await;
                tokio::select! {
                    biased;
                    shaken = unconstrained(shaking) => shaken,
                    () = std::future::ready(()) => return Err(EndCause::Exited(exited)),
                }
            }
        };
        match shaken {
            Ok(Ok(())) => {
                // Published only now, so that no call comes before the handshake.
                let _ = self.live.peer.set(running.peer.clone());
                Ok(())
            }
            Ok(Err(exit)) => Err(match running.channel.as_ref().and_then(|channel| channel.close_reason()) {
                // It failed because the channel ended: the reason for that, or the process's exit, is
                // the cause.
                Some(closed) => self.classify_channel_close(running, closed).await,
                None => EndCause::Kill(exit),
            }),
            Err(_) => {
                let awaited = match protocol.stdio_use() {
                    StdioUse::Output(ready) => stdout_lines::awaited(&ready, &self.diagnostics.stdout_tail),
                    StdioUse::Rpc(_) => None,
                };
                Err(EndCause::Kill(Exit::HandshakeTimeout { after, awaited }))
            }
        }
    }

    /// Runs from ready until something ends the incarnation.
    async fn until_end(
        &mut self,
        running: &RunningProcess,
        known_files: Option<Box<KnownFiles>>,
    ) -> EndCause {
        let protocol = self.spec.protocol.clone();
        // Boxed only where they are wanted: most workers have neither, and would hold room for them.
        let pings = self.spec.liveness.map(|liveness| {
            let (running, cx) = (running, &self.cx);
            Box::pin(async move { unresponsive(running, &*protocol, liveness, cx).await })
        });
        let upkeep =
            self.spec.has_upkeep().then(|| Box::pin(upkeep(&self.spec, running, known_files, &self.cx)));
        let (pings, upkeep) = (if_any(pings), if_any(upkeep));
        tokio::select! {
            biased;
            () = stop_asked(&mut self.stop) => EndCause::Stop,
            // Polled before the exit: a process that has broken the protocol may end because its
            // channel was closed.
            closed = channel_closed(running) => Box::pin(self.classify_channel_close(running, closed)).await,
            exited = running.control.exited() => EndCause::Exited(exited),
            exit = pings => EndCause::Kill(exit),
            () = upkeep => std::future::pending().await,
        }
    }

    /// What the process printed on stdout that was not a message.
    fn non_message_output(&self, running: &RunningProcess) -> String {
        running
            .channel
            .as_ref()
            .map_or_else(|| self.diagnostics.stdout_tail.text(), |channel| channel.recent_noise())
    }

    /// What the end of the channel means. A process that is about to exit closes its files first, and
    /// so does one that was told to stop together with its host.
    async fn classify_channel_close(&self, running: &RunningProcess, closed: CloseReason) -> EndCause {
        if matches!(
            closed,
            CloseReason::Eof | CloseReason::ReadFailed { .. } | CloseReason::WriteFailed { .. }
        ) {
            let exited = tokio::time::timeout(CLOSING_GRACE, running.control.exited());
            tokio::select! {
                biased;
                () = self.stop_begins() => return EndCause::Stop,
                exited = exited => if let Ok(exited) = exited {
                    return EndCause::Exited(exited);
                },
            }
        }
        EndCause::Kill(match closed {
            // The supervisor has not asked for a stop, so a holder of the peer has closed it.
            CloseReason::Requested => {
                Exit::ChannelLost { reason: "its `Peer` was closed by the host".to_owned() }
            }
            closed => closed.to_exit(),
        })
    }
}

/// Returns when a stop has been requested.
pub(super) async fn stop_asked(stop: &mut watch::Receiver<Option<StopRequest>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // The actor has ended, and this task is about to be aborted.
        std::future::pending().await
    }
}

/// Resolves only for protocols with a channel.
async fn channel_closed(running: &RunningProcess) -> CloseReason {
    match &running.channel {
        Some(channel) => channel.closed().await,
        None => std::future::pending().await,
    }
}

/// The future, or one that never ends.
async fn if_any<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Asks for stops and replacements in time. Never returns.
async fn upkeep(
    spec: &WorkerSpec,
    running: &RunningProcess,
    known_files: Option<Box<KnownFiles>>,
    cx: &StartContext,
) {
    tokio::join!(
        stop_when_idle(running, spec.idle_timeout, cx),
        recycle_when_due(running, spec.recycling, cx),
        replace_when_changed(spec, known_files, cx),
    );
}

/// Asks for a replacement when the files of the process have changed. Never returns.
#[cfg(feature = "watch")]
async fn replace_when_changed(spec: &WorkerSpec, known: Option<Box<KnownFiles>>, cx: &StartContext) {
    Box::pin(super::file_watch::replace_when_changed(spec.watch.as_ref(), known, cx)).await;
}

#[cfg(not(feature = "watch"))]
async fn replace_when_changed(_: &WorkerSpec, _: Option<Box<KnownFiles>>, _: &StartContext) {
    std::future::pending().await
}

/// Asks for a stop whenever nothing has used the process for so long (rule S-28). Never returns.
async fn stop_when_idle(running: &RunningProcess, timeout: Option<Duration>, cx: &StartContext) {
    const CHECKS: u32 = 4;
    let (Some(channel), Some(timeout)) = (&running.channel, timeout) else {
        return std::future::pending().await;
    };
    let (mut uses, mut checks) = (None, 0);
    loop {
        tokio::time::sleep(timeout / CHECKS).await;
        let now = channel.uses();
        checks = if now.is_some() && now == uses { checks + 1 } else { 0 };
        uses = now;
        if checks >= CHECKS {
            cx.node.stop_idle(cx.incarnation).await;
            checks = 0;
        }
    }
}

/// Pings repeatedly; returns when too many pings in a row have failed (rule W-3).
async fn unresponsive(
    running: &RunningProcess,
    protocol: &dyn Protocol,
    liveness: Liveness,
    cx: &StartContext,
) -> Exit {
    let Some(peer) = &running.peer else { return std::future::pending().await };
    let mut failures = 0;
    loop {
        tokio::time::sleep(liveness.interval).await;
        match tokio::time::timeout(liveness.timeout, protocol.ping(peer)).await {
            Ok(None) => {
                log_event!(
                    warn,
                    cx.node.path(),
                    cx.incarnation,
                    "its liveness is not watched: it did not announce `ping`, or its protocol `{}` has no ping",
                    protocol.name()
                );
                return std::future::pending().await;
            }
            Ok(Some(Ok(()))) => failures = 0,
            Ok(Some(Err(_))) | Err(_) => {
                failures += 1;
                if failures > liveness.failures_allowed {
                    let reason = format!("{failures} pings in a row were not answered");
                    return Exit::Unresponsive { reason };
                }
            }
        }
    }
}
