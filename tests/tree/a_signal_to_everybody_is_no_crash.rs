//! If workers and their service are signalled together, in any order, no worker counts as crashed (R-1,
//! T-4, E-3). The service is a real one: this test binary run again.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command as StdCommand, Stdio},
};

use procession::{
    pool::PoolSpec, process::Command, protocol::ReadyLine, state::Strategy, tree::Tree, worker::WorkerSpec,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::SEC;

const WORKERS: usize = 6;
const SHAPE: &str = "PROCESSION_TEST_SHAPE";
const AT_TERM: &str = "PROCESSION_TEST_AT_TERM";

/// The service. Run by the tests below, in a process of its own.
#[test]
#[ignore = "run by another test, as a service of its own"]
fn inner_service() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let at_term = std::env::var(AT_TERM).unwrap();
    let trap = if at_term == "die" { String::new() } else { format!("trap 'exit {at_term}' TERM; ") };
    // A builtin that waits, so that the shell reacts at once.
    let program = Command::new("sh").arg("-c").arg(format!("{trap}echo up; read never"));
    let worker = || WorkerSpec::new(program.clone()).protocol(ReadyLine::new("up"));
    runtime.block_on(async {
        let mut tree = Tree::builder().intensity(3, 5 * SEC);
        match std::env::var(SHAPE).unwrap().as_str() {
            "pool" => {
                let pool = PoolSpec::anonymous(WORKERS, WORKERS, worker()).intensity(3, 5 * SEC);
                tree = tree.pool("pool", pool);
            }
            shape => {
                if shape == "group" {
                    tree = tree.strategy(Strategy::OneForAll);
                }
                for number in 0..WORKERS {
                    tree = tree.worker(format!("w{number}"), worker());
                }
            }
        }
        let tree = tree.start().await.unwrap();
        tree.wait_healthy(60 * SEC).await.unwrap();
        let mut events = tree.events();
        let pids: Vec<String> = tree
            .snapshot()
            .root
            .walk()
            .filter_map(|node| Some(node.worker.as_ref()?.pid?.to_string()))
            .collect();
        let mut run = std::pin::pin!(tree.run_until_signal(60 * SEC));
        // The first poll installs the handlers.
        tokio::select! {
            biased;
            _ = &mut run => panic!("no signal was sent"),
            () = std::future::ready(()) => println!("\npids {}", pids.join(" ")),
        }
        let exit = run.await.unwrap();
        let mut crashes = Vec::new();
        while let Ok(Some(event)) = events.try_next() {
            if event.is_crash() {
                crashes.push(event.to_string());
            }
        }
        println!("\nended: {:?}, crashes: {crashes:?}", exit.into_result());
    });
}

fn signal(pid: i32, signal: Signal) {
    // One may have ended already, if its siblings' ends have been noticed.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// When the host gets its signal.
#[derive(Clone, Copy, Debug)]
enum Order {
    First,
    Last,
    /// The host is stopped until all workers have ended, and learns of everything at once.
    Asleep,
}

/// Whether all its threads are stopped.
fn is_stopped(pid: i32) -> bool {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

fn has_ended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn stop_everybody(shape: &str, at_term: &str, order: Order) {
    let mut host = StdCommand::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_signal_to_everybody_is_no_crash::inner_service", "--nocapture"])
        .env(SHAPE, shape)
        .env(AT_TERM, at_term)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(host.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("pids ") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the service has not started");
    }
    let workers: Vec<i32> = line.split_ascii_whitespace().skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(workers.len(), WORKERS);
    let me = host.id().cast_signed();
    match order {
        Order::First => signal(me, Signal::TERM),
        Order::Asleep => {
            signal(me, Signal::STOP);
            while !is_stopped(me) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        Order::Last => {}
    }
    workers.iter().for_each(|pid| signal(*pid, Signal::TERM));
    if let Order::Asleep = order {
        while !workers.iter().all(|pid| has_ended(*pid)) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    if !matches!(order, Order::First) {
        signal(me, Signal::TERM);
        signal(me, Signal::CONT);
    }
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(host.wait().unwrap().success());
    let case = format!("{shape}, at SIGTERM {at_term}, {order:?}: {rest}");
    assert!(rest.contains("ended: Ok(()), crashes: []"), "{case}");
}

fn in_any_order(shape: &str, orders: &[Order]) {
    for at_term in ["0", "1", "143", "die"] {
        for order in orders.iter().chain(orders) {
            stop_everybody(shape, at_term, *order);
        }
    }
}

const ANY: [Order; 3] = [Order::First, Order::Last, Order::Asleep];

#[test]
fn of_workers_on_their_own() {
    in_any_order("workers", &ANY);
}

#[test]
fn of_a_group() {
    in_any_order("group", &ANY);
}

#[test]
fn of_a_pool() {
    // They have no back-off to wait in. The host must have received the signal by the time it learns of
    // their ends.
    in_any_order("pool", &[Order::First, Order::Asleep]);
}
