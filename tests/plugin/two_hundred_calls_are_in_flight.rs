//! What only real processes can show (D-2): while 200 calls and more are in flight, a worker is swapped fifty
//! times, and killed fifty times. No call fails in a swap (G-14), and no idempotent one in a crash; no other
//! one is ever carried out twice (C-9).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use procession::{
    internals::{Root, RootOptions},
    plugin::{PluginHostSpec, PluginSpec, Plugins},
    process::Command,
    protocol::Server,
    restart::{Backoff, CrashLoop, CrashLoopAction, RestartPolicy},
    rpc::{CallEffect, CallError, CallOptions, Context, MethodRouter, RpcError, StreamEnd, Timeout},
    supervision::SupervisorSpec,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{json, value::RawValue, value::to_raw_value};
use tokio::task::JoinSet;

const CALLERS: usize = 200;
/// Callers of each other kind.
const OTHERS: usize = 4;
const ROUNDS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a call takes that is to outlast a swap.
const SLOW: Duration = Duration::from_millis(60);
/// How many items a stream has.
const ITEMS: usize = 5;
/// Where the worker writes which calls it carries out.
const DONE: &str = "PROCESSION_TEST_CARRIED_OUT";

// ---- the worker ---------------------------------------------------------------------------------

#[test]
#[ignore = "a process of the tests below"]
fn worker_in_flight() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let router = MethodRouter::new()
        .method_value("work", |_, number| carry_out(number, Duration::from_millis(20)))
        .method_value("slow", |_, number| carry_out(number, SLOW))
        .method_value("ask", |cx, number| async move {
            let host = cx.peer().ok_or_else(|| RpcError::internal("the host has gone"))?;
            let answer = host.call_value("host.answer", &number, Timeout::Never).await;
            let answer = answer.map_err(RpcError::internal)?;
            assert_eq!(answer.get(), number.as_deref().unwrap().get());
            carry_out(number, Duration::ZERO).await
        })
        .method_value("count", |cx, number| async move {
            count(&cx).await.map_err(RpcError::internal)?;
            carry_out(number, Duration::ZERO).await
        });
    runtime.block_on(Server::new(router).serve_stdio()).unwrap();
}

/// Writes down the number of a call, and answers with the process id.
async fn carry_out(number: Option<Box<RawValue>>, takes: Duration) -> Result<Box<RawValue>, RpcError> {
    let done = std::env::var_os(DONE).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(done).unwrap();
    file.write_all(format!("{}\n", number.unwrap().get()).as_bytes()).unwrap();
    tokio::time::sleep(takes).await;
    to_raw_value(&std::process::id()).map_err(RpcError::internal)
}

