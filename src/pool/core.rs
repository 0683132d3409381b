//! [`PoolCore`]: the ledger behind a lock, shared by the callers of a pool and its actor.
//!
//! One per incarnation of the pool. Each change of the ledger is performed by the caller that made it:
//! lease holders are notified under the lock; commands for the engine are queued under the lock, so
//! that they keep the ledger's order; waiting callers are answered after the lock is released, because
//! an answer that is dropped unread is a lease that ends, and that takes the lock again.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{
    errors::{AcquireError, Revocation},
    lease::{Lease, LeasedIncarnation},
    lease_wait::AcquireResult,
    ledger::{Granted, LeaseId, Ledger, LedgerAction, LedgerInput, Refusal, RevokeReason, Ticket},
    session_map::SessionMap,
    spec::Recycling,
    unreported_worker_ends::UnreportedWorkerEnds,
};
use crate::{
    clock::{Clock, TreeInstant},
    event::RecycleReason,
    exit::ExitReport,
    id::{ChildId, Incarnation},
    state::DownReason,
    supervision::{LiveAttachment, Node, machine::IncarnationKey},
};

#[derive(Debug)]
pub(super) struct PoolCore {
    pub(super) node: Node,
    pub(super) acquire_timeout: Duration,
    pub(super) sessions: Arc<SessionMap>,
    pub(super) clock: Clock,
    pub(super) recycling: Recycling,
    pub(super) unreported_ends: Arc<UnreportedWorkerEnds>,
    /// Spare workers are kept: each lease on a warm worker may require another spare.
    pub(super) spares: bool,
    /// Wakes the pool's actor, which then looks at the queue of commands.
    waker: OnceLock<Waker>,
    inner: Mutex<PoolCoreState>,
    /// Notified when the pool is drained or closed, once everybody can see it.
    pub(super) changed: Notify,
}

#[derive(Debug)]
pub(super) struct PoolCoreState {
    pub(super) ledger: Ledger,
    /// The pool admits no more callers and queues no more commands.
    pub(super) closed: bool,
    pub(super) drained: bool,
    pub(super) next_ticket: u64,
    pub(super) waiters: BTreeMap<Ticket, AcquireResponder>,
    pub(super) leases: HashMap<LeaseId, Arc<LeasedIncarnation>>,
    /// By slot: the last incarnation of its key that became ready. A lease on a warm worker finds it
    /// without another hash lookup.
    pub(super) incarnations: Vec<Option<Arc<LeasedIncarnation>>>,
    /// How the last incarnation of a key ended.
    pub(super) exits: HashMap<ChildId, ExitReport>,
    /// How the last incarnation of a given-up key ended.
    failures: HashMap<ChildId, ExitReport>,
    /// The newest of these exits.
    last_failure: Option<ExitReport>,
    /// Children that are down but still in the engine's table; a restart may follow.
    pub(super) downs: Vec<(ChildId, Incarnation, DownReason)>,
    /// The child that the engine added last.
    pub(super) last_added: Option<ChildId>,
    commands: VecDeque<EngineCommand>,
    /// The actor has been woken and has not taken the commands yet.
    wake_pending: bool,
    pub(super) actions: Vec<LedgerAction>,
    /// The pool's actor is processing an event that is not public yet. Callers and holders that it
    /// concerns are answered once it is, so that a caller that has been answered can see it at once.
    pub(super) unpublished: bool,
    /// Keys whose worker became ready by an event that is not public yet.
    pub(super) newly_ready: Vec<ChildId>,
    /// Answers that wait until the event is public.
    deferred: Vec<AcquireDelivery>,
    /// The pool has been drained, which becomes visible with the event.
    deferred_drained: bool,
}

/// Answers a caller in the queue, which waits in a [`LeaseWait`](super::lease_wait::LeaseWait).
#[derive(Debug)]
pub(super) struct AcquireResponder {
    pub(super) key: Option<ChildId>,
    pub(super) answer: oneshot::Sender<AcquireResult>,
}

