//! The engine does what its machine decides: random histories run once with the pure machine and an
//! imagined executor, and once with the engine and actors under paused time. Both give the same
//! events at the same moments, and the same replies (S-27).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::internals::{
    Root, RootOptions,
    machine::{
        Action, DefinitionChange, IncarnationKey, Input, Machine, NewChild, OperatorRequestId, ReloadWhen,
        Reply, Request, Timer,
    },
};
use procession::{
    clock::TreeInstant,
    event::EventKind,
    exit::{Exit, LaunchStage},
    id::{ChildId, Incarnation},
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, Intensity, RestartPolicy, RestartType},
    state::{GiveUpReason, Strategy},
    supervision::{
        ActorStarter, AutoShutdown, ChildPolicy, ChildSpec, RequestError, Shutdown, Start, StartContext,
        StartMode, Started, SupervisorFlags, SupervisorRef, SupervisorSpec,
    },
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::support::*;

const IDS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// When the supervisor is stopped, if it has not ended by itself.
const END: u64 = 20_000;

#[test]
fn the_events_of_the_engine_are_those_of_its_machine() {
    // D-1, R-9
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let (mut compared, mut events, mut gave_up) = (0, 0, 0);
    for seed in 0..seeds {
        let story = Story::new(seed);
        let t0 = TreeInstant::EPOCH.after(ms(7));
        let Some(imagined) = Imagined::run(&story, t0) else { continue };
        let (log, answers) = play(&story, t0);
        for (n, (ours, theirs)) in log.iter().zip(&imagined.log).enumerate() {
            let before = log[n.saturating_sub(8)..n].join("\n");
            assert_eq!(ours, theirs, "seed {seed}, event {n} (left: engine); before:\n{before}\n{story:#?}");
        }
        assert_eq!(
            log.len(),
            imagined.log.len(),
            "seed {seed}: {:#?}\n{:#?}",
            log.last(),
            imagined.log.last()
        );
        assert_eq!(answers, imagined.answers, "seed {seed}: answers (left: engine)");
        assert_eq!(answers.len(), story.asks.len());
        compared += 1;
        events += log.len();
        gave_up += usize::from(imagined.gave_up);
    }
    // Histories in which two things happen at the same moment are left out: no order is promised
    // for them.
    assert!(compared > seeds / 4, "{compared}");
    assert!(events > 30 * compared as usize, "{events} events in {compared} histories");
    assert!(gave_up as u64 > compared / 20 && (gave_up as u64) < compared, "{gave_up}");
}

// ---- what happens, decided beforehand -----------------------------------------------------------

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One incarnation, the same for both executors.
#[derive(Clone, Debug)]
struct Fate {
    start: u64,
    /// How its start fails, if it does.
    stillborn: Option<Exit>,
    /// How long it runs before it ends by itself, and how.
    end: Option<(u64, End)>,
    stop: u64,
}

#[derive(Clone, Debug)]
enum End {
    Fails(Exit),
    Stops,
    Killed,
}

fn fate(seed: u64, id: &str, incarnation: Incarnation) -> Fate {
    let hash =
        id.bytes().fold(seed ^ (incarnation.0 << 32), |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    let mut dice = Dice(hash);
    let never = Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Exec, reason: "x".into() };
    let failed = Exit::Failed { code: 3 };
    let gave_up = Exit::IntensityExceeded {
        child: "leaf".into(),
        cause: Box::new(failed.clone()),
        limit: GiveUpReason::TotalRestarts { max: 1 },
    };
    let stillborn = dice
        .one_in(6)
        .then(|| dice.pick(&[failed.clone(), failed.clone(), Exit::Ignored, never.clone(), gave_up.clone()]));
    let end = (!dice.one_in(5)).then(|| {
        let exits =
            [failed.clone(), failed.clone(), Exit::Requested, Exit::Clean { code: 0 }, never, gave_up];
        let how = match dice.below(8) {
            0 | 1 => End::Stops,
            2 => End::Killed,
            _ => End::Fails(dice.pick(&exits)),
        };
        (1 + dice.below(4000), how)
    });
    // Now and then longer than the start timeout.
    let start = if dice.one_in(12) { 300 + dice.below(200) } else { 1 + dice.below(150) };
    Fate { start, stillborn, end, stop: 1 + dice.below(300) }
}

#[derive(Clone, Debug)]
enum Ask {
    Start(ChildId, ChildPolicy),
    Terminate(ChildId),
    RestartChild(ChildId),
    Delete(ChildId),
    Remove(ChildId),
    Restart(ChildId),
    Reload(ChildId, ChildPolicy, ReloadWhen),
    SetPolicy(ChildId, ChildPolicy),
}

