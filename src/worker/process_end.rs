//! How a process comes to its end, by itself or because it has to: swept, drained, reaped. The driver's last step; what it
//! decides is decided before.

use std::time::Duration;

use tokio::time::Instant;

use super::{driver::Driver, running_process::RunningProcess};
use crate::{
    exit::Exit,
    human_duration::brief,
    log_event::log_event,
    process::{self, ExitStatus, Ladder, ReapToken, Rung, Unkillable},
    protocol::StopReply,
    rpc::Peer,
    untrusted::one_line,
};

impl Driver {
    /// It ended by itself: sweep the group, drain the pipes, reap.
    pub(super) async fn reap_after_exit(&mut self, body: &RunningProcess, exited: ExitStatus) -> Exit {
        // The zombie pins the ids: this cannot hit a stranger. A group that is gone already is what we want.
        let _ = body.control.signal(rustix::process::Signal::KILL);
        body.drain().await;
        if let Err(Unkillable { pid }) = self.lay_to_rest(body).await {
            return Exit::Unkillable { pid };
        }
        exited.exit(&self.spec.success)
    }

    pub(super) async fn kill(&mut self, body: &RunningProcess, exit: Exit) -> Exit {
        let _ = body.control.signal(rustix::process::Signal::KILL);
        tokio::select! {
            biased;
            () = async { body.control.exited().await; body.drain().await } => {}
            () = tokio::time::sleep(self.spec.ladder.kill_wait) => {}
        }
        match self.lay_to_rest(body).await {
            Ok(_) => exit,
            Err(Unkillable { pid }) => Exit::Unkillable { pid },
        }
    }

    /// Reaps it. What has left its group may be swept behind its successor; stops wait for that (rule P-4).
    async fn lay_to_rest(&self, body: &RunningProcess) -> Result<ExitStatus, Unkillable> {
        let trail = ReapToken::new(self.cx.node.leave_trail(&self.cx.token));
        body.control.reap_after_exit(self.spec.ladder.kill_wait, trail).await
    }

    /// The ladder (rule P-9). A nearer deadline that is asked for meanwhile shortens it.
    pub(super) async fn stop_in_order(&mut self, body: &RunningProcess, was_ready: bool) -> Exit {
        let mut ladder = self.spec.ladder;
        if let Some(peer) = &body.peer {
            peer.watch_writes(false);
        }
        let began = Instant::now();
        let polite = async {
            match &body.peer {
                Some(peer) if was_ready => self.part(peer, began).await,
                Some(peer) => peer.close_writer().await,
                None => {}
            }
            std::future::pending::<()>().await;
        };
        if body.peer.is_none() || !was_ready {
            // There is no polite request: SIGTERM is it.
            ladder.drain = Duration::ZERO;
        }
        let mut stop = self.stop.clone();
        let climb = async {
            loop {
                let deadline = stop.borrow_and_update().and_then(|request| request.deadline);
                let deadline = deadline.map(|at| before(self.cx.scope.clock().instant(at)));
                // Time that has passed is not given again.
                let passed = began.elapsed();
                let drain = ladder.drain.saturating_sub(passed);
                let both = ladder.drain.saturating_add(ladder.term_grace).saturating_sub(passed);
                let rest = Ladder { drain, term_grace: ladder.term_grace.min(both), ..ladder };
                tokio::select! {
                    biased;
                    ended = process::terminate(&*body.control, &rest, deadline) => return ended,
                    Ok(()) = stop.changed() => {}
                }
            }
        };
        let ended = tokio::select! {
            biased;
            ended = climb => ended,
            () = polite => return Exit::Requested,
        };
        body.drain().await;
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

    /// Asks the process to end once nothing is open any more: first the calls that were under way, then what it has asked
    /// itself, since one that waits for an answer may not notice the end (rules P-9, C-14). What takes longer than the time to
    /// drain allows goes unanswered, and so does a request to end: then it is the end of its stdin that asks.
    async fn part(&self, peer: &Peer, began: Instant) {
        let open = async {
            peer.answered().await;
            peer.idle().await;
        };
        tokio::select! {
            biased;
            () = open => {}
            () = self.closing_time(began) => {}
        }
        let mut asked = std::pin::pin!(self.spec.protocol.shutdown(peer));
        let goodbye = tokio::select! {
            biased;
            goodbye = asked.as_mut() => goodbye,
            () = self.closing_time(began) => {
                peer.close_writer().await;
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
                    "could not be told to stop; closing its stdin"
                );
            }
            _ => {}
        }
        peer.close_writer().await;
    }

    /// Returns when it is time for the end of stdin, of a stop that began then. A nearer deadline brings it forward.
    async fn closing_time(&self, began: Instant) {
        let mut stop = self.stop.clone();
        loop {
            let drain = self.spec.ladder.drain;
            let deadline = stop.borrow_and_update().and_then(|request| request.deadline);
            let deadline = deadline.map(|at| before(self.cx.scope.clock().instant(at)));
            let drain =
                deadline.map_or(drain, |deadline| drain.min(deadline.saturating_duration_since(began)));
            tokio::select! {
                biased;
                // One that is longer than the clock knows is for ever.
                () = tokio::time::sleep(Ladder::asked_after(drain).saturating_sub(began.elapsed())) => return,
                Ok(()) = stop.changed() => {}
            }
        }
    }

    /// A process that had to be killed is worth a look: what it was about to do is undone, and each stop costs that time.
    fn report_stop(&self, pid: u32, rung: Rung, ladder: &Ladder, began: Instant, deadline: Option<Instant>) {
        let (path, incarnation) = (self.cx.node.path(), self.cx.incarnation);
        // Whoever gives no time wants it so.
        let hard = deadline.is_some_and(|deadline| deadline <= began);
        if rung != Rung::Kill || hard {
            return log_event!(debug, path, incarnation, pid, ?rung, "stopped");
        }
        let Ladder { drain, term_grace, .. } = ladder;
        let unheeded = if drain.is_zero() {
            format!("SIGTERM has not ended it within {term_grace:?}")
        } else {
            format!("neither the request to stop ({drain:?}) nor SIGTERM ({term_grace:?}) has ended it")
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
            // The group counts too: what the process has left behind in it.
            log_event!(warn, path, incarnation, pid, "killed with its group: {unheeded}");
        }
    }
}

/// The asker kills the actor at its deadline: be done a little earlier.
fn before(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(Duration::from_millis(250))
}
