//! A fake engine: it records the actions and lets the test choose their results. After every step
//! it checks what must hold in every history.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use procession::internals::machine::{
    Action, IncarnationKey, Input, Machine, NewChild, OperatorRequestId, Reply, Request, Timer,
};
use procession::{
    clock::TreeInstant,
    event::EventKind,
    exit::Exit,
    id::{ChildId, Incarnation},
    restart::{Backoff, Intensity, RestartPolicy, RestartType},
    state::{ChildState, DownReason, Strategy},
    supervision::{ChildPolicy, RequestError, Shutdown, StartMode, SupervisorFlags},
};

pub(crate) type ReplyResult = Result<Reply, RequestError>;

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn at(n: u64) -> TreeInstant {
    TreeInstant::new(ms(n))
}

pub(crate) fn crash() -> Exit {
    Exit::Failed { code: 1 }
}

pub(crate) fn clean() -> Exit {
    Exit::Clean { code: 0 }
}

/// Flags with a period of one second.
pub(crate) fn flags(strategy: Strategy, max_restarts: u32) -> SupervisorFlags {
    SupervisorFlags {
        strategy,
        intensity: Some(Intensity::new(max_restarts, ms(1000))),
        ..SupervisorFlags::default()
    }
}

/// A required child that is restarted at once.
pub(crate) fn policy(restart: RestartType) -> ChildPolicy {
    ChildPolicy { restart: RestartPolicy::actor().with_restart(restart), ..ChildPolicy::actor() }
}

/// The same, restarted after a delay.
pub(crate) fn patient(restart: RestartType, delay: u64) -> ChildPolicy {
    let restart = RestartPolicy::actor().with_restart(restart).with_backoff(Backoff::fixed(ms(delay)));
    ChildPolicy { restart, ..ChildPolicy::actor() }
}

/// The same, as a background child.
pub(crate) fn background(policy: ChildPolicy) -> ChildPolicy {
    ChildPolicy { start: StartMode::Background, ..policy }
}

/// One child that is restarted after a delay.
pub(crate) fn one() -> Rig {
    Rig::running(flags(Strategy::OneForOne, 3), &[("a", patient(RestartType::Permanent, 50))])
}

/// The answer that this incarnation is ready.
pub(crate) fn ready(incarnation: u64) -> ReplyResult {
    Ok(Reply::Ready(Incarnation(incarnation)))
}

/// What the machine wants done, as far as its order matters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Did {
    Start(ChildId, u64),
    Stop(ChildId, u64, Shutdown),
    Started,
    Exit(Exit),
}

pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) now: TreeInstant,
    /// Incarnations that have been started and not reported as ended, and whether they were asked
    /// to stop.
    pub(crate) alive: BTreeMap<ChildId, (Incarnation, bool)>,
    /// The newest incarnation of every id, as its node remembers it.
    pub(crate) places: BTreeMap<ChildId, Incarnation>,
    pub(crate) stopped_by_operator: BTreeSet<ChildId>,
    /// Whom messages and calls reach.
    admitted: BTreeMap<ChildId, Incarnation>,
    pub(crate) timers: Vec<(TreeInstant, Timer)>,
    pub(crate) replies: HashMap<OperatorRequestId, ReplyResult>,
    pub(crate) asked: u64,
    pub(crate) exit: Option<Exit>,
    /// What was done in the last step.
    pub(crate) did: Vec<Did>,
    pub(crate) step_replies: Vec<(OperatorRequestId, ReplyResult)>,
    board: BTreeMap<ChildId, ChildState>,
    /// Children whose last start by an operator failed; they stay down.
    failed_once: BTreeSet<ChildId>,
    exits_told: u64,
    exits_published: u64,
    /// A child may have ended under another policy than it has now.
    pub(crate) policies_changed: bool,
}

