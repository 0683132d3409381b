//! The workers of `examples/workers`, each in its own language, do all that a plugin does: calls in both
//! directions at the same time (C-6, G-3), logs (G-4), pings (W-3), streams (C-10, G-5), the orderly stop
//! (P-9, C-14), and they end when their stdin does.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    plugin::{PluginError, PluginHostSpec, PluginSpec, Plugins},
    process::Command,
    rpc::{CallError, CallOptions, MethodRouter, RpcError, StreamEnd, Timeout, error_codes},
    supervision::SupervisorSpec,
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::sync::{Barrier, Notify};

const PATIENCE: Duration = Duration::from_secs(60);
/// How many calls wait for each other.
const AT_ONCE: usize = 8;

/// The interpreter and the worker, unless the interpreter is missing.
fn command(interpreter: &str, worker: &str) -> Option<(PathBuf, PathBuf)> {
    let folders = env::var_os("PATH")?;
    let found = env::split_paths(&folders).map(|folder| folder.join(interpreter)).find(|path| path.is_file());
    if found.is_none() {
        // Not by a macro: the test harness keeps what those write to itself.
        let line = format!("skipped: {interpreter} is not installed\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    let worker = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/workers").join(worker);
    Some((found?, worker))
}

struct Stage {
    root: Root,
    plugins: Plugins,
    /// The host has been asked to `hold` an answer.
    asked: Arc<Notify>,
    /// The host answers it.
    release: Arc<Notify>,
}

impl Stage {
    async fn new(interpreter: PathBuf, worker: PathBuf) -> Stage {
        let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let all_here = Arc::new(Barrier::new(AT_ONCE));
        let address = Arc::new(OnceLock::<Plugins>::new());
        let router = MethodRouter::new()
            // Answered once as many calls wait for it as are made at once.
            .method_value("gather", move |_, _| {
                let all_here = all_here.clone();
                async move {
                    all_here.wait().await;
                    to_raw_value("all here").map_err(RpcError::internal)
                }
            })
            // The host calls the worker before it answers the worker.
            .method_value("back", {
                let address = address.clone();
                move |_, params| {
                    let plugins = address.get().unwrap().clone();
                    async move {
                        let answer = plugins.call_value("it", "greet", &params, Timeout::Default).await;
                        answer.map_err(RpcError::internal)
                    }
                }
            })
            .method_value("hold", {
                let (asked, release) = (asked.clone(), release.clone());
                move |_, _| {
                    let (asked, release) = (asked.clone(), release.clone());
                    async move {
                        asked.notify_one();
                        release.notified().await;
                        to_raw_value("held").map_err(RpcError::internal)
                    }
                }
            });
        let plugin = PluginSpec::new("it", Command::new(interpreter).arg(worker));
        let host = PluginHostSpec::new().plugin(plugin).handler(router);
        let spec = SupervisorSpec::one_for_one().child(host.child("plugins"));
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let plugins = Plugins::new(root.find("/plugins").unwrap());
        address.set(plugins.clone()).unwrap();
        plugins.ensure_ready("it", PATIENCE).await.unwrap();
        Stage { root, plugins, asked, release }
    }

    /// C-10, G-5: a stream of 100 items that belongs to a call. The buffer holds them all only if the worker
    /// does not ask for credit.
    async fn streams(&self, asks_for_credit: bool) {
        let worker = self.plugins.worker("it").unwrap();
        let (count, items) = (json!({ "to": 100 }), if asks_for_credit { 4 } else { 100 });
        let options = Timeout::After(PATIENCE);
        let (mut streams, call) = worker.call_streaming("count", &count, options, items);
        let take = async {
            let mut stream = streams.accept().await.unwrap();
            assert_eq!((stream.channel(), stream.call().is_some()), ("numbers", true));
            for n in 0..100 {
                assert_eq!(stream.recv().await.unwrap().unwrap().get(), n.to_string());
            }
            assert!(stream.recv().await.is_none());
        };
        let (answer, ()) = tokio::join!(call, take);
        assert_eq!(answer.unwrap().get(), "null");

        // A consumer that has enough: the worker stops, and its call ends.
        let (mut streams, call) = worker.call_streaming("count", &count, options, items);
        let take = async {
            let mut stream = streams.accept().await.unwrap();
            stream.recv().await.unwrap().unwrap();
        };
        let (answer, ()) = tokio::join!(call, take);
        assert_eq!(answer.unwrap().get(), "null");

        // A stream that the host does not take fails the call, and the worker goes on.
        let refused = self.call("count", count).await.unwrap_err();
        assert_eq!(refused.call().and_then(CallError::remote).unwrap().code, -32001, "{refused}");
    }

    /// C-10: the worker is killed while it waits for room for more items. The stream ends once, with the
    /// exit, after the items that have come.
    async fn dies_in_a_stream(&self) {
        let worker = self.plugins.worker("it").unwrap();
        let count = json!({ "to": 100 });
        let (mut streams, call) = worker.call_streaming("count", &count, Timeout::After(PATIENCE), 4);
        let take = async {
            let mut stream = streams.accept().await.unwrap();
            stream.recv().await.unwrap().unwrap();
            self.kill();
            let mut ends = Vec::new();
            while let Some(item) = stream.recv().await {
                ends.extend(item.err());
            }
            ends
        };
        let (answer, ends) = tokio::join!(call, take);
        assert!(matches!(answer, Err(CallError::WorkerLost { .. })), "{answer:?}");
        let killed = |end: &StreamEnd| match end {
            StreamEnd::WorkerLost(lost) => matches!(lost.exit, Exit::Signalled { signal: 9, .. }),
            _ => false,
        };
        assert!(ends.len() == 1 && killed(&ends[0]), "{ends:?}");
        self.plugins.ensure_ready("it", PATIENCE).await.unwrap();
    }

    fn kill(&self) {
        let pid = self.plugins.worker("it").unwrap().pid().unwrap();
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, PluginError> {
        let answer = self.plugins.call_value("it", method, &params, Timeout::After(PATIENCE)).await?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }
}

async fn does_all_that_a_plugin_does(interpreter: PathBuf, worker: PathBuf, language: &str) {
    let stage = Stage::new(interpreter, worker).await;
    let hello = format!("hello, A, says {language}");
    assert_eq!(stage.call("greet", json!({ "name": "A" })).await.unwrap(), json!(hello));
    assert_eq!(stage.call("ping", json!(null)).await.unwrap(), Value::Null);
    let unannounced = stage.call("unheardOf", json!({})).await.unwrap_err();
    assert!(matches!(unannounced.call(), Some(CallError::MethodNotSupported { .. })), "{unannounced}");

    // C-6: each of these waits for an answer of the host that only comes when all wait; and the host calls
    // the worker on behalf of the worker's own call.
    let gather = || stage.call("ask", json!({ "method": "gather" }));
    let gathered = tokio::join!(
        gather(),
        gather(),
        gather(),
        gather(),
        gather(),
        gather(),
        gather(),
        gather(),
        stage.call("ask", json!({ "method": "back", "params": { "name": "A" } })),
        stage.call("greet", json!({ "name": "é\u{2028}\n\"" })),
    );
    let (a, b, c, d, e, f, g, h, back, unusual) = gathered;
    assert!([a, b, c, d, e, f, g, h].into_iter().all(|answer| answer.unwrap() == json!("all here")));
    assert_eq!(back.unwrap(), json!(hello));
    assert_eq!(unusual.unwrap(), json!(format!("hello, é\u{2028}\n\", says {language}")));

    // An error of the host goes through, and the worker says so in its log (G-4).
    let refused = stage.call("ask", json!({ "method": "unheardOf" })).await.unwrap_err();
    let remote = refused.call().and_then(CallError::remote).unwrap();
    assert_eq!(remote.code, error_codes::METHOD_NOT_FOUND, "{refused}");
    let logs = stage.plugins.diagnostics("it").unwrap().logs;
    assert!(logs.iter().any(|log| log.message == "ask failed"), "{logs:?}");

    let asks_for_credit = language != "Perl";
    stage.streams(asks_for_credit).await;
    if asks_for_credit {
        stage.dies_in_a_stream().await;
    }

    // W-1, C-4: a killed worker fails its calls, and its successor answers.
    let lost = async {
        let held = stage.call("ask", json!({ "method": "hold" }));
        let kill = async {
            stage.asked.notified().await;
            stage.kill();
        };
        tokio::join!(held, kill).0.unwrap_err()
    };
    let lost = lost.await;
    assert!(matches!(lost.exit(), Some(Exit::Signalled { signal: 9, .. })), "{lost}");
    stage.plugins.ensure_ready("it", PATIENCE).await.unwrap();
    assert_eq!(stage.call("greet", json!({ "name": "A" })).await.unwrap(), json!(hello));

    // P-9, C-14: what is open when a stop begins is answered, and then the worker ends by itself.
    let began = Instant::now();
    let stop = async {
        stage.asked.notified().await;
        let slow = stage.call("wait", json!({ "seconds": 0.3 }));
        let stop = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let stop = stage.plugins.stop_plugin("it");
            let answer = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stage.release.notify_one();
            };
            tokio::join!(stop, answer).0
        };
        tokio::join!(slow, stop)
    };
    let (held, (slow, stopped)) = tokio::join!(stage.call("ask", json!({ "method": "hold" })), stop);
    assert_eq!(held.unwrap(), json!("held"));
    assert_eq!(slow.unwrap(), json!("waited"));
    stopped.unwrap();
    // Long before its stdin would have been closed.
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let _ = stage.root.shutdown(PATIENCE).await;
}

