//! G-14, S-27, W-6: a process that reads nothing, or writes without end, holds up neither the
//! incarnation that takes its place nor a stop.

use std::{future::Future, pin::Pin};

use procession::internals::Root;
use procession::{
    process::{Command, Ladder, Signal},
    rpc::CallEffect,
    state::SecondIncarnationRole,
    supervision::{ChildSpec, SupervisorSpec},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{WorkerRef, WorkerSpec},
};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};

use crate::support::*;

const LADDER: Ladder = Ladder {
    drain: Duration::from_secs(2),
    term_grace: Duration::from_secs(1),
    kill_wait: Duration::from_secs(5),
};
/// What a stop may take, and a little more.
const BOUND: Duration = Duration::from_secs(4);

async fn start(child: ChildSpec) -> (Root, WorkerRef) {
    let spec = SupervisorSpec::one_for_one().intensity(0, SEC).child(child);
    let root = Root::start(spec, Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

async fn works(worker: &WorkerRef) {
    let began = Instant::now();
    assert_eq!(worker.call::<Echo>(&"x".to_owned()).await.unwrap(), "x");
    assert!(began.elapsed() < SEC, "{:?}", began.elapsed());
}

/// What a process writes without end, in parts of 64 KiB.
#[derive(Clone, Copy, Debug)]
enum Flood {
    Noise,
    Notifications,
    Answers,
    Requests,
    EndlessLine,
    Stderr,
    StderrLines,
}

const FLOODS: [Flood; 7] = [
    Flood::Noise,
    Flood::Notifications,
    Flood::Answers,
    Flood::Requests,
    Flood::EndlessLine,
    Flood::Stderr,
    Flood::StderrLines,
];

impl Flood {
    /// Never returns, and reads nothing.
    async fn write(self, me: &mut ScriptedProcess) {
        let line = |message: serde_json::Value| format!("{message}\n").repeat(600);
        let part = match self {
            Flood::Noise => "what it is doing now, and why\n".repeat(2000),
            Flood::Notifications => {
                line(json!({"jsonrpc": "2.0", "method": "news", "params": {"a": [1, 2, 3]}}))
            }
            Flood::Answers => line(json!({"jsonrpc": "2.0", "id": 123_456, "result": {"a": [1, 2, 3]}})),
            Flood::Requests => line(json!({"jsonrpc": "2.0", "id": 1, "method": "where", "params": {}})),
            Flood::EndlessLine | Flood::Stderr => "x".repeat(64 * 1024),
            Flood::StderrLines => "an error\n".repeat(7000),
        };
        loop {
            let written = match self {
                Flood::Stderr | Flood::StderrLines => me.write_error_line(&part).await,
                _ => me.write(part.as_bytes()).await,
            };
            if written.is_err() {
                return std::future::pending().await;
            }
            sleep(50 * MS).await;
        }
    }
}

/// A launcher whose processes with these numbers run this script after their handshake; the others behave.
fn launcher<F>(is_bad: fn(u64) -> bool, bad: F) -> ScriptedLauncher
where
    F: Fn(ScriptedProcess) -> Pin<Box<dyn Future<Output = i32> + Send>> + Clone + Send + Sync + 'static,
{
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", move |mut me: ScriptedProcess| {
        let bad = bad.clone();
        async move {
            shake_hands(&mut me).await;
            if is_bad(me.launch()) { bad(me).await } else { serve_ready(me).await }
        }
    });
    launcher
}

fn spec(launcher: &ScriptedLauncher) -> WorkerSpec {
    plugin(launcher).handler(host()).ladder(LADDER)
}

