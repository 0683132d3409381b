//! The start of an incarnation, until it is ready or is not going to be.

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
    abandoned::AbandonedIncarnation,
    cancel::{CancelSignal, StartCancel},
    children::Slot,
    inbox::{Inbox, StartOutcome},
    running_actor::RunningActor,
};
use crate::{
    exit::Exit,
    supervision::{
        incarnation_token::{IncarnationClosed, IncarnationToken},
        node::Node,
        panics::{caught, discard},
        start::{NotReady, Readiness, Start, StartContext, StartPermit, Started},
        tree_context::TreeContext,
    },
};

/// Longer start timeouts are cut: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What a start needs.
pub(crate) struct StartInputs<'a> {
    pub(crate) start: Arc<dyn Start>,
    pub(crate) timeout: Duration,
    pub(crate) cx: StartContext,
    pub(crate) gone: IncarnationClosed,
    pub(crate) node: &'a Node,
    pub(crate) scope: &'a TreeContext,
    pub(crate) supervisor: &'a IncarnationToken,
    pub(crate) inbox: &'a Inbox,
    pub(crate) slot: Slot,
}

/// How far a start came at once.
pub(crate) enum StartProgress {
    /// It is over: the incarnation is ready, or has come to nothing.
    Now(Result<RunningActor, Exit>, IncarnationClosed),
    /// It goes on, and ends in a [`StartOutcome`].
    Later(StartCancel),
}

/// Starts an incarnation.
///
/// The start is polled once here, in the supervisor's own task: a start that does not wait for anything costs no task,
/// and with most actors it does not.
pub(crate) fn begin(birth: StartInputs<'_>) -> StartProgress {
    let StartInputs { start, timeout, cx, gone, node, scope, supervisor, inbox, slot } = birth;
    let incarnation = cx.incarnation;
    let mut launch = Box::pin(caught("the start", launch(start, timeout, cx)));
    // The supervisor's budget is not the start's. The task polls again, and leaves a waker of its own.
    let first = pin!(unconstrained(launch.as_mut())).poll(&mut Context::from_waker(Waker::noop()));
    let stage = match first {
        Poll::Pending => {
            StartStage::Launching(Box::pin(async { launch.await.and_then(|launched| launched) }))
        }
        Poll::Ready(launched) => match launched.and_then(|launched| launched) {
            Err(exit) => return StartProgress::Now(Err(exit), gone),
            Ok(StartedActor { running, ready: None, admission, .. }) => {
                discard(admission);
                return StartProgress::Now(Ok(running), gone);
            }
            Ok(launched) => StartStage::Launched(launched),
        },
    };
    let (orders, cancel) = StartCancel::new();
    let abandoned = AbandonedIncarnation {
        incarnation,
        node: node.clone(),
        scope: scope.clone(),
        gone,
        supervisor: supervisor.clone(),
    };
    let inbox = inbox.clone();
    tokio::spawn(async move {
        let (running, ready) = go_on(stage, timeout, &cancel).await;
        drop(cancel);
        if let Err(delivery) = inbox.deliver(Box::new(StartOutcome { slot, ready, running, abandoned })) {
            delivery.abandoned.settle(delivery.running.ok()).await;
        }
    });
    StartProgress::Later(orders)
}

/// An actor, perhaps not ready yet.
struct StartedActor {
    running: RunningActor,
    ready: Option<Readiness>,
    admission: Option<StartPermit>,
    deadline: Instant,
}

type Launching = Pin<Box<dyn Future<Output = Result<StartedActor, Exit>> + Send>>;

enum StartStage {
    Launching(Launching),
    Launched(StartedActor),
}

async fn launch(start: Arc<dyn Start>, timeout: Duration, cx: StartContext) -> Result<StartedActor, Exit> {
    let admission = match start.admission() {
        Some(admission) => Some(admission.await),
        None => None,
    };
    let mut starting = start.start(cx);
    let deadline = || Instant::now() + timeout.min(FAR);
    // A timer is made for those only that have to wait.
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
    Ok(StartedActor { running: RunningActor::new(cell, join, stop, attachment), ready, admission, deadline })
}

/// In the start's own task: the rest of it. Whether the incarnation became ready comes beside what there is of it.
async fn go_on(
    stage: StartStage,
    timeout: Duration,
    cancel: &CancelSignal,
) -> (Result<RunningActor, Exit>, bool) {
    let launched = match stage {
        StartStage::Launched(launched) => Ok(launched),
        StartStage::Launching(mut launch) => {
            let launched = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Exit::Requested),
                launched = launch.as_mut() => launched,
            };
            discard(launch);
            launched
        }
    };
    let StartedActor { mut running, ready, admission, deadline } = match launched {
        Ok(launched) => launched,
        Err(exit) => return (Err(exit), false),
    };
    let ready = match ready {
        None => Ok(()),
        Some(mut ready) => {
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => Ok(Err(NotReady)),
                // Before the end of the actor: one that is ready and ends at the same moment was ready.
                ready = caught("the start's readiness", ready.as_mut()) => ready,
                () = running.join() => Ok(Err(NotReady)),
                () = sleep_until(deadline) => Err(Exit::StartTimeout { after: timeout }),
            };
            discard(ready);
            outcome.unwrap_or_else(|exit| {
                running.kill_because(exit);
                Err(NotReady)
            })
        }
    };
    discard(admission);
    (Ok(running), ready.is_ok())
}
