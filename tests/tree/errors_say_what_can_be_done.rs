//! Errors and figures can be understood without the tree's clock: what is worth a retry, how long a
//! wait is, what a program printed before it ended, and which time of day it was (C-12, E-2, R-1).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use procession::{
    clock::TreeInstant,
    event::{EventKind, ExitConsequence},
    exit::{Exit, LaunchStage},
    id::TreePath,
    plugin::{PluginError, PluginEventKind},
    pool::{AcquireError, LeaseCallError, Revocation},
    process::Command,
    protocol::{Plugin, ReadyLine},
    restart::{Backoff, RestartPolicy},
    rpc::{CallEffect, CallError, RpcError, Timeout},
    snapshot::Snapshot,
    state::{ChildState, DownReason, GiveUpReason},
    supervision::{RequestError, SendError, Shutdown, Unavailable},
    testing::ScriptedLauncher,
    tree::{HealthIssue, Tree},
    worker::WorkerSpec,
};

use crate::support::*;

fn missing() -> Exit {
    Exit::NeverStarted { errno: Some(libc::ENOENT), stage: LaunchStage::Program, reason: "no `x`".into() }
}

fn busy() -> Exit {
    Exit::NeverStarted { errno: Some(libc::EAGAIN), stage: LaunchStage::Spawn, reason: "not now".into() }
}

fn unavailable(state: ChildState, exit: Option<Exit>) -> Unavailable {
    let lost = exit.map(|exit| Box::new(procession::rpc::ExitReport { exit, stderr_tail: String::new() }));
    Unavailable { path: TreePath::root(), state, retry_after: None, last_exit: lost }
}

#[test]
fn what_never_starts_is_not_worth_another_try() {
    // R-6, C-12
    let nested = |cause| Exit::StartFailed { child: "a".into(), cause: Box::new(cause) };
    for (exit, again) in
        [(missing(), false), (busy(), true), (nested(missing()), false), (nested(busy()), true)]
    {
        let (tail, child) = (String::new, || "a".into());
        let request = RequestError::StartFailed { child: child(), exit: exit.clone(), stderr_tail: tail() };
        assert_eq!(request.is_retryable(), again, "{request}");
        assert_eq!(PluginError::Refused(request).is_retryable(), again);
        let start = PluginError::StartFailed { id: child(), exit: exit.clone(), stderr_tail: tail() };
        assert_eq!(start.is_retryable(), again, "{start}");
        let down = unavailable(ChildState::down(DownReason::Ended), Some(exit.clone()));
        assert_eq!(down.is_retryable(), again, "{down}");
        assert_eq!(PluginError::from(down.clone()).is_retryable(), again);
        assert_eq!(AcquireError::from(down.clone()).is_retryable(), again);
        assert_eq!(SendError::from(down.clone()).is_retryable(), again);
        let lost = down.last_exit.clone();
        let failed = AcquireError::Failed {
            path: TreePath::root(),
            key: None,
            why: DownReason::Ended,
            lost,
            retry_after: None,
        };
        assert_eq!(failed.is_retryable(), again, "{failed}");
    }
    for (why, again) in
        [(DownReason::GaveUp { why: GiveUpReason::NeverStarts }, false), (DownReason::NeverStarted, true)]
    {
        let state = ChildState::down(why.clone());
        assert_eq!(unavailable(state.clone(), None).is_retryable(), again);
        let call =
            CallError::Unavailable { method: "m".into(), path: TreePath::root(), state, retry_after: None };
        assert_eq!(call.is_retryable(), again, "{call}");
        let (path, lost, retry_after) = (TreePath::root(), None, None);
        let failed = AcquireError::Failed { path, key: None, why, lost, retry_after };
        assert_eq!(failed.is_retryable(), again, "{failed}");
    }
    // Its last exit says that it never starts, but it is going to be started again.
    let until = TreeInstant::EPOCH;
    assert!(unavailable(ChildState::BackingOff { until, attempt: 1 }, Some(missing())).is_retryable());
}