#[tokio::test(start_paused = true)]
async fn a_live_process_that_reads_nothing_is_replaced() {
    for ignores in [false, true] {
        let launcher = launcher(
            |launch| launch == 1,
            move |me| {
                Box::pin(async move {
                    if ignores {
                        me.ignore(Signal::TERM);
                    }
                    me.hang().await;
                    0
                })
            },
        );
        let (root, worker) = start(spec(&launcher).child("w").overlap()).await;
        let mut calls = JoinSet::new();
        for _ in 0..400 {
            let worker = worker.clone();
            calls.spawn(async move { worker.call_value("echo", &"x".repeat(64 * 1024), 600 * SEC).await });
        }
        sleep(SEC).await;
        let began = Instant::now();
        assert_eq!(worker.recycle().await.unwrap().unwrap().0, 2);
        assert!(began.elapsed() < SEC, "{:?}", began.elapsed());
        works(&worker).await;
        let (mut answered, mut unknown) = (0, 0);
        while let Some(call) = calls.join_next().await {
            match call.unwrap() {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(
                        error.effect(),
                        CallEffect::Unknown,
                        "what was not sent is sent to the next: {error}"
                    );
                    unknown += 1;
                }
            }
        }
        assert!(began.elapsed() <= BOUND, "{:?}", began.elapsed());
        assert!(unknown < 10 && answered + unknown == 400, "{answered} {unknown}");
        sleep(BOUND).await;
        assert_eq!(launcher.alive().len(), 1);
        works(&worker).await;
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(launcher.alive().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_leaves_may_write_without_end() {
    for flood in FLOODS {
        for stop in [false, true] {
            let launcher = launcher(
                |launch| launch == 1,
                move |mut me| {
                    Box::pin(async move {
                        me.ignore(Signal::TERM);
                        // Until it is told that it leaves, or asked something.
                        let _ = read(&mut me).await;
                        flood.write(&mut me).await;
                        0
                    })
                },
            );
            let (root, worker) = start(spec(&launcher).child("w").overlap()).await;
            let open = tokio::spawn({
                let worker = worker.clone();
                async move { worker.call_value("hang", &json!(1), 600 * SEC).await }
            });
            sleep(SEC).await;
            let began = Instant::now();
            worker.recycle().await.unwrap();
            assert!(began.elapsed() < SEC, "{flood:?}: {:?}", began.elapsed());
            works(&worker).await;
            if stop {
                sleep(SEC).await;
                let began = Instant::now();
                let _ = timeout(60 * SEC, root.shutdown(60 * SEC)).await.unwrap();
                assert!(began.elapsed() <= BOUND, "{flood:?}: {:?}", began.elapsed());
                assert!(launcher.alive().is_empty(), "{flood:?}");
            }
            assert!(open.await.unwrap().is_err(), "{flood:?}");
            assert!(began.elapsed() <= BOUND, "{flood:?}: {:?}", began.elapsed());
            sleep(BOUND).await;
            assert_eq!(launcher.alive().len(), usize::from(!stop), "{flood:?}");
            if !stop {
                works(&worker).await;
                assert_eq!(worker.diagnostics().total_failures, 0, "{flood:?}");
                root.shutdown(60 * SEC).await.into_result().unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_may_write_without_end() {
    for flood in FLOODS {
        let launcher = launcher(
            |launch| launch == 2,
            move |mut me| {
                Box::pin(async move {
                    me.ignore(Signal::TERM);
                    flood.write(&mut me).await;
                    0
                })
            },
        );
        let (root, worker) = start(spec(&launcher).child("w").standby()).await;
        sleep(2 * SEC).await;
        let spare = worker.diagnostics().second.unwrap();
        assert_eq!(spare.role, SecondIncarnationRole::Spare, "{flood:?}");
        works(&worker).await;
        let began = Instant::now();
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(began.elapsed() <= BOUND, "{flood:?}: {:?}", began.elapsed());
        assert!(launcher.alive().is_empty(), "{flood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_writes_without_end_before_its_handshake_changes_nothing() {
    for flood in FLOODS {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me: ScriptedProcess| async move {
            if me.launch() > 1 {
                me.ignore(Signal::TERM);
                flood.write(&mut me).await;
            }
            serve(me).await
        });
        let (root, worker) = start(spec(&launcher).handshake_timeout(2 * SEC).child("w").overlap()).await;
        let began = Instant::now();
        let failed = worker.recycle().await;
        assert!(failed.is_err(), "{flood:?}: {failed:?}");
        assert!(began.elapsed() <= 3 * SEC, "{flood:?}: {:?}", began.elapsed());
        works(&worker).await;
        assert_eq!((launcher.alive().len(), worker.node().incarnation().0), (1, 1), "{flood:?}");
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(launcher.alive().is_empty(), "{flood:?}");
    }
}

/// A plugin in shell, whose first process stops reading and writes to both pipes as fast as it can when it is
/// called. It ignores SIGTERM.
const SCRIPT: &str = r#"
trap '' TERM
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$1" "$2"; }
while read -r line; do
    id=${line#*\"id\":}; id=${id%%[,\}]*}
    case $line in
        *'"initialize"'*) answer "$id" '{"ok":true}' ;;
        *'"flood"'*) yes >&2 & exec yes ;;
        *'"echo"'*) answer "$id" '"x"' ;;
        *'"shutdown"'*) answer "$id" null; exit 0 ;;
    esac
done
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_process_that_floods_both_pipes_leaves_in_time() {
    let ladder = Ladder { drain: 500 * MS, term_grace: 500 * MS, ..Ladder::default() };
    let spec = WorkerSpec::new(Command::new("sh").args(["-c", SCRIPT]))
        .protocol(procession::protocol::Plugin::default())
        .ladder(ladder);
    for child in [spec.clone().child("w").overlap(), spec.child("w").standby()] {
        let (root, worker) = start(child).await;
        let open = tokio::spawn({
            let worker = worker.clone();
            async move { worker.call_value("flood", &json!(1), 600 * SEC).await }
        });
        sleep(200 * MS).await;
        worker.recycle().await.unwrap();
        assert_eq!(worker.call::<Echo>(&"x".to_owned()).await.unwrap(), "x");
        let began = Instant::now();
        assert!(open.await.unwrap().is_err());
        root.shutdown(60 * SEC).await.into_result().unwrap();
        // In real time, on a busy machine; the ladder has one second.
        assert!(began.elapsed() <= 20 * SEC, "{:?}", began.elapsed());
    }
}