#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    flags: SupervisorFlags,
    children: Vec<(ChildId, ChildPolicy)>,
    /// In the order of their times.
    asks: Vec<(u64, Ask)>,
}

impl Story {
    fn new(seed: u64) -> Story {
        let mut dice = Dice(seed);
        let dynamic = dice.one_in(6);
        let strategy = match dynamic {
            true => Strategy::OneForOne,
            false => dice.pick(&[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]),
        };
        let auto = [
            AutoShutdown::Never,
            AutoShutdown::Never,
            AutoShutdown::AnySignificant,
            AutoShutdown::AllSignificant,
        ];
        let restarts = if dice.one_in(3) { dice.below(6) as u32 } else { 100 };
        let flags = SupervisorFlags {
            strategy,
            dynamic,
            intensity: Some(Intensity::new(restarts, ms(1000 + dice.below(4000)))),
            auto_shutdown: dice.pick(&auto),
            max_children: dice.one_in(4).then_some(5),
        };
        let count = 1 + dice.below(4) as usize;
        let children: Vec<_> =
            IDS[..count].iter().map(|id| (ChildId::from(*id), policy(&mut dice, &flags))).collect();
        let mut asks: Vec<(u64, Ask)> = (0..dice.below(25))
            .map(|_| {
                let known = if dice.one_in(5) { IDS.len() } else { count };
                let id = ChildId::from(dice.pick(&IDS[..known]));
                let ask = match dice.below(8) {
                    0 => Ask::Start(dice.pick(&IDS).into(), policy(&mut dice, &flags)),
                    1 => Ask::Terminate(id),
                    2 => Ask::RestartChild(id),
                    3 => Ask::Delete(id),
                    4 => Ask::Remove(id),
                    5 => Ask::Restart(id),
                    6 => {
                        let when = if dice.one_in(4) { ReloadWhen::NextStart } else { ReloadWhen::Now };
                        Ask::Reload(id, policy(&mut dice, &flags), when)
                    }
                    _ => Ask::SetPolicy(id, policy(&mut dice, &flags)),
                };
                (1 + dice.below(END - 2), ask)
            })
            .collect();
        asks.sort_by_key(|(at, _)| *at);
        Story { seed, flags, children, asks }
    }
}

fn policy(dice: &mut Dice, flags: &SupervisorFlags) -> ChildPolicy {
    use RestartType::*;
    let kind = dice.pick(&[Permanent, Permanent, Permanent, Transient, Temporary, OnSuccess, UnlessStopped]);
    let one_for_one = flags.strategy == Strategy::OneForOne;
    let then = match dice.below(3) {
        0 if one_for_one => CrashLoopAction::cool_off(ms(700)),
        0 | 1 => CrashLoopAction::GiveUp,
        _ => CrashLoopAction::Escalate,
    };
    let crash_loop = CrashLoop::new(2 + dice.below(4) as u32, ms(3000), then);
    let backoffs = [Backoff::None, Backoff::fixed(ms(130)), Backoff::exponential(ms(90), ms(900))];
    let mut restart = RestartPolicy::actor()
        .with_restart(kind)
        .with_healthy_after(ms(800))
        .with_backoff(dice.pick(&backoffs))
        .with_max_total_restarts(dice.one_in(8).then_some(3));
    if dice.one_in(6) {
        restart.budget = Some(BudgetScope::Own(crash_loop));
    } else if dice.one_in(6) {
        restart.crash_loop = Some(crash_loop);
    }
    let overlap = dice.one_in(2);
    let always = matches!(kind, Permanent | UnlessStopped);
    ChildPolicy {
        restart,
        shutdown: dice.pick(&[Shutdown::BrutalKill, Shutdown::Timeout(ms(120)), Shutdown::Infinity]),
        start: match dice.below(8) {
            0 | 1 => StartMode::Background,
            2 => StartMode::OnDemand,
            _ => StartMode::Required,
        },
        start_timeout: ms(280),
        significant: dice.one_in(3) && flags.auto_shutdown != AutoShutdown::Never && !always,
        overlap,
        standby: overlap && one_for_one && kind != Temporary && dice.one_in(2),
        ..ChildPolicy::actor()
    }
}

type Answers = BTreeMap<usize, Result<u64, RequestError>>;

fn line(at: TreeInstant, path: &str, incarnation: Incarnation, kind: &EventKind) -> String {
    format!("{at} {path}{incarnation} {kind:?}")
}

