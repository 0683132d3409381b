//! A stop first lets the calls under way be answered, then the process's own requests, and only then
//! asks the process to end; all within one `drain`, of which a fifth, at most 2 s, is left for the end
//! itself (P-9, C-14).

use std::sync::{Arc, Mutex};

use procession::internals::Root;
use procession::{
    exit::Exit,
    process::{Command, Ladder, Launcher, Signal},
    protocol::{Lsp, Mcp, McpEra, Plugin, Protocol},
    rpc::{CallEffect, CallError, Framing, MethodRouter, RpcError, Timeout},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{WorkerRef, WorkerSpec},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::{Duration, Instant};

use crate::support::*;

/// What happened, and how many milliseconds after the stop was requested.
type Entries = Vec<(String, u64)>;

#[derive(Clone)]
struct Diary(Arc<Mutex<(Instant, Entries)>>);

impl Diary {
    fn new() -> Diary {
        Diary(Arc::new(Mutex::new((Instant::now(), Vec::new()))))
    }
    fn begin(&self) {
        *self.0.lock().unwrap() = (Instant::now(), Vec::new());
    }
    fn note(&self, what: &str) {
        let mut diary = self.0.lock().unwrap();
        let at = diary.0.elapsed().as_millis() as u64;
        diary.1.push((what.to_owned(), at));
    }
    fn read(&self) -> Entries {
        self.0.lock().unwrap().1.clone()
    }
    /// Asserts that this is what happened, in order; a difference of two milliseconds is allowed.
    fn is(&self, expected: &[(&str, u64)]) {
        let found = self.read();
        let alike = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|((what, at), (expected, when))| what == expected && at.abs_diff(*when) <= 2);
        assert!(alike, "{found:?}");
    }
}

/// A server like those made with the Python SDK: it works on its calls one by one, aborts them at the
/// end of its stdin, and then ends. A call `work` takes the given number of milliseconds; with zero it
/// is never answered. `ask` asks the host, and is answered first.
async fn server(mut me: ScriptedProcess, diary: Diary) -> i32 {
    let hello = read(&mut me).await.unwrap();
    answer(
        &mut me,
        &hello["id"],
        json!({"protocolVersion": "2025-06-18", "ok": true, "supportedMethods": ["work", "ask"]}),
    )
    .await;
    let mut due: Vec<(Instant, Value)> = Vec::new();
    loop {
        let next = due.iter().map(|(at, _)| *at).min();
        tokio::select! {
            biased;
            message = read(&mut me) => {
                let Some(message) = message else {
                    diary.note("end of stdin");
                    return 0;
                };
                let id = message["id"].clone();
                match message["method"].as_str() {
                    Some("work") => match message["params"].as_u64().unwrap() {
                        0 => {}
                        ms => due.push((Instant::now() + Duration::from_millis(ms), id)),
                    },
                    Some("ask") => {
                        let question = json!({"jsonrpc": "2.0", "id": "q", "method": "question", "params": message["params"]});
                        me.write_line(&question.to_string()).await.unwrap();
                        answer(&mut me, &id, json!(null)).await;
                    }
                    Some("shutdown") => {
                        diary.note("shutdown");
                        if due.is_empty() {
                            answer(&mut me, &id, json!(null)).await;
                            return 0;
                        }
                    }
                    None => diary.note("told"),
                    _ => {}
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + 1000 * SEC)), if next.is_some() => {
                let at = next.unwrap();
                let (_, id) = due.remove(due.iter().position(|(due, _)| *due == at).unwrap());
                answer(&mut me, &id, json!("done")).await;
            }
        }
    }
}

/// Answers `question` after the given number of milliseconds.
fn host() -> MethodRouter {
    MethodRouter::new().method_value("question", |_, params| async move {
        let ms: u64 = serde_json::from_str(params.unwrap().get()).unwrap();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        to_raw_value(&()).map_err(RpcError::internal)
    })
}

async fn started(protocol: impl Protocol, ladder: Ladder) -> (Root, WorkerRef, Diary) {
    let (launcher, diary) = (ScriptedLauncher::new(), Diary::new());
    let theirs = diary.clone();
    launcher.program("worker", move |me| server(me, theirs.clone()));
    let launcher: Arc<dyn Launcher> = Arc::new(launcher);
    let spec = WorkerSpec::new(Command::new("worker")).protocol(protocol).launcher(launcher);
    let (root, worker) = tree(spec.handler(host()).ladder(ladder)).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    (root, worker, diary)
}

/// Calls, and notes when it was answered.
fn call(
    worker: &WorkerRef,
    diary: &Diary,
    method: &'static str,
    ms: u64,
) -> tokio::task::JoinHandle<Option<CallError>> {
    let (worker, diary) = (worker.clone(), diary.clone());
    tokio::spawn(async move {
        let answer = worker.call_value(method, &ms, Timeout::Never).await;
        diary.note(if answer.is_ok() { "answered" } else { "failed" });
        answer.err()
    })
}

