//! The engine: performs what the [`Machine`] decides, inside a supervisor actor.
//!
//! Every supervisor of the crate is a thin ractor actor around one engine. The engine owns the
//! machine, the children's starts, nodes and incarnations, and a channel of its own, the inbox, on
//! which child wakers and requests arrive. A message in the actor's mailbox merely announces that
//! the inbox is not empty. A stopping ractor actor refuses every message to itself, so an engine
//! that relied on its mailbox would receive nothing in `post_stop`.
//!
//! | file | what |
//! |---|---|
//! | `args` | what an engine is given |
//! | `perform` | carries out what the machine decides |
//! | `children` | the table of children |
//! | `changeable_start` | how a child is started, and changes of that |
//! | `incarnation_lifecycle` | incarnations: started, told to stop, checked, judged |
//! | `operator` | requests, and how children are added |
//! | `inbox`, `handle` | the channel, and how operators reach it |
//! | `starting`, `cancel` | the start of an incarnation, and how it is cancelled |
//! | `incarnation_entry`, `running_actor` | an incarnation while the engine keeps it, and its actor |
//! | `child_waker` | wakes the engine when a child's incarnation may have ended |
//! | `exit_cause_matcher` | joins the cause of an exit with its end |
//! | `incarnation_cleanup` | ends what remains of an incarnation when its engine is gone |
//! | `timers` | the machine's timers, and the one task that sleeps for them |

mod args;
mod cancel;
mod changeable_start;
mod child_waker;
mod children;
mod exit_cause_matcher;
mod handle;
mod inbox;
mod incarnation_cleanup;
mod incarnation_entry;
mod incarnation_lifecycle;
mod operator;
mod perform;
mod running_actor;
mod starting;
mod timers;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

pub(crate) use args::{EngineArgs, Observer};
use children::{ChildIndex, EngineChildren};
use exit_cause_matcher::ExitCauseMatcher;
pub(crate) use handle::EngineHandle;
pub(crate) use inbox::EngineWakeUp;
use inbox::{InboxMessage, InboxSender, OperatorRequest};
use ractor::{ActorCell, ActorId, SupervisionEvent};
use timers::{TimerTask, Timers};
use tokio::sync::{mpsc, oneshot};

use super::{
    child_info::{ChildCounts, ChildInfo},
    incarnation_wait_group::IncarnationWaitGroup,
    machine::{
        Action, DefinitionChange, Input, Machine, NewChild, OperatorRequestId, ReloadWhen, ReplyResult,
        Request,
    },
    node::{Node, RestartsUsed},
    panics::catch_panic,
    spec::{ChildSpec, SupervisorSpec},
    tree_context::TreeContext,
};
use crate::{
    clock::TreeInstant,
    event::StartReason,
    exit::Exit,
    id::{ChildId, Incarnation},
    log_event_macro::log_event,
    state::{ChildState, DownReason},
    untrusted::{into_one_line, one_line},
};

/// How many of the children that had to be killed at the deadline of a stop are named in the log.
const MAX_LATE_NAMES: usize = 20;