// ---- the imagined executor ----------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq)]
enum Due {
    Born(IncarnationKey),
    TooLate(IncarnationKey),
    /// Its own time has come.
    Dies(IncarnationKey),
    /// Its `post_stop` is over.
    Stopped(IncarnationKey),
    /// Its stop has taken too long.
    Patience(IncarnationKey),
    Fires(Timer),
    Ask(usize),
    Shutdown,
}

impl Due {
    fn is_of(&self, key: &IncarnationKey) -> bool {
        match self {
            Due::Born(k) | Due::TooLate(k) | Due::Dies(k) | Due::Stopped(k) | Due::Patience(k) => k == key,
            _ => false,
        }
    }
}

struct Imagined<'a> {
    story: &'a Story,
    machine: Machine,
    now: TreeInstant,
    due: Vec<(TreeInstant, Due)>,
    /// Incarnations that are up, and whether they were asked to stop.
    up: HashMap<IncarnationKey, bool>,
    ends: VecDeque<(IncarnationKey, Exit)>,
    last: BTreeMap<ChildId, Incarnation>,
    retired: Incarnation,
    log: Vec<String>,
    answers: Answers,
    exited: bool,
    gave_up: bool,
}

impl<'a> Imagined<'a> {
    /// `None` if two things happen at the same moment.
    fn run(story: &'a Story, t0: TreeInstant) -> Option<Imagined<'a>> {
        let new = |(id, policy): &(ChildId, ChildPolicy)| NewChild {
            id: id.clone(),
            policy: Arc::new(policy.clone()),
            last_incarnation: Incarnation::NONE,
            stopped_by_operator: false,
            has_been_ready: false,
            seed: 0,
        };
        let mut due: Vec<_> =
            story.asks.iter().enumerate().map(|(n, (at, _))| (t0.after(ms(*at)), Due::Ask(n))).collect();
        due.push((t0.after(ms(END)), Due::Shutdown));
        let mut this = Imagined {
            story,
            machine: Machine::new(story.flags.clone(), story.children.iter().map(new)),
            now: t0,
            due,
            up: HashMap::new(),
            ends: VecDeque::new(),
            last: BTreeMap::new(),
            retired: Incarnation::NONE,
            log: Vec::new(),
            answers: Answers::new(),
            exited: false,
            gave_up: false,
        };
        this.input(Input::Boot);
        loop {
            while let Some((key, exit)) = this.ends.pop_front() {
                if !this.ends.is_empty() {
                    return None;
                }
                this.up.remove(&key);
                this.due.retain(|(_, due)| !due.is_of(&key));
                this.input(Input::Ended(key, exit));
            }
            let Some(first) = (0..this.due.len()).min_by_key(|n| this.due[*n].0) else { return Some(this) };
            let (at, due) = this.due.remove(first);
            if at == this.now || this.due.iter().any(|(other, _)| *other == at) {
                return None;
            }
            this.now = at;
            this.happens(due);
        }
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Born(key) => {
                let fate = self.fate(&key);
                if let Some(exit) = fate.stillborn {
                    return self.ends.push_back((key, exit));
                }
                self.up.insert(key.clone(), false);
                if let Some((after, _)) = fate.end {
                    self.later(after, Due::Dies(key.clone()));
                }
                self.due.retain(|(_, due)| *due != Due::TooLate(key.clone()));
                self.input(Input::Ready(key));
            }
            Due::TooLate(key) => {
                let after = self.start_timeout(&key);
                self.ends.push_back((key, Exit::StartTimeout { after }));
            }
            Due::Dies(key) => match self.fate(&key).end.unwrap().1 {
                End::Fails(exit) => self.ends.push_back((key, exit)),
                End::Killed => self.ends.push_back((key, Exit::ActorKilled)),
                End::Stops => {
                    let stop = self.fate(&key).stop;
                    self.later(stop, Due::Stopped(key));
                }
            },
            Due::Stopped(key) => {
                let asked = self.up[&key];
                let exit = if asked { Exit::Requested } else { Exit::ActorStopped { reason: None } };
                self.ends.push_back((key, exit));
            }
            Due::Patience(key) => self.ends.push_back((key, Exit::ActorKilled)),
            Due::Fires(timer) => self.input(Input::Fired(timer)),
            Due::Shutdown if !self.exited => self.input(Input::Shutdown),
            Due::Shutdown => {}
            Due::Ask(n) => self.ask(n),
        }
    }