/// Work for the pool's actor.
#[derive(Debug)]
pub(super) enum EngineCommand {
    Start(ChildId),
    Stop(ChildId),
    Swap(IncarnationKey, RecycleReason),
    Timer(Option<TreeInstant>),
}

/// An answer and its caller. Without a caller, a granted lease ends at once.
type AcquireDelivery = (Option<oneshot::Sender<AcquireResult>>, AcquireResult);

/// A closure rather than the actor's address, so that the core does not know the actor.
struct Waker(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker(..)")
    }
}

/// Published with the live incarnation of the pool.
#[derive(Debug)]
pub(super) struct LivePool(pub(super) Arc<PoolCore>);

impl LiveAttachment for LivePool {
    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

/// Whether the pool's actor is the caller: it looks at the queued commands afterwards without being
/// woken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CalledFrom {
    Actor,
    Anyone,
}

impl PoolCore {
    pub(super) fn new(
        mut ledger: Ledger,
        node: Node,
        clock: Clock,
        acquire_timeout: Duration,
        recycling: Recycling,
        sessions: Arc<SessionMap>,
    ) -> Arc<PoolCore> {
        let mut actions = Vec::new();
        for (key, session) in sessions.all() {
            ledger.handle(clock.now(), LedgerInput::SetSession { key, session: Some(session) }, &mut actions);
        }
        Arc::new(PoolCore {
            node,
            clock,
            acquire_timeout,
            sessions,
            recycling,
            unreported_ends: Arc::default(),
            spares: ledger.config().min_idle > 0,
            waker: OnceLock::new(),
            inner: Mutex::new(PoolCoreState {
                ledger,
                closed: false,
                drained: false,
                next_ticket: 0,
                waiters: BTreeMap::new(),
                leases: HashMap::new(),
                incarnations: Vec::new(),
                exits: HashMap::new(),
                failures: HashMap::new(),
                last_failure: None,
                downs: Vec::new(),
                last_added: None,
                commands: VecDeque::new(),
                wake_pending: false,
                actions,
                unpublished: false,
                newly_ready: Vec::new(),
                deferred: Vec::new(),
                deferred_drained: false,
            }),
            changed: Notify::new(),
        })
    }