#[test]
fn nor_is_a_mistake_or_what_may_have_had_an_effect() {
    // C-12
    let (method, path) = ("m".to_owned(), TreePath::root());
    assert!(!CallError::NoChannel { method, path }.is_retryable());
    for (effect, again) in [(CallEffect::NotSent, true), (CallEffect::Unknown, false)] {
        let (method, path, why) = ("m".to_owned(), TreePath::root(), Revocation::Stopping);
        let revoked = LeaseCallError::Revoked { method, path, why, effect };
        assert_eq!(revoked.is_retryable(), again, "{revoked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_sent_says_which_worker_and_why() {
    // C-12
    let launcher = ScriptedLauncher::new();
    launcher.program("deaf", |mut me| async move {
        let _ = me.read_line().await;
        0
    });
    let spec = WorkerSpec::new(Command::new("deaf")).launcher(Arc::new(launcher.clone()));
    let gone = WorkerSpec::new(Command::new("gone")).launcher(Arc::new(launcher)).protocol(Plugin::default());
    let tree =
        Tree::builder().worker("w", spec).child(gone.child("gone").background()).start().await.unwrap();
    tokio::time::sleep(SEC).await;
    let call = async |path: &str| {
        tree.worker(path).unwrap().call_value("m", &(), Timeout::Default).await.unwrap_err().to_string()
    };
    assert!(call("w").await.starts_with("`m` was not sent to `/w`: its protocol has no channel"));
    assert_eq!(
        call("gone").await,
        "`m` was not sent: `/gone` is not available: gave up: it cannot start as it is declared"
    );
    let _ = tree.kill().await;
}

#[test]
fn no_error_shows_the_clock_of_the_tree() {
    let until = TreeInstant::new(Duration::from_secs(123_456));
    for state in [ChildState::BackingOff { until, attempt: 2 }, ChildState::CoolingOff { until }] {
        let mut error = unavailable(state.clone(), None);
        error.retry_after = Some(Duration::from_micros(87_654));
        let retry_after = error.retry_after;
        let call = CallError::Unavailable {
            method: "m".into(),
            path: TreePath::root(),
            state: state.clone(),
            retry_after,
        };
        for text in [error.to_string(), call.to_string()] {
            assert!(text.contains(" off for another 87.7ms") && !text.contains("123456"), "{text}");
        }
        let issue = HealthIssue { path: TreePath::root(), state, detail: None }.to_string();
        assert!(issue.contains(" off") && !issue.contains("123456"), "{issue}");
    }
}

#[test]
fn a_null_that_was_sent_is_there() {
    for (json, data) in [
        (r#"{"code":1,"message":"m","data":null}"#, Some("null")),
        (r#"{"code":1,"message":"m"}"#, None),
        (r#"{"code":1,"message":"m","data":0}"#, Some("0")),
    ] {
        let error: RpcError = serde_json::from_str(json).unwrap();
        assert_eq!(error.data.as_deref().map(|data| data.get()), data);
        assert_eq!(serde_json::to_string(&error).unwrap(), json);
    }
}

#[test]
fn durations_are_written_in_one_form() {
    let time = Duration::from_millis(90_250);
    let limit = GiveUpReason::Intensity { max_restarts: 3, period: time };
    let exits = [
        Exit::StartTimeout { after: time },
        Exit::IntensityExceeded { child: "a".into(), cause: Box::new(busy()), limit },
    ];
    let then =
        [ExitConsequence::Restart { delay: time, attempt: 1 }, ExitConsequence::CoolOff { delay: time }];
    let texts = exits
        .iter()
        .map(|exit| serde_json::to_string(exit).unwrap())
        .chain(then.iter().map(|then| serde_json::to_string(then).unwrap()))
        .chain([
            serde_json::to_string(&GiveUpReason::CrashLoop { max_failures: 1, window: time }).unwrap(),
            serde_json::to_string(&Shutdown::Timeout(time)).unwrap(),
            serde_json::to_string(&EventKind::GroupRestart {
                strategy: procession::state::Strategy::OneForAll,
                child: "a".into(),
                delay: time,
            })
            .unwrap(),
            serde_json::to_string(&PluginEventKind::Crashed {
                exit: busy(),
                code: None,
                signal: None,
                will_restart: true,
                delay: Some(time),
            })
            .unwrap(),
        ]);
    for text in texts {
        assert!(text.contains("1m 30s 250ms") && !text.contains("nanos"), "{text}");
    }
    assert_eq!(serde_json::from_str::<Exit>(&serde_json::to_string(&exits[1]).unwrap()).unwrap(), exits[1]);
}

#[test]
fn no_duration_is_left_out() {
    // Each duration field of a serialised type names the form.
    let mut files = Vec::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    let mut seen = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (mut serialised, mut before) = (false, "");
        for line in text.lines() {
            if line.starts_with("#[derive(") {
                serialised = line.contains("Serialize");
            } else if line == "}" {
                serialised = false;
            }
            let field = line.trim_start().trim_start_matches("pub ");
            if serialised && (field.ends_with(": Duration,") || field.ends_with(": Option<Duration>,")) {
                assert!(before.contains("human_duration"), "{}: {line}", file.display());
                seen += 1;
            }
            before = line;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_knows_what_time_of_day_it_is() {
    // E-2
    let tree = Tree::builder().start().await.unwrap();
    tokio::time::sleep(10 * SEC).await;
    let before = SystemTime::now();
    let snapshot = tree.snapshot();
    let taken = snapshot.time_of(snapshot.at);
    let near = |time: SystemTime, other: SystemTime| {
        time.duration_since(other).or_else(|e| Ok::<_, ()>(e.duration())).unwrap() < 60 * SEC
    };
    assert!(near(taken, before), "{taken:?} {before:?}");
    assert_eq!(
        taken.duration_since(snapshot.time_of(TreeInstant::EPOCH)).unwrap(),
        snapshot.at.since_epoch()
    );
    assert_eq!(snapshot.time_of(snapshot.at.after(SEC)), taken + SEC);
    let copy: Snapshot = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
    assert_eq!(copy, snapshot);
    let hostile = Snapshot { unix_ms: u64::MAX, ..copy };
    let _ = (hostile.time_of(TreeInstant::NEVER), hostile.time_of(TreeInstant::EPOCH));
    let _ = tree.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_explained_itself_on_stdout_is_heard() {
    // R-1
    let launcher = ScriptedLauncher::new();
    launcher.program("usage", |mut me| async move {
        let _ = me.write_line("usage: server [--port N]").await;
        let _ = me.write_line("unknown flag \u{1b}[31m--stdio").await;
        0
    });
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(SEC));
    let spec = || {
        let spec = WorkerSpec::new(Command::new("usage")).launcher(Arc::new(launcher.clone()));
        spec.restart(policy.clone())
    };
    for spec in [spec().protocol(Plugin::default()), spec().protocol(ReadyLine::new("listening"))] {
        let error = Tree::builder().worker("w", spec).start().await.unwrap_err().to_string();
        assert!(
            error.contains("exited with code 0; its stdout ends with `usage: server [--port N]"),
            "{error}"
        );
        assert!(error.contains("--stdio") && !error.contains('\u{1b}') && !error.contains('\n'), "{error}");
    }
}