async fn stop(worker: &WorkerRef, diary: &Diary) {
    tokio::time::sleep(MS).await;
    diary.begin();
    worker.stop().await.unwrap();
    diary.note("stopped");
    assert_eq!(worker.node().last_exit(), Some(Exit::Requested));
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_are_answered_before_the_end_of_stdin() {
    // P-9
    let (_root, worker, diary) =
        started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let calls = [call(&worker, &diary, "work", 1000), call(&worker, &diary, "work", 7500)];
    stop(&worker, &diary).await;
    diary.is(&[("answered", 1000), ("answered", 7500), ("end of stdin", 7500), ("stopped", 7500)]);
    for call in calls {
        assert!(call.await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_calls_is_as_quick_as_ever() {
    // P-9
    let (_root, worker, diary) =
        started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    stop(&worker, &diary).await;
    diary.is(&[("end of stdin", 0), ("stopped", 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_goes_unanswered_and_the_whole_takes_no_longer() {
    // P-9
    for (drain, end) in [(10_000, 8_000), (1_000, 800), (60_000, 58_000), (0, 0)] {
        let ladder = Ladder { drain: Duration::from_millis(drain), ..Ladder::default() };
        let (_root, worker, diary) = started(Mcp::default().with_era(McpEra::Initialize), ladder).await;
        let hanging = call(&worker, &diary, "work", 0);
        stop(&worker, &diary).await;
        let error = hanging.await.unwrap().unwrap();
        assert!(
            matches!(&error, CallError::WorkerLost { .. }) && error.effect() == CallEffect::Unknown,
            "{error}"
        );
        if drain > 0 {
            let found = diary.read();
            assert_eq!(found[0].0, "end of stdin", "{found:?}");
            assert!(found[0].1.abs_diff(end) <= 2, "{drain}: {found:?}");
            assert!(found.last().unwrap().1 <= end + 120, "{drain}: {found:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_heeds_nothing_is_stopped_in_the_same_time() {
    // P-9
    for (heeds_term, total) in [(true, 10), (false, 15)] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me| async move {
            shake_hands(&mut me).await;
            if !heeds_term {
                me.ignore(Signal::TERM);
            }
            me.hang().await
        });
        let (_root, worker) = tree(plugin(&launcher)).await.unwrap();
        worker.wait_ready(SEC).await.unwrap();
        let diary = Diary::new();
        let hanging = call(&worker, &diary, "echo", 0);
        stop(&worker, &diary).await;
        assert!(hanging.await.unwrap().is_some());
        let took = diary.read().last().unwrap().1;
        assert!(took.abs_diff(total * 1000) <= 1200, "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_nearer_deadline_brings_the_end_of_stdin_forward() {
    // P-9, S-20
    let (root, worker, diary) = started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let hanging = call(&worker, &diary, "work", 0);
    tokio::time::sleep(MS).await;
    diary.begin();
    // The supervisor keeps a tenth of it for itself, at most a quarter of a second, and so does the
    // worker.
    let begin = Instant::now();
    assert_eq!(root.shutdown(4 * SEC).await, Exit::Requested);
    assert!(begin.elapsed() <= 4 * SEC);
    assert!(hanging.await.unwrap().is_some());
    let (what, at) = diary.read()[0].clone();
    assert!(what == "end of stdin" && (2700..=3200).contains(&at), "{what} at {at}");
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_with_a_nearer_deadline_does_so_too() {
    // P-9, S-20
    let (root, worker, diary) = started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let _hanging = call(&worker, &diary, "work", 0);
    tokio::time::sleep(MS).await;
    diary.begin();
    let stopping = worker.clone();
    let first = tokio::spawn(async move { stopping.stop().await });
    tokio::time::sleep(SEC).await;
    let _ = root.shutdown(2 * SEC).await;
    let _ = first.await.unwrap();
    let (what, at) = diary.read()[0].clone();
    assert!(what == "end of stdin" && (1500..=3000).contains(&at), "{what} at {at}");
}

#[tokio::test(start_paused = true)]
async fn then_the_questions_of_the_process_are_answered() {
    // C-14: the question is still open when the last call has been answered.
    let (_root, worker, diary) =
        started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let calls = [call(&worker, &diary, "ask", 5000), call(&worker, &diary, "work", 1000)];
    tokio::time::sleep(MS).await;
    stop(&worker, &diary).await;
    diary.is(&[("answered", 998), ("told", 4998), ("end of stdin", 4998), ("stopped", 4998)]);
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn questions_and_calls_share_one_time() {
    // C-14
    let (_root, worker, diary) =
        started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let _calls = [call(&worker, &diary, "ask", 60_000), call(&worker, &diary, "work", 6000)];
    stop(&worker, &diary).await;
    diary.is(&[("answered", 5999), ("end of stdin", 8000), ("stopped", 8000)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_is_waited_for_no_longer() {
    // P-9
    let (_root, worker, diary) =
        started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let limited = tokio::spawn({
        let worker = worker.clone();
        async move { worker.call_value("work", &0, Timeout::After(2 * SEC)).await }
    });
    let dropped = call(&worker, &diary, "work", 0);
    let dropping = tokio::spawn(async move {
        tokio::time::sleep(3 * SEC).await;
        dropped.abort();
    });
    stop(&worker, &diary).await;
    diary.is(&[("end of stdin", 2999), ("stopped", 2999)]);
    assert!(limited.await.unwrap().is_err());
    dropping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_made_meanwhile_do_not_prolong_it() {
    // P-9: by a holder of the peer that does not know of the stop.
    let (_root, worker, diary) =
        started(Mcp::default().with_era(McpEra::Initialize), Ladder::default()).await;
    let (_, peer) = worker.peer().unwrap();
    let calling =
        tokio::spawn(async move { while peer.call_value("work", &300, Timeout::Never).await.is_ok() {} });
    stop(&worker, &diary).await;
    diary.is(&[("end of stdin", 299), ("stopped", 299)]);
    calling.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_asked_to_shut_down_when_nothing_is_open() {
    // P-9
    let (_root, worker, diary) = started(Plugin::default(), Ladder::default()).await;
    let _calls = [call(&worker, &diary, "work", 3000), call(&worker, &diary, "ask", 5000)];
    stop(&worker, &diary).await;
    // The question was asked, and its call answered, before the stop.
    diary.is(&[("answered", 2999), ("told", 4999), ("shutdown", 4999), ("stopped", 4999)]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_answer_its_shutdown_has_its_stdin_closed() {
    // P-9: also if there was no time left for an answer.
    for hanging in [0, 9000] {
        let (_root, worker, diary) = started(Plugin::default(), Ladder::default()).await;
        let call = (hanging > 0).then(|| call(&worker, &diary, "work", hanging));
        if call.is_none() {
            // It is busy with work of its own, and so does not answer.
            worker.notify_value("work", &30_000).await.unwrap();
        }
        stop(&worker, &diary).await;
        let asked = if hanging > 0 { 8000 } else { 0 };
        let found: Vec<_> = diary.read().into_iter().filter(|(what, _)| what != "failed").collect();
        let [shutdown, end, stopped] = &found[..] else { panic!("{found:?}") };
        assert!(shutdown.0 == "shutdown" && shutdown.1.abs_diff(asked) <= 2, "{found:?}");
        assert!(end.0 == "end of stdin" && end.1.abs_diff(8000) <= 2, "{found:?}");
        assert!(stopped.1 < 8200, "{found:?}");
    }
}

/// A language server with an orderly session. It finishes its calls before it answers `shutdown`.
async fn language_server(mut me: ScriptedProcess, diary: Diary) -> i32 {
    async fn read(me: &mut ScriptedProcess) -> Option<Value> {
        let head = me.read_line().await?;
        let length: usize = head.trim().strip_prefix("Content-Length: ")?.parse().unwrap();
        me.read_line().await?;
        let mut body = vec![0; length];
        me.read_exact(&mut body).await.ok()?;
        Some(serde_json::from_slice(&body).unwrap())
    }
    async fn answer(me: &mut ScriptedProcess, id: &Value) {
        let body = json!({"jsonrpc": "2.0", "id": id, "result": {"capabilities": {}}}).to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = me.write(frame.as_bytes()).await;
    }
    while let Some(message) = read(&mut me).await {
        match message["method"].as_str().unwrap() {
            "initialize" => answer(&mut me, &message["id"]).await,
            "work" => {
                me.sleep(Duration::from_millis(message["params"].as_u64().unwrap())).await;
                answer(&mut me, &message["id"]).await;
            }
            "shutdown" => {
                diary.note("shutdown");
                answer(&mut me, &message["id"]).await;
            }
            "exit" => {
                diary.note("exit");
                return 0;
            }
            _ => {}
        }
    }
    1
}

#[tokio::test(start_paused = true)]
async fn a_language_server_is_asked_to_shut_down_when_its_calls_are_answered() {
    // P-9: `exit` would end it in the middle of them.
    assert_eq!(Lsp::default().stdio_use(), procession::protocol::StdioUse::Rpc(Framing::ContentLength));
    let (launcher, diary) = (ScriptedLauncher::new(), Diary::new());
    let theirs = diary.clone();
    launcher.program("worker", move |me| language_server(me, theirs.clone()));
    let launcher: Arc<dyn Launcher> = Arc::new(launcher);
    let spec = WorkerSpec::new(Command::new("worker")).protocol(Lsp::default()).launcher(launcher);
    let (_root, worker) = tree(spec).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    let call = call(&worker, &diary, "work", 3000);
    stop(&worker, &diary).await;
    diary.is(&[("answered", 2999), ("shutdown", 2999), ("exit", 2999), ("stopped", 2999)]);
    assert!(call.await.unwrap().is_none());
}
