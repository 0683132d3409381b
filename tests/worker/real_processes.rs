//! What only the kernel can prove (D-2). The tests wait on conditions, and every process has ended at
//! the end of each test.

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    exit::{Exit, LaunchStage},
    process::{Command, Ladder, Limits},
    protocol::{Mcp, McpEra},
    restart::{Backoff, RestartPolicy},
    supervision::{SupervisorSpec, TreeStartError},
    worker::{WorkerRef, WorkerSpec},
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const BOUND: Duration = Duration::from_secs(30);

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

fn quick() -> RestartPolicy {
    RestartPolicy::permanent()
        .with_backoff(Backoff::Fixed { delay: Duration::from_millis(10) })
        .with_jitter(0.0)
}

async fn start(spec: WorkerSpec) -> Result<(Root, WorkerRef), TreeStartError> {
    let spec = SupervisorSpec::one_for_one().intensity(100, Duration::from_secs(60)).child(spec.child("w"));
    let root = Root::start(spec, RootOptions::default()).await?;
    let worker = WorkerRef::new(root.find("/w").unwrap());
    Ok((root, worker))
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(raw as i32).unwrap()
}

#[tokio::test]
async fn a_killed_process_comes_back_with_another_pid() {
    let (root, worker) =
        start(WorkerSpec::new(Command::new("sleep").arg("1000")).restart(quick())).await.unwrap();
    for n in 1..=5 {
        assert_eq!(worker.wait_ready(BOUND).await.unwrap().0, n);
        let victim = pid(worker.pid().unwrap());
        kill_process(victim, Signal::KILL).unwrap();
        let gone = worker.node().wait_state(|s| s.is_restarting());
        tokio::time::timeout(BOUND, gone).await.unwrap();
        assert!(test_kill_process(victim).is_err(), "reaped before its supervisor hears of it");
        assert_eq!(worker.node().last_exit(), Some(Exit::Signalled { signal: 9, core: false }));
    }
    let last = {
        worker.wait_ready(BOUND).await.unwrap();
        pid(worker.pid().unwrap())
    };
    let _ = root.shutdown(BOUND).await;
    assert!(test_kill_process(last).is_err());
}

#[tokio::test]
async fn bad_programs_end_in_typed_errors() {
    let cause = |result: Result<(Root, WorkerRef), TreeStartError>| match result {
        Err(TreeStartError::Failed { exit, .. }) => exit.cause().unwrap().clone(),
        other => panic!("{other:?}"),
    };
    let missing = cause(start(WorkerSpec::new(Command::new("no-such-program-anywhere"))).await);
    assert!(
        matches!(missing, Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Program, .. }),
        "{missing}"
    );
    let mcp = || Mcp::default().with_era(McpEra::Initialize);
    let quits = cause(start(WorkerSpec::new(sh("echo oops >&2; exit 3")).protocol(mcp())).await);
    assert_eq!(quits, Exit::Failed { code: 3 });
    // A handshake that floods without a newline: bounded memory, a typed error.
    let mut channel = procession::rpc::PeerConfig::default();
    channel.max_frame_bytes = 1 << 20;
    let flood =
        WorkerSpec::new(sh("head -c 1073741824 /dev/zero; sleep 1000")).protocol(mcp()).channel(channel);
    assert!(matches!(cause(start(flood).await), Exit::ProtocolViolation { .. }));
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_with_its_grandchildren() {
    let ladder = Ladder { term_grace: Duration::from_millis(300), ..Ladder::default() };
    let script = "trap '' TERM; sleep 1000 & echo ready; wait; sleep 1000";
    let spec =
        WorkerSpec::new(sh(script)).protocol(procession::protocol::ReadyLine::new("ready")).ladder(ladder);
    let (root, worker) = start(spec).await.unwrap();
    let leader = pid(worker.pid().unwrap());
    assert_eq!(root.shutdown(BOUND).await, Exit::Requested);
    assert_eq!(living_members(leader), 0, "nothing of the group is left");
}

/// Zombies that have not been reaped yet count as dead.
fn living_members(group: Pid) -> usize {
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let rest: Vec<String> = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect();
        Some((rest[0].clone(), rest[2].parse::<i32>().ok()?))
    });
    stats
        .filter(|(state, pgrp)| *pgrp == group.as_raw_nonzero().get() && state != "Z" && state != "X")
        .count()
}

#[tokio::test]
async fn a_process_that_tries_to_leave_its_group_is_killed_all_the_same() {
    // P-4, P-9
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    // The leader of a session cannot leave its group.
    let script = "import os,time\ntry:\n  os.setpgid(0, os.getpgid(os.getppid()))\nexcept OSError:\n  print('refused', flush=True)\ntime.sleep(1000)";
    let ladder = Ladder { term_grace: Duration::from_secs(5), ..Ladder::default() };
    let spec = WorkerSpec::new(Command::new("python3").arg("-c").arg(script))
        .protocol(procession::protocol::ReadyLine::new("refused"))
        .ladder(ladder);
    let (root, worker) = start(spec).await.unwrap();
    let leader = pid(worker.pid().unwrap());
    worker.restart("to see it go").await.unwrap();
    assert_eq!(worker.node().last_exit(), Some(Exit::Requested));
    assert!(test_kill_process(leader).is_err());
    let leader = pid(worker.pid().unwrap());
    let _ = root.kill().await;
    assert!(test_kill_process(leader).is_err());
}

#[tokio::test]
async fn diagnostics_say_what_a_process_uses_and_what_holds_it() {
    // W-4, P-12
    let (root, worker) = start(WorkerSpec::new(Command::new("sleep").arg("1000"))).await.unwrap();
    worker.wait_ready(BOUND).await.unwrap();
    // A program that was executed a moment ago has no memory yet.
    let used = async {
        while worker.diagnostics().worker.unwrap().rss_bytes.is_none_or(|bytes| bytes == 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(BOUND, used).await.unwrap();
    let node = worker.diagnostics().worker.unwrap();
    assert!(node.cpu_time.is_some(), "{node:?}");
    assert!(node.containment.is_some_and(|layers| layers.session && layers.death_signal));
    let _ = root.shutdown(BOUND).await;
    let node = worker.diagnostics().worker.unwrap();
    assert_eq!((node.pid, node.rss_bytes, node.cpu_time), (None, None, None));
}

#[tokio::test]
async fn who_uses_up_its_processor_time_ends_by_that_limit() {
    // P-6, R-1
    let limits = Limits { cpu_seconds: Some(1), core_size: Some(0), ..Limits::default() };
    let spec = WorkerSpec::new(sh("while :; do :; done").limits(limits)).restart(RestartPolicy::temporary());
    let (root, worker) = start(spec).await.unwrap();
    let place = worker.node().clone();
    let ended = place.wait_state(|_| place.last_exit().is_some());
    tokio::time::timeout(BOUND, ended).await.unwrap();
    assert_eq!(place.last_exit(), Some(Exit::LimitExceeded { which: "cpu_seconds".into() }));
    let _ = root.shutdown(BOUND).await;
}
