//! The end of a process, whether by itself or on request: it is swept, drained and reaped. This is the
//! last step of a [`ProcessLifecycle`]; what it does was decided before.

use std::time::Duration;

use tokio::time::Instant;

use super::{process_lifecycle::ProcessLifecycle, running_process::RunningProcess};
use crate::{
    channel::lifecycle::ChannelLifecycle,
    exit::Exit,
    human_duration::brief,
    log_event_macro::log_event,
    process::{self, ExitStatus, HeldUntilReaped, Ladder, Rung, Unkillable},
    protocol::StopReply,
    rpc::Peer,
    untrusted::one_line,
};

impl ProcessLifecycle {
    /// The process ended by itself: sweep the group, drain the pipes, reap.
    pub(super) async fn reap_after_exit(&mut self, running: &RunningProcess, exited: ExitStatus) -> Exit {
        // The zombie pins the ids, so this cannot hit an unrelated process. The group may be gone
        // already, which is fine.
        let _ = running.control.signal(rustix::process::Signal::KILL);
        running.drain().await;
        if let Err(Unkillable { pid }) = self.reap(running).await {
            return Exit::Unkillable { pid };
        }
        exited.exit(&self.spec.success)
    }

    pub(super) async fn kill(&mut self, running: &RunningProcess, exit: Exit) -> Exit {
        let _ = running.control.signal(rustix::process::Signal::KILL);
        tokio::select! {
            biased;
            () = async { running.control.exited().await; running.drain().await } => {}
            () = tokio::time::sleep(self.spec.ladder.kill_wait) => {}
        }
        match self.reap(running).await {
            Ok(_) => exit,
            Err(Unkillable { pid }) => Exit::Unkillable { pid },
        }
    }

    /// Reaps the process. Processes that have left its group may be swept after its successor has
    /// started; stops wait for that (rule P-4).
    async fn reap(&self, running: &RunningProcess) -> Result<ExitStatus, Unkillable> {
        let held_until_swept = HeldUntilReaped::new(self.cx.node.begin_sweep(&self.cx.wait_group));
        running.control.reap_after_exit(self.spec.ladder.kill_wait, held_until_swept).await
    }

    /// Climbs the stop ladder (rule P-9). A nearer deadline that is requested meanwhile shortens it.
    pub(super) async fn stop_in_order(&mut self, running: &RunningProcess, was_ready: bool) -> Exit {
        let mut ladder = self.spec.ladder;
        if let Some(channel) = &running.channel {
            channel.watch_writes(false);
        }
        let began = Instant::now();
        let polite_stop = async {
            match (&running.channel, &running.peer) {
                (Some(channel), Some(peer)) if was_ready => self.ask_to_stop(&**channel, peer, began).await,
                (Some(channel), _) => channel.close_writer().await,
                (None, _) => {}
            }
            std::future::pending::<()>().await;
        };
        if running.channel.is_none() || !was_ready {
            // There is no polite request other than SIGTERM.
            ladder.drain = Duration::ZERO;
        }
        let mut stop = self.stop.clone();
        let run_ladder = async {
            loop {
                let deadline = stop.borrow_and_update().and_then(|request| request.deadline);
                let deadline = deadline.map(|at| with_margin(self.cx.tree.clock().instant(at)));
                // Time that has passed is not granted again.
                let passed = began.elapsed();
                let drain = ladder.drain.saturating_sub(passed);
                let both = ladder.drain.saturating_add(ladder.term_grace).saturating_sub(passed);
                let rest = Ladder { drain, term_grace: ladder.term_grace.min(both), ..ladder };
                tokio::select! {
                    biased;
                    ended = process::terminate(&*running.control, &rest, deadline) => return ended,
                    Ok(()) = stop.changed() => {}
                }
            }
        };
        let ended = tokio::select! {
            biased;
            ended = run_ladder => ended,
            () = polite_stop => return Exit::Requested,
        };
        running.drain().await;
        match ended {
            Ok(ended) => {
                let deadline = self.stop.borrow().and_then(|request| request.deadline);
                let deadline = deadline.map(|at| self.cx.tree.clock().instant(at));
                self.log_stop(running.control.pid(), ended.rung, &ladder, began, deadline);
                Exit::Requested
            }
            Err(Unkillable { pid }) => Exit::Unkillable { pid },
        }
    }