/// Sends a stream for this call.
async fn count(cx: &Context) -> Result<(), CallError> {
    let Some(host) = cx.peer() else { return Ok(()) };
    let stream = json!(cx.request);
    let open = json!({ "stream": stream, "channel": "numbers", "request": cx.request });
    host.call_value("streams.open", &open, Timeout::Never).await?;
    for item in 0..ITEMS {
        host.notify_value("streams.emit", &json!({ "stream": stream, "item": item })).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    host.notify_value("streams.close", &json!({ "stream": stream })).await
}

// ---- its callers --------------------------------------------------------------------------------

/// What has become of the calls so far.
#[derive(Default)]
struct Account {
    next: AtomicU64,
    answered: AtomicU64,
    stop: AtomicBool,
    /// How often something has happened that swaps and kills are expected to cause.
    events: Mutex<BTreeMap<&'static str, u64>>,
    /// What is known of the effect of each call that has failed.
    failed: Mutex<BTreeMap<u64, CallEffect>>,
    /// The calls that are not to be carried out twice.
    once: Mutex<BTreeSet<u64>>,
    /// The processes that have answered.
    pids: Mutex<BTreeSet<u32>>,
}

impl Account {
    fn count(&self, what: &'static str) {
        *self.events.lock().unwrap().entry(what).or_default() += 1;
    }

    fn counted(&self, what: &'static str) -> u64 {
        self.events.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    fn answer(&self, answer: &RawValue) -> u32 {
        let pid = serde_json::from_str(answer.get()).unwrap();
        self.pids.lock().unwrap().insert(pid);
        self.answered.fetch_add(1, Ordering::SeqCst);
        pid
    }

    fn only_once(&self, number: u64) {
        self.once.lock().unwrap().insert(number);
    }

    fn fail(&self, number: u64, outcome: CallEffect) {
        assert_eq!(self.failed.lock().unwrap().insert(number, outcome), None);
    }
}

#[derive(Clone)]
struct Caller {
    plugins: Plugins,
    account: Arc<Account>,
    /// The options of all calls but those that may fail.
    options: CallOptions,
}

impl Caller {
    fn next(&self) -> Option<u64> {
        let stop = self.account.stop.load(Ordering::SeqCst);
        (!stop).then(|| self.account.next.fetch_add(1, Ordering::SeqCst))
    }

    fn pid(&self) -> Option<u32> {
        self.plugins.worker("w").unwrap().pid()
    }

    /// None of its calls fails.
    async fn call(self, method: &'static str) {
        while let Some(number) = self.next() {
            let before = self.pid();
            let answer = self.plugins.call_value("w", method, &number, self.options).await;
            let by = self.account.answer(&answer.unwrap_or_else(|error| panic!("{method}: {error}")));
            if Some(by) == before && self.pid() != before {
                self.account.count("answered by one that has been replaced");
            }
        }
    }

    /// A call of its may fail if the worker is killed, and is not sent again if its effect is unknown.
    async fn call_once(self) {
        while let Some(number) = self.next() {
            self.account.only_once(number);
            match self.plugins.call_value("w", "work", &number, Timeout::Default).await {
                Ok(answer) => drop(self.account.answer(&answer)),
                Err(error) => {
                    self.account.fail(number, error.effect());
                    let _ = self.plugins.ensure_ready("w", PATIENCE).await;
                }
            }
        }
    }

    /// Calls through the channel that it has, until that takes no more calls.
    async fn hold(self) {
        let mut held = None;
        while let Some(number) = self.next() {
            self.account.only_once(number);
            let peer = match held.take() {
                Some(peer) => peer,
                None => match self.plugins.worker("w").unwrap().peer() {
                    Ok((_, peer)) => peer,
                    Err(_) => {
                        self.account.fail(number, CallEffect::NotSent);
                        let _ = self.plugins.ensure_ready("w", PATIENCE).await;
                        continue;
                    }
                },
            };
            match peer.call_value("work", &number, Timeout::Default).await {
                Ok(answer) => {
                    self.account.answer(&answer);
                    held = Some(peer);
                }
                Err(error) => {
                    if error.effect() == CallEffect::NotSent {
                        assert!(error.is_retryable(), "{error}");
                        self.account.count("refused by a channel from before");
                    }
                    self.account.fail(number, error.effect());
                }
            }
        }
    }

    /// Takes the streams of its calls. Each ends once.
    async fn stream(self) {
        while let Some(number) = self.next() {
            let worker = self.plugins.worker("w").unwrap();
            let (mut streams, call) = worker.call_streaming("count", &number, self.options, 2 * ITEMS);
            let take = async {
                let mut whole = 0;
                while let Some(mut stream) = streams.accept().await {
                    let mut items = 0;
                    while let Some(item) = stream.recv().await {
                        items += usize::from(item.is_ok());
                    }
                    match stream.end().unwrap() {
                        StreamEnd::Closed => {
                            assert_eq!(items, ITEMS);
                            whole += 1;
                        }
                        StreamEnd::WorkerLost(_) | StreamEnd::ChannelClosed(_) => {
                            self.account.count("lost stream");
                        }
                        end => panic!("{end}"),
                    }
                }
                whole
            };
            let (answer, whole) = tokio::join!(call, take);
            self.account.answer(&answer.unwrap_or_else(|error| panic!("count: {error}")));
            assert!(whole >= 1, "an answer, and no stream that came to its end");
        }
    }
}

// ---- the stage ----------------------------------------------------------------------------------

struct Stage {
    root: Root,
    caller: Caller,
    callers: JoinSet<()>,
    done: PathBuf,
    spec: PluginSpec,
}

impl Stage {
    async fn new(name: &str, change: impl FnOnce(PluginSpec) -> PluginSpec, options: CallOptions) -> Stage {
        let done = std::env::temp_dir().join(format!("procession-{name}-{}", std::process::id()));
        std::fs::write(&done, "").unwrap();
        let worker = "two_hundred_calls_are_in_flight::worker_in_flight";
        let command = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", worker, "--ignored", "--nocapture"])
            .env(DONE, done.as_os_str());
        let spec = change(PluginSpec::new("w", command));
        let answers = MethodRouter::new().method_value("host.answer", |_, number| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            number.ok_or_else(|| RpcError::internal("no number"))
        });
        let host = PluginHostSpec::new().handler(answers).plugin(spec.clone());
        let spec_of_root = SupervisorSpec::one_for_one().child(host.child("plugins"));
        let root = Root::start(spec_of_root, RootOptions::default()).await.unwrap();
        let plugins = Plugins::new(root.find("/plugins").unwrap());
        plugins.ensure_ready("w", PATIENCE).await.unwrap();
        let caller = Caller { plugins, account: Arc::default(), options };
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(caller.clone().call("work"));
        }
        for _ in 0..OTHERS {
            callers.spawn(caller.clone().call("slow"));
            callers.spawn(caller.clone().call("ask"));
            callers.spawn(caller.clone().call_once());
            callers.spawn(caller.clone().hold());
            callers.spawn(caller.clone().stream());
        }
        Stage { root, caller, callers, done, spec }
    }

    /// Waits until each caller has been answered about twice more.
    async fn goes_on(&mut self) {
        let account = self.caller.account.clone();
        let before = account.answered.load(Ordering::SeqCst);
        let goes_on = async {
            while account.answered.load(Ordering::SeqCst) < before + 2 * CALLERS as u64 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            done = tokio::time::timeout(PATIENCE, goes_on) => done.expect("no call is answered"),
            Some(failed) = self.callers.join_next() => failed.unwrap(),
        }
    }

    /// Ends everything, and returns how often each call was carried out. No process is left.
    async fn end(mut self) -> (Arc<Account>, BTreeMap<u64, u32>) {
        let Caller { plugins, account, .. } = self.caller;
        account.stop.store(true, Ordering::SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        plugins.stop_all().await.unwrap().into_result().unwrap();
        let _ = self.root.shutdown(PATIENCE).await;
        let mut times = BTreeMap::new();
        for line in std::fs::read_to_string(&self.done).unwrap().lines() {
            *times.entry(line.parse().unwrap()).or_default() += 1;
        }
        std::fs::remove_file(&self.done).unwrap();
        for pid in account.pids.lock().unwrap().iter() {
            assert_eq!(test_kill_process(as_pid(*pid)), Err(rustix::io::Errno::SRCH), "{pid} is left");
        }
        (account, times)
    }
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_their_worker_is_swapped_fifty_times_none_fails() {
    // G-14, C-9, C-10, C-14
    let mut stage = Stage::new("swapped", PluginSpec::overlap, CallOptions::default()).await;
    for _ in 0..ROUNDS {
        stage.caller.plugins.reload("w", stage.spec.clone()).await.unwrap();
        stage.goes_on().await;
    }
    let (account, times) = stage.end().await;
    let failed = account.failed.lock().unwrap().clone();
    assert!(failed.values().all(|outcome| *outcome == CallEffect::NotSent), "{failed:?}");
    assert_eq!(failed.len() as u64, account.counted("refused by a channel from before"));
    for number in 0..account.next.load(Ordering::SeqCst) {
        let expected = u32::from(!failed.contains_key(&number));
        assert_eq!(times.get(&number).copied().unwrap_or(0), expected, "call {number}");
    }
    let outlasted = account.counted("answered by one that has been replaced");
    assert!(outlasted >= ROUNDS as u64, "{outlasted}");
    assert!(failed.len() >= OTHERS, "channels from before were used: {}", failed.len());
    assert_eq!(account.counted("lost stream"), 0);
    assert!(account.pids.lock().unwrap().len() > ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_their_worker_is_killed_fifty_times_no_idempotent_one_fails() {
    // C-9, C-10
    let endless = CrashLoop::new(10_000, PATIENCE, CrashLoopAction::GiveUp);
    let policy = RestartPolicy::permanent().with_backoff(Backoff::None).with_crash_loop(endless);
    let options = CallOptions::default().idempotent();
    let mut stage = Stage::new("killed", |spec| spec.restart(policy), options).await;
    for _ in 0..ROUNDS {
        let worker = stage.caller.plugins.worker("w").unwrap();
        let killed = worker.wait_ready(PATIENCE).await.unwrap();
        let pid = worker.pid().unwrap();
        stage.caller.account.pids.lock().unwrap().insert(pid);
        kill_process(as_pid(pid), Signal::KILL).unwrap();
        let next = worker.node().wait_state(|_| worker.node().incarnation() > killed);
        tokio::time::timeout(PATIENCE, next).await.unwrap();
        stage.goes_on().await;
    }
    let (account, times) = stage.end().await;
    let failed = account.failed.lock().unwrap().clone();
    let once = account.once.lock().unwrap().clone();
    assert!(failed.keys().all(|number| once.contains(number)));
    let mut twice = 0;
    for number in 0..account.next.load(Ordering::SeqCst) {
        let times = times.get(&number).copied().unwrap_or(0);
        match failed.get(&number) {
            None if once.contains(&number) => assert_eq!(times, 1, "call {number}"),
            None => assert!(times >= 1, "call {number} was answered and not carried out"),
            Some(CallEffect::NotSent) => assert_eq!(times, 0, "call {number}"),
            Some(_) => assert!(times <= 1, "call {number} was carried out {times} times"),
        }
        twice += u64::from(times > 1);
    }
    let unknown = failed.values().filter(|outcome| **outcome == CallEffect::Unknown).count();
    assert!(unknown >= OTHERS && twice >= ROUNDS as u64, "{unknown} lost, {twice} sent again");
    assert!(account.counted("lost stream") >= OTHERS as u64);
    assert!(account.pids.lock().unwrap().len() > ROUNDS);
}
