//! The time from the end of a process to the first answer of its successor, for one child and for all at
//! once.

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use procession::internals::{Root, RootOptions};
use procession::{
    protocol::Plugin,
    restart::{Backoff, RestartPolicy},
    state::ChildState,
    supervision::SupervisorSpec,
    worker::{WorkerRef, WorkerSpec},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
};

use crate::{
    BOUND,
    child::Child,
    figures::{kill, launcher, report, runtime, us},
};

pub(crate) const LINE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":null}\n";

pub(crate) async fn tree(child: &Child, n: usize) -> (Root, Vec<WorkerRef>) {
    let at_once = RestartPolicy::permanent().with_backoff(Backoff::None).with_jitter(0.0);
    let mut spec = SupervisorSpec::one_for_one().intensity(1_000_000, Duration::from_secs(1));
    let launcher = Arc::new(launcher());
    for i in 0..n {
        let worker = WorkerSpec::new(child.command()).protocol(Plugin::default()).restart(at_once.clone());
        let worker = worker.launcher(launcher.clone());
        spec = spec.child(worker.child(format!("w{i}")));
    }
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    let workers = (0..n).map(|i| WorkerRef::new(root.find(&format!("/w{i}")).unwrap())).collect();
    (root, workers)
}

/// A tokio child with the usual loop around it: wait, spawn, ask, report.
pub(crate) fn looped(
    child: &Child,
    up: mpsc::UnboundedSender<(usize, u32)>,
    i: usize,
) -> tokio::task::JoinHandle<()> {
    let program = child.0.clone();
    tokio::spawn(async move {
        loop {
            let mut spawned = tokio::process::Command::new(&program)
                .process_group(0)
                .kill_on_drop(true)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut stdin, stdout) = (spawned.stdin.take().unwrap(), spawned.stdout.take().unwrap());
            stdin.write_all(LINE).await.unwrap();
            let mut lines = BufReader::new(stdout).lines();
            lines.next_line().await.unwrap().unwrap();
            let _ = up.send((i, spawned.id().unwrap()));
            spawned.wait().await.unwrap();
        }
    })
}

pub(crate) fn restart(child: &Child, n: usize, rounds: usize) {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        let (up, mut ups) = mpsc::unbounded_channel();
        let tasks: Vec<_> = (0..n).map(|i| looped(child, up.clone(), i)).collect();
        let mut pids = vec![0; n];
        for _ in 0..n {
            let (i, pid) = ups.recv().await.unwrap();
            pids[i] = pid;
        }
        for round in 0..rounds {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let began = Instant::now();
            kill(pids[round * 7 % n]);
            let (i, pid) = ups.recv().await.unwrap();
            bare.push(us(began));
            pids[i] = pid;
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    });
    runtime().block_on(async {
        let (root, workers) = tree(child, n).await;
        for round in 0..rounds {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let worker = &workers[round * 7 % n];
            let (pid, before) = (worker.pid().unwrap(), worker.wait_ready(BOUND).await.unwrap());
            let place = worker.node();
            let began = Instant::now();
            kill(pid);
            place.wait_state(|state| *state == ChildState::Ready && place.incarnation() > before).await;
            ours.push(us(began));
        }
        let _ = root.shutdown(BOUND).await;
    });
    report(&format!("restart, {n} children"), &mut ours, ("tokio loop", &mut bare), 1.3);
}