/// C-14: a call that takes longer than its timeout is answered, since the worker reports each second that it
/// is at work.
async fn reports_its_progress(interpreter: PathBuf, worker: PathBuf) {
    let stage = Stage::new(interpreter, worker).await;
    let options = CallOptions::timeout(Timeout::After(Duration::from_secs(3))).max_total(PATIENCE);
    let answer = stage.plugins.call_value("it", "wait", &json!({ "seconds": 4 }), options).await;
    assert_eq!(answer.unwrap().get(), "\"waited\"");
    let _ = stage.root.shutdown(PATIENCE).await;
}

/// Without a host: what is asked before the end of stdin is answered, what waits for the host fails, and the
/// worker ends with success.
fn ends_with_its_stdin(interpreter: &PathBuf, worker: &PathBuf) {
    let mut process = std::process::Command::new(interpreter)
        .arg(worker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    for (id, method, params) in [
        (1, "initialize", json!({})),
        (2, "greet", json!({ "name": "A" })),
        (3, "ask", json!({ "method": "hold" })),
    ] {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        writeln!(stdin, "{request}").unwrap();
    }
    drop(stdin);
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let answers = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut answers: Vec<_> = answers.filter(|message| message.get("method").is_none()).collect();
    answers.sort_by_key(|answer| answer["id"].as_i64());
    let status = process.wait().unwrap();
    assert!(status.success(), "{status}");
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| (answer["id"].as_i64().unwrap(), answer.get("error").is_some()))
        .collect();
    assert_eq!(kinds, [(1, false), (2, false), (3, true)], "{answers:?}");
}

