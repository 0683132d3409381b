//! The one task of an incarnation: from start to gone.
//!
//! It is the only sender of what the engine learns of the incarnation, so that *ready* comes before *ended* by
//! construction (rule S-9), and the only one who stops it. If its engine is dropped (a killed supervisor) it makes an
//! end of the incarnation and holds the supervisor's remains until then (S-21).

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use ractor::{ActorCell, ActorId, concurrency::JoinHandle};
use tokio::{task::unconstrained, time::Instant};

use super::{
    engine::Posts,
    machine::Key,
    panics::caught,
    place::{Live, Place},
    policy::Shutdown,
    remains::{Gone, Remains},
    start::{NotReady, Scope, Start, StartContext, Started, StopHandle, StopRequest},
};
use crate::{
    exit::Exit,
    vocabulary::{Down, State},
};

/// Longer start timeouts are cut: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What an incarnation reports.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is ready.
    Ready(Key),
    /// It is gone.
    Ended(Key, End),
}

/// How it ended, as far as its task can know.
#[derive(Debug)]
pub(crate) enum End {
    /// For this reason.
    Exit(Exit),
    /// The cause is in the supervision event of this actor, unless it was asked to end: then it is the exit.
    Actor(ActorId, Option<Exit>),
}

/// The engine's side of an incarnation; dropping it makes an end of the incarnation.
#[derive(Debug)]
pub(crate) struct Orders(Arc<Shared>);

/// The order, and who is to hear of another one: the incarnation's task, and nobody else. (A `Notify` would do, but a
/// future that waits for one is four times as large as all that an idle incarnation needs.)
#[derive(Debug)]
struct Shared(Mutex<Given>);

#[derive(Debug)]
struct Given {
    order: Order,
    task: Option<Waker>,
}

/// Orders only ever get harder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Live,
    /// Ask, and kill when the time is over.
    Stop(Shutdown),
    Kill,
}

impl Orders {
    /// Begins the incarnation, and spawns its task.
    pub(crate) fn begin(life: Life) -> Orders {
        let shared = Arc::new(Shared(Mutex::new(Given { order: Order::Live, task: None })));
        life.begin_here(shared.clone());
        Orders(shared)
    }

    /// Stops the incarnation; may be repeated with a harder mode.
    pub(crate) fn stop(&self, mode: Shutdown) {
        self.give(if mode == Shutdown::BrutalKill { Order::Kill } else { Order::Stop(mode) });
    }