    /// Asks the process to end once nothing is open: first the calls that were under way, then its streams
    /// (rule C-10), then its own requests, since a process that waits for an answer may not notice the
    /// request to end (rules P-9, C-14). What takes longer than the time to drain stays unanswered. If the
    /// request to end is not answered in that time either, closing stdin tells the process.
    async fn ask_to_stop(&self, channel: &dyn ChannelLifecycle, peer: &Peer, began: Instant) {
        // Calls that come from now on go to the next incarnation.
        channel.retire();
        let open = async {
            channel.calls_answered().await;
            channel.streams_ended().await;
            channel.requests_answered().await;
        };
        // Sent after the last call. It may wait for room in the channel, and nothing waits for it.
        let told = async {
            self.spec.protocol.retiring(peer).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = told => {}
            () = open => {}
            () = self.stdin_close_due(began) => {}
        }
        let mut asked = std::pin::pin!(self.spec.protocol.shutdown(peer));
        let goodbye = tokio::select! {
            biased;
            goodbye = asked.as_mut() => goodbye,
            () = self.stdin_close_due(began) => {
                channel.close_writer().await;
                asked.await
            }
        };
        match goodbye {
            StopReply::Acknowledged => return,
            StopReply::Failed { reason } => {
                log_event!(
                    debug,
                    self.cx.node.path(),
                    self.cx.incarnation,
                    reason = %one_line(&reason),
                    "the request to stop failed; closing its stdin instead"
                );
            }
            _ => {}
        }
        channel.close_writer().await;
    }

    /// Returns when it is time to close stdin, for a stop that began at `began`. A nearer deadline
    /// brings it forward.
    async fn stdin_close_due(&self, began: Instant) {
        let mut stop = self.stop.clone();
        loop {
            let drain = self.spec.ladder.drain;
            let deadline = stop.borrow_and_update().and_then(|request| request.deadline);
            let deadline = deadline.map(|at| with_margin(self.cx.tree.clock().instant(at)));
            let drain =
                deadline.map_or(drain, |deadline| drain.min(deadline.saturating_duration_since(began)));
            tokio::select! {
                biased;
                // A time beyond the clock's range means for ever.
                () = tokio::time::sleep(Ladder::asked_after(drain).saturating_sub(began.elapsed())) => return,
                Ok(()) = stop.changed() => {}
            }
        }
    }

    /// A process that had to be killed is logged as a warning: its work may be incomplete, and each
    /// stop takes that long.
    fn log_stop(&self, pid: u32, rung: Rung, ladder: &Ladder, began: Instant, deadline: Option<Instant>) {
        let (path, incarnation) = (self.cx.node.path(), self.cx.incarnation);
        // A stop without any time is meant to kill.
        let hard = deadline.is_some_and(|deadline| deadline <= began);
        if rung != Rung::Kill || hard {
            return log_event!(debug, path, incarnation, pid, ?rung, "stopped");
        }
        let Ladder { drain, term_grace, .. } = ladder;
        let unheeded = if drain.is_zero() {
            format!("SIGTERM did not end it within {term_grace:?}")
        } else {
            format!(
                "neither the request to stop (waited {drain:?}) nor SIGTERM (waited {term_grace:?}) ended it"
            )
        };
        let took = began.elapsed();
        if took < drain.saturating_add(*term_grace) {
            log_event!(
                warn,
                path,
                incarnation,
                pid,
                "killed at the deadline of the stop, after {:?}",
                brief(took)
            );
        } else {
            // The group counts too: it may be a process that the worker left behind in it.
            log_event!(warn, path, incarnation, pid, "killed with its group: {unheeded}");
        }
    }
}

/// The supervisor kills the actor at the deadline, so the process is ended a little earlier.
fn with_margin(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(Duration::from_millis(250))
}