/// The session that the page about the protocol prints is one that this worker has.
#[test]
fn the_printed_session_is_what_happens() {
    // G-2, G-4
    let Some((interpreter, worker)) = command("python3", "plugin.py") else { return };
    let mut process = std::process::Command::new(interpreter)
        .arg(worker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/PLUGIN-PROTOCOL.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut messages = 0;
    for line in page.lines() {
        if let Some(message) = line.strip_prefix("→ ") {
            writeln!(stdin, "{message}").unwrap();
        } else if let Some(message) = line.strip_prefix("← ") {
            let expected: Value = serde_json::from_str(message).unwrap();
            let line = said.next().unwrap().unwrap();
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
            messages += 1;
        }
    }
    assert!(messages > 10);
    assert!(said.next().is_none());
    assert!(process.wait().unwrap().success());
}

#[tokio::test]
async fn in_python() {
    let Some((interpreter, worker)) = command("python3", "plugin.py") else { return };
    ends_with_its_stdin(&interpreter, &worker);
    does_all_that_a_plugin_does(interpreter, worker, "Python").await;
}

#[tokio::test]
async fn in_javascript() {
    let Some((interpreter, worker)) = command("node", "plugin.mjs") else { return };
    ends_with_its_stdin(&interpreter, &worker);
    does_all_that_a_plugin_does(interpreter, worker, "Node").await;
}

#[tokio::test]
async fn in_perl() {
    let Some((interpreter, worker)) = command("perl", "plugin.pl") else { return };
    ends_with_its_stdin(&interpreter, &worker);
    does_all_that_a_plugin_does(interpreter, worker, "Perl").await;
}

#[tokio::test]
async fn in_tcl() {
    let Some((interpreter, worker)) = command("tclsh", "plugin.tcl") else { return };
    ends_with_its_stdin(&interpreter, &worker);
    does_all_that_a_plugin_does(interpreter.clone(), worker.clone(), "Tcl").await;
    reports_its_progress(interpreter, worker).await;
}