/// See the module's documentation.
pub(crate) struct Engine {
    machine: Machine,
    children: EngineChildren,
    me: ActorCell,
    node: Node,
    /// `None` once the supervisor has exited.
    wait_group: Option<IncarnationWaitGroup>,
    tree: TreeContext,
    inbox: InboxSender,
    rx: mpsc::UnboundedReceiver<InboxMessage>,
    timers: Timers,
    /// When incarnations that were asked to stop are killed.
    stop_deadlines: BTreeSet<(TreeInstant, ChildIndex, Incarnation)>,
    timer_task: TimerTask,
    matcher: ExitCauseMatcher,
    /// Inputs caused by earlier actions, in order. They wait until the current input has been
    /// processed.
    pending: VecDeque<Input>,
    /// The actor is in its `post_stop`.
    draining: bool,
    /// Requests without a reply so far, each with the node of the child that it concerns.
    replies: HashMap<OperatorRequestId, (oneshot::Sender<ReplyResult>, Option<Node>)>,
    /// Replies to be sent once the current input has been processed.
    due_replies: Vec<(oneshot::Sender<ReplyResult>, Option<Node>, ReplyResult)>,
    next_request: u64,
    ready: Option<oneshot::Sender<()>>,
    report: Option<oneshot::Sender<Exit>>,
    observer: Option<Observer>,
    deadline: Option<TreeInstant>,
    exit: Option<Exit>,
    actions: Vec<Action>,
    /// When the current input arrived: all its effects happen at that time. (Reading the clock is
    /// not free.)
    input_time: TreeInstant,
    /// Restarts that the node status already contains.
    restarts_written: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("place", &self.node)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Creates an engine for the actor `me`. `wake_actor` sends that actor a message.
    pub(crate) fn new(
        args: EngineArgs,
        me: ActorCell,
        wake_actor: impl Fn(EngineWakeUp) -> bool + Send + Sync + 'static,
    ) -> Engine {
        let EngineArgs { spec, node, wait_group, tree, ready, exit: report, observer } = args;
        let (inbox, rx) = InboxSender::new(Box::new(wake_actor));
        let SupervisorSpec { flags, children } = spec;
        let mut engine = Engine {
            machine: Machine::new(flags, []),
            children: EngineChildren::default(),
            me,
            node,
            wait_group: Some(wait_group),
            tree,
            inbox,
            rx,
            timers: Timers::default(),
            stop_deadlines: BTreeSet::new(),
            timer_task: TimerTask::default(),
            matcher: ExitCauseMatcher::default(),
            pending: VecDeque::new(),
            draining: false,
            replies: HashMap::new(),
            due_replies: Vec::new(),
            next_request: 0,
            ready,
            report,
            observer,
            deadline: None,
            exit: None,
            actions: Vec::new(),
            input_time: TreeInstant::EPOCH,
            restarts_written: 0,
        };
        let flags = engine.machine.flags().clone();
        // Children that were added at run time do not outlive their supervisor's incarnation (as OTP).
        if engine.node.has_children() {
            let declared: HashSet<&ChildId> = children.iter().map(|spec| &spec.id).collect();
            engine.node.retain_children(|id| declared.contains(id));
        }
        engine.node.reserve(children.len());
        engine.children.reserve(children.len());
        let news: Vec<NewChild> = children.into_iter().map(|spec| engine.adopt(spec)).collect();
        engine.machine = Machine::new(flags, news);
        let flags = engine.machine.flags();
        engine.node.set_restarts_used(RestartsUsed::new(flags.strategy, flags.effective_intensity()));
        engine.node.set_engine(Some(Arc::new(EngineHandle::new(engine.inbox.clone()))));
        engine
    }

    /// Starts the children. Call it once the actor is linked.
    pub(crate) fn boot(&mut self) {
        self.write_own_state(ChildState::Starting);
        self.input(Input::Boot);
        self.run_pending();
    }

    /// Stops all children in order. [`exit`](Engine::exit) is set when none is left.
    pub(crate) fn stop(&mut self, request: super::start::StopRequest) {
        self.shutdown(request.deadline, false);
        self.run_pending();
    }

    /// Adds a child on behalf of the actor around this engine. Its progress is reported to the
    /// observer; a refusal is not.
    pub(crate) fn add(&mut self, spec: ChildSpec) {
        self.operator(OperatorRequest::Start(spec), oneshot::channel().0);
        self.run_pending();
    }

    /// Stops and removes a child on behalf of the actor around this engine.
    pub(crate) fn remove(&mut self, id: ChildId) {
        self.operator(OperatorRequest::Plain(Request::RemoveChild(id)), oneshot::channel().0);
        self.run_pending();
    }

    /// Reloads of the children are no swaps from now on, except by [`swap`](Engine::swap).
    pub(crate) fn forbid_swaps(&mut self) {
        self.machine.set_may_swap(false);
    }

    /// Replaces the live incarnation of a child by one of the same definition, on behalf of the actor
    /// around this engine. It is a swap if the policy of the child allows that.
    pub(crate) fn swap(&mut self, id: ChildId, reason: StartReason) {
        let recycle = Request::Reload(id, DefinitionChange::None(reason), ReloadWhen::Now);
        self.machine.set_may_swap(true);
        self.operator(OperatorRequest::Plain(recycle), oneshot::channel().0);
        self.machine.set_may_swap(false);
        self.run_pending();
    }

    /// Whether a child has a second incarnation.
    pub(crate) fn has_second(&self, id: &ChildId) -> bool {
        self.machine.child(id).is_some_and(|child| child.second.is_some())
    }

