//! The start of an incarnation, until it is ready or has failed.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    cancel::{CancelSignal, StartCancel},
    children::ChildIndex,
    inbox::{InboxSender, StartOutcome},
    incarnation_cleanup::IncarnationCleanup,
    running_actor::RunningActor,
};
use crate::{
    exit::Exit,
    supervision::{
        incarnation_wait_group::{IncarnationClosedFuture, IncarnationWaitGroup},
        node::Node,
        panics::{catch_panic_async, discard},
        start::{Readiness, ReadinessError, Start, StartContext, StartPermit, Started},
        tree_context::TreeContext,
    },
};

/// Longer start timeouts are cut to thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What a start needs.
pub(crate) struct StartInputs<'a> {
    pub(crate) start: Arc<dyn Start>,
    pub(crate) timeout: Duration,
    pub(crate) cx: StartContext,
    pub(crate) closed: IncarnationClosedFuture,
    pub(crate) node: &'a Node,
    pub(crate) tree: &'a TreeContext,
    pub(crate) supervisor: &'a IncarnationWaitGroup,
    pub(crate) inbox: &'a InboxSender,
    pub(crate) index: ChildIndex,
}

/// How far a start came on the first poll.
pub(crate) enum StartPoll {
    /// It has finished: the incarnation is ready, or its start has failed.
    Finished(Result<RunningActor, Exit>, IncarnationClosedFuture),
    /// It goes on in a task of its own, and ends in a [`StartOutcome`].
    Continues(StartCancel),
}

/// Starts an incarnation.
///
/// The start is polled once here, in the supervisor's own task. A start that waits for nothing, as
/// with most actors, costs no task.
pub(crate) fn start_incarnation(inputs: StartInputs<'_>) -> StartPoll {
    let StartInputs { start, timeout, cx, closed, node, tree, supervisor, inbox, index } = inputs;
    let incarnation = cx.incarnation;
    let mut launch = Box::pin(catch_panic_async("the start", launch(start, timeout, cx)));
    // The start must not use up the supervisor's own tokio budget. The task polls again and
    // registers its own waker.
    let first = pin!(unconstrained(launch.as_mut())).poll(&mut Context::from_waker(Waker::noop()));
    let stage = match first {
        Poll::Pending => {
            StartStage::Launching(Box::pin(async { launch.await.and_then(|launched| launched) }))
        }
        Poll::Ready(launched) => match launched.and_then(|launched| launched) {
            Err(exit) => return StartPoll::Finished(Err(exit), closed),
            Ok(StartedActor { running, ready: None, permit, .. }) => {
                discard(permit);
                return StartPoll::Finished(Ok(running), closed);
            }
            Ok(launched) => StartStage::Launched(launched),
        },
    };
    let (cancel, signal) = StartCancel::new();
    let cleanup = IncarnationCleanup {
        incarnation,
        node: node.clone(),
        tree: tree.clone(),
        closed,
        supervisor: supervisor.clone(),
    };
    let inbox = inbox.clone();
    tokio::spawn(async move {
        let (running, ready) = finish_start(stage, timeout, &signal).await;
        drop(signal);
        if let Err(outcome) = inbox.deliver(Box::new(StartOutcome { index, ready, running, cleanup })) {
            outcome.cleanup.finish(outcome.running.ok()).await;
        }
    });
    StartPoll::Continues(cancel)
}

/// An actor, perhaps not ready yet.
struct StartedActor {
    running: RunningActor,
    ready: Option<Readiness>,
    permit: Option<StartPermit>,
    deadline: Instant,
}

type Launching = Pin<Box<dyn Future<Output = Result<StartedActor, Exit>> + Send>>;

enum StartStage {
    Launching(Launching),
    Launched(StartedActor),
}

async fn launch(start: Arc<dyn Start>, timeout: Duration, cx: StartContext) -> Result<StartedActor, Exit> {
    let permit = match start.start_permit() {
        Some(permit) => Some(permit.await),
        None => None,
    };
    let mut starting = start.start(cx);
    let deadline = || Instant::now() + timeout.min(FAR);
    // Only a start that has to wait gets a timer.
    let (started, deadline) = match poll_fn(|cx| Poll::Ready(starting.as_mut().poll(cx))).await {
        Poll::Ready(started) => (started, deadline()),
        Poll::Pending => {
            let deadline = deadline();
            let Ok(started) = timeout_at(deadline, starting).await else {
                return Err(Exit::StartTimeout { after: timeout });
            };
            (started, deadline)
        }
    };
    let Started { cell, join, ready, stop, attachment } = started?;
    Ok(StartedActor { running: RunningActor::new(cell, join, stop, attachment), ready, permit, deadline })
}

/// The rest of a start, in its own task. Returns what there is of the incarnation, and whether it
/// became ready.
async fn finish_start(
    stage: StartStage,
    timeout: Duration,
    signal: &CancelSignal,
) -> (Result<RunningActor, Exit>, bool) {
    let launched = match stage {
        StartStage::Launched(launched) => Ok(launched),
        StartStage::Launching(mut launch) => {
            let launched = tokio::select! {
                biased;
                () = signal.cancelled() => Err(Exit::Requested),
                launched = launch.as_mut() => launched,
            };
            discard(launch);
            launched
        }
    };
    let StartedActor { mut running, ready, permit, deadline } = match launched {
        Ok(launched) => launched,
        Err(exit) => return (Err(exit), false),
    };
    let ready = match ready {
        None => Ok(()),
        Some(mut ready) => {
            let outcome = tokio::select! {
                biased;
                () = signal.cancelled() => Ok(Err(ReadinessError)),
                // This comes before the end of the actor: one that becomes ready and ends at the
                // same moment was ready.
                ready = catch_panic_async("the start's readiness", ready.as_mut()) => ready,
                () = running.join() => Ok(Err(ReadinessError)),
                () = sleep_until(deadline) => Err(Exit::StartTimeout { after: timeout }),
            };
            discard(ready);
            outcome.unwrap_or_else(|exit| {
                running.kill_because(exit);
                Err(ReadinessError)
            })
        }
    };
    discard(permit);
    (Ok(running), ready.is_ok())
}
