//! All children are killed at once: the time until the last of their successors has answered.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{ChildStdin, ChildStdout, Stdio},
    time::Instant,
};

use procession::state::ChildState;
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
};
use tokio::sync::mpsc;

use crate::{
    BOUND,
    child::Child,
    figures::{kill, quantile, runtime, us},
    restart::{LINE, looped, tree},
};

pub(crate) fn storm(child: &Child, n: usize, rounds: usize) {
    let (mut ours, mut tokio, mut raw) =
        (ours(child, n, rounds), looping(child, n, rounds), Fleet::new(child, n).storms(rounds));
    let [ours, tokio, raw] = [&mut ours, &mut tokio, &mut raw].map(|samples| quantile(samples, 0.5) / 1e3);
    for (name, floor, target) in [("tokio loops", tokio, ""), ("raw loop", raw, "  target <= 1.5")] {
        println!(
            "{n} killed at once                 {ours:8.0}            {name:14} {floor:8.0}           ms   ratio {:5.2}{target}",
            ours / floor
        );
    }
}

fn ours(child: &Child, n: usize, rounds: usize) -> Vec<f64> {
    runtime().block_on(async {
        let (root, workers) = tree(child, n).await;
        let mut samples = Vec::new();
        for _ in 0..rounds {
            let mut victims = Vec::new();
            for worker in &workers {
                victims.push((worker.pid().unwrap(), worker.wait_ready(BOUND).await.unwrap()));
            }
            let began = Instant::now();
            victims.iter().for_each(|(pid, _)| kill(*pid));
            for (worker, (_, before)) in workers.iter().zip(&victims) {
                let place = worker.node();
                place.wait_state(|state| *state == ChildState::Ready && place.incarnation() > *before).await;
            }
            samples.push(us(began));
        }
        let _ = root.shutdown(BOUND).await;
        samples
    })
}

fn looping(child: &Child, n: usize, rounds: usize) -> Vec<f64> {
    runtime().block_on(async {
        let (up, mut ups) = mpsc::unbounded_channel();
        let tasks: Vec<_> = (0..n).map(|i| looped(child, up.clone(), i)).collect();
        let mut pids = vec![0; n];
        let mut samples = Vec::new();
        for round in 0..=rounds {
            let began = Instant::now();
            if round > 0 {
                pids.iter().for_each(|pid| kill(*pid));
            }
            for _ in 0..n {
                let (i, pid) = ups.recv().await.unwrap();
                pids[i] = pid;
            }
            samples.push(us(began));
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        samples.split_off(1)
    })
}

/// The floor: one thread, one loop, system calls.
struct Fleet<'a> {
    child: &'a Child,
    members: Vec<Member>,
    epoll: OwnedFd,
}

struct Member {
    pid: u32,
    pidfd: OwnedFd,
    stdout: ChildStdout,
    _stdin: ChildStdin,
}

impl Member {
    /// Launched, and sent a first request.
    fn new(child: &Child) -> Member {
        // It is reaped through its pidfd.
        #[allow(clippy::zombie_processes)]
        let mut spawned = std::process::Command::new(&child.0)
            .process_group(0)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut stdin, stdout) = (spawned.stdin.take().unwrap(), spawned.stdout.take().unwrap());
        stdin.write_all(LINE).unwrap();
        let pidfd = pidfd_open(Pid::from_child(&spawned), PidfdFlags::empty()).unwrap();
        Member { pid: spawned.id(), pidfd, stdout, _stdin: stdin }
    }

    fn reap(&self) {
        waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
    }
}

impl Fleet<'_> {
    fn new(child: &Child, n: usize) -> Fleet<'_> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let mut members: Vec<_> = (0..n).map(|_| Member::new(child)).collect();
        members.iter_mut().for_each(|member| assert!(member.stdout.read(&mut [0; 256]).unwrap() > 0));
        Fleet { child, members, epoll }
    }

    fn storms(mut self, rounds: usize) -> Vec<f64> {
        let samples = (0..rounds).map(|_| self.one()).collect();
        for member in &self.members {
            kill(member.pid);
            member.reap();
        }
        samples
    }

    fn one(&mut self) -> f64 {
        // Even numbers are ends of processes, odd ones answers.
        let add = |fd: &dyn AsFd, number: usize| {
            epoll::add(&self.epoll, fd.as_fd(), EventData::new_u64(number as u64), EventFlags::IN).unwrap();
        };
        for (i, member) in self.members.iter().enumerate() {
            add(&member.pidfd, 2 * i);
        }
        let began = Instant::now();
        self.members.iter().for_each(|member| kill(member.pid));
        let mut left = self.members.len();
        let mut events = Vec::with_capacity(64);
        while left > 0 {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
            for event in &events {
                let data = event.data;
                let (i, answered) = (data.u64() as usize / 2, data.u64() % 2 == 1);
                let member = &mut self.members[i];
                if answered {
                    assert!(member.stdout.read(&mut [0; 256]).unwrap() > 0);
                    epoll::delete(&self.epoll, &member.stdout).unwrap();
                    left -= 1;
                } else {
                    epoll::delete(&self.epoll, &member.pidfd).unwrap();
                    member.reap();
                    *member = Member::new(self.child);
                    add(&member.stdout, 2 * i + 1);
                }
            }
        }
        us(began)
    }
}