    /// Whether the supervisor is stopping or has stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.machine.is_stopping()
    }

    /// The supervisor's own node.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The children in start order.
    pub(crate) fn which_children(&self) -> Vec<ChildInfo> {
        let which = |c: super::machine::ChildView<'_>| ChildInfo {
            id: c.id.clone(),
            kind: c.policy.kind,
            state: c.state.clone(),
            incarnation: c.incarnation,
        };
        self.machine.children().map(which).collect()
    }

    /// How many children there are.
    pub(crate) fn count(&self) -> ChildCounts {
        self.machine.count()
    }

    /// Handles an [`EngineWakeUp`].
    pub(crate) fn message(&mut self, _: EngineWakeUp) {
        self.pump();
    }

    /// Handles a supervision event of ractor.
    pub(crate) fn supervision_event(&mut self, event: SupervisionEvent) {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                // An actor's typed error is its exit; everything else, panics included, is a failure with a
                // text.
                let exit = match error.downcast::<Exit>() {
                    Ok(exit) => *exit,
                    // Its text and its destructor are code of the user, which may panic.
                    Err(error) => catch_panic("the actor's error", move || Exit::from_error(&*error))
                        .unwrap_or_else(|panicked| panicked),
                };
                self.cause(cell.get_id(), exit);
            }
            SupervisionEvent::ActorTerminated(cell, state, reason) => {
                // The successor may be waiting for nothing but this cause, so whatever the state
                // holds must be free by then.
                if let Err(panicked) = catch_panic("the drop of the actor's state", move || drop(state)) {
                    log_event!(warn, self.node.path(), self.node.incarnation(), "{panicked}");
                }
                // S-25: ractor reports a kill and an aborted task only by these words.
                let exit = match reason.as_deref() {
                    Some("killed" | "actor_task_cancelled") => Exit::ActorKilled,
                    _ => Exit::ActorStopped { reason: reason.map(into_one_line) },
                };
                self.cause(cell.get_id(), exit);
            }
            _ => {}
        }
    }

    fn cause(&mut self, actor: ActorId, exit: Exit) {
        if let Some((key, exit)) = self.matcher.cause(actor, exit) {
            self.pending.push_back(Input::Ended(key, exit));
            self.run_pending();
        }
    }

    /// How the supervisor exits, once no child is left. The actor then stops, or returns this as
    /// its error.
    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    /// Stops all children in order and returns when none is left. For an actor that was stopped by
    /// ractor's own `stop` and is in its `post_stop`, where it receives no messages.
    ///
    /// It receives no supervision events there either: ractor keeps them unread, along with the
    /// last states of actors that have ended and any wait groups in them. Therefore the children are
    /// unlinked, and their events are discarded.
    pub(crate) async fn drain(&mut self) {
        if self.exit.is_some() {
            return;
        }
        self.draining = true;
        for index in self.children.occupied() {
            let Some(entry) = self.children.at(index) else { continue };
            entry.incarnations.iter().for_each(|incarnation| incarnation.unlink(&self.me));
            // Its end may be an unread event in the mailbox, and then nothing would wake this child.
            self.check_incarnations(index);
        }
        self.inbox.wake_on_send(false);
        // This comes first: an end that still waits for its cause must not be judged as a crash and
        // answered with a restart.
        self.input(Input::Shutdown);
        self.judge_overdue();
        while self.exit.is_none() {
            if let Some(input) = self.pending.pop_front() {
                self.input(input);
                continue;
            }
            let Some(message) = self.rx.recv().await else { return };
            self.receive(message);
        }
    }

    /// Reads the inbox, including what arrives meanwhile.
    fn pump(&mut self) {
        self.inbox.wake_on_send(false);
        self.run_pending_with(|engine| {
            let Ok(message) = engine.rx.try_recv() else { return false };
            engine.receive(message);
            true
        });
        self.inbox.wake_on_send(true);
        if !(self.rx.is_empty() && self.pending.is_empty()) {
            self.inbox.wake_actor();
        }
    }

    /// Processes pending inputs, including those that they cause.
    fn run_pending(&mut self) {
        self.run_pending_with(|_| false);
        if !self.pending.is_empty() {
            self.inbox.wake_actor();
        }
    }

    /// Alternates between pending inputs and new messages, so that neither waits for the other,
    /// until both are exhausted. It stops after a few turns so that other messages and other tasks
    /// get theirs (tokio lets an actor take 128 messages in a row).
    fn run_pending_with(&mut self, comes_in: impl Fn(&mut Engine) -> bool) {
        const TURN: usize = 8;
        for _ in 0..TURN {
            let more = self.exit.is_none() && comes_in(self);
            match self.pending.pop_front() {
                Some(input) if self.exit.is_none() => self.input(input),
                None if more => {}
                _ => return,
            }
        }
    }

    fn receive(&mut self, message: InboxMessage) {
        match message {
            InboxMessage::Check(index) => self.check_incarnations(index),
            InboxMessage::Failing(key) => self.input(Input::Failing(key)),
            InboxMessage::StartFinished(delivery) => self.start_finished(*delivery),
            InboxMessage::TimerTaskFired => self.timer_task_fired(),
            InboxMessage::ProcessEnded(key, at, exit) => self.process_ended(&key, at, *exit),
            InboxMessage::Operator(operator, reply) => self.operator(*operator, reply),
            InboxMessage::Shutdown { deadline, kill } => self.shutdown(deadline, kill),
            InboxMessage::CountChildren(reply) => {
                let _ = reply.send(self.count());
            }
            InboxMessage::WhichChildren(reply) => {
                let _ = reply.send(self.which_children());
            }
            InboxMessage::Spec(id, reply) => {
                let _ = reply.send(self.child_spec(id));
            }
            InboxMessage::SetPolicy(id, policy, reply) => {
                let set = self.set_policy(&id, Arc::new(*policy));
                if let Some(entry) = self.children.get(&id) {
                    self.input_time = self.now();
                    self.write_counters(&id, &entry.node);
                }
                let _ = reply.send(set);
            }
        }
    }

    fn timer_task_fired(&mut self) {
        let now = self.now();
        while let Some(timer) = self.timers.pop(now) {
            self.input(Input::Fired(timer));
        }
        self.enforce_stop_deadline(now);
        self.judge_overdue();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.log_late_children();
            self.input(Input::Kill);
        }
        self.rearm();
    }

    /// Logs the children that did not stop within the deadline and are killed now.
    fn log_late_children(&self) {
        let mut late: Vec<String> =
            self.children.living().map(|id| format!("`{}`", one_line(id.as_str()))).collect();
        late.sort();
        let more = late.len().saturating_sub(MAX_LATE_NAMES);
        late.truncate(MAX_LATE_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let late = late.join(", ");
        log_event!(
            warn,
            self.node.path(),
            self.node.incarnation(),
            "the stop did not finish before its deadline: killing {late}{more}"
        );
    }

    fn shutdown(&mut self, deadline: Option<TreeInstant>, kill: bool) {
        if let Some(at) = deadline {
            self.set_deadline(at);
        }
        self.input(if kill { Input::Kill } else { Input::Shutdown });
    }

    /// Closes the inbox and drops what is in it. The senders of requests are told that the
    /// supervisor is shutting down.
    fn close(&mut self) {
        self.rx.close();
        // `try_recv` would miss a message that is still being sent; `recv` returns `None` only when
        // there is none.
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match pin!(tokio::task::unconstrained(self.rx.recv())).poll(&mut cx) {
                Poll::Ready(Some(InboxMessage::StartFinished(delivery))) => {
                    delivery.cleanup.end(delivery.running.ok())
                }
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => break,
                Poll::Pending => std::thread::yield_now(),
            }
        }
    }

    fn input(&mut self, input: Input) {
        let mut actions = std::mem::take(&mut self.actions);
        self.input_time = self.now();
        self.machine.handle(self.input_time, input, &mut actions);
        while self.restarts_written < self.machine.restarts_counted() {
            self.restarts_written += 1;
            self.node.count_restart(self.input_time);
        }
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
        // A caller that has its reply may look at once, and finds everything done.
        for (reply, node, answer) in self.due_replies.drain(..) {
            // A send fails if the caller has gone, which is its right.
            match node.filter(|node| !node.is_swept()) {
                None => drop(reply.send(answer)),
                Some(node) => drop(tokio::spawn(async move {
                    node.swept().await;
                    drop(reply.send(answer));
                })),
            }
        }
    }
}

