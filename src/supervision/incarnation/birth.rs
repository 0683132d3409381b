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

use super::{Born, Estate, Orders, bell::Slot, orders::Cancel};
use crate::{
    exit::Exit,
    supervision::{
        engine::Posts,
        panics::{caught, discard},
        place::Place,
        remains::{Gone, Remains},
        start::{Admission, NotReady, Readiness, Scope, Start, StartContext, Started},
    },
};

/// Longer start timeouts are cut: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What a start needs.
pub(crate) struct Birth<'a> {
    pub(crate) start: Arc<dyn Start>,
    pub(crate) timeout: Duration,
    pub(crate) cx: StartContext,
    pub(crate) gone: Gone,
    pub(crate) place: &'a Place,
    pub(crate) scope: &'a Scope,
    pub(crate) supervisor: &'a Remains,
    pub(crate) posts: &'a Posts,
    pub(crate) slot: Slot,
}

/// How far a start came at once.
pub(crate) enum Begun {
    /// It is over: the incarnation is ready, or has come to nothing.
    Now(Result<Born, Exit>, Gone),
    /// It goes on, and ends in a [`Delivery`].
    Later(Orders),
}

/// What a start that went on has come to.
pub(crate) struct Delivery {
    pub(crate) slot: Slot,
    /// Whether it was ready.
    pub(crate) ready: bool,
    pub(crate) born: Result<Born, Exit>,
    pub(crate) estate: Estate,
}

/// Starts an incarnation.
///
/// The start is polled once here, in the supervisor's own task: a start that does not wait for anything costs no task,
/// and with most actors it does not.
pub(crate) fn begin(birth: Birth<'_>) -> Begun {
    let Birth { start, timeout, cx, gone, place, scope, supervisor, posts, slot } = birth;
    let incarnation = cx.incarnation;
    let mut launch = Box::pin(caught("the start", launch(start, timeout, cx)));
    // The supervisor's budget is not the start's. The task polls again, and leaves a waker of its own.
    let first = pin!(unconstrained(launch.as_mut())).poll(&mut Context::from_waker(Waker::noop()));
    let stage = match first {
        Poll::Pending => Stage::Launching(Box::pin(async { launch.await.and_then(|launched| launched) })),
        Poll::Ready(launched) => match launched.and_then(|launched| launched) {
            Err(exit) => return Begun::Now(Err(exit), gone),
            Ok(Launched { born, ready: None, admission, .. }) => {
                discard(admission);
                return Begun::Now(Ok(born), gone);
            }
            Ok(launched) => Stage::Launched(launched),
        },
    };
    let (orders, cancel) = Orders::new();
    let estate = Estate {
        incarnation,
        place: place.clone(),
        scope: scope.clone(),
        gone,
        supervisor: supervisor.clone(),
    };
    let posts = posts.clone();
    tokio::spawn(async move {
        let (born, ready) = go_on(stage, timeout, &cancel).await;
        drop(cancel);
        if let Err(delivery) = posts.deliver(Box::new(Delivery { slot, ready, born, estate })) {
            delivery.estate.settle(delivery.born.ok()).await;
        }
    });
    Begun::Later(orders)
}

/// An actor, perhaps not ready yet.
struct Launched {
    born: Born,
    ready: Option<Readiness>,
    admission: Option<Admission>,
    deadline: Instant,
}

type Launching = Pin<Box<dyn Future<Output = Result<Launched, Exit>> + Send>>;

enum Stage {
    Launching(Launching),
    Launched(Launched),
}

async fn launch(start: Arc<dyn Start>, timeout: Duration, cx: StartContext) -> Result<Launched, Exit> {
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
    Ok(Launched { born: Born::new(cell, join, stop, attachment), ready, admission, deadline })
}

/// In the start's own task: the rest of it. Whether the incarnation became ready comes beside what there is of it.
async fn go_on(stage: Stage, timeout: Duration, cancel: &Cancel) -> (Result<Born, Exit>, bool) {
    let launched = match stage {
        Stage::Launched(launched) => Ok(launched),
        Stage::Launching(mut launch) => {
            let launched = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Exit::Requested),
                launched = launch.as_mut() => launched,
            };
            discard(launch);
            launched
        }
    };
    let Launched { mut born, ready, admission, deadline } = match launched {
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
                () = born.join() => Ok(Err(NotReady)),
                () = sleep_until(deadline) => Err(Exit::StartTimeout { after: timeout }),
            };
            discard(ready);
            outcome.unwrap_or_else(|exit| {
                born.kill_because(exit);
                Err(NotReady)
            })
        }
    };
    discard(admission);
    (Ok(born), ready.is_ok())
}