    fn ask(&mut self, n: usize) {
        if self.exited {
            self.answers.insert(n, Err(RequestError::ShuttingDown));
            return;
        }
        let request = match self.story.asks[n].1.clone() {
            Ask::Start(id, policy) => Request::StartChild(NewChild {
                last_incarnation: self.retired,
                id,
                policy: Arc::new(policy),
                stopped_by_operator: false,
                has_been_ready: false,
                seed: 0,
            }),
            Ask::Terminate(id) => Request::TerminateChild(id),
            Ask::RestartChild(id) => Request::RestartChild(id),
            Ask::Delete(id) => Request::DeleteChild(id),
            Ask::Remove(id) => Request::RemoveChild(id),
            Ask::Restart(id) => Request::Restart(id),
            Ask::Reload(id, policy, when) => {
                Request::Reload(id, DefinitionChange::ReplacePolicy(Arc::new(policy)), when)
            }
            Ask::SetPolicy(id, policy) => {
                let answer = self.machine.set_policy(&id, Arc::new(policy));
                self.answers.insert(n, answer.map(|()| 0));
                return;
            }
        };
        self.input(Input::Request(OperatorRequestId(n as u64), request));
    }

    fn fate(&self, key: &IncarnationKey) -> Fate {
        fate(self.story.seed, key.child.as_str(), key.incarnation)
    }

    fn start_timeout(&self, key: &IncarnationKey) -> Duration {
        let child = self.machine.child(&key.child).unwrap();
        let second = child.second.filter(|second| second.incarnation == key.incarnation);
        second.map_or(child.policy, |second| second.policy).start_timeout
    }

    fn later(&mut self, after: u64, due: Due) {
        self.due.push((self.now.after(ms(after)), due));
    }

    fn input(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.machine.handle(self.now, input, &mut actions);
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start(key) => {
                self.last.insert(key.child.clone(), key.incarnation);
                let fate = self.fate(&key);
                let timeout = self.start_timeout(&key);
                if ms(fate.start) > timeout {
                    self.later(timeout.as_millis() as u64, Due::TooLate(key));
                } else {
                    self.later(fate.start, Due::Born(key));
                }
            }
            Action::Stop(key, mode) | Action::Retire(key, mode) => match self.up.get_mut(&key) {
                // A start is simply cancelled.
                None => {
                    self.due.retain(|(_, due)| !due.is_of(&key));
                    self.ends.push_back((key, Exit::Requested));
                }
                Some(asked) => {
                    *asked = true;
                    self.due.retain(|(_, due)| *due != Due::Dies(key.clone()));
                    let stops = self.due.iter().any(|(_, due)| *due == Due::Stopped(key.clone()));
                    let stop = self.fate(&key).stop;
                    match mode {
                        Shutdown::BrutalKill => return self.ends.push_back((key, Exit::Requested)),
                        Shutdown::Timeout(time) => {
                            self.later(time.as_millis() as u64, Due::Patience(key.clone()))
                        }
                        Shutdown::Infinity => {}
                    }
                    if !stops {
                        self.later(stop, Due::Stopped(key));
                    }
                }
            },
            Action::Arm(timer, at) => self.due.push((at, Due::Fires(timer))),
            Action::Disarm(timer) => self.due.retain(|(_, due)| *due != Due::Fires(timer.clone())),
            Action::Reply(id, answer) => {
                let reload = matches!(self.story.asks[id.0 as usize].1, Ask::Reload(..));
                let answer = answer.map(|answer| match answer {
                    Reply::Ready(incarnation) if !reload => incarnation.0,
                    _ => 0,
                });
                assert_eq!(self.answers.insert(id.0 as usize, answer), None);
            }
            Action::MakeLive(_)
            | Action::SetStoppedByOperator(..)
            | Action::Started
            | Action::Define(_)
            | Action::Confirm(_)
            | Action::Restore(_) => {}
            Action::Publish(Some(key), kind) => {
                self.log.push(line(self.now, &format!("/sup/{}", key.child), key.incarnation, &kind));
            }
            Action::Publish(None, kind) => self.log.push(line(self.now, "/sup", Incarnation(1), &kind)),
            Action::Forget(id) => {
                let last = self.last.remove(&id).unwrap_or_default();
                self.retired = self.retired.max(last);
            }
            Action::Exit(exit) => {
                self.exited = true;
                self.gave_up = matches!(exit, Exit::IntensityExceeded { .. });
            }
        }
    }
}

// ---- the engine ---------------------------------------------------------------------------------

#[derive(Debug)]
struct Fated {
    seed: u64,
    id: ChildId,
}

#[async_trait::async_trait]
impl Start for Fated {
    async fn start(&self, cx: StartContext) -> Result<Started, Exit> {
        let fate = fate(self.seed, self.id.as_str(), cx.incarnation);
        ActorStarter::new(move || (Doll, fate.clone())).start(cx).await
    }
}

