//! A fake engine: it records the actions and lets the test choose their results. After every step
//! it checks what must hold in every history.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use procession::internals::machine::{
    Action, ChildView, DefinitionChange, IncarnationKey, Input, Machine, NewChild, OperatorRequestId,
    ReloadWhen, Reply, Request, Timer,
};
use procession::{
    clock::TreeInstant,
    event::{EventKind, RecycleReason, StartReason},
    exit::Exit,
    id::{ChildId, Incarnation},
    restart::{Backoff, Intensity, RestartPolicy, RestartType},
    state::{ChildState, DownReason, SecondIncarnationRole, Strategy},
    supervision::{ChildPolicy, RequestError, Shutdown, StartMode, SupervisorFlags},
};

/// Why an incarnation of a child was started.
pub(crate) type Reason = (ChildId, u64, StartReason);
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
    Retire(ChildId, u64, Shutdown),
    Define(ChildId),
    Confirm(ChildId),
    Restore(ChildId),
    MakeLive(ChildId, u64),
    Started,
    Exit(Exit),
}

/// What the engine knows of an incarnation that has been started and not reported as ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Live {
    /// It was asked to stop.
    pub(crate) asked: bool,
    /// It has said that it is ready.
    pub(crate) ready: bool,
    /// It was reported as failing.
    pub(crate) failing: bool,
}

pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) now: TreeInstant,
    /// Incarnations that have been started and not reported as ended: at most two of a child.
    pub(crate) alive: BTreeMap<(ChildId, Incarnation), Live>,
    /// The newest incarnation of every id, as its node remembers it.
    pub(crate) places: BTreeMap<ChildId, Incarnation>,
    pub(crate) stopped_by_operator: BTreeSet<ChildId>,
    /// Whom messages and calls reach.
    admitted: BTreeMap<ChildId, Incarnation>,
    /// Whom they reached last.
    reached: BTreeMap<ChildId, Incarnation>,
    /// An incarnation that replaces another one, which the next action has to say.
    replaces: Option<(IncarnationKey, Incarnation)>,
    pub(crate) timers: Vec<(TreeInstant, Timer)>,
    pub(crate) replies: HashMap<OperatorRequestId, ReplyResult>,
    pub(crate) asked: u64,
    pub(crate) exit: Option<Exit>,
    /// What was done in the last step.
    pub(crate) did: Vec<Did>,
    pub(crate) step_replies: Vec<(OperatorRequestId, ReplyResult)>,
    /// Why incarnations were started or, if they replace another one, had been started.
    pub(crate) step_reasons: Vec<Reason>,
    /// The same, since a test has asked.
    reasons: Vec<String>,
    board: BTreeMap<ChildId, ChildState>,
    /// The second incarnations, as the events tell.
    beside: BTreeMap<ChildId, (Incarnation, SecondIncarnationRole, ChildState)>,
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
            reached: BTreeMap::new(),
            replaces: None,
            timers: Vec::new(),
            replies: HashMap::new(),
            asked: 0,
            exit: None,
            did: Vec::new(),
            step_replies: Vec::new(),
            step_reasons: Vec::new(),
            reasons: Vec::new(),
            board: BTreeMap::new(),
            beside: BTreeMap::new(),
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
        self.step_reasons.clear();
        for action in actions {
            assert!(!was_over || matches!(action, Action::Reply(..)), "{action:?} after the exit");
            self.perform(action);
        }
        assert_eq!(self.replaces, None, "a replacement that is not published");
        self.check();
    }

    pub(crate) fn boot(&mut self) -> &mut Self {
        self.input(Input::Boot);
        self
    }

    /// The primary incarnation of this child is ready.
    pub(crate) fn ready(&mut self, id: &str) -> &mut Self {
        self.ready_key(self.key(id))
    }

    /// The second incarnation of this child is ready.
    pub(crate) fn ready_second(&mut self, id: &str) -> &mut Self {
        self.ready_key(self.second_key(id))
    }

    pub(crate) fn ready_key(&mut self, key: IncarnationKey) -> &mut Self {
        self.live_mut(&key).ready = true;
        self.input(Input::Ready(key));
        self
    }

    /// The process or the channel of the primary incarnation has ended.
    pub(crate) fn failing(&mut self, id: &str) -> &mut Self {
        let key = self.key(id);
        self.live_mut(&key).failing = true;
        self.input(Input::Failing(key));
        self
    }

    /// The primary incarnation of this child ends.
    pub(crate) fn end(&mut self, id: &str, exit: Exit) -> &mut Self {
        self.end_key(self.key(id), exit)
    }

    /// The second incarnation of this child ends.
    pub(crate) fn end_second(&mut self, id: &str, exit: Exit) -> &mut Self {
        self.end_key(self.second_key(id), exit)
    }

    pub(crate) fn end_key(&mut self, key: IncarnationKey, exit: Exit) -> &mut Self {
        self.alive.remove(&(key.child.clone(), key.incarnation)).expect("an end of what is alive");
        if self.admitted.get(&key.child) == Some(&key.incarnation) {
            self.admitted.remove(&key.child);
        }
        self.exits_told += 1;
        self.input(Input::Ended(key, exit));
        self
    }

    pub(crate) fn crash(&mut self, id: &str) -> &mut Self {
        self.end(id, crash())
    }

    /// A stop has done its work.
    pub(crate) fn gone(&mut self, id: &str) -> &mut Self {
        self.gone_key(self.key(id))
    }

    /// A stop of the second incarnation has done its work.
    pub(crate) fn gone_second(&mut self, id: &str) -> &mut Self {
        self.gone_key(self.second_key(id))
    }

    fn gone_key(&mut self, key: IncarnationKey) -> &mut Self {
        assert!(self.live_mut(&key).asked, "{key} was not asked to stop");
        self.end_key(key, Exit::Requested)
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

    /// A reload with this policy, now.
    pub(crate) fn reload(&mut self, id: &str, policy: &ChildPolicy) -> OperatorRequestId {
        let change = DefinitionChange::ReplacePolicy(Arc::new(policy.clone()));
        self.ask(Request::Reload(id.into(), change, ReloadWhen::Now))
    }

    /// A reload that changes nothing, now.
    pub(crate) fn recycle(&mut self, id: &str) -> OperatorRequestId {
        self.ask(Request::Reload(
            id.into(),
            DefinitionChange::None(StartReason::Recycle(RecycleReason::Requested)),
            ReloadWhen::Now,
        ))
    }

    /// The primary incarnation, which lives.
    pub(crate) fn key(&self, id: &str) -> IncarnationKey {
        let view = self.view(id);
        let key = IncarnationKey { child: id.into(), incarnation: view.incarnation };
        assert!(self.live(&key).is_some(), "{key} is not alive");
        key
    }

    /// The second incarnation, which lives.
    pub(crate) fn second_key(&self, id: &str) -> IncarnationKey {
        let second = self.view(id).second.unwrap_or_else(|| panic!("{id} has one incarnation"));
        let key = IncarnationKey { child: id.into(), incarnation: second.incarnation };
        assert!(self.live(&key).is_some(), "{key} is not alive");
        key
    }

    pub(crate) fn live(&self, key: &IncarnationKey) -> Option<&Live> {
        self.alive.get(&(key.child.clone(), key.incarnation))
    }

    fn live_mut(&mut self, key: &IncarnationKey) -> &mut Live {
        let live = self.alive.get_mut(&(key.child.clone(), key.incarnation));
        live.unwrap_or_else(|| panic!("{key} is not alive"))
    }

    fn view(&self, id: &str) -> ChildView<'_> {
        self.machine.child(&id.into()).unwrap_or_else(|| panic!("no child {id}"))
    }

    // ---- what a test sees -----------------------------------------------------------------------

    /// What was done in the last step: `+a` started, `-a` stopped, `!a` killed, `~a` retired, `up` the
    /// supervisor is, `exit`. A second incarnation has a stroke, as it is after the step: `+a'`.
    pub(crate) fn did(&self) -> String {
        self.did.iter().filter_map(|did| self.word(did)).collect::<Vec<_>>().join(" ")
    }

    /// As `did`, with the definitions and whom calls reach: `=a` the newest is used, `ok:a` it is good,
    /// `undo:a` the last good one is used, `*a` is reached.
    pub(crate) fn did_all(&self) -> String {
        let word = |did: &Did| match did {
            Did::Define(id) => Some(format!("={id}")),
            Did::Confirm(id) => Some(format!("ok:{id}")),
            Did::Restore(id) => Some(format!("undo:{id}")),
            Did::MakeLive(id, n) => Some(format!("*{}", self.name(id, *n))),
            did => self.word(did),
        };
        self.did.iter().filter_map(word).collect::<Vec<_>>().join(" ")
    }

    fn word(&self, did: &Did) -> Option<String> {
        Some(match did {
            Did::Start(id, n) => format!("+{}", self.name(id, *n)),
            Did::Stop(id, n, Shutdown::BrutalKill) => format!("!{}", self.name(id, *n)),
            Did::Stop(id, n, _) => format!("-{}", self.name(id, *n)),
            Did::Retire(id, n, _) => format!("~{}", self.name(id, *n)),
            Did::Started => "up".into(),
            Did::Exit(_) => "exit".into(),
            _ => return None,
        })
    }

    fn name(&self, id: &ChildId, incarnation: u64) -> String {
        let second = self.machine.child(id).and_then(|child| child.second);
        let is_second = second.is_some_and(|second| second.incarnation.0 == incarnation);
        if is_second { format!("{id}'") } else { id.to_string() }
    }

    /// What the second incarnation is and does, as `spare ready`.
    pub(crate) fn second(&self, id: &str) -> Option<String> {
        self.view(id).second.map(|second| {
            let state = match second.state {
                ChildState::BackingOff { .. } => "waiting".into(),
                state => state.to_string(),
            };
            format!("{} {state}", second.role)
        })
    }

    /// What has been said since the last time about why incarnations were started.
    pub(crate) fn reasons(&mut self) -> String {
        std::mem::take(&mut self.reasons).join(", ")
    }

    pub(crate) fn state(&self, id: &str) -> ChildState {
        self.view(id).state.clone()
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

    fn no_longer_reached(&mut self, key: &IncarnationKey) {
        if self.admitted.get(&key.child) == Some(&key.incarnation) {
            self.admitted.remove(&key.child);
        }
    }

    /// The incarnations of a child that live.
    fn lives(&self, id: &ChildId) -> Vec<(Incarnation, Live)> {
        self.alive.iter().filter(|((child, _), _)| child == id).map(|((_, n), live)| (*n, *live)).collect()
    }

    fn perform(&mut self, action: Action) {
        if let Some((new, old)) = self.replaces.take() {
            match &action {
                Action::Publish(Some(key), EventKind::Replaced { from, .. }) => {
                    assert_eq!((key, *from), (&new, old));
                }
                action => panic!("{new} is reached instead of {old}, then {action:?}"),
            }
        }
        match action {
            Action::Start(key) => {
                assert!(self.exit.is_none());
                let last = self.places.insert(key.child.clone(), key.incarnation).unwrap_or_default();
                assert!(key.incarnation > last, "{key} after {last}");
                self.failed_once.remove(&key.child);
                self.did.push(Did::Start(key.child.clone(), key.incarnation.0));
                let others = self.lives(&key.child).len();
                assert!(others < 2, "three incarnations alive together");
                self.alive.insert((key.child, key.incarnation), Live::default());
            }
            Action::MakeLive(key) => {
                let live = self.live(&key).expect("an admission of what is alive");
                assert!(live.ready && !live.asked, "{key} is reached: {live:?}");
                let old = self.reached.insert(key.child.clone(), key.incarnation);
                assert!(old < Some(key.incarnation), "{key} is admitted after {old:?}");
                if self.board.get(&key.child) == Some(&ChildState::Ready) {
                    self.replaces = Some((key.clone(), old.expect("somebody was ready")));
                } else {
                    assert_eq!(self.admitted.get(&key.child), None, "admitted twice");
                }
                self.admitted.insert(key.child.clone(), key.incarnation);
                self.did.push(Did::MakeLive(key.child, key.incarnation.0));
            }
            Action::Stop(key, mode) => {
                self.no_longer_reached(&key);
                let live = self.live_mut(&key);
                assert!(!live.asked || mode == Shutdown::BrutalKill, "{key} is stopped again, no harder");
                live.asked = true;
                self.did.push(Did::Stop(key.child, key.incarnation.0, mode));
            }
            Action::Retire(key, mode) => {
                self.no_longer_reached(&key);
                let live = self.live_mut(&key);
                assert!(live.ready && !live.asked, "{key} is retired: {live:?}");
                live.asked = true;
                self.did.push(Did::Retire(key.child, key.incarnation.0, mode));
            }
            Action::Define(id) => self.did.push(Did::Define(id)),
            Action::Confirm(id) => self.did.push(Did::Confirm(id)),
            Action::Restore(id) => self.did.push(Did::Restore(id)),
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
                assert!(self.lives(&id).is_empty(), "{id} is forgotten alive");
                self.reached.remove(&id);
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
            EventKind::State { from, to, reason } => {
                assert_ne!(from, to);
                assert_eq!(reason.is_some(), to == ChildState::Starting, "{key}: {reason:?}");
                if let Some(reason) = reason {
                    self.has_reason(key, reason);
                }
                self.no_longer_beside(key);
                assert_eq!(
                    self.board.insert(key.child.clone(), to),
                    Some(from),
                    "a gap in the states of {key}"
                );
            }
            EventKind::Second { role, state } if state.is_down() => {
                let old = self.beside.remove(&key.child);
                assert!(old.is_some_and(|old| (old.0, old.1) == (key.incarnation, role)), "{key}: {role}");
            }
            EventKind::Second { role, state } => {
                let new = (key.incarnation, role, state);
                let old = self.beside.insert(key.child.clone(), new.clone());
                assert_ne!(old.as_ref(), Some(&new));
                let same =
                    |old: (Incarnation, SecondIncarnationRole, _)| (old.0, old.1) == (key.incarnation, role);
                let waited =
                    matches!(old, Some((_, SecondIncarnationRole::Spare, ChildState::BackingOff { .. })));
                assert!(waited || old.is_none_or(same), "{key} is another one");
            }
            EventKind::Exited { .. } => {
                self.exits_published += 1;
                self.no_longer_beside(key);
            }
            EventKind::Replaced { reason, .. } => {
                self.has_reason(key, reason);
                self.no_longer_beside(key);
            }
            _ => {}
        }
    }

    fn has_reason(&mut self, key: &IncarnationKey, reason: StartReason) {
        self.step_reasons.push((key.child.clone(), key.incarnation.0, reason));
        self.reasons.push(format!("{key} {reason}"));
    }

    /// It is the primary one now, or has ended.
    fn no_longer_beside(&mut self, key: &IncarnationKey) {
        if self.beside.get(&key.child).is_some_and(|second| second.0 == key.incarnation) {
            self.beside.remove(&key.child);
        }
    }

    fn check(&self) {
        // every change of a state is an event.
        let seen: BTreeMap<_, _> = self.machine.children().map(|c| (c.id.clone(), c.state.clone())).collect();
        assert_eq!(seen, self.board);
        let seconds = self
            .machine
            .children()
            .filter_map(|c| c.second.map(|s| (c.id.clone(), (s.incarnation, s.role, s.state.clone()))));
        assert_eq!(seconds.collect::<BTreeMap<_, _>>(), self.beside);
        for child in self.machine.children() {
            let reached = (*child.state == ChildState::Ready).then_some(child.incarnation);
            assert_eq!(self.admitted.get(child.id).copied(), reached, "{}", child.id);
            self.check_incarnations(&child);
        }
        assert!(
            self.alive.keys().all(|(id, _)| self.board.contains_key(id)),
            "somebody lives whom nobody knows"
        );
        // S-10: an exit is told once and judged once.
        assert_eq!(self.exits_told, self.exits_published);
        // a timer is armed exactly for the children that wait.
        let waiting = self.board.values().filter(|s| s.is_restarting()).count();
        let own = self.timers.iter().filter(|(_, t)| matches!(t, Timer::Child(_))).count();
        if self.machine.flags().strategy == Strategy::OneForOne {
            assert_eq!((waiting, self.timers.len()), (own, own + self.waiting_spares()));
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

    fn waiting_spares(&self) -> usize {
        let waits = |c: &ChildView<'_>| c.second.is_some_and(|s| s.state.is_restarting());
        self.machine.children().filter(waits).count()
    }

    fn check_incarnations(&self, child: &ChildView<'_>) {
        let (id, lives) = (child.id, self.lives(child.id));
        let primary = lives.iter().find(|(n, _)| *n == child.incarnation).map(|(_, live)| live);
        let beside = lives.iter().find(|(n, _)| *n != child.incarnation);
        // S-27: at most two, and two only if the child says so.
        assert!(lives.len() <= 1 || child.policy.overlap, "{id} has {lives:?}");
        let runs = matches!(child.state, ChildState::Starting | ChildState::Ready);
        assert_eq!(runs, primary.is_some_and(|live| !live.asked), "{id} is {}: {lives:?}", child.state);
        let outgoing = |live: &Live| live.asked || live.failing;
        match child.state {
            ChildState::Stopping => {
                assert!(!lives.is_empty() && lives.iter().all(|(_, live)| outgoing(live)), "{id}: {lives:?}");
            }
            ChildState::BackingOff { .. } => {
                assert!(lives.iter().all(|(_, live)| outgoing(live)), "{id} waits with {lives:?}");
            }
            ChildState::CoolingOff { .. } | ChildState::Down { .. } => assert_eq!(lives.len(), 0, "{id}"),
            _ => {}
        }
        let Some(second) = &child.second else {
            return assert!(beside.is_none(), "{id} has {lives:?}");
        };
        let timer = IncarnationKey { child: id.clone(), incarnation: second.incarnation };
        let armed = self.timers.iter().find(|(_, t)| *t == Timer::Spare(timer.clone())).map(|(due, _)| *due);
        if let ChildState::BackingOff { until, .. } = second.state {
            assert_eq!((beside.is_none(), armed), (true, Some(*until)), "{id} has {second:?}");
            return assert_eq!(second.role, SecondIncarnationRole::Spare);
        }
        let (incarnation, live) = beside.unwrap_or_else(|| panic!("{id} has {second:?}, which is dead"));
        assert_eq!((*incarnation, armed), (second.incarnation, None), "{id} has {second:?}");
        match (second.role, second.state) {
            (SecondIncarnationRole::Successor | SecondIncarnationRole::Spare, ChildState::Stopping) => {
                assert!(live.asked)
            }
            (SecondIncarnationRole::Successor, state) => {
                assert_eq!((state, live.asked), (&ChildState::Starting, false), "{id}");
                assert_eq!(*child.state, ChildState::Ready, "{id} has a successor");
            }
            (SecondIncarnationRole::Spare, state) => {
                let is = if live.ready { ChildState::Ready } else { ChildState::Starting };
                assert_eq!((state, live.asked), (&is, false), "{id}");
                assert_eq!(*child.state, ChildState::Ready, "{id} has a spare");
            }
            (SecondIncarnationRole::Leaving, _) => assert!(live.ready && live.asked, "{id}: {live:?}"),
            (SecondIncarnationRole::Failing, _) => assert!(live.ready && live.failing, "{id}: {live:?}"),
            (role, state) => panic!("{id} has a second one, {role}, {state}"),
        }
    }

    /// Nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.timers.is_empty()
            && self.alive.values().all(|live| !live.failing)
            && self.machine.children().all(|c| {
                let rests = c.second.is_none_or(|second| *second.state == ChildState::Ready);
                rests && (*c.state == ChildState::Ready || c.state.is_down())
            })
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
                DownReason::NeverStarted if child.policy.start == StartMode::OnDemand => true,
                DownReason::NeverStarted if self.policies_changed => true,
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
