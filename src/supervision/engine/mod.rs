//! The engine: performs what the [`Machine`] decides, inside a supervisor actor.
//!
//! Every supervisor of the crate is a thin ractor actor around one engine. The engine owns the machine, the children's
//! start functions and places, their incarnation tasks, and a channel of its own on which results and requests arrive.
//! A message in the actor's mailbox merely announces them: a stopping ractor actor refuses every message to itself, so
//! an engine that relied on its mailbox would be deaf in `post_stop`.

mod args;
mod handle;
mod perform;

use std::{
    collections::HashMap,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

pub use args::{EngineArgs, Observer};
pub(crate) use handle::{EngineHandle, Posts};
pub use handle::{EngineMessage, Which};
use handle::{Operator, Post};
use ractor::{ActorCell, ActorId, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};

use super::{
    errors::{RequestError, SpecErrors},
    incarnation::{End, Orders, Report},
    machine::{Action, Answer, Count, Input, Key, Machine, NewChild, Request, RequestId},
    meeting::Meeting,
    place::Place,
    remains::Remains,
    spec::{ChildSpec, SupervisorSpec},
    start::{Scope, Start},
    timers::Timers,
};
use crate::{
    exit::Exit,
    foreign::shown,
    id::{ChildId, IdMap, Incarnation},
    time::At,
    vocabulary::{Down, State},
};

/// How many children are named that had to be killed at the deadline of a stop.
const SHOWN_LATE: usize = 20;

struct Entry {
    start: Arc<dyn Start>,
    place: Place,
    life: Option<(Incarnation, Orders)>,
}

/// See the module's documentation.
pub struct Engine {
    machine: Machine,
    entries: IdMap<Entry>,
    me: ActorCell,
    place: Place,
    remains: Remains,
    scope: Scope,
    posts: Posts,
    rx: mpsc::UnboundedReceiver<Post>,
    timers: Timers,
    /// Alarms beside the timers'; they end with the engine.
    alarms: tokio::task::JoinSet<()>,
    meeting: Meeting,
    /// The actor is in its `post_stop`.
    draining: bool,
    replies: HashMap<RequestId, oneshot::Sender<Result<Answer, RequestError>>>,
    next_request: u64,
    ready: Option<oneshot::Sender<()>>,
    report: Option<oneshot::Sender<Exit>>,
    observer: Option<Observer>,
    deadline: Option<At>,
    exit: Option<Exit>,
    actions: Vec<Action>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("place", &self.place)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine for the actor `me`, which is reached by `poke`.
    pub fn new(
        args: EngineArgs,
        me: ActorCell,
        poke: impl Fn(EngineMessage) -> bool + Send + Sync + 'static,
    ) -> Engine {
        let EngineArgs { spec, place, remains, scope, ready, exit: report, observer } = args;
        let (posts, rx) = Posts::new(Box::new(poke));
        let SupervisorSpec { flags, children } = spec;
        let mut engine = Engine {
            machine: Machine::new(flags, []),
            entries: IdMap::with_capacity_and_hasher(children.len(), Default::default()),
            me,
            place,
            remains,
            scope,
            posts,
            rx,
            timers: Timers::default(),
            alarms: tokio::task::JoinSet::new(),
            meeting: Meeting::default(),
            draining: false,
            replies: HashMap::new(),
            next_request: 0,
            ready,
            report,
            observer,
            deadline: None,
            exit: None,
            actions: Vec::new(),
        };
        let flags = engine.machine.flags().clone();
        // Children that were added at run time do not outlive their supervisor's incarnation (as OTP).
        let declared: std::collections::HashSet<&ChildId> = children.iter().map(|spec| &spec.id).collect();
        engine.place.release_unless(|id| declared.contains(id));
        engine.place.reserve(children.len());
        let news: Vec<NewChild> = children.into_iter().map(|spec| engine.adopt(spec)).collect();
        engine.machine = Machine::new(flags, news);
        engine.refresh_budget();
        engine.place.set_engine(Some(Arc::new(EngineHandle::new(engine.posts.clone()))));
        engine
    }

    /// Starts the children. To be called once the actor is linked.
    pub fn boot(&mut self) {
        self.own_state(State::Starting);
        self.input(Input::Boot);
    }

    /// Stops all children in order; the engine's exit is there when none is left.
    pub fn stop(&mut self, request: super::start::StopRequest) {
        self.shutdown(request.deadline, false);
    }

    /// Adds a child for the host of this engine itself. What becomes of it, a refusal excepted, is seen by the observer.
    pub fn add(&mut self, spec: ChildSpec) {
        self.operator(Operator::Start(spec), oneshot::channel().0);
    }

    /// Stops and removes a child for the host of this engine itself.
    pub fn remove(&mut self, id: ChildId) {
        self.operator(Operator::Plain(Request::RemoveChild(id)), oneshot::channel().0);
    }

    /// Whether the supervisor stops or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.machine.is_stopping()
    }

    /// The supervisor's own place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The children in start order.
    pub fn which(&self) -> Vec<Which> {
        let which = |c: super::machine::ChildView<'_>| Which {
            id: c.id.clone(),
            kind: c.policy.kind,
            state: c.state.clone(),
            incarnation: c.incarnation,
        };
        self.machine.children().map(which).collect()
    }

    /// How many children there are.
    pub fn count(&self) -> Count {
        self.machine.count()
    }

    fn child_spec(&self, id: ChildId) -> Result<ChildSpec, RequestError> {
        match (self.machine.child(&id), self.entries.get(&id)) {
            (Some(child), Some(entry)) => {
                Ok(ChildSpec { policy: Arc::new(child.policy.clone()), start: entry.start.clone(), id })
            }
            _ => Err(RequestError::NotFound(id)),
        }
    }

    /// Handles an [`EngineMessage`].
    pub fn message(&mut self, message: EngineMessage) {
        match message {
            EngineMessage::Poke => self.pump(),
        }
    }

    /// Handles a supervision event of ractor.
    pub fn supervision_event(&mut self, event: SupervisionEvent) {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                // An actor's typed error is its exit; everything else, panics included, is a failure with a text.
                let exit = match error.downcast::<Exit>() {
                    Ok(exit) => *exit,
                    Err(error) => Exit::from_error(&*error),
                };
                self.cause(cell.get_id(), exit);
            }
            SupervisionEvent::ActorTerminated(cell, _state, reason) => {
                // S-25: a kill and an aborted task are told by ractor's words for them only.
                let exit = match reason.as_deref() {
                    Some("killed" | "actor_task_cancelled") => Exit::ActorKilled,
                    _ => Exit::ActorStopped { reason },
                };
                self.cause(cell.get_id(), exit);
            }
            _ => {}
        }
    }

    fn cause(&mut self, actor: ActorId, exit: Exit) {
        if let Some((key, exit)) = self.meeting.cause(actor, exit) {
            self.input(Input::Ended(key, exit));
        }
    }

    /// How the supervisor ends, once no child is left. The actor then stops, or returns this as its error.
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    /// Stops all children in order and returns when none is left: for an actor that was stopped by ractor's own `stop`
    /// and is in its `post_stop`, where it takes no messages any more.
    pub async fn drain(&mut self) {
        if self.exit.is_some() {
            return;
        }
        self.draining = true;
        self.judge_overdue();
        self.input(Input::Shutdown);
        while self.exit.is_none() {
            self.posts.announce(false);
            let Some(post) = self.rx.recv().await else { return };
            self.post(post);
        }
    }

    /// Reads the channel: also what is put there meanwhile, for starts that wait for nothing report at once. A few only:
    /// other messages get their turn, and other tasks (tokio lets an actor take 128 messages in a row).
    fn pump(&mut self) {
        const TURN: usize = 8;
        self.posts.announce(false);
        for _ in 0..TURN {
            if self.exit.is_some() {
                break;
            }
            let Ok(post) = self.rx.try_recv() else { break };
            self.post(post);
        }
        self.posts.announce(true);
        if !self.rx.is_empty() {
            self.posts.poke();
        }
    }

    fn post(&mut self, post: Post) {
        match post {
            Post::Report(Report::Ready(key)) => self.input(Input::Ready(key)),
            Post::Report(Report::Ended(key, end)) => self.ended(key, end),
            Post::Alarm => {
                let now = self.scope.clock().now();
                while let Some(timer) = self.timers.pop(now) {
                    self.input(Input::Fired(timer));
                }
                self.timers.rearm(self.scope.clock(), &self.posts);
                self.judge_overdue();
                if self.deadline.is_some_and(|deadline| deadline <= now) {
                    self.deadline = None;
                    self.report_late();
                    self.input(Input::Kill);
                }
            }
            Post::Operator(operator, reply) => self.operator(*operator, reply),
            Post::Shutdown { deadline, kill } => self.shutdown(deadline, kill),
            Post::Count(reply) => {
                let _ = reply.send(self.count());
            }
            Post::Which(reply) => {
                let _ = reply.send(self.which());
            }
            Post::Spec(id, reply) => {
                let _ = reply.send(self.child_spec(id));
            }
            Post::SetPolicy(id, policy, reply) => {
                let mut errors = Vec::new();
                policy.check(id.as_str(), self.machine.flags(), &mut errors);
                let _ = reply.send(match SpecErrors::check(errors) {
                    Err(errors) => Err(errors.into()),
                    Ok(()) => self.machine.set_policy(&id, Arc::new(*policy)),
                });
            }
        }
    }

    /// What has not ended in the time of the stop is killed: somebody should know what it was.
    fn report_late(&self) {
        let living = |(id, entry): (&ChildId, &Entry)| {
            entry.life.is_some().then(|| format!("`{}`", shown(id.as_str())))
        };
        let mut late: Vec<String> = self.entries.iter().filter_map(living).collect();
        late.sort();
        let more = late.len().saturating_sub(SHOWN_LATE);
        late.truncate(SHOWN_LATE);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (path, late) = (self.place.path().as_str(), late.join(", "));
        tracing::warn!(target: "procession", path, "the deadline of the stop has passed: killing {late}{more}");
    }

    fn shutdown(&mut self, deadline: Option<At>, kill: bool) {
        if let Some(at) = deadline {
            self.set_deadline(at);
        }
        self.input(if kill { Input::Kill } else { Input::Shutdown });
    }

    /// An incarnation is gone. What it was asked to do is known; else the cause must be there before it is judged.
    fn ended(&mut self, key: Key, end: End) {
        if let Some(entry) = self.entries.get_mut(&key.child)
            && entry.life.as_ref().is_some_and(|(incarnation, _)| *incarnation == key.incarnation)
        {
            entry.life = None;
        }
        let judged = match end {
            End::Exit(exit) => Some((key, exit)),
            // In `post_stop`, where no events come any more, everything is being stopped anyway.
            End::Actor(_, asked) if self.draining => Some((key, asked.unwrap_or(Exit::Requested))),
            End::Actor(actor, asked) => {
                let first = self.meeting.oldest().is_none();
                let now = self.scope.clock().now();
                let judged = self.meeting.end(now, actor, key, asked);
                if judged.is_none() && first {
                    self.alarm_at(now.after(Meeting::OVERDUE));
                }
                judged
            }
        };
        if let Some((key, exit)) = judged {
            self.input(Input::Ended(key, exit));
        }
    }

    /// Judges ends whose cause has not come in time.
    fn judge_overdue(&mut self) {
        let now = self.scope.clock().now();
        let patience = if self.draining { std::time::Duration::ZERO } else { Meeting::OVERDUE };
        let Some(since) = now.since_epoch().checked_sub(patience) else { return };
        while let Some((key, asked)) = self.meeting.overdue(At::new(since)) {
            let chain = || vec!["the actor ended without telling its supervisor why".into()];
            self.input(Input::Ended(key, asked.unwrap_or_else(|| Exit::ActorFailed { chain: chain() })));
        }
        if let Some(oldest) = self.meeting.oldest() {
            self.alarm_at(oldest.after(Meeting::OVERDUE));
        }
    }

    fn alarm_at(&mut self, at: At) {
        let (posts, clock) = (self.posts.clone(), self.scope.clock());
        while self.alarms.try_join_next().is_some() {}
        self.alarms.spawn(async move {
            tokio::time::sleep_until(clock.instant(at)).await;
            posts.alarm();
        });
    }

    fn operator(&mut self, operator: Operator, reply: oneshot::Sender<Result<Answer, RequestError>>) {
        let request = match operator {
            Operator::Plain(request) => request,
            Operator::Start(spec) => {
                if self.machine.is_stopping() {
                    let _ = reply.send(Err(RequestError::ShuttingDown));
                    return;
                }
                if let Err(errors) = self.check(&spec) {
                    let _ = reply.send(Err(errors.into()));
                    return;
                }
                let refused = self.machine.child(&spec.id).is_some() || self.is_full();
                // The machine refuses it and names the reason; nothing must be adopted for it then.
                let new = if refused { new_child(&spec, None, 0) } else { self.adopt(spec) };
                Request::StartChild(new)
            }
            Operator::Reload(spec) => {
                if let Err(errors) = self.check(&spec) {
                    let _ = reply.send(Err(errors.into()));
                    return;
                }
                let policy = spec.policy.clone();
                let id = spec.id.clone();
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.start = spec.start;
                }
                Request::Reload(id, policy)
            }
        };
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.replies.insert(id, reply);
        self.input(Input::Request(id, request));
    }

    fn check(&self, spec: &ChildSpec) -> Result<(), SpecErrors> {
        let mut errors = Vec::new();
        spec.policy.check(spec.id.as_str(), self.machine.flags(), &mut errors);
        spec.check_start(&mut errors);
        SpecErrors::check(errors)
    }

    fn is_full(&self) -> bool {
        self.machine.flags().max_children.is_some_and(|max| self.entries.len() >= max)
    }

    /// Takes a child's start and claims its place.
    fn adopt(&mut self, spec: ChildSpec) -> NewChild {
        let place = self.place.claim(&spec.id, spec.policy.kind);
        place.adopted();
        spec.start.adopted(&place);
        let new = new_child(&spec, Some(&place), self.scope.seed(place.path()));
        self.entries.insert(spec.id, Entry { start: spec.start, place, life: None });
        new
    }

    fn input(&mut self, input: Input) {
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(self.scope.clock().now(), input, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
    }
}

