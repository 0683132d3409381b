//! G-14, S-27, C-9: while a worker is replaced by the next incarnation, no call fails, none is carried out
//! twice, and those that are open end where they began.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use procession::internals::Root;
use procession::{
    process::{CommandChange, Ladder},
    rpc::{CallEffect, CallError, Method},
    supervision::{ChildSpec, ReloadWhen, SupervisorSpec},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::WorkerRef,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use crate::support::*;

/// Works for so many milliseconds, and answers with the launch that did it.
struct Work;
impl Method for Work {
    const NAME: &'static str = "work";
    type Params = (u64, u64);
    type Output = u64;
}

/// Which launches have carried out a piece of work.
type Log = Arc<Mutex<HashMap<u64, Vec<u64>>>>;

/// Works on any number of calls at the same time. Before it answers one with an even number it asks its
/// host, which asks it back.
async fn busy(mut me: ScriptedProcess, log: Log) -> i32 {
    let launch = me.launch();
    let (stdin, mut stdout) = (me.take_stdin().unwrap(), me.take_stdout().unwrap());
    let mut lines = stdin.lines();
    let mut work = JoinSet::new();
    let mut asked: HashMap<u64, u64> = HashMap::new();
    loop {
        let line = tokio::select! {
            biased;
            Some(done) = work.join_next() => {
                let (id, number): (u64, u64) = done.unwrap();
                if number % 2 == 0 {
                    asked.insert(id, number);
                    json!({"jsonrpc": "2.0", "id": id, "method": "ask_back", "params": number})
                } else {
                    json!({"jsonrpc": "2.0", "id": id, "result": launch})
                }
            }
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return 0 };
                let message: Value = serde_json::from_str(&line).unwrap();
                let id = message["id"].clone();
                match message["method"].as_str() {
                    Some("initialize") => json!({"jsonrpc": "2.0", "id": id, "result": {"ok": true}}),
                    Some("args") => {
                        let args: Vec<_> = me.args().iter().map(|arg| arg.to_str().unwrap()).collect();
                        json!({"jsonrpc": "2.0", "id": id, "result": args})
                    }
                    Some("double") => {
                        json!({"jsonrpc": "2.0", "id": id, "result": message["params"].as_u64().unwrap() * 2})
                    }
                    Some("work") => {
                        let (number, millis) = (message["params"][0].as_u64().unwrap(), message["params"][1].as_u64().unwrap());
                        log.lock().unwrap().entry(number).or_default().push(launch);
                        let id = id.as_u64().unwrap();
                        work.spawn(async move {
                            sleep(Duration::from_millis(millis)).await;
                            (id, number)
                        });
                        continue;
                    }
                    Some("shutdown") => {
                        assert!(work.is_empty() && asked.is_empty(), "asked to stop in the middle of its work");
                        let bye = json!({"jsonrpc": "2.0", "id": id, "result": {}});
                        let _ = stdout.write_all(format!("{bye}\n").as_bytes()).await;
                        return 0;
                    }
                    // The answer of the host.
                    None => {
                        let id = id.as_u64().unwrap();
                        let number = asked.remove(&id).unwrap();
                        assert_eq!(message["result"], json!(2 * number), "{message}");
                        json!({"jsonrpc": "2.0", "id": id, "result": launch})
                    }
                    Some(_) => continue,
                }
            }
        };
        if stdout.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return 1;
        }
    }
}

/// A worker that may overlap with its successor, and its declaration.
async fn worker(log: &Log) -> (Root, WorkerRef, ChildSpec, ScriptedLauncher) {
    let launcher = ScriptedLauncher::new();
    let log = log.clone();
    launcher.program("worker", move |me| busy(me, log.clone()));
    let host = procession::rpc::MethodRouter::new().method_value("ask_back", |cx, params| async move {
        let peer = cx.peer().ok_or_else(|| procession::rpc::RpcError::internal("no peer"))?;
        let doubled = peer.call_value("double", &params, Duration::from_secs(5)).await;
        doubled.map_err(procession::rpc::RpcError::internal)
    });
    let ladder = Ladder { drain: Duration::from_secs(30), ..Ladder::default() };
    let child = plugin(&launcher).handler(host).ladder(ladder).child("w").overlap();
    let root =
        Root::start(SupervisorSpec::one_for_one().child(child.clone()), Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker, child, launcher)
}

