//! The one task of an incarnation: from start to gone.
//!
//! It is the only sender of what the engine learns of the incarnation, so that *ready* comes before *ended* by
//! construction (rule S-9), and the only one who stops it. If its engine is dropped (a killed supervisor) it makes an
//! end of the incarnation and holds the supervisor's remains until then (S-21).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ractor::ActorId;
use tokio::{sync::Notify, time::Instant};

use super::{
    engine::Posts,
    machine::Key,
    place::Live,
    policy::Shutdown,
    remains::Gone,
    start::{Admission, NotReady, Start, StartContext, Started, StopRequest},
};
use crate::{
    exit::Exit,
    time::At,
    vocabulary::{Down, State},
};

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

#[derive(Debug)]
struct Shared {
    order: Mutex<Order>,
    given: Notify,
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
    /// Spawns the incarnation's task.
    pub(crate) fn spawn(life: Life) -> Orders {
        let shared = Arc::new(Shared { order: Mutex::new(Order::Live), given: Notify::new() });
        tokio::spawn(life.run(shared.clone()));
        Orders(shared)
    }

    /// Stops the incarnation; may be repeated with a harder mode.
    pub(crate) fn stop(&self, mode: Shutdown) {
        self.give(if mode == Shutdown::BrutalKill { Order::Kill } else { Order::Stop(mode) });
    }

    fn give(&self, order: Order) {
        {
            let mut current = self.0.order.lock().unwrap_or_else(PoisonError::into_inner);
            match (*current, order) {
                (Order::Live, order) | (Order::Stop(_), order @ Order::Kill) => *current = order,
                _ => return,
            }
        }
        self.0.given.notify_one();
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.give(Order::Kill);
    }
}

impl Shared {
    fn order(&self) -> Order {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the order is another than `known`.
    async fn changed(&self, known: Order) -> Order {
        loop {
            let order = self.order();
            if order != known {
                return order;
            }
            self.given.notified().await;
        }
    }
}

/// Everything the task needs.
pub(crate) struct Life {
    pub(crate) key: Key,
    pub(crate) start: Arc<dyn Start>,
    pub(crate) timeout: Duration,
    pub(crate) cx: StartContext,
    pub(crate) gone: Gone,
    pub(crate) posts: Posts,
}

impl Life {
    async fn run(self, orders: Arc<Shared>) {
        let Life { key, start, timeout, cx, gone, posts } = self;
        let place = cx.place.clone();
        let scope = cx.scope.clone();
        let clock = scope.clock;
        // An actor that knows nothing of this crate holds no token: its task does, until it is joined.
        let remains = cx.remains.clone();
        let begin = async {
            let admission = start.admission().await;
            let deadline = Instant::now() + timeout;
            match tokio::time::timeout_at(deadline, start.start(cx)).await {
                Ok(started) => Ok((started?, deadline, admission)),
                Err(_) => Err(Exit::StartTimeout { after: timeout }),
            }
        };
        let outcome = tokio::select! {
            biased;
            _ = orders.changed(Order::Live) => Err(Exit::Requested),
            outcome = begin => outcome,
        };
        drop(start);
        let end = match outcome {
            Err(exit) => End::Exit(exit),
            Ok((started, deadline, admission)) => {
                let actor = started.cell.get_id();
                let born = Born {
                    key: &key,
                    orders: &orders,
                    posts: &posts,
                    place: &place,
                    clock_now: || clock.now(),
                };
                End::Actor(actor, born.live(started, deadline, timeout, admission).await)
            }
        };
        place.retract(key.incarnation);
        drop(remains);
        gone.wait().await;
        let incarnation = key.incarnation;
        if !posts.report(Report::Ended(key, end)) {
            place.record(&scope, incarnation, State::down(Down::Ended));
        }
    }
}

/// An incarnation with an actor.
struct Born<'a, F> {
    key: &'a Key,
    orders: &'a Shared,
    posts: &'a Posts,
    place: &'a super::place::Place,
    clock_now: F,
}

impl<F: Fn() -> At> Born<'_, F> {
    /// From birth to the join of the actor. `Some` if the end has a reason that the actor's own cause does not know.
    async fn live(
        &self,
        started: Started,
        deadline: Instant,
        timeout: Duration,
        admission: Admission,
    ) -> Option<Exit> {
        let Started { cell, mut join, ready, stop, attachment } = started;
        let mut exit = None;
        let ready = match ready {
            None => Ok(()),
            Some(ready) => tokio::select! {
                biased;
                _ = &mut join => return None,
                _ = self.orders.changed(Order::Live) => Err(NotReady),
                ready = tokio::time::timeout_at(deadline, ready) => ready.unwrap_or_else(|_| {
                    exit = Some(Exit::StartTimeout { after: timeout });
                    cell.kill();
                    Err(NotReady)
                }),
            },
        };
        drop(admission);
        if ready.is_ok() {
            let incarnation = self.key.incarnation;
            self.place.publish(Live { incarnation, cell: cell.clone(), attachment });
            self.posts.report(Report::Ready(self.key.clone()));
        }
        let mut order = Order::Live;
        let mut kill_at = None;
        loop {
            tokio::select! {
                biased;
                _ = &mut join => return exit,
                next = self.orders.changed(order) => {
                    order = next;
                    if exit.is_none() {
                        exit = Some(Exit::Requested);
                    }
                    match order {
                        Order::Live => {}
                        Order::Kill => cell.kill(),
                        Order::Stop(mode) => {
                            let patience = match mode {
                                Shutdown::Timeout(time) => Some(time),
                                _ => None,
                            };
                            kill_at = patience.and_then(|time| Instant::now().checked_add(time));
                            let deadline = patience.map(|time| (self.clock_now)().after(time));
                            self.place.retract(self.key.incarnation);
                            stop.ask(&cell, StopRequest { deadline });
                        }
                    }
                }
                () = sleep_until(kill_at) => {
                    kill_at = None;
                    exit = Some(Exit::ActorKilled);
                    cell.kill();
                }
            }
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
