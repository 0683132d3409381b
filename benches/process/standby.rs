//! The time from the end of a process until the next call has been answered: with a spare, and with a cold
//! restart without back-off.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use procession::internals::{Root, RootOptions};
use procession::{
    process::Command,
    protocol::Plugin,
    restart::{Backoff, RestartPolicy},
    rpc::{CallOptions, Timeout},
    state::ChildState,
    supervision::SupervisorSpec,
    worker::{WorkerRef, WorkerSpec},
};

use crate::{
    BOUND,
    child::Child,
    figures::{kill, report, runtime, us},
};

pub(crate) fn standby(child: &Child, rounds: usize) {
    let workers = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers");
    one("C", child.command(), "echo", rounds);
    for (name, program, file) in [("Python", "python3", "plugin.py"), ("Node", "node", "plugin.mjs")] {
        if std::process::Command::new(program).arg("--version").output().is_err() {
            println!("skipped: {program} is not installed");
            continue;
        }
        one(name, Command::new(program).arg(workers.join(file)), "ping", rounds.min(40));
    }
}

fn one(name: &str, command: Command, method: &str, rounds: usize) {
    let mut cold = samples(&command, method, rounds, false);
    let mut warm = samples(&command, method, rounds, true);
    // Here the restart is the floor, and the spare has to be a small part of it.
    report(&format!("spare, {name}"), &mut warm, ("cold restart", &mut cold), 0.1);
}

fn samples(command: &Command, method: &str, rounds: usize, spare: bool) -> Vec<f64> {
    runtime().block_on(async {
        let at_once = RestartPolicy::permanent().with_backoff(Backoff::None).with_jitter(0.0);
        let worker = WorkerSpec::new(command.clone()).protocol(Plugin::default()).restart(at_once);
        let child = if spare { worker.child("w").standby() } else { worker.child("w") };
        let spec = SupervisorSpec::one_for_one().intensity(1_000_000, Duration::from_secs(1)).child(child);
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let worker = WorkerRef::new(root.find("/w").unwrap());
        let mut samples = Vec::new();
        for _ in 0..rounds {
            worker.wait_ready(BOUND).await.unwrap();
            while spare
                && !worker.diagnostics().second.is_some_and(|second| second.state == ChildState::Ready)
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let pid = worker.pid().unwrap();
            let began = Instant::now();
            kill(pid);
            // Made while the process is dying, and sent again to the next one.
            let options = CallOptions::timeout(Timeout::After(BOUND)).idempotent();
            worker.call_value(method, &(), options).await.unwrap();
            // The dying process may still have answered it.
            if worker.pid() == Some(pid) {
                continue;
            }
            samples.push(us(began));
        }
        let _ = root.shutdown(BOUND).await;
        samples
    })
}