struct Doll;

/// Its own time has come.
struct Time;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Doll {
    type Msg = Time;
    type State = Fate;
    type Arguments = Fate;

    async fn pre_start(&self, _: ActorRef<Time>, fate: Fate) -> Result<Fate, ActorProcessingErr> {
        tokio::time::sleep(ms(fate.start)).await;
        match &fate.stillborn {
            Some(exit) => Err(Box::new(exit.clone())),
            None => Ok(fate),
        }
    }

    async fn post_start(&self, me: ActorRef<Time>, fate: &mut Fate) -> Result<(), ActorProcessingErr> {
        if let Some((after, _)) = fate.end {
            me.send_after(ms(after), || Time);
        }
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Time>, _: Time, fate: &mut Fate) -> Result<(), ActorProcessingErr> {
        match fate.end.as_ref().map(|(_, end)| end) {
            Some(End::Fails(exit)) => return Err(Box::new(exit.clone())),
            Some(End::Stops) => me.stop(None),
            Some(End::Killed) => me.kill(),
            None => {}
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Time>, fate: &mut Fate) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(ms(fate.stop)).await;
        Ok(())
    }
}

async fn put(sup: &SupervisorRef, seed: u64, ask: Ask) -> Result<u64, RequestError> {
    let spec = |id: ChildId, policy| ChildSpec::new(id.clone(), policy, Fated { seed, id });
    match ask {
        Ask::Start(id, policy) => sup.start_child(spec(id, policy)).await.map(|i| i.0),
        Ask::Terminate(id) => sup.terminate_child(id).await.map(|()| 0),
        Ask::RestartChild(id) => sup.restart_child(id).await.map(|i| i.0),
        Ask::Delete(id) => sup.delete_child(id).await.map(|()| 0),
        Ask::Remove(id) => sup.remove_child(id).await.map(|()| 0),
        Ask::Restart(id) => sup.restart(id).await.map(|i| i.0),
        Ask::Reload(id, policy, ReloadWhen::Now) => sup.reload_child(spec(id, policy)).await.map(|()| 0),
        Ask::Reload(id, policy, ReloadWhen::NextStart) => {
            sup.reload_child_later(spec(id, policy)).await.map(|()| 0)
        }
        Ask::SetPolicy(id, policy) => sup.set_policy(id, policy).await.map(|()| 0),
    }
}

fn play(story: &Story, t0: TreeInstant) -> (Vec<String>, Answers) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let options = RootOptions { event_capacity: 1 << 16, ..RootOptions::default() };
        let root = Root::start(SupervisorSpec::one_for_one(), options).await.unwrap();
        let mut events = root.events();
        let clock = root.clock();
        tokio::time::sleep_until(clock.instant(t0)).await;
        let child = |(id, policy): &(ChildId, ChildPolicy)| {
            ChildSpec::new(id.clone(), policy.clone(), Fated { seed: story.seed, id: id.clone() })
        };
        let children = story.children.iter().map(child).collect();
        let spec = SupervisorSpec { flags: story.flags.clone(), children };
        // Temporary: it leaves the table when it has ended.
        let spec = ChildSpec::supervisor("sup", spec).restart(RestartPolicy::temporary());
        let top = root.supervisor();
        tokio::spawn(async move { top.start_child(spec).await });
        tokio::task::yield_now().await;
        let sup = root.supervisor_at("/sup").unwrap();
        let answers = Arc::new(Mutex::new(Answers::new()));
        for (n, (at, ask)) in story.asks.iter().enumerate() {
            let (at, ask, sup, answers, seed) = (*at, ask.clone(), sup.clone(), answers.clone(), story.seed);
            tokio::spawn(async move {
                tokio::time::sleep_until(clock.instant(t0.after(ms(at)))).await;
                let answer = put(&sup, seed, ask).await;
                answers.lock().unwrap().insert(n, answer);
            });
        }
        tokio::time::sleep_until(clock.instant(t0.after(ms(END)))).await;
        let _ = root.supervisor().remove_child("sup").await;
        settle().await;
        let _ = root.shutdown(SEC).await;
        let mut log = Vec::new();
        for event in drain(&mut events) {
            let path = event.path.as_str();
            let own = matches!(
                event.kind,
                EventKind::GroupRestart { .. } | EventKind::Started | EventKind::Stopping { .. }
            );
            if path.starts_with("/sup/") || (path == "/sup" && own) {
                log.push(line(event.at, path, event.incarnation, &event.kind));
            }
        }
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        (log, answers)
    })
}
