//! The driver: one process from launch to reap. Owned by the worker actor; dropped with it, at any moment, it leaves
//! nothing behind, since dropping a process kills its group.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
    time::Instant,
};
use tracing::Instrument;

use super::{
    handler::WorkerHandler,
    output,
    shared::{Line, Shared},
    spec::{Liveness, WorkerSpec},
};
use crate::{
    exit::Exit,
    process::{self, Control, Exited, Hold, Ladder, Process, Rung, Unkillable},
    protocol::{self, Channel, Goodbye, Hello, Protocol, Ready},
    rpc::{Closed, Lost, Peer},
    supervision::{StartContext, StopRequest},
};

/// A process that closes its end of the channel gets this long to exit before that counts as a lost channel: a dying
/// process closes its files a little before it is dead.
const CLOSING_GRACE: Duration = Duration::from_millis(500);
/// After a death, how long the pipes may be silent before they count as drained, and how long they are read at most
/// (rule P-8).
const DRAIN_QUIET: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// What the process has asked its host is answered before its stdin is closed, if that takes no longer (rule C-14): one that
/// waits for an answer may not notice the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// An exit by a signal that means "stop" waits this long for the tree to begin to stop too (rule R-1).
const STOP_SIGNAL_GRACE: Duration = Duration::from_millis(250);

pub(crate) struct Driver {
    pub(crate) spec: Arc<WorkerSpec>,
    pub(crate) cx: StartContext,
    pub(crate) shared: Arc<Shared>,
    pub(crate) line: Arc<Line>,
    pub(crate) ready: Option<oneshot::Sender<()>>,
    pub(crate) stop: watch::Receiver<Option<StopRequest>>,
}

/// Why the process is to be ended, or that it has ended.
enum Verdict {
    /// It ended by itself.
    Exited(Exited),
    /// It must be killed, and that is its exit.
    Kill(Exit),
    /// Its stop was asked for.
    Stop,
}

/// The running process with everything around it.
struct Body {
    control: Box<dyn Control>,
    peer: Option<Peer>,
    stderr: Option<Task>,
    stdout: Option<Task>,
    /// Waits for the end of a stdin that is a channel.
    stdin: Option<Task>,
}

/// A task that ends with its owner.
struct Task {
    abort: AbortHandle,
    /// Closed when it has ended.
    running: watch::Receiver<()>,
}

