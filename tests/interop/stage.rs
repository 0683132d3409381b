//! A tree with one server that somebody else wrote: [`Stage`].

use std::{
    io::Write,
    path::PathBuf,
    sync::{Mutex, Once, OnceLock, PoisonError},
    time::Duration,
};

use procession::{
    event::EventKind,
    exit::Exit,
    id::Incarnation,
    process::{Command, Ladder},
    protocol::Protocol,
    restart::{Backoff, RestartPolicy},
    rpc::{CallEffect, CallError, MethodRouter, Timeout},
    supervision::EventReceiver,
    tree::Tree,
    worker::{WorkerRef, WorkerSpec},
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// For whatever a slow machine may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long a server may take to end by itself: less than the minute for which some wait for answers that
/// cannot come.
const DRAIN: Duration = Duration::from_secs(45);

/// In the environment of everything that a stage starts.
const MARK: &str = "PROCESSION_INTEROP_MARK";

pub(crate) struct Stage {
    pub(crate) tree: Tree,
    pub(crate) worker: WorkerRef,
    events: EventReceiver,
    notes: mpsc::UnboundedReceiver<(String, Value)>,
    mark: String,
    /// Exits that this test has caused.
    expected: Vec<Exit>,
}

/// A handler that keeps these notifications for [`Stage::note`].
pub(crate) struct Notes {
    router: MethodRouter,
    taken: mpsc::UnboundedSender<(String, Value)>,
    notes: mpsc::UnboundedReceiver<(String, Value)>,
}

impl Notes {
    pub(crate) fn of(methods: &[&'static str]) -> Notes {
        let (taken, notes) = mpsc::unbounded_channel();
        let mut this = Notes { router: MethodRouter::new(), taken, notes };
        for &method in methods {
            let taken = this.taken.clone();
            this.router = this.router.notification_value(method, move |_, params| {
                let params = params.map_or(Value::Null, |params| serde_json::from_str(params.get()).unwrap());
                // The test may be over.
                let _ = taken.send((method.to_owned(), params));
            });
        }
        this
    }

    /// With more routes.
    pub(crate) fn and(mut self, more: impl FnOnce(MethodRouter) -> MethodRouter) -> Notes {
        self.router = more(self.router);
        self
    }
}

/// `name` is the worker's in the tree, and must be the test's own: logs are found by it.
pub(crate) async fn stage(name: &str, command: Command, protocol: impl Protocol, notes: Notes) -> Stage {
    listen();
    let mark = format!("{name}-{}", std::process::id());
    let quickly =
        RestartPolicy::permanent().with_backoff(Backoff::Fixed { delay: Duration::from_millis(100) });
    let spec = WorkerSpec::new(command.env(MARK, &mark))
        .protocol(protocol)
        .handler(notes.router)
        .ladder(Ladder { drain: DRAIN, ..Ladder::default() })
        .restart(quickly)
        .handshake_timeout(PATIENCE)
        .start_timeout(2 * PATIENCE);
    let mut tree = Tree::builder().worker(name, spec);
    let events = tree.events();
    let tree = tree.start().await.unwrap();
    let worker = tree.worker(&format!("/{name}")).unwrap();
    Stage { tree, worker, events, notes: notes.notes, mark, expected: Vec::new() }
}

impl Stage {
    /// Calls and reads the answer.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let answer = self.worker.call_value(method, &params, Timeout::After(PATIENCE)).await?;
        Ok(serde_json::from_str(answer.get()).unwrap())
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) {
        self.worker.notify_value(method, &params).await.unwrap();
    }

    /// The params of the next notification of this kind for which `wanted` holds.
    pub(crate) async fn note(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let next = async {
            loop {
                let (name, params) = self.notes.recv().await.unwrap();
                if name == method && wanted(&params) {
                    return params;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("`{method}` did not come"))
    }

    fn leader(&self) -> Pid {
        Pid::from_raw(self.worker.pid().unwrap().try_into().unwrap()).unwrap()
    }

    /// Gives a call up while the server owes its answer (C-3): it learns of that, and whatever it makes of
    /// the cancellation, and of a request that it may have answered all the same, it goes on to answer
    /// others.
    async fn gives_up(&self, method: &str, params: &Value) {
        let before = self.worker.node().incarnation();
        let leader = self.stopped().await;
        let answer = self.worker.call_value(method, params, Timeout::After(Duration::from_millis(100))).await;
        kill_process_group(leader, Signal::CONT).unwrap();
        let error = answer.expect_err("a stopped server has answered");
        assert!(matches!(&error, CallError::Timeout { .. }), "{error}");
        self.call(method, params.clone()).await;
        assert_eq!(self.worker.node().incarnation(), before);
    }

    /// Stops all processes of the server's group: none of them answers from here on.
    async fn stopped(&self) -> Pid {
        let leader = self.leader();
        kill_process_group(leader, Signal::STOP).unwrap();
        let stopped = async {
            while !is_stopped(leader) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, stopped).await.unwrap();
        leader
    }

    /// Gives a call up, and kills the server while it owes the answer to another; the next incarnation is
    /// ready when this returns.
    pub(crate) async fn killed_in_mid_call(&mut self, method: &str, params: Value) {
        self.gives_up(method, &params).await;
        self.stopped().await;
        self.killed_while(method, params, async || ()).await;
    }

    /// Kills the server when `under_way` has returned and the call has left this process.
    pub(crate) async fn killed_while(&mut self, method: &str, params: Value, under_way: impl AsyncFnOnce()) {
        let leader = self.leader();
        let before = self.worker.node().incarnation();
        let kill = async {
            under_way().await;
            let sent = async {
                loop {
                    let figures = self.worker.diagnostics().worker.unwrap();
                    if figures.calls_in_flight > 0 && figures.bytes_queued == 0 {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, sent).await.unwrap();
            kill_process(leader, Signal::KILL).unwrap();
        };
        let (answer, ()) = tokio::join!(self.try_call(method, params), kill);
        let error = answer.expect_err("a dead server has answered");
        let killed = Exit::Signalled { signal: 9, core: false };
        assert!(matches!(&error, CallError::WorkerLost { .. }), "{error}");
        assert_eq!(error.exit(), Some(&killed), "{error}");
        assert_eq!(error.effect(), CallEffect::Unknown);
        self.expected.push(killed);
        assert_eq!(self.worker.wait_ready(PATIENCE).await.unwrap(), Incarnation(before.0 + 1));
    }

    /// Stops the tree in order. The server must have ended by itself, in its time to drain, and nothing else
    /// than was expected may have ended; nothing may be left of anything.
    pub(crate) async fn end(mut self) {
        let incarnation = self.worker.node().incarnation();
        assert_eq!(self.tree.shutdown(PATIENCE).await, Exit::Requested);
        assert_eq!(self.worker.node().last_exit(), Some(Exit::Requested));
        let path = self.worker.path().clone();
        let mut exits = Vec::new();
        while let Ok(event) = self.events.next().await {
            if let (true, EventKind::Exited { exit, .. }) = (event.path == path, &event.kind) {
                exits.push(exit.clone());
            }
        }
        self.expected.push(Exit::Requested);
        assert_eq!(exits, self.expected);
        let life = format!("path=\"{path}\" incarnation={}", incarnation.0);
        assert!(logged(&[&life, "stopped", "rung=Drain"]), "it did not end by itself:\n{}", log_of(&life));
        nothing_is_left(&self.mark).await;
    }

    /// Whether all of this stand in one line of the log about this worker.
    pub(crate) fn has_logged(&self, parts: &[&str]) -> bool {
        let path = format!("path=\"{}\"", self.worker.path());
        logged(&parts.iter().copied().chain([path.as_str()]).collect::<Vec<_>>())
    }

    /// Waits until all of this stand in one line of the log about this worker.
    pub(crate) async fn until_logged(&self, parts: &[&str]) {
        let found = async {
            while !self.has_logged(parts) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "{parts:?} is not in the log:\n{}", log_of(self.worker.path().as_str()));
    }
}

/// Whether every thread of every process of this group stands still. A signal stops them one after the other.
fn is_stopped(group: Pid) -> bool {
    let stat = |path: PathBuf| -> Option<(String, i32)> {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    let folders = |path: PathBuf| {
        std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
    };
    folders("/proc".into())
        .filter(|process| stat(process.clone()).is_some_and(|(_, id)| id == group.as_raw_nonzero().get()))
        .flat_map(|process| folders(process.join("task")))
        .filter_map(stat)
        .all(|(state, _)| state == "T")
}

/// Waits until no process has the mark in its environment.
pub(crate) async fn nothing_is_left(mark: &str) {
    let entry = format!("{MARK}={mark}");
    let left = || {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|process| {
            let process = process.ok()?.path();
            let environment = std::fs::read(process.join("environ")).ok()?;
            let marked = environment.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes());
            marked.then(|| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        });
        processes.collect::<Vec<_>>()
    };
    let none = async {
        while !left().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, none).await.is_ok(), "processes are left: {:?}", left());
}

fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(Mutex::default)
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        log().lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps what all tests log.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(|| Log)
            .init();
    });
}

fn log_of(part: &str) -> String {
    let log = log().lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&log);
    text.lines().filter(|line| line.contains(part)).fold(String::new(), |all, line| all + line + "\n")
}

fn logged(parts: &[&str]) -> bool {
    let log = log().lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&log).lines().any(|line| parts.iter().all(|part| line.contains(part)))
}

/// `textDocument/didOpen`.
pub(crate) fn opened(uri: &str, language: &str, text: &str) -> Value {
    json!({ "textDocument": { "uri": uri, "languageId": language, "version": 1, "text": text } })
}

/// A position in a document.
pub(crate) fn at(uri: &str, line: u32, character: u32) -> Value {
    json!({ "textDocument": { "uri": uri }, "position": { "line": line, "character": character } })
}
