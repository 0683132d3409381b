//! What supervision costs, with bare ractor (no policy, a supervisor that respawns what died) in the same run.
//!
//! `cargo bench --bench supervision`; a filter may follow (`-- restart`). A harness of its own: what is measured are
//! single latencies and whole storms, which a loop around a closure does not fit. The machine is warm after the first
//! rounds; figures are medians over rounds, ratios are of medians of the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "support/counting.rs"]
mod counting;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use procession::{
    id::Incarnation,
    restart::RestartPolicy,
    supervision::{
        ChildPolicy, ChildSpec, Flags, Root, RootOptions, SupervisorSpec,
        machine::{Action, Input, Key, Machine, NewChild},
    },
    time::At,
    vocabulary::Strategy,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

// ---- the child: tells that it is up, answers ----------------------------------------------------------------------

struct Child(usize, UnboundedSender<(usize, ActorRef<Ping>)>);

struct Ping(RpcReplyPort<usize>);

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Child {
    type Msg = Ping;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, me: ActorRef<Ping>, (): ()) -> Result<(), ActorProcessingErr> {
        let _ = self.1.send((self.0, me));
        Ok(())
    }
    async fn handle(&self, _: ActorRef<Ping>, ping: Ping, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let _ = ping.0.send(self.0);
        Ok(())
    }
}

// ---- the floor: ractor alone --------------------------------------------------------------------------------------

struct Bare {
    strategy: Strategy,
    up: UnboundedSender<(usize, ActorRef<Ping>)>,
}

struct BareState {
    by_id: HashMap<ractor::ActorId, usize>,
    cells: Vec<ActorCell>,
    joins: Vec<Option<tokio::task::JoinHandle<()>>>,
}

impl Bare {
    async fn bear(&self, i: usize, me: &ActorRef<()>, state: &mut BareState) {
        let (child, join) =
            Child::spawn_linked(None, Child(i, self.up.clone()), (), me.get_cell()).await.unwrap();
        state.by_id.insert(child.get_id(), i);
        if state.cells.len() <= i {
            state.cells.push(child.get_cell());
            state.joins.push(Some(join));
        } else {
            state.cells[i] = child.get_cell();
            state.joins[i] = Some(join);
        }
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Bare {
    type Msg = ();
    type State = BareState;
    type Arguments = usize;
    async fn pre_start(&self, me: ActorRef<()>, n: usize) -> Result<BareState, ActorProcessingErr> {
        let mut state = BareState { by_id: HashMap::new(), cells: Vec::new(), joins: Vec::new() };
        for i in 0..n {
            self.bear(i, &me, &mut state).await;
        }
        Ok(state)
    }
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut BareState,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorTerminated(cell, ..) | SupervisionEvent::ActorFailed(cell, _)) = event
        else {
            return Ok(());
        };
        let Some(i) = state.by_id.remove(&cell.get_id()) else { return Ok(()) };
        let from = match self.strategy {
            Strategy::OneForOne => i..i + 1,
            Strategy::OneForAll => 0..state.cells.len(),
            Strategy::RestForOne => i..state.cells.len(),
        };
        for j in from.clone().rev() {
            if j != i {
                state.by_id.remove(&state.cells[j].get_id());
                state.cells[j].stop(None);
            }
            state.joins[j].take().unwrap().await.unwrap();
        }
        for j in from {
            self.bear(j, &me, state).await;
        }
        Ok(())
    }
}

// ---- both, behind one face ----------------------------------------------------------------------------------------