impl Task {
    fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
        let (tx, running) = watch::channel(());
        let task = async move {
            work.await;
            drop(tx);
        };
        Task { abort: tokio::spawn(task.in_current_span()).abort_handle(), running }
    }

    async fn ended(&self) {
        while self.running.clone().changed().await.is_ok() {}
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Driver {
    /// Runs the process to its end and returns how it ended. When this returns nothing of the process is left.
    pub(crate) async fn run(self) -> Exit {
        let span = tracing::info_span!(
            target: "procession", "worker",
            path = self.cx.place.path().as_str(), incarnation = self.cx.incarnation.0
        );
        self.drive().instrument(span).await.tidied()
    }

    async fn drive(mut self) -> Exit {
        let command = self.spec.command_of(self.cx.incarnation);
        let hold = Hold::new(self.cx.remains.clone());
        let launched = tokio::select! {
            biased;
            () = stop_asked(&mut self.stop) => return Exit::Requested,
            launched = self.spec.launcher.launch(&command, hold) => launched,
        };
        let process = match launched {
            Ok(process) => process,
            Err(exit) => {
                self.shared.start_failed(&exit);
                return exit;
            }
        };
        self.shared.launched(&*process.control, self.cx.scope.clock().now());
        // Kept open for protocols without a channel; not part of the body, which is shared by reference.
        let (body, first_line, _stdin) = self.embody(process);
        let (verdict, was_ready) = match self.become_ready(&body, first_line).await {
            Ok(()) => {
                self.shared.ready(self.cx.scope.clock().now());
                if let Some(peer) = &body.peer {
                    peer.watch_writes(true);
                }
                if let Some(ready) = self.ready.take() {
                    // Nobody waits any more: the stop is on its way.
                    let _ = ready.send(());
                }
                (self.watch(&body).await, true)
            }
            Err(verdict) => (verdict, false),
        };
        // From here on no call goes to this incarnation.
        self.cx.place.retract(self.cx.incarnation);
        let exit = match verdict {
            Verdict::Exited(exited) => self.bury(&body, exited).await,
            Verdict::Kill(exit) => self.kill(&body, exit).await,
            Verdict::Stop => self.stop_in_order(&body, was_ready).await,
        };
        if !was_ready && exit != Exit::Requested {
            self.shared.start_failed(&exit);
        }
        self.shared.gone();
        if let Some(peer) = &body.peer {
            peer.close(Lost { exit: exit.clone(), stderr_tail: self.shared.tail.text() });
        }
        exit
    }

    /// Connects the streams.
    fn embody(&self, process: Process) -> (Body, Option<oneshot::Receiver<()>>, Option<process::Stdin>) {
        let Process { stdin, stdout, stderr, control, .. } = process;
        let stderr = stderr.map(|stderr| Task::spawn(process::drain(stderr, self.shared.tail.clone())));
        let mut body = Body { control, peer: None, stderr, stdout: None, stdin: None };
        let mut kept = None;
        let mut first_line = None;
        match self.spec.protocol.channel() {
            Channel::Rpc(framing) => {
                let mut config = self.spec.peer.clone();
                protocol::speak(&self.spec.protocol, framing, &mut config);
                config.hold_pending = true;
                config.path = self.cx.place.path().clone();
                config.incarnation = self.cx.incarnation;
                let handler = WorkerHandler::new(&self.spec);
                let (stdin, closed) = stdin.into_parts();
                let peer = Peer::spawn(stdout, stdin, config, Arc::new(handler));
                let watched = peer.clone();
                body.stdin = Some(Task::spawn(async move {
                    closed.await;
                    watched.input_closed();
                }));
                peer.watch_writes(false);
                self.shared.connected(peer.clone());
                body.peer = Some(peer);
            }
            Channel::Output(ready) => {
                let expected = match ready {
                    Ready::Launched => None,
                    ready => {
                        let (tx, rx) = oneshot::channel();
                        first_line = Some(rx);
                        Some((ready, tx))
                    }
                };
                kept = Some(stdin);
                body.stdout = Some(Task::spawn(output::log_lines(stdout, expected)));
            }
        }
        (body, first_line, kept)
    }

    /// The handshake, raced against the exit, the stop and its timeout (rule W-1).
    async fn become_ready(
        &mut self,
        body: &Body,
        first_line: Option<oneshot::Receiver<()>>,
    ) -> Result<(), Verdict> {
        let protocol = self.spec.protocol.clone();
        let after = self.spec.handshake_timeout.unwrap_or_else(|| protocol.handshake_timeout());
        let handshake = async {
            if let Some(line) = first_line
                && line.await.is_err()
            {
                // Stdout was closed without the line: only the exit or the timeout can end this.
                std::future::pending::<()>().await;
            }
            if let Some(peer) = &body.peer {
                let mut hello = Hello::new(self.cx.place.path().clone(), self.cx.incarnation);
                hello.pid = self.shared.pid();
                let session = protocol.handshake(peer, &hello).await?;
                if let Some(methods) = session.methods {
                    peer.announce(methods);
                }
                if let Some(on_ready) = &self.spec.on_ready {
                    let done = on_ready.on_ready(peer, self.cx.incarnation).await;
                    done.map_err(|reason| Exit::HandshakeFailed { reason })?;
                }
            }
            Ok(())
        };
        let shaken = tokio::select! {
            biased;
            () = stop_asked(&mut self.stop) => return Err(Verdict::Stop),
            shaken = tokio::time::timeout(after, handshake) => shaken,
            closed = channel_closed(body) => return Err(closed_verdict(body, closed).await),
            exited = body.control.exited() => return Err(Verdict::Exited(exited)),
        };
        match shaken {
            Ok(Ok(())) => {
                // Published only now: no call can come before the handshake.
                let _ = self.line.peer.set(body.peer.clone());
                Ok(())
            }
            Ok(Err(exit)) => Err(match body.peer.as_ref().and_then(Peer::end) {
                // It failed because the channel has ended: that is the reason, or the process's exit is.
                Some(closed) => closed_verdict(body, closed).await,
                None => Verdict::Kill(exit),
            }),
            Err(_) => Err(Verdict::Kill(Exit::HandshakeTimeout { after })),
        }
    }

    /// From ready until something ends it.
    async fn watch(&mut self, body: &Body) -> Verdict {
        let protocol = self.spec.protocol.clone();
        tokio::select! {
            biased;
            () = stop_asked(&mut self.stop) => Verdict::Stop,
            // Before the exit: a process that has broken the protocol may well end because its channel was closed.
            closed = channel_closed(body) => closed_verdict(body, closed).await,
            exited = body.control.exited() => Verdict::Exited(exited),
            exit = unresponsive(body, &*protocol, self.spec.liveness) => Verdict::Kill(exit),
        }
    }

    /// It ended by itself: sweep the group, drain the pipes, reap.
    async fn bury(&mut self, body: &Body, exited: Exited) -> Exit {
        // The zombie pins the ids: this cannot hit a stranger. A group that is gone already is what we want.
        let _ = body.control.signal(rustix::process::Signal::KILL);
        drain(body).await;
        if let Err(Unkillable { pid }) = body.control.reap(self.spec.ladder.kill_wait).await {
            return Exit::Unkillable { pid };
        }
        let exit = exited.exit(&self.spec.success);
        // Ctrl-C in a terminal and a service manager's SIGTERM reach everybody: that is no crash if the tree is about to
        // stop (rule R-1).
        if let Exit::Signalled { signal, .. } = exit
            && stop_signals().contains(&signal)
            && tokio::time::timeout(STOP_SIGNAL_GRACE, stop_asked(&mut self.stop)).await.is_ok()
        {
            return Exit::Requested;
        }
        exit
    }

    async fn kill(&mut self, body: &Body, exit: Exit) -> Exit {
        let _ = body.control.signal(rustix::process::Signal::KILL);
        tokio::select! {
            biased;
            () = async { body.control.exited().await; drain(body).await } => {}
            () = tokio::time::sleep(self.spec.ladder.kill_wait) => {}
        }
        match body.control.reap(self.spec.ladder.kill_wait).await {
            Ok(_) => exit,
            Err(Unkillable { pid }) => Exit::Unkillable { pid },
        }
    }

    /// The ladder (rule P-9). A nearer deadline that is asked for meanwhile shortens it.
    async fn stop_in_order(&mut self, body: &Body, was_ready: bool) -> Exit {
        let mut ladder = self.spec.ladder;
        if let Some(peer) = &body.peer {
            peer.watch_writes(false);
        }
        let polite = async {
            match &body.peer {
                Some(peer) if was_ready => match self.spec.protocol.shutdown(peer).await {
                    Goodbye::Acknowledged => {}
                    Goodbye::Failed { reason } => {
                        tracing::debug!(target: "procession", reason, "could not be told to stop; closing its stdin");
                        peer.close_writer().await;
                    }
                    _ => {
                        // Those that take longer go unanswered.
                        let _ = tokio::time::timeout(LAST_ANSWERS, peer.idle()).await;
                        peer.close_writer().await;
                    }
                },
                Some(peer) => peer.close_writer().await,
                None => {}
            }
            std::future::pending::<()>().await;
        };
        if body.peer.is_none() || !was_ready {
            // There is no polite request: SIGTERM is it.
            ladder.drain = Duration::ZERO;
        }
        let began = Instant::now();
        let mut stop = self.stop.clone();
        let climb = async {
            loop {
                let deadline = stop.borrow_and_update().and_then(|request| request.deadline);
                let deadline = deadline.map(|at| before(self.cx.scope.clock().instant(at)));
                tokio::select! {
                    biased;
                    ended = process::terminate(&*body.control, &ladder, deadline) => return ended,
                    Ok(()) = stop.changed() => {}
                }
            }
        };
        let ended = tokio::select! {
            biased;
            ended = climb => ended,
            () = polite => return Exit::Requested,
        };
        drain(body).await;
        match ended {
            Ok(ended) => {
                let deadline = self.stop.borrow().and_then(|request| request.deadline);
                let deadline = deadline.map(|at| self.cx.scope.clock().instant(at));
                self.report_stop(body.control.pid(), ended.rung, &ladder, began, deadline);
                Exit::Requested
            }
            Err(Unkillable { pid }) => Exit::Unkillable { pid },
        }
    }

    /// A process that had to be killed is worth a look: what it was about to do is undone, and each stop costs that time.
    fn report_stop(&self, pid: u32, rung: Rung, ladder: &Ladder, began: Instant, deadline: Option<Instant>) {
        let (path, incarnation) = (self.cx.place.path().as_str(), self.cx.incarnation.0);
        // Whoever gives no time wants it so.
        let hard = deadline.is_some_and(|deadline| deadline <= began);
        if rung != Rung::Kill || hard {
            return tracing::debug!(target: "procession", path, incarnation, pid, ?rung, "stopped");
        }
        let Ladder { drain, term_grace, .. } = ladder;
        let unheeded = if drain.is_zero() {
            format!("SIGTERM has not ended it within {term_grace:?}")
        } else {
            format!("neither the request to stop ({drain:?}) nor SIGTERM ({term_grace:?}) has ended it")
        };
        let took = began.elapsed();
        if took < drain.saturating_add(*term_grace) {
            tracing::warn!(
                target: "procession", path, incarnation, pid,
                "killed at the deadline of the stop, after {took:.1?}"
            );
        } else {
            // The group counts too: what the process has left behind in it.
            tracing::warn!(target: "procession", path, incarnation, pid, "killed with its group: {unheeded}");
        }
    }
}

/// The asker kills the actor at its deadline: be done a little earlier.
fn before(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(Duration::from_millis(250))
}

fn stop_signals() -> [i32; 3] {
    use rustix::process::Signal;
    [Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw)
}

/// Returns when a stop has been asked for.
async fn stop_asked(stop: &mut watch::Receiver<Option<StopRequest>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // The actor is gone, and this task with it any moment.
        std::future::pending().await
    }
}