    fn give(&self, order: Order) {
        let task = {
            let mut given = self.0.lock();
            match (given.order, order) {
                (Order::Live, order) | (Order::Stop(_), order @ Order::Kill) => given.order = order,
                _ => return,
            }
            given.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.give(Order::Kill);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the order is another than `known`.
    async fn changed(&self, known: Order) -> Order {
        poll_fn(|cx| self.poll_changed(known, cx)).await
    }

    fn poll_changed(&self, known: Order, cx: &mut Context<'_>) -> Poll<Order> {
        let mut given = self.lock();
        if given.order != known {
            return Poll::Ready(given.order);
        }
        match &mut given.task {
            Some(task) => task.clone_from(cx.waker()),
            task => *task = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// Everything the task needs.
pub(crate) struct Life {
    pub(crate) key: Key,
    pub(crate) start: Arc<dyn Start>,
    pub(crate) timeout: Duration,
    pub(crate) cx: StartContext,
    pub(crate) gone: Gone,
    /// The supervisor's token: its successor must not begin before this end is on the board.
    pub(crate) supervisor: Remains,
    pub(crate) posts: Posts,
}

impl Life {
    /// From start to gone.
    ///
    /// The start is polled once here, in the supervisor's own task: a start that does not wait for anything costs no
    /// switch between the two tasks, and with most actors it does not. All that follows happens in a task of its own.
    fn begin_here(self, orders: Arc<Shared>) {
        let mut beginning = Box::pin(self.begin(orders));
        // The supervisor's budget is not the start's. The task polls again, and leaves a waker of its own.
        let first = pin!(unconstrained(beginning.as_mut())).poll(&mut Context::from_waker(Waker::noop()));
        let beginning = match first {
            Poll::Ready(begun) => Beginning::Over(begun),
            Poll::Pending => Beginning::Pending(beginning),
        };
        tokio::spawn(Life::run(beginning));
    }

    /// The long wait in the middle is what a hundred thousand idle children cost: what it does not need is boxed, and
    /// gone by then or not there yet.
    async fn run(beginning: Beginning<impl Future<Output = Begun> + Send>) {
        let mut begun = match beginning {
            Beginning::Over(begun) => begun,
            Beginning::Pending(pending) => pending.await,
        };
        let order = match &mut begun.1 {
            Ok(born) => born.wait(&begun.0).await,
            Err(_) => None,
        };
        Box::pin(Life::end(*begun, order)).await;
    }

    async fn end((tail, born): (Tail, Result<Born, Exit>), order: Option<Order>) {
        let end = match born {
            Err(exit) => End::Exit(exit),
            Ok(mut born) => {
                let exit = match order {
                    None => None,
                    Some(order) => born.stop(&tail, order).await,
                };
                End::Actor(born.cell.get_id(), born.exit.map(|exit| *exit).or(exit))
            }
        };
        tail.conclude(end).await;
    }

    /// The start, until the incarnation is ready or is not going to be.
    async fn begin(self, orders: Arc<Shared>) -> Begun {
        let Life { key, start, timeout, cx, gone, supervisor, posts } = self;
        let tail = Tail {
            key,
            orders,
            posts,
            place: cx.place.clone(),
            scope: cx.scope.clone(),
            // An actor that knows nothing of this crate holds no token: its task does, until it is joined.
            remains: cx.remains.clone(),
            gone,
            supervisor,
        };
        let begin = async {
            let admission = match start.admission() {
                Some(admission) => Some(admission.await),
                None => None,
            };
            let deadline = Instant::now() + timeout.min(FAR);
            match tokio::time::timeout_at(deadline, start.start(cx)).await {
                Ok(started) => Ok((started?, deadline, admission)),
                Err(_) => Err(Exit::StartTimeout { after: timeout }),
            }
        };
        let outcome = tokio::select! {
            biased;
            _ = tail.orders.changed(Order::Live) => Err(Exit::Requested),
            outcome = caught("the start", begin) => outcome.and_then(|begun| begun),
        };
        let (started, deadline, admission) = match outcome {
            Ok(started) => started,
            Err(exit) => return Box::new((tail, Err(exit))),
        };
        let Started { cell, join, ready, stop, attachment } = started;
        let mut born = Born { cell, join, stop, joined: false, exit: None };
        let ready = match ready {
            None => Ok(()),
            Some(ready) => tokio::select! {
                biased;
                _ = &mut born.join => {
                    born.joined = true;
                    Err(NotReady)
                }
                _ = tail.orders.changed(Order::Live) => Err(NotReady),
                ready = tokio::time::timeout_at(deadline, caught("the start's readiness", ready)) => {
                    let timeout = Err(Exit::StartTimeout { after: timeout });
                    ready.unwrap_or(timeout).unwrap_or_else(|exit| {
                        born.exit = Some(Box::new(exit));
                        born.cell.kill();
                        Err(NotReady)
                    })
                }
            },
        };
        drop(admission);
        if ready.is_ok() {
            let incarnation = tail.key.incarnation;
            tail.place.publish(Live { incarnation, cell: born.cell.clone(), attachment });
            tail.posts.report(Report::Ready(tail.key.clone()));
        }
        Box::new((tail, Ok(born)))
    }
}

/// What became of the start.
type Begun = Box<(Tail, Result<Born, Exit>)>;

/// How far the start came at once.
enum Beginning<F> {
    Over(Begun),
    Pending(Pin<Box<F>>),
}

/// What an incarnation keeps from its start to its end.
struct Tail {
    key: Key,
    orders: Arc<Shared>,
    posts: Posts,
    place: Place,
    scope: Scope,
    remains: Remains,
    gone: Gone,
    supervisor: Remains,
}

impl Tail {
    /// The actor is joined, or never was: waits until nothing of the incarnation is left, and says so.
    async fn conclude(self, end: End) {
        let Tail { key, orders: _, posts, place, scope, remains, gone, supervisor } = self;
        let incarnation = key.incarnation;
        place.retract(incarnation);
        drop(remains);
        gone.wait().await;
        if !posts.report(Report::Ended(key, end)) {
            place.record(&scope, incarnation, State::down(Down::Ended));
        }
        drop(supervisor);
    }
}

/// An incarnation with an actor.
struct Born {
    cell: ActorCell,
    join: JoinHandle<()>,
    stop: StopHandle,
    joined: bool,
    /// The end has a reason that the actor's own cause does not know.
    exit: Option<Box<Exit>>,
}

impl Born {
    /// Until the actor ends by itself, or an order comes, which is returned.
    async fn wait(&mut self, tail: &Tail) -> Option<Order> {
        if self.joined {
            return None;
        }
        poll_fn(|cx| match Pin::new(&mut self.join).poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => tail.orders.poll_changed(Order::Live, cx).map(Some),
        })
        .await
    }

    /// Carries an order out, and harder ones that follow, until the actor is joined.
    async fn stop(&mut self, tail: &Tail, mut order: Order) -> Option<Exit> {
        let mut exit = Some(Exit::Requested);
        let mut kill_at = self.obey(tail, order);
        loop {
            tokio::select! {
                biased;
                _ = &mut self.join => return exit,
                next = tail.orders.changed(order) => {
                    order = next;
                    kill_at = self.obey(tail, order);
                }
                () = sleep_until(kill_at) => {
                    kill_at = None;
                    exit = Some(Exit::ActorKilled);
                    self.cell.kill();
                }
            }
        }
    }

    /// Does what is ordered, and says when patience ends.
    fn obey(&self, tail: &Tail, order: Order) -> Option<Instant> {
        // From here on nobody reaches it.
        tail.place.retract(tail.key.incarnation);
        let mode = match order {
            Order::Live => return None,
            Order::Kill => {
                self.cell.kill();
                return None;
            }
            Order::Stop(mode) => mode,
        };
        let patience = match mode {
            Shutdown::Timeout(time) => Some(time),
            _ => None,
        };
        let deadline = patience.map(|time| tail.scope.clock().now().after(time));
        self.stop.ask(&self.cell, StopRequest { deadline });
        patience.and_then(|time| Instant::now().checked_add(time))
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