enum Supervisor {
    Bare(#[expect(dead_code, reason = "kept alive")] ActorRef<()>),
    Procession(#[expect(dead_code, reason = "kept alive")] Root),
}

struct World {
    supervisor: Supervisor,
    up: UnboundedReceiver<(usize, ActorRef<Ping>)>,
    children: Vec<ActorRef<Ping>>,
}

impl World {
    async fn start(ours: bool, strategy: Strategy, n: usize) -> World {
        let (tx, mut up) = unbounded_channel();
        let supervisor = if ours {
            let mut spec = SupervisorSpec::new(strategy).intensity(u32::MAX, Duration::from_secs(1));
            let policy = Arc::new(ChildPolicy::actor());
            for i in 0..n {
                let tx = tx.clone();
                let mut child = ChildSpec::actor(format!("c{i}"), move || (Child(i, tx.clone()), ()));
                child.policy = policy.clone();
                spec = spec.child(child);
            }
            Supervisor::Procession(Root::start(spec, RootOptions::default()).await.unwrap())
        } else {
            Supervisor::Bare(Bare::spawn(None, Bare { strategy, up: tx }, n).await.unwrap().0)
        };
        let mut children: Vec<Option<ActorRef<Ping>>> = vec![None; n];
        for _ in 0..n {
            let (i, child) = up.recv().await.unwrap();
            children[i] = Some(child);
        }
        World { supervisor, up, children: children.into_iter().map(Option::unwrap).collect() }
    }

    async fn next(&mut self) -> usize {
        let (i, child) = self.up.recv().await.unwrap();
        self.children[i] = child;
        i
    }

    async fn ping(&self, i: usize) {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.children[i].cast(Ping(tx.into())).unwrap();
        assert_eq!(rx.await.unwrap(), i);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() - 1) as f64 * q).round() as usize]
}

/// Prints ours, bare ractor's and the ratio. `smaller`: smaller is better.
fn report(name: &str, unit: &str, ours: &mut [f64], bare: &mut [f64], target: f64, smaller: bool) {
    let (o, b) = (quantile(ours, 0.5), quantile(bare, 0.5));
    let tail = if smaller { 0.99 } else { 0.01 };
    let (o99, b99) = (quantile(ours, tail), quantile(bare, tail));
    let sign = if smaller { "<=" } else { ">=" };
    println!(
        "{name:<34} {o:>11.1} ({o99:>9.1})  bare {b:>11.1} ({b99:>9.1}) {unit:<10} ratio {:>5.2}  target {sign} {target}",
        o / b
    );
}

/// Both worlds take turns, so that whatever else the machine does meets both.
async fn worlds(strategy: Strategy, n: usize) -> [World; 2] {
    [World::start(false, strategy, n).await, World::start(true, strategy, n).await]
}

