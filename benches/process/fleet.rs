//! A thousand idle workers: the memory and processor time that they take, and how long stopping them takes.

use std::{
    os::fd::AsFd,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::mpsc;

use crate::{
    BOUND,
    child::Child,
    counting::live,
    death::register,
    figures::{runtime, us},
    restart::tree,
};

pub(crate) fn fleet(child: &Child, n: usize) {
    runtime().block_on(async {
        // Allocates what exists only once.
        let (root, _) = tree(child, 4).await;
        let _ = root.shutdown(BOUND).await;
        let before = live();
        let (root, workers) = tree(child, n).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let bytes = (live() - before) / n as isize;
        println!("memory of one idle worker of {n:<6}        {bytes:8} bytes                                             target <= 32768");
        // Idle, except for what its own threads do.
        let (began, cpu) = (Instant::now(), cpu_time());
        tokio::time::sleep(Duration::from_secs(5)).await;
        let share = (cpu_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
        println!("processor time of {n:<6} idle workers    {share:8.3} % of one                                          target <= 0.1");
        let began = Instant::now();
        let nodes = root.snapshot().root.walk().count();
        println!("snapshot of {nodes:<6} nodes                 {:8.0} us", us(began));
        let began = Instant::now();
        let mut all = tokio::task::JoinSet::new();
        for worker in workers {
            all.spawn(async move { worker.stop().await.unwrap() });
        }
        while let Some(stopped) = all.join_next().await {
            stopped.unwrap();
        }
        let ours = began.elapsed().as_secs_f64() * 1e3;
        let _ = root.shutdown(BOUND).await;
        let (deaths, mut died) = mpsc::unbounded_channel();
        let mut pipes = Vec::new();
        for _ in 0..n {
            let mut spawned = std::process::Command::new(&child.0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            pipes.push(spawned.stdin.take());
            let pid = Pid::from_raw(spawned.id() as i32).unwrap();
            let pidfd = register(pid);
            let deaths = deaths.clone();
            tokio::spawn(async move {
                let _ = pidfd.readable().await.unwrap();
                waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), WaitIdOptions::EXITED).unwrap();
                let _ = deaths.send(());
                drop(spawned);
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        drop(pipes);
        for _ in 0..n {
            died.recv().await.unwrap();
        }
        let bare = began.elapsed().as_secs_f64() * 1e3;
        println!("stop of {n} in parallel                {ours:8.0}            raw loop       {bare:8.0}           ms   ratio {:5.2}  target <= 2", ours / bare);
    });
}

/// The processor time of this program, not counting its children.
fn cpu_time() -> Duration {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(clock.tv_sec as u64, clock.tv_nsec as u32)
}