/// Resolves for protocols with a channel only.
async fn channel_closed(body: &Body) -> Closed {
    match &body.peer {
        Some(peer) => peer.closed().await,
        None => std::future::pending().await,
    }
}

async fn closed_verdict(body: &Body, closed: Closed) -> Verdict {
    if matches!(closed, Closed::Eof | Closed::ReadFailed { .. } | Closed::WriteFailed { .. })
        && let Ok(exited) = tokio::time::timeout(CLOSING_GRACE, body.control.exited()).await
    {
        return Verdict::Exited(exited);
    }
    Verdict::Kill(match closed {
        // Nobody has asked the supervisor: whoever holds the peer has closed it.
        Closed::Requested => Exit::ChannelLost { reason: "closed by a holder of the peer".to_owned() },
        closed => closed.to_exit(),
    })
}

/// Reads what is still in the pipes.
async fn drain(body: &Body) {
    let rest = async {
        for task in [&body.stdout, &body.stderr].into_iter().flatten() {
            task.ended().await;
        }
    };
    let channel = async {
        if let Some(peer) = &body.peer {
            peer.drain(DRAIN_QUIET, DRAIN_MAX).await;
        }
    };
    // A grandchild may hold stderr open: then it is not waited for longer than for silence.
    let _ = tokio::join!(channel, tokio::time::timeout(DRAIN_QUIET, rest));
}

/// Pings for ever; returns when too many in a row have failed (rule W-3).
async fn unresponsive(body: &Body, protocol: &dyn Protocol, liveness: Option<Liveness>) -> Exit {
    let (Some(peer), Some(liveness)) = (&body.peer, liveness) else { return std::future::pending().await };
    let mut failures = 0;
    loop {
        tokio::time::sleep(liveness.interval).await;
        match tokio::time::timeout(liveness.timeout, protocol.ping(peer)).await {
            Ok(None) => return std::future::pending().await,
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