impl Drop for Engine {
    /// If the supervisor was killed, its children are ended now. Their states are written here and
    /// by orphaned incarnations, since no engine is left to notice their ends.
    fn drop(&mut self) {
        // After its exit it has left its node, where a successor may already be working.
        let Some(wait_group) = self.wait_group.take() else { return };
        self.node.set_engine(None);
        for child in self.machine.children() {
            let Some(entry) = self.children.get(child.id) else { continue };
            if let Some(second) = child.second
                && !second.state.is_alive()
            {
                entry.node.forget_second(second.incarnation);
            }
            let to = match child.state {
                ChildState::Down { .. } => continue,
                // It has ended and is still waiting for its cause.
                ChildState::Starting | ChildState::Ready | ChildState::Stopping
                    if entry.incarnations.is_empty() =>
                {
                    ChildState::down(DownReason::Ended)
                }
                ChildState::Stopping => continue,
                ChildState::Starting | ChildState::Ready => ChildState::Stopping,
                _ => ChildState::down(DownReason::Ended),
            };
            entry.node.retract(child.incarnation);
            entry.node.record(&self.tree, child.incarnation, to);
        }
        for entry in self.children.iter_mut() {
            for incarnation in entry.incarnations.drain() {
                incarnation.abandon(&entry.node, &self.tree, &wait_group);
            }
        }
        self.close();
    }
}
