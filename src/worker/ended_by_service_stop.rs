//! Whether the end of a process belongs to a stop of the whole service (rule R-1).
//!
//! A service manager, a container runtime or a terminal may signal the workers together with their
//! host, or a moment before it. Their ends look like crashes then, and the tree learns only a moment
//! later that it is to stop. So an end that a signal may have caused is classified a moment later,
//! regardless of the signal or exit code that it shows, since many programs catch `SIGTERM` and exit
//! with 0, 1 or 143.
//!
//! The wait does not delay the restart of a crashed worker. After an exit code it takes at most half of
//! the shortest back-off, and the back-off counts from the end of the process; the other half is left
//! for the siblings that a group restart stops. Without a back-off, an exit code waits only if the host
//! has received a stop signal itself. Only an end by a signal that means "stop" always waits.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::process_lifecycle::{ProcessLifecycle, stop_asked};
use crate::{clock::TreeInstant, exit::Exit, supervision::JudgementDelay};

/// For how long an end waits at most for the tree to begin to stop.
const GRACE: Duration = Duration::from_millis(250);
/// The same, if the host has received a stop signal.
const TOLD_GRACE: Duration = Duration::from_secs(1);

impl ProcessLifecycle {
    /// Classifies the exit of a process that ended at `since` unasked: [`Exit::Requested`] if the tree
    /// has begun to stop meanwhile.
    pub(super) async fn judge(&self, exit: Exit, since: TreeInstant) -> Exit {
        let Some(delay) = delay_for(&exit, self.cx.node.judgement_delay()) else { return exit };
        let died = self.cx.tree.clock().instant(since);
        if !delay.is_zero() {
            self.cx.node.report_process_end(self.cx.incarnation, since, exit.clone());
        }
        if self.stop_begins_by(died + delay).await {
            return Exit::Requested;
        }
        // Checked last, because the signal may have reached the host after its workers.
        // What it has been told takes effect as soon as its tasks have had their turns, which takes a while
        // on a machine that is overloaded.
        let told = self.cx.tree.stop_notice().host_is_told_to_stop().await;
        if told && self.stop_begins_by(Instant::now() + TOLD_GRACE).await {
            return Exit::Requested;
        }
        exit
    }

    /// Returns when a stop has been requested, of this worker or of the whole tree.
    pub(super) async fn stop_begins(&self) {
        let notice = self.cx.tree.stop_notice();
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop_asked(&mut stop) => {}
            () = notice.stopping() => {}
        }
    }

    async fn stop_begins_by(&self, deadline: Instant) -> bool {
        timeout_at(deadline, self.stop_begins()).await.is_ok()
    }
}

/// For how long this exit waits; `None` if no stop signal can have caused it.
fn delay_for(exit: &Exit, policy: JudgementDelay) -> Option<Duration> {
    use rustix::process::Signal;
    const STOP: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    match exit {
        Exit::Signalled { signal, .. } if STOP.iter().any(|s| s.as_raw() == *signal) => Some(GRACE),
        // It wrote to a process that had been stopped before it.
        Exit::Signalled { signal, .. } if *signal == Signal::PIPE.as_raw() => Some(policy.failure.min(GRACE)),
        Exit::Clean { .. } => Some(policy.clean.min(GRACE)),
        Exit::Failed { .. } | Exit::EndedBeforeReady { .. } => Some(policy.failure.min(GRACE)),
        _ => None,
    }
}