    pub(super) fn set_waker(&self, wake: Box<dyn Fn() + Send + Sync>) {
        // One incarnation of a pool has one actor.
        let _ = self.waker.set(Waker(wake));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PoolCoreState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` under the lock and performs the ledger's actions. `exit_report` is the exit of the child
    /// that it is about.
    pub(super) fn update<R>(
        self: &Arc<Self>,
        by: CalledFrom,
        exit_report: Option<ExitReport>,
        work: impl FnOnce(&mut PoolCoreState, TreeInstant) -> R,
    ) -> R {
        let mut answers = Vec::new();
        let (result, wake) = {
            let mut inner = self.lock();
            let now = self.clock.now();
            // `exit_report` does not belong to these workers.
            self.report_failing(&mut inner, now);
            self.perform(&mut inner, None, &mut answers);
            let result = work(&mut inner, now);
            self.perform(&mut inner, exit_report, &mut answers);
            if inner.unpublished {
                inner.deferred.append(&mut answers);
            }
            let wake = by == CalledFrom::Anyone && !inner.commands.is_empty() && !inner.wake_pending;
            inner.wake_pending |= wake;
            (result, wake)
        };
        for (to, answer) in answers {
            // A caller that has gone meanwhile returns the lease, which ends here.
            let _ = to.map(|to| to.send(answer));
        }
        if wake && let Some(waker) = self.waker.get() {
            (waker.0)();
        }
        result
    }

    /// Tells the ledger of workers whose end has become known, before it leases any of them.
    pub(super) fn report_failing(&self, inner: &mut PoolCoreState, now: TreeInstant) {
        for (key, incarnation) in self.unreported_ends.take() {
            inner.feed(now, LedgerInput::Failing { key, incarnation });
        }
    }

    fn perform(
        self: &Arc<Self>,
        inner: &mut PoolCoreState,
        exit_report: Option<ExitReport>,
        answers: &mut Vec<AcquireDelivery>,
    ) {
        if inner.actions.is_empty() {
            return;
        }
        let mut actions = std::mem::take(&mut inner.actions);
        for action in actions.drain(..) {
            match action {
                LedgerAction::Start { key } => inner.queue_command(EngineCommand::Start(key)),
                LedgerAction::Swap { key: child, incarnation, why } => {
                    inner.queue_command(EngineCommand::Swap(IncarnationKey { child, incarnation }, why))
                }
                LedgerAction::Stop { key, .. } => inner.queue_command(EngineCommand::Stop(key)),
                LedgerAction::Timer { at } => inner.queue_command(EngineCommand::Timer(at)),
                LedgerAction::Grant { ticket, granted } => {
                    let to = inner.waiters.remove(&ticket).map(|waiter| waiter.answer);
                    // The ledger only grants incarnations that were reported as ready, and these are
                    // recorded.
                    if let Some(leased) = inner.leased(&granted).cloned() {
                        answers.push((to, Ok(self.lease(inner, granted, leased))));
                    }
                }
                LedgerAction::Refuse { ticket, refusal } => {
                    let Some(AcquireResponder { key, answer }) = inner.waiters.remove(&ticket) else {
                        continue;
                    };
                    let exit_report =
                        exit_report.clone().or_else(|| inner.last_exit_of(key.as_ref()).cloned());
                    answers.push((Some(answer), Err(self.refusal(key, refusal, exit_report))));
                }
                LedgerAction::Revoke { lease, why } => {
                    let Some(leased) = inner.leases.remove(&lease) else { continue };
                    leased.end(match (why, &exit_report) {
                        (RevokeReason::Evicted, _) => Revocation::Evicted,
                        (RevokeReason::Stopping, _) => Revocation::Stopping,
                        (RevokeReason::Lost, Some(exit_report)) => {
                            Revocation::Lost { exit: exit_report.exit.clone() }
                        }
                        // The holder is notified once it is known how the worker ended.
                        (RevokeReason::Lost, None) => continue,
                    });
                }
                LedgerAction::Drained if inner.unpublished => inner.deferred_drained = true,
                LedgerAction::Drained => {
                    inner.drained = true;
                    self.changed.notify_waiters();
                }
            }
        }
        inner.actions = actions;
    }

    pub(super) fn lease(
        self: &Arc<Self>,
        inner: &mut PoolCoreState,
        granted: Granted,
        leased: Arc<LeasedIncarnation>,
    ) -> Lease {
        inner.leases.insert(granted.lease, leased.clone());
        Lease::new(self.clone(), granted.lease, leased)
    }

    fn refusal(
        &self,
        key: Option<ChildId>,
        refusal: Refusal,
        exit_report: Option<ExitReport>,
    ) -> AcquireError {
        let path = self.node.path().clone();
        match refusal {
            Refusal::Exhausted => AcquireError::Exhausted { path },
            Refusal::Draining => AcquireError::Draining { path },
            Refusal::Failed { why, until } => {
                let retry_after = until.map(|until| until.since(self.clock.now()));
                AcquireError::Failed { path, key, why, lost: exit_report.map(Box::new), retry_after }
            }
            Refusal::WrongKind => AcquireError::WrongKind { path },
        }
    }

    // ---- the pool's actor -----------------------------------------------------------------------

    /// The event that the actor was processing is public now: callers and holders that it concerns are
    /// answered.
    pub(super) fn publish(&self) {
        let deferred = {
            let mut inner = self.lock();
            if !std::mem::take(&mut inner.unpublished) {
                return;
            }
            inner.newly_ready.clear();
            if std::mem::take(&mut inner.deferred_drained) {
                inner.drained = true;
                self.changed.notify_waiters();
            }
            std::mem::take(&mut inner.deferred)
        };
        for (to, answer) in deferred {
            // A caller that has gone meanwhile returns the lease, which ends here.
            let _ = to.map(|to| to.send(answer));
        }
    }

    /// Takes the queued commands.
    pub(super) fn take_commands(&self) -> VecDeque<EngineCommand> {
        let mut inner = self.lock();
        inner.wake_pending = false;
        std::mem::take(&mut inner.commands)
    }

    /// The pool stops: no more callers are admitted, waiting callers are refused, and nothing is
    /// started.
    pub(super) fn close(self: &Arc<Self>) {
        let waiters = self.update(CalledFrom::Actor, None, |inner, now| {
            inner.closed = true;
            inner.commands.clear();
            let waiters = std::mem::take(&mut inner.waiters);
            for &ticket in waiters.keys() {
                inner.feed(now, LedgerInput::Cancel { ticket });
            }
            waiters
        });
        for waiter in waiters.into_values() {
            // A caller that has gone meanwhile needs no answer.
            let _ = waiter.answer.send(Err(self.gone()));
        }
        self.changed.notify_waiters();
    }

    /// The pool ended without an orderly stop: lease holders are notified too.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.publish();
        self.close();
        // Incarnations without leases are included: their exit will not be reported any other way.
        let incarnations: Vec<_> = {
            let mut inner = self.lock();
            let leased = std::mem::take(&mut inner.leases).into_values();
            leased.chain(inner.incarnations.iter().flatten().cloned()).collect()
        };
        for leased in incarnations {
            leased.end(Revocation::PoolEnded);
        }
    }
}

impl PoolCoreState {
    /// Feeds the ledger; its actions are performed at the end of the update.
    pub(super) fn feed(&mut self, now: TreeInstant, input: LedgerInput) {
        self.ledger.handle(now, input, &mut self.actions);
    }

    /// Remembers how the worker of a key ended, if the key is given up now.
    pub(super) fn remember_exit(&mut self, key: &ChildId, exit_report: ExitReport) {
        let (pauses, given_up) = self.ledger.given_up(key);
        if pauses {
            self.failures.insert(key.clone(), exit_report.clone());
            self.last_failure = Some(exit_report);
        }
        // Not on each call, because it visits every entry.
        if self.failures.len() > 2 * given_up + 16 {
            self.failures.retain(|key, _| self.ledger.given_up(key).0);
        }
    }

    /// How the worker of a given-up key ended; without a key, the newest of these exits.
    pub(super) fn last_exit_of(&self, key: Option<&ChildId>) -> Option<&ExitReport> {
        match key {
            Some(key) => self.failures.get(key),
            None => self.last_failure.as_ref(),
        }
    }

    /// Whether the worker that this caller would get may not be public yet.
    pub(super) fn is_newly_ready(&self, key: Option<&ChildId>) -> bool {
        match key {
            Some(key) => self.newly_ready.contains(key),
            None => !self.newly_ready.is_empty(),
        }
    }

    fn queue_command(&mut self, command: EngineCommand) {
        if !self.closed {
            self.commands.push_back(command);
        }
    }

    pub(super) fn leased(&self, granted: &Granted) -> Option<&Arc<LeasedIncarnation>> {
        self.incarnations.get(granted.lease.slot())?.as_ref()
    }

    /// The last incarnation of a key that became ready.
    pub(super) fn leased_of_key(&self, key: &ChildId) -> Option<&Arc<LeasedIncarnation>> {
        self.incarnations.get(self.ledger.slot_of(key)?)?.as_ref().filter(|leased| leased.key == *key)
    }

    /// Records an incarnation that is ready.
    pub(super) fn set_ready(&mut self, leased: Arc<LeasedIncarnation>) {
        // A key without a slot is not the ledger's, and is never granted.
        let Some(slot) = self.ledger.slot_of(&leased.key) else { return };
        if self.incarnations.len() <= slot {
            self.incarnations.resize(slot + 1, None);
        }
        self.incarnations[slot] = Some(leased);
    }

    /// Forgets the incarnation of a key that no longer has a worker.
    pub(super) fn clear_ready(&mut self, key: &ChildId) {
        if self.leased_of_key(key).is_some()
            && let Some(slot) = self.ledger.slot_of(key)
        {
            self.incarnations[slot] = None;
        }
    }
}
