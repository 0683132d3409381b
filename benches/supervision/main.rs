//! What supervision costs, with bare ractor (no policy, a supervisor that respawns what died) in the same
//! run.
//!
//! `cargo bench --bench supervision`; a filter may follow (`-- restart`). A harness of its own: what is
//! measured are single latencies and whole storms, which a loop around a closure does not fit. The machine is
//! warm after the first rounds; figures are medians over rounds, ratios are of medians of the same run.
//! `-- count` runs one of them alone, for a profiler: see `count.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod count;
#[path = "../support/counting.rs"]
mod counting;
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use procession::internals::machine::{Action, IncarnationKey, Input, Machine, NewChild};
use procession::{
    clock::TreeInstant,
    id::Incarnation,
    restart::{Intensity, RestartPolicy},
    state::Strategy,
    supervision::{ChildPolicy, SupervisorFlags},
};
use ractor::ActorRef;
use world::{Ping, World};

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
                // On a worker, as everything that a service does: a thread beside the workers would only add
                // switches.
                let started = tokio::spawn(async move {
                    let begin = Instant::now();
                    let world = World::start(i == 1, Strategy::OneForOne, n).await;
                    (world, begin.elapsed())
                });
                let (world, time) = started.await.unwrap();
                samples.push(time.as_secs_f64() * 1e3);
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
    let intensity = Intensity::new(u32::MAX, Duration::from_millis(1));
    let flags = SupervisorFlags { intensity: Some(intensity), ..SupervisorFlags::default() };
    let news = (0..n).map(|i| NewChild {
        id: format!("c{i}").into(),
        policy: policy.clone(),
        last_incarnation: Incarnation::NONE,
        stopped_by_operator: false,
        has_been_ready: false,
        seed: i as u64,
    });
    let mut machine = Machine::new(flags, news);
    let mut actions = Vec::new();
    let mut now = TreeInstant::EPOCH;
    machine.handle(now, Input::Boot, &mut actions);
    let mut keys: Vec<IncarnationKey> = Vec::with_capacity(n);
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
    if count::asked() {
        return;
    }
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