#[tokio::test(start_paused = true)]
async fn two_hundred_calls_at_a_time_through_fifty_swaps() {
    const CALLERS: u64 = 200;
    let log = Log::default();
    let (root, worker, child, launcher) = worker(&log).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (worker, stopped) = (worker.clone(), stopped.clone());
        callers.spawn(async move {
            let (mut made, mut refused) = (0, 0);
            // Every tenth holds the channel of the incarnation that it found first.
            let mut held = (caller % 10 == 0).then(|| worker.peer().unwrap().1);
            while !*stopped.borrow() {
                let work = (caller + CALLERS * made, 1 + (caller * 7 + made * 13) % 180);
                let called = match &held {
                    Some(peer) => peer.call::<Work>(&work).await,
                    None => worker.call::<Work>(&work).await,
                };
                match called {
                    Ok(_) => made += 1,
                    Err(error) if held.is_some() => {
                        assert_eq!(error.effect(), CallEffect::NotSent, "{error}");
                        assert!(
                            matches!(error, CallError::Closed { .. } | CallError::WorkerLost { .. }),
                            "{error}"
                        );
                        held = Some(worker.peer().unwrap().1);
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            (made, refused)
        });
    }
    for swap in 0..50 {
        sleep(Duration::from_millis(20 + swap)).await;
        root.supervisor().reload_child(child.clone()).await.unwrap();
        assert!(launcher.alive().len() <= 2);
    }
    stop.send_replace(true);
    let (mut made, mut refused) = (0, 0);
    for (m, r) in callers.join_all().await {
        (made, refused) = (made + m, refused + r);
    }
    let log = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(log.len() as u64, made, "what was carried out was answered");
    let twice: Vec<_> = log.iter().filter(|(_, launches)| launches.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(made > 2_000 && refused > 100, "{made} {refused}");
    assert_eq!(launcher.launched().len(), 51);
    root.shutdown(Duration::from_secs(60)).await.into_result().unwrap();
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_where_it_began_and_the_next_one_goes_to_the_successor() {
    let log = Log::default();
    let (root, worker, child, _launcher) = worker(&log).await;
    let long = tokio::spawn({
        let worker = worker.clone();
        async move { worker.call::<Work>(&(1, 20_000)).await }
    });
    sleep(MS).await;
    let began = Instant::now();
    root.supervisor().reload_child(child).await.unwrap();
    assert_eq!(worker.call::<Work>(&(3, 1)).await.unwrap(), 2, "at once");
    assert!(began.elapsed() < SEC);
    let snapshot = worker.diagnostics();
    assert_eq!((snapshot.incarnation.0, snapshot.second.unwrap().incarnation.0), (2, 1));
    assert_eq!(long.await.unwrap().unwrap(), 1);
    sleep(SEC).await;
    assert!(worker.diagnostics().second.is_none(), "gone, once nothing of it was open");
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_old_incarnation_that_never_finishes_is_stopped_when_its_time_is_over() {
    let log = Log::default();
    let (root, worker, child, launcher) = worker(&log).await;
    let endless = tokio::spawn({
        let worker = worker.clone();
        async move { worker.call::<Work>(&(1, 1_000_000)).await }
    });
    sleep(MS).await;
    root.supervisor().reload_child(child).await.unwrap();
    let lost = endless.await.unwrap().unwrap_err();
    assert_eq!(lost.effect(), CallEffect::Unknown, "{lost}");
    assert!(matches!(lost, CallError::WorkerLost { .. } | CallError::Timeout { .. }), "{lost}");
    sleep(40 * SEC).await;
    assert_eq!((launcher.alive().len(), worker.call::<Work>(&(3, 1)).await.unwrap()), (1, 2));
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_does_not_become_ready_changes_nothing() {
    let log = Log::default();
    let (root, worker, child, launcher) = worker(&log).await;
    for bad in ["mute", "dead", "missing"] {
        launcher.program("mute", |me: ScriptedProcess| async move {
            me.hang().await;
            0
        });
        launcher.program("dead", |_| async { 3 });
        let command = procession::process::Command::new(bad);
        let launcher = Arc::new(launcher.clone());
        let spec = procession::worker::WorkerSpec::new(command)
            .protocol(procession::protocol::Plugin::default())
            .launcher(launcher);
        let refused = root.supervisor().reload_child(spec.child("w").overlap()).await.unwrap_err();
        assert!(refused.to_string().contains("`w`"), "{refused}");
        assert_eq!(worker.call::<Work>(&(3, 1)).await.unwrap(), 1);
    }
    root.supervisor().reload_child(child).await.unwrap();
    assert!(worker.call::<Work>(&(5, 1)).await.unwrap() > 1);
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_command_can_be_changed() {
    // G-13: now and later, one after the other; what cannot be launched is refused by itself.
    let log = Log::default();
    let (root, worker, _, launcher) = worker(&log).await;
    let args = async || worker.call_value("args", &(), SEC).await.unwrap().get().to_owned();
    let later = CommandChange::new().append_args(["later"]);
    assert_eq!(worker.change_command(later, ReloadWhen::NextStart).await.unwrap(), None);
    assert_eq!(launcher.launched().len(), 1);
    let now = CommandChange::new().append_args(["now"]).env("COLOUR", "red");
    assert_eq!(worker.change_command(now, ReloadWhen::Now).await.unwrap().unwrap().0, 2);
    assert_eq!(args().await, r#"["later","now"]"#);
    let bad = CommandChange::new().env("A=B", "x");
    let refused = worker.change_command(bad, ReloadWhen::Now).await.unwrap_err();
    assert!(refused.is_misuse(), "{refused}");
    launcher.fail_next("worker", procession::exit::Exit::Failed { code: 1 });
    let failed =
        worker.change_command(CommandChange::new().args(["new"]), ReloadWhen::Now).await.unwrap_err();
    assert!(matches!(failed, procession::supervision::RequestError::StartFailed { .. }), "{failed}");
    assert_eq!(worker.recycle().await.unwrap().unwrap().0, 4, "the third one did not start");
    assert_eq!(args().await, r#"["later","now"]"#);
    root.shutdown(60 * SEC).await.into_result().unwrap();
}