fn restart(n: usize, rounds: usize) {
    let mut samples = [Vec::new(), Vec::new()];
    runtime().block_on(async {
        let mut worlds = worlds(Strategy::OneForOne, n).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        for round in 0..rounds + 50 {
            let i = (round * 7919) % n;
            for (world, samples) in worlds.iter_mut().zip(&mut samples) {
                let begin = Instant::now();
                world.children[i].kill();
                let back = world.next().await;
                world.ping(back).await;
                if round >= 50 {
                    samples.push(begin.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
        std::mem::forget(worlds);
    });
    let [mut bare, mut ours] = samples;
    report(&format!("restart, {n} siblings"), "us", &mut ours, &mut bare, 2.0, true);
}

fn storm(n: usize, rounds: usize) {
    let mut samples = [Vec::new(), Vec::new()];
    runtime().block_on(async {
        let mut worlds = worlds(Strategy::OneForOne, n).await;
        for _ in 0..rounds {
            for (world, samples) in worlds.iter_mut().zip(&mut samples) {
                let begin = Instant::now();
                for child in &world.children {
                    child.kill();
                }
                for _ in 0..n {
                    world.next().await;
                }
                samples.push(n as f64 / begin.elapsed().as_secs_f64());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        std::mem::forget(worlds);
    });
    let [mut bare, mut ours] = samples;
    report(&format!("storm of {n}"), "restarts/s", &mut ours, &mut bare, 0.5, false);
}

fn group(strategy: Strategy, n: usize, rounds: usize) {
    let mut samples = [Vec::new(), Vec::new()];
    runtime().block_on(async {
        let mut worlds = worlds(strategy, n).await;
        for round in 0..rounds + 10 {
            for (world, samples) in worlds.iter_mut().zip(&mut samples) {
                let begin = Instant::now();
                world.children[0].kill();
                for _ in 0..n {
                    world.next().await;
                }
                world.ping(n - 1).await;
                if round >= 10 {
                    samples.push(begin.elapsed().as_secs_f64() * 1e6);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        std::mem::forget(worlds);
    });
    let [mut bare, mut ours] = samples;
    report(&format!("{strategy} pass of {n}"), "us", &mut ours, &mut bare, 1.5, true);
}

fn start(n: usize, rounds: usize) {
    let mut samples = [Vec::new(), Vec::new()];
    let mut bytes = [0.0; 2];
    for _ in 0..rounds {
        for (i, (samples, bytes)) in samples.iter_mut().zip(&mut bytes).enumerate() {
            let runtime = runtime();
            let before = counting::live();
            runtime.block_on(async {
                let begin = Instant::now();
                let world = World::start(i == 1, Strategy::OneForOne, n).await;
                samples.push(begin.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(Duration::from_millis(100)).await;
                let driver = world.children.capacity() * size_of::<ActorRef<Ping>>();
                *bytes = (counting::live() - before - driver as isize) as f64 / n as f64;
                std::mem::forget(world.supervisor);
            });
        }
    }
    let [mut bare, mut ours] = samples;
    report(&format!("start of {n}"), "ms", &mut ours, &mut bare, 1.5, true);
    let [bare, ours] = bytes;
    println!(
        "memory per child of {n:<14} {ours:>11.0}              bare {bare:>11.0}             bytes      beyond {:>5.0}  target <= 1500",
        ours - bare
    );
}

/// Decisions of the pure machine: an exit judged and a restart made, then ready.
fn machine(n: usize, decisions: usize) {
    let policy = Arc::new(ChildPolicy { restart: RestartPolicy::actor(), ..ChildPolicy::actor() });
    let mut flags = Flags::default();
    flags.intensity.max_restarts = u32::MAX;
    flags.intensity.period = Duration::from_millis(1);
    let news = (0..n).map(|i| NewChild {
        id: format!("c{i}").into(),
        policy: policy.clone(),
        last_incarnation: Incarnation::NONE,
        held: false,
        proven: false,
        seed: i as u64,
    });
    let mut machine = Machine::new(flags, news);
    let mut actions = Vec::new();
    let mut now = At::EPOCH;
    machine.handle(now, Input::Boot, &mut actions);
    let mut keys: Vec<Key> = Vec::with_capacity(n);
    while keys.len() < n {
        let started =
            actions.iter().find_map(|a| if let Action::Start(key) = a { Some(key.clone()) } else { None });
        let key = started.unwrap();
        actions.clear();
        machine.handle(now, Input::Ready(key.clone()), &mut actions);
        keys.push(key);
    }
    let begin = Instant::now();
    for round in 0..decisions / 2 {
        let i = (round * 7919) % n;
        now = now.after(Duration::from_micros(1));
        actions.clear();
        let exit = procession::exit::Exit::ActorKilled;
        machine.handle(now, Input::Ended(keys[i].clone(), exit), &mut actions);
        keys[i].incarnation = keys[i].incarnation.next();
        machine.handle(now, Input::Ready(keys[i].clone()), &mut actions);
    }
    let rate = decisions as f64 / begin.elapsed().as_secs_f64() / 1e6;
    println!(
        "machine, {n:<6} children             {rate:>11.2} M decisions/s                                          target >= 2"
    );
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    println!("median (p99)");
    if wanted("machine") {
        for n in [10, 100_000] {
            machine(n, 4_000_000);
        }
    }
    if wanted("restart") {
        for (n, rounds) in [(10, 4000), (1_000, 4000), (10_000, 2000), (100_000, 1000)] {
            restart(n, rounds);
        }
    }
    if wanted("storm") {
        storm(1_000, 20);
        storm(10_000, 10);
    }
    if wanted("group") {
        group(Strategy::OneForAll, 100, 200);
        group(Strategy::RestForOne, 100, 200);
    }
    if wanted("start") {
        start(10_000, 5);
        start(100_000, 3);
    }
}