impl Rig {
    pub(crate) fn new(flags: SupervisorFlags, children: &[(&str, ChildPolicy)]) -> Rig {
        let mut rig = Rig {
            machine: Machine::new(flags.clone(), []),
            now: TreeInstant::EPOCH,
            alive: BTreeMap::new(),
            places: BTreeMap::new(),
            stopped_by_operator: BTreeSet::new(),
            admitted: BTreeMap::new(),
            timers: Vec::new(),
            replies: HashMap::new(),
            asked: 0,
            exit: None,
            did: Vec::new(),
            step_replies: Vec::new(),
            board: BTreeMap::new(),
            failed_once: BTreeSet::new(),
            exits_told: 0,
            exits_published: 0,
            policies_changed: false,
        };
        let children: Vec<NewChild> = children.iter().map(|(id, policy)| rig.new_child(id, policy)).collect();
        rig.machine = Machine::new(flags, children);
        for child in rig.machine.children() {
            rig.board.insert(child.id.clone(), child.state.clone());
        }
        rig
    }

    /// A supervisor with these children, all of them ready.
    pub(crate) fn running(flags: SupervisorFlags, children: &[(&str, ChildPolicy)]) -> Rig {
        let mut rig = Rig::new(flags, children);
        rig.input(Input::Boot);
        for (id, _) in children {
            rig.ready(id);
        }
        rig.did.clear();
        rig
    }

    pub(crate) fn new_child(&self, id: &str, policy: &ChildPolicy) -> NewChild {
        NewChild {
            id: id.into(),
            policy: Arc::new(policy.clone()),
            last_incarnation: self.places.get(&ChildId::from(id)).copied().unwrap_or_default(),
            stopped_by_operator: self.stopped_by_operator.contains(&ChildId::from(id)),
            has_been_ready: false,
            seed: 7,
        }
    }

    // ---- what a test does -----------------------------------------------------------------------

    pub(crate) fn input(&mut self, input: Input) {
        let was_over = self.exit.is_some();
        let mut actions = Vec::new();
        self.machine.handle(self.now, input, &mut actions);
        self.did.clear();
        self.step_replies.clear();
        for action in actions {
            assert!(!was_over || matches!(action, Action::Reply(..)), "{action:?} after the exit");
            self.perform(action);
        }
        self.check();
    }

    pub(crate) fn boot(&mut self) -> &mut Self {
        self.input(Input::Boot);
        self
    }

    /// The live incarnation of this child is ready.
    pub(crate) fn ready(&mut self, id: &str) -> &mut Self {
        let key = self.key(id);
        self.input(Input::Ready(key));
        self
    }

    /// The live incarnation of this child ends.
    pub(crate) fn end(&mut self, id: &str, exit: Exit) -> &mut Self {
        let key = self.key(id);
        self.alive.remove(&key.child);
        self.admitted.remove(&key.child);
        self.exits_told += 1;
        self.input(Input::Ended(key, exit));
        self
    }

    pub(crate) fn crash(&mut self, id: &str) -> &mut Self {
        self.end(id, crash())
    }

    /// A stop has done its work.
    pub(crate) fn gone(&mut self, id: &str) -> &mut Self {
        assert!(self.alive[&ChildId::from(id)].1, "{id} was not asked to stop");
        self.end(id, Exit::Requested)
    }

    /// The first timer that is armed fires, when it is due.
    pub(crate) fn fire(&mut self) -> &mut Self {
        let first = (0..self.timers.len()).min_by_key(|i| self.timers[*i].0).expect("a timer");
        let (due, timer) = self.timers.remove(first);
        self.now = self.now.max(due);
        self.input(Input::Fired(timer));
        self
    }

