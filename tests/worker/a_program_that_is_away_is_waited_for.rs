//! A program that is being replaced is waited for, without using up any restart budget; one that can
//! never start is given up at once.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::{Exit, LaunchStage},
    process::{Command, Signal},
    restart::{BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy},
    state::{ChildState, DownReason, GiveUpReason},
    supervision::SupervisorSpec,
    testing::ScriptedLauncher,
    worker::{WorkerRef, WorkerSpec},
};
use tokio::time::Instant;

use crate::support::*;

fn failed(errno: i32, stage: LaunchStage) -> Exit {
    Exit::NeverStarted { errno: Some(errno), stage, reason: "program `worker`".to_owned() }
}

/// What a deployment does to a program: launches meanwhile find it like this.
fn replace(launcher: &ScriptedLauncher, looks: usize) {
    let steps = [libc::ENOENT, libc::ENOEXEC, libc::ETXTBSY, libc::EACCES];
    for errno in steps.into_iter().cycle().take(looks) {
        launcher.fail_next("worker", failed(errno, LaunchStage::Exec));
    }
}

fn spec(launcher: &ScriptedLauncher, policy: RestartPolicy) -> WorkerSpec {
    plugin(launcher).restart(policy.with_jitter(0.0))
}

async fn root(spec: SupervisorSpec) -> Root {
    Root::start(spec, RootOptions::default()).await.unwrap()
}

fn launcher() -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    launcher
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_replaced_costs_one_crash() {
    let strict = BudgetScope::Own(CrashLoop::new(2, 3600 * SEC, CrashLoopAction::GiveUp));
    let policies = [
        // A single restart is allowed by the supervisor and by the child's own limits.
        RestartPolicy::permanent(),
        RestartPolicy::permanent().with_budget(strict),
        RestartPolicy::permanent().with_max_total_restarts(1),
        RestartPolicy::actor(),
        RestartPolicy::transient(),
    ];
    for parent in [SupervisorSpec::one_for_one(), SupervisorSpec::one_for_all()] {
        for policy in policies.clone() {
            let launcher = launcher();
            let spec = parent.clone().intensity(1, 3600 * SEC).child(spec(&launcher, policy).child("w"));
            let root = root(spec).await;
            let worker = WorkerRef::new(root.find("/w").unwrap());
            replace(&launcher, 8);
            launcher.kill(worker.pid().unwrap(), Signal::KILL).unwrap();
            let begin = Instant::now();
            tokio::time::sleep(SEC / 20).await;
            worker.wait_ready(60 * SEC).await.unwrap();
            assert!(begin.elapsed() > 20 * SEC, "{:?}", begin.elapsed());
            assert_eq!(worker.diagnostics().total_failures, 1);
            assert!(root.snapshot().root.supervisor.unwrap().restarts_used <= 1);
            let _ = root.shutdown(60 * SEC).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stays_away_counts_after_half_a_minute() {
    let launcher = launcher();
    let policy = RestartPolicy::actor().with_budget(BudgetScope::Own(CrashLoop::new(
        4,
        60 * SEC,
        CrashLoopAction::GiveUp,
    )));
    let root = root(SupervisorSpec::one_for_one().child(spec(&launcher, policy).child("w"))).await;
    let worker = WorkerRef::new(root.find("/w").unwrap());
    replace(&launcher, 1000);
    let begin = Instant::now();
    launcher.kill(worker.pid().unwrap(), Signal::KILL).unwrap();
    let gave_up = worker.node().wait_state(ChildState::is_down);
    tokio::time::timeout(3600 * SEC, gave_up).await.unwrap();
    let took = begin.elapsed();
    assert!((30 * SEC..31 * SEC).contains(&took), "{took:?}");
    let why = GiveUpReason::CrashLoop { max_failures: 4, window: 60 * SEC };
    assert_eq!(worker.state(), ChildState::down(DownReason::GaveUp { why }));
    assert_eq!(worker.diagnostics().total_failures, 4);
    // Nine launches, and no hot loop although the policy has no back-off.
    assert!(worker.node().incarnation().0 < 20, "{}", worker.node().incarnation());
    let _ = root.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_can_never_start_is_judged_once() {
    let never = [
        failed(libc::E2BIG, LaunchStage::Exec),
        failed(libc::ELOOP, LaunchStage::Program),
        failed(libc::ENAMETOOLONG, LaunchStage::Directory),
        failed(libc::EINVAL, LaunchStage::Exec),
        failed(libc::ENOENT, LaunchStage::Program),
        failed(libc::EINVAL, LaunchStage::Command),
    ];
    for exit in never {
        let launcher = launcher();
        for _ in 0..10 {
            launcher.fail_next("worker", exit.clone());
        }
        let worker = spec(&launcher, RestartPolicy::permanent()).child("w").background();
        let root = root(SupervisorSpec::one_for_one().child(worker)).await;
        tokio::time::sleep(3600 * SEC).await;
        let place = root.find("/w").unwrap();
        assert_eq!(
            place.state(),
            ChildState::down(DownReason::GaveUp { why: GiveUpReason::NeverStarts }),
            "{exit}"
        );
        assert_eq!((place.incarnation().0, place.last_exit()), (1, Some(exit)));
        let _ = root.shutdown(SEC).await;
    }
}

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(path: &PathBuf, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_program_that_is_deployed_step_by_step() {
    // D-2
    let dir = Dir(std::env::temp_dir().join(format!("procession-deploy-{}", std::process::id())));
    fs::create_dir_all(&dir.0).unwrap();
    let program = dir.0.join("server");
    let script = "#!/bin/sh\nexec sleep 1000\n";
    write(&program, script, 0o755);
    let worker = WorkerSpec::new(Command::new(&program)).restart(RestartPolicy::permanent());
    let spec = SupervisorSpec::one_for_one().intensity(1, 3600 * SEC).child(worker.child("w"));
    let started = async {
        loop {
            // The file is busy while a process that another test is launching has the descriptor that
            // wrote it.
            if let Ok(root) = Root::start(spec.clone(), RootOptions::default()).await {
                return root;
            }
        }
    };
    let root = tokio::time::timeout(30 * SEC, started).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    let place = worker.node().clone();
    let seen = async |errno: i32| {
        let seen = async {
            while !matches!(place.last_exit(), Some(Exit::NeverStarted { errno: Some(e), .. }) if e == errno)
            {
                tokio::time::sleep(5 * MS).await;
            }
        };
        tokio::time::timeout(30 * SEC, seen)
            .await
            .unwrap_or_else(|_| panic!("{errno}: {:?}", place.last_exit()));
    };
    let pid = rustix::process::Pid::from_raw(worker.pid().unwrap() as i32).unwrap();
    fs::remove_file(&program).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    seen(libc::ENOENT).await;
    write(&program, "", 0o755);
    seen(libc::ENOEXEC).await;
    write(&program, script, 0o644);
    seen(libc::EACCES).await;
    write(&program, script, 0o755);
    let ready = place.wait_state(|state| *state == ChildState::Ready);
    tokio::time::timeout(60 * SEC, ready).await.unwrap();
    assert_eq!(worker.diagnostics().total_failures, 1);
    let _ = root.shutdown(60 * SEC).await;
}