impl Drop for Engine {
    /// If the supervisor was killed, its children's tasks make an end of them now: each loses its `Orders`. The board
    /// is told here and by those tasks, since there is no engine any more to hear of their ends.
    fn drop(&mut self) {
        self.place.set_engine(None);
        if self.exit.is_some() {
            return;
        }
        for child in self.machine.children() {
            let Some(entry) = self.entries.get(child.id) else { continue };
            let to = match child.state {
                State::Down { .. } => continue,
                // Its end has come, and waits for its cause.
                State::Starting | State::Ready | State::Stopping if entry.life.is_none() => {
                    State::down(Down::Ended)
                }
                State::Stopping => continue,
                State::Starting | State::Ready => State::Stopping,
                _ => State::down(Down::Ended),
            };
            entry.place.retract(child.incarnation);
            entry.place.record(&self.scope, child.incarnation, to);
        }
        self.rx.close();
        // `try_recv` would overlook a report whose sender is still at it; `recv` ends when there is none.
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let post = match pin!(tokio::task::unconstrained(self.rx.recv())).poll(&mut cx) {
                Poll::Ready(Some(post)) => post,
                Poll::Ready(None) => break,
                Poll::Pending => {
                    std::thread::yield_now();
                    continue;
                }
            };
            if let Post::Report(Report::Ended(key, _)) = post
                && let Some(entry) = self.entries.get(&key.child)
            {
                entry.place.record(&self.scope, key.incarnation, State::down(Down::Ended));
            }
        }
    }
}

fn new_child(spec: &ChildSpec, place: Option<&Place>, seed: u64) -> NewChild {
    NewChild {
        id: spec.id.clone(),
        policy: spec.policy.clone(),
        last_incarnation: place.map(Place::incarnation).unwrap_or_default(),
        held: place.is_some_and(Place::held),
        proven: place.is_some_and(Place::has_been_ready),
        seed,
    }
}