    pub(crate) fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.after(ms(millis));
        self
    }

    pub(crate) fn ask(&mut self, request: Request) -> OperatorRequestId {
        self.asked += 1;
        let id = OperatorRequestId(self.asked);
        self.input(Input::Request(id, request));
        id
    }

    pub(crate) fn start_child(&mut self, id: &str, policy: &ChildPolicy) -> OperatorRequestId {
        let new = self.new_child(id, policy);
        self.ask(Request::StartChild(new))
    }

    pub(crate) fn key(&self, id: &str) -> IncarnationKey {
        let child = ChildId::from(id);
        let (incarnation, _) = self.alive.get(&child).unwrap_or_else(|| panic!("{id} is not alive"));
        IncarnationKey { child, incarnation: *incarnation }
    }

    // ---- what a test sees -----------------------------------------------------------------------

    /// What was done in the last step: `+a` started, `-a` stopped, `up` the supervisor is, `exit`.
    pub(crate) fn did(&self) -> String {
        let word = |did: &Did| match did {
            Did::Start(id, _) => format!("+{id}"),
            Did::Stop(id, _, Shutdown::BrutalKill) => format!("!{id}"),
            Did::Stop(id, ..) => format!("-{id}"),
            Did::Started => "up".into(),
            Did::Exit(_) => "exit".into(),
        };
        self.did.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn state(&self, id: &str) -> ChildState {
        self.machine.child(&id.into()).unwrap_or_else(|| panic!("no child {id}")).state.clone()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.machine.child(&id.into()).is_some()
    }

    pub(crate) fn incarnation(&self, id: &str) -> u64 {
        self.machine.child(&id.into()).unwrap().incarnation.0
    }

    pub(crate) fn reply(&self, id: OperatorRequestId) -> Option<&ReplyResult> {
        self.replies.get(&id)
    }

    pub(crate) fn used(&mut self) -> u32 {
        self.machine.restarts_used(self.now)
    }

    /// The states of all children, one letter each: `r`eady, `s`tarting, s`t`opping, `b`acking off, `c`ooling
    /// off, or `-` for down.
    pub(crate) fn states(&self) -> String {
        let letter = |state: &ChildState| match state {
            ChildState::Ready => 'r',
            ChildState::Starting => 's',
            ChildState::Stopping => 't',
            ChildState::BackingOff { .. } => 'b',
            ChildState::CoolingOff { .. } => 'c',
            _ => '-',
        };
        self.machine.children().map(|c| letter(c.state)).collect()
    }

    // ---- the engine's part, and what always holds -----------------------------------------------

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start(key) => {
                assert!(self.exit.is_none());
                let last = self.places.insert(key.child.clone(), key.incarnation).unwrap_or_default();
                assert!(key.incarnation > last, "{key} after {last}");
                self.failed_once.remove(&key.child);
                self.did.push(Did::Start(key.child.clone(), key.incarnation.0));
                let old = self.alive.insert(key.child, (key.incarnation, false));
                assert_eq!(old, None, "two incarnations alive together");
            }
            Action::MakeLive(key) => {
                let life = self.alive.get(&key.child).expect("an admission of what is alive");
                assert_eq!(*life, (key.incarnation, false));
                assert_ne!(
                    self.board.get(&key.child),
                    Some(&ChildState::Ready),
                    "{key} is told to be ready too early"
                );
                assert_eq!(self.admitted.insert(key.child, key.incarnation), None, "admitted twice");
            }
            Action::Stop(key, mode) => {
                self.admitted.remove(&key.child);
                let life = self.alive.get_mut(&key.child).expect("a stop of what is alive");
                assert_eq!(life.0, key.incarnation);
                life.1 = true;
                self.did.push(Did::Stop(key.child, key.incarnation.0, mode));
            }
            Action::Arm(timer, due) => {
                assert!(due > self.now, "a timer that is due at once");
                assert!(!self.timers.iter().any(|(_, t)| *t == timer), "{timer:?} is armed already");
                self.timers.push((due, timer));
            }
            Action::Disarm(timer) => {
                let armed = self.timers.iter().position(|(_, t)| *t == timer);
                self.timers.remove(armed.unwrap_or_else(|| panic!("{timer:?} is not armed")));
            }
            Action::Reply(id, reply) => {
                if let Err(RequestError::StartFailed { child, .. }) = &reply {
                    self.failed_once.insert(child.clone());
                }
                self.step_replies.push((id, reply.clone()));
                assert_eq!(self.replies.insert(id, reply), None, "{id:?} is answered twice");
            }
            Action::SetStoppedByOperator(id, true) => assert!(self.stopped_by_operator.insert(id)),
            Action::SetStoppedByOperator(id, false) => assert!(self.stopped_by_operator.remove(&id)),
            Action::Forget(id) => {
                assert!(!self.alive.contains_key(&id), "{id} is forgotten alive");
                self.stopped_by_operator.remove(&id);
            }
            Action::Started => self.did.push(Did::Started),
            Action::Exit(exit) => {
                assert_eq!(self.exit.replace(exit.clone()), None, "two exits");
                self.did.push(Did::Exit(exit));
            }
            Action::Publish(Some(key), kind) => self.publish(&key, kind),
            Action::Publish(None, _) => {}
        }
    }

    fn publish(&mut self, key: &IncarnationKey, kind: EventKind) {
        match kind {
            EventKind::Added => {
                let state = if self.stopped_by_operator.contains(&key.child) {
                    DownReason::Stopped
                } else {
                    DownReason::NeverStarted
                };
                assert_eq!(self.board.insert(key.child.clone(), ChildState::down(state)), None);
            }
            EventKind::Removed => assert!(self.board.remove(&key.child).is_some()),
            EventKind::State { from, to } => {
                assert_ne!(from, to);
                assert_eq!(
                    self.board.insert(key.child.clone(), to),
                    Some(from),
                    "a gap in the states of {key}"
                );
            }
            EventKind::Exited { .. } => self.exits_published += 1,
            _ => {}
        }
    }

    fn check(&self) {
        // every change of a state is an event.
        let seen: BTreeMap<_, _> = self.machine.children().map(|c| (c.id.clone(), c.state.clone())).collect();
        assert_eq!(seen, self.board);
        for child in self.machine.children() {
            let life = self.alive.get(child.id);
            let reached = (*child.state == ChildState::Ready).then_some(child.incarnation);
            assert_eq!(self.admitted.get(child.id).copied(), reached, "{}", child.id);
            assert_eq!(child.state.is_alive(), life.is_some(), "{} is {}", child.id, child.state);
            assert_eq!(*child.state == ChildState::Stopping, life.is_some_and(|l| l.1), "{}", child.id);
        }
        assert!(self.alive.keys().all(|id| self.board.contains_key(id)), "somebody lives whom nobody knows");
        // S-10: an exit is told once and judged once.
        assert_eq!(self.exits_told, self.exits_published);
        // a timer is armed exactly for the children that wait.
        let waiting = self.board.values().filter(|s| s.is_restarting()).count();
        let own = self.timers.iter().filter(|(_, t)| matches!(t, Timer::Child(_))).count();
        if self.machine.flags().strategy == Strategy::OneForOne {
            assert_eq!((waiting, self.timers.len()), (own, own));
        } else {
            assert!(own == 0 && self.timers.len() <= 1, "{:?}", self.timers);
        }
        if self.exit.is_some() {
            assert!(self.alive.is_empty(), "alive after the exit: {:?}", self.alive);
            assert!(self.timers.is_empty(), "armed after the exit: {:?}", self.timers);
            assert_eq!(self.replies.len() as u64, self.asked, "unanswered after the exit");
        } else if self.is_idle() {
            self.check_idle();
        }
    }

    /// Nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.timers.is_empty()
            && self.machine.children().all(|c| *c.state == ChildState::Ready || c.state.is_down())
    }

    /// Whatever should run does run.
    fn check_idle(&self) {
        assert!(!self.machine.is_stopping(), "it stops, and waits for nobody");
        assert_eq!(self.replies.len() as u64, self.asked, "unanswered, and nothing is under way");
        let booted = self.places.keys().next().is_some();
        for child in self.machine.children().filter(|_| booted) {
            let ChildState::Down { why } = child.state else { continue };
            let permanent =
                matches!(child.policy.restart.restart, RestartType::Permanent | RestartType::UnlessStopped);
            let excused = match why {
                DownReason::NeverStarted | DownReason::Stopped => self.stopped_by_operator.contains(child.id),
                DownReason::Ended => {
                    !permanent || self.failed_once.contains(child.id) || self.policies_changed
                }
                _ => true,
            };
            assert!(excused, "{} is left {}", child.id, child.state);
        }
    }
}
