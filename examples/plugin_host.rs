//! A service with plugins in three languages, which stays up whatever they do:
//! `cargo run --example plugin_host`
//!
//! ```text
//! service
//! └─ plugins
//!    ├─ rust      this program again, made with `protocol::Server`
//!    ├─ python    examples/workers/plugin.py
//!    └─ node      examples/workers/plugin.mjs
//! ```
//!
//! The plugins call each other through a method of the host, and send streams. Then one of them crashes, one
//! ends in the middle of a stream, one hangs and one floods. The program says what its callers see of that,
//! and ends with an account. A plugin whose interpreter is not installed is left out.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt::Display,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use procession::{
    plugin::{PluginError, PluginEventKind, PluginEventReceiver, PluginHostSpec, PluginSpec, Plugins},
    process::Command,
    protocol::{Server, plugin_error_codes},
    rpc::{CallError, Context, Method, MethodRouter, RpcError, Timeout},
    tree::Tree,
    worker::Liveness,
};
use serde::{Deserialize, Serialize};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tokio::sync::Notify;

type Anyhow<T> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Anyhow<()> {
    match env::args().nth(1).as_deref() {
        Some("plugin") => plugin(),
        _ => service(),
    }
}

// ---- the service --------------------------------------------------------------------------------

#[tokio::main]
async fn service() -> Anyhow<()> {
    tracing_subscriber::fmt().with_writer(|| LogLines).init();
    let service = Service::default();
    let tree = Tree::builder().plugins("plugins", service.host()?).start().await?;
    service.plugins.set(tree.plugins("plugins")?).map_err(|_| "set twice")?;
    let mut events = service.plugins()?.events()?;

    chapter("The plugins are ready");
    let names: Vec<String> = service.plugins()?.list()?.iter().map(|plugin| plugin.id.to_string()).collect();
    for name in &names {
        let incarnation = service.plugins()?.ensure_ready(name.as_str(), PATIENCE).await?;
        println!("{name} {incarnation} is ready");
    }

    chapter("They call each other through the host");
    for asking in &names {
        for asked in &names {
            let answer = service.ask(asking, asked, "greet", json!({ "name": asking })).await;
            println!("{asking} asks {asked}: {}", told(answer));
        }
    }
    let around = names.iter().fold(json!(["rust", "greet", { "name": "the whole round" }]), |inner, name| {
        let (plugin, method, params) = (&inner[0], &inner[1], &inner[2]);
        json!([name, "ask", relayed(plugin, method, params)])
    });
    let plugin = around[0].as_str().unwrap_or_default();
    println!("once around: {}", told(service.call(plugin, "ask", around[2].clone(), PATIENCE).await));
    let mut many = Vec::new();
    // Fewer than the 64 that a plugin and its host handle at the same time: a call that waits for another one
    // of the same plugin counts until it is answered.
    for n in 0..50 {
        let (service, asking) = (service.clone(), names[n % names.len()].clone());
        let asked = names[(n + 1) % names.len()].clone();
        many.push(tokio::spawn(
            async move { service.ask(&asking, &asked, "greet", json!({ "name": n })).await },
        ));
    }
    let mut answers = 0;
    for call in many {
        answers += usize::from(call.await?.is_ok());
    }
    println!("of 50 calls at once, {answers} are answered");
    let denied = service.call("rust", "ask", json!({ "method": "service/stop" }), PATIENCE).await;
    println!("a plugin may not stop the service: {}", told(denied));

    chapter("They send streams");
    for name in &names {
        let (streamed, answer) = service.count(name, json!({ "to": 1000 }), &Notify::new()).await?;
        println!("{name} sends {streamed}, and answers {}", told(answer));
    }

    chapter("One crashes while two calls are under way");
    let (waits, crash) =
        tokio::join!(service.call("rust", "wait", json!({ "seconds": 60 }), PATIENCE), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            service.call("rust", "crash", json!({}), PATIENCE).await
        });
    println!("the caller of `crash`: {}", told(crash));
    println!("the caller of `wait`: {}", told(waits));
    service.back(&mut events).await?;

    chapter("One dies in the middle of a stream");
    let arrived = Notify::new();
    let (counted, crash) =
        tokio::join!(service.count("rust", json!({ "to": HELD, "hold": true }), &arrived), async {
            arrived.notified().await;
            service.call("rust", "crash", json!({}), PATIENCE).await
        });
    let (streamed, answer) = counted?;
    println!("it has sent {streamed}");
    println!("its call: {}", told(answer));
    println!("the caller of `crash`: {}", told(crash));
    service.back(&mut events).await?;

    chapter("One hangs");
    let short = Duration::from_millis(200);
    println!("a slow call: {}", told(service.call("rust", "wait", json!({ "seconds": 60 }), short).await));
    println!("its plugin goes on: {}", told(service.greet("rust").await));
    println!("a plugin that hangs: {}", told(service.call("rust", "hang", json!({}), PATIENCE).await));
    service.back(&mut events).await?;

    chapter("One floods");
    let before = LINES.load(Ordering::Relaxed);
    let flood = service.call("rust", "flood", json!({ "lines": FLOOD }), PATIENCE);
    let (flood, others) = tokio::join!(flood, async {
        let mut answered = 0;
        for name in &names {
            answered += usize::from(service.greet(name).await.is_ok());
        }
        answered
    });
    println!("it has written {} log messages and as many lines to stderr", told(flood));
    println!("meanwhile, {others} of {} plugins have answered", names.len());
    let lines = LINES.load(Ordering::Relaxed) - before;
    let (share, kept) = (2 * FLOOD / lines.max(1), service.plugins()?.diagnostics("rust")?.logs.len());
    println!("more than 9 of 10 lines were left out of the log: {}", share > 10);
    println!("{kept} messages are kept for diagnostics");

    chapter("The service is still up, and ends");
    for name in &names {
        println!(
            "{name} {}: {}",
            service.plugins()?.worker(name.as_str())?.node().incarnation(),
            told(service.greet(name).await)
        );
    }
    let exit = tree.shutdown(PATIENCE).await;
    println!("the service has ended: {exit}");
    exit.into_result()?;
    service.account();
    Ok(())
}

/// The address of the plugins, and the account of what happened.
#[derive(Clone, Default)]
struct Service {
    plugins: Arc<OnceLock<Plugins>>,
    account: Arc<Mutex<Account>>,
}

#[derive(Default)]
struct Account {
    calls: usize,
    answers: usize,
    failures: BTreeMap<&'static str, usize>,
    streams: usize,
    streams_closed: usize,
    streams_lost: usize,
    restarts: usize,
}

impl Service {
    fn host(&self) -> Anyhow<PluginHostSpec> {
        let service = self.clone();
        let methods = MethodRouter::new().method::<CallPlugin, _, _>(move |_, call| {
            let service = service.clone();
            async move { service.relay(call).await }
        });
        // A plugin may call others, and nothing else.
        let may = ["call"];
        let watched = Liveness {
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(1),
            failures_allowed: 2,
        };
        let rust = PluginSpec::new("rust", Command::new(env::current_exe()?).arg("plugin"));
        let mut host =
            PluginHostSpec::new().handler(methods).plugin(rust.capabilities(may).liveness(watched));
        let workers = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers");
        for (id, interpreter, worker) in [("python", "python3", "plugin.py"), ("node", "node", "plugin.mjs")]
        {
            match on_path(interpreter) {
                Some(interpreter) => {
                    let command = Command::new(interpreter).arg(workers.join(worker));
                    host = host.plugin(PluginSpec::new(id, command).capabilities(may));
                }
                None => println!("{interpreter} is not installed: going on without the plugin `{id}`"),
            }
        }
        Ok(host)
    }

    fn plugins(&self) -> Result<&Plugins, &'static str> {
        self.plugins.get().ok_or("the service has not started yet")
    }

    /// One plugin calls another one, on behalf of the service.
    async fn ask(
        &self,
        asking: &str,
        asked: &str,
        method: &str,
        params: Value,
    ) -> Result<Value, PluginError> {
        self.call(asking, "ask", relayed(&json!(asked), &json!(method), &params), PATIENCE).await
    }

    async fn greet(&self, plugin: &str) -> Result<Value, PluginError> {
        self.call(plugin, "greet", json!({ "name": "service" }), PATIENCE).await
    }

    /// Every call of a plugin goes through here.
    async fn call(
        &self,
        plugin: &str,
        method: &str,
        params: Value,
        within: Duration,
    ) -> Result<Value, PluginError> {
        let plugins = self.plugins.get().ok_or_else(|| PluginError::NotFound(plugin.into()))?;
        let answer = plugins.call_value(plugin, method, &params, Timeout::After(within)).await;
        self.noted(answer)
    }

    fn noted(&self, answer: Result<Box<RawValue>, PluginError>) -> Result<Value, PluginError> {
        self.note(|account| {
            account.calls += 1;
            match &answer {
                Ok(_) => account.answers += 1,
                Err(error) => *account.failures.entry(class(error)).or_default() += 1,
            }
        });
        answer.map(|answer| json!(answer))
    }

    fn note(&self, what: impl FnOnce(&mut Account)) {
        what(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Calls `count`, and takes the stream that belongs to the call: what has come of it, and the answer.
    async fn count(
        &self,
        plugin: &str,
        params: Value,
        arrived: &Notify,
    ) -> Anyhow<(String, Result<Value, PluginError>)> {
        let worker = self.plugins()?.worker(plugin)?;
        // A buffer that holds all that a plugin sends which does not ask for credit.
        let (mut streams, call) = worker.call_streaming("count", &params, Timeout::After(PATIENCE), 1000);
        let streamed = async {
            let Some(mut stream) = streams.accept().await else { return "no stream".to_owned() };
            self.note(|account| account.streams += 1);
            let (mut items, mut ends) = (0, Vec::new());
            while let Some(item) = stream.recv().await {
                match item {
                    Ok(_) => items += 1,
                    Err(end) => ends.push(end.to_string()),
                }
                if items == HELD {
                    arrived.notify_one();
                }
            }
            self.note(|account| match ends.is_empty() {
                true => account.streams_closed += 1,
                false => account.streams_lost += ends.len(),
            });
            format!("{items} items ({})", ends.pop().unwrap_or_else(|| "closed".to_owned()))
        };
        let (answer, streamed) = tokio::join!(call, streamed);
        Ok((streamed, self.noted(answer.map_err(PluginError::from))))
    }

    /// The host's method `call`. Its caller is a plugin, so errors become JSON-RPC errors.
    async fn relay(&self, call: PluginCall) -> Result<Value, RpcError> {
        self.call(&call.plugin, &call.method, call.params, PATIENCE).await.map_err(|error| {
            match error.call().and_then(CallError::remote) {
                Some(remote) => remote.clone(),
                None => RpcError::new(plugin_error_codes::UNAVAILABLE, error.to_string()),
            }
        })
    }

    /// Waits until the plugin that has crashed is ready again.
    async fn back(&self, events: &mut PluginEventReceiver) -> Anyhow<()> {
        loop {
            let event = tokio::time::timeout(PATIENCE, events.next()).await??;
            match &event.kind {
                PluginEventKind::Crashed { exit, will_restart, .. } => {
                    println!(
                        "{} {} has crashed, and will be restarted: {will_restart} ({exit})",
                        event.plugin, event.incarnation
                    );
                }
                PluginEventKind::Restarted { .. } => {
                    self.note(|account| account.restarts += 1);
                    println!("{} {} is ready", event.plugin, event.incarnation);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn account(&self) {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        println!("\ncalls     {:>4}\nanswers   {:>4}", account.calls, account.answers);
        for (class, failures) in &account.failures {
            println!("failures  {failures:>4}  {class}");
        }
        println!("streams   {:>4}", account.streams);
        println!("  closed  {:>4}", account.streams_closed);
        println!("  lost    {:>4}", account.streams_lost);
        println!("restarts  {:>4}", account.restarts);
    }
}

/// How a call has failed, for the account.
fn class(error: &PluginError) -> &'static str {
    match error.call() {
        Some(CallError::Timeout { .. }) => "not answered in time",
        Some(CallError::WorkerLost { .. }) => "the plugin has ended",
        Some(CallError::Remote { .. }) => "answered with an error",
        _ => "not sent",
    }
}

/// The host's method for plugins that call each other.
struct CallPlugin;

impl Method for CallPlugin {
    const NAME: &'static str = "call";
    type Params = PluginCall;
    type Output = Value;
}

#[derive(Serialize, Deserialize)]
struct PluginCall {
    plugin: String,
    method: String,
    #[serde(default)]
    params: Value,
}

/// The params with which a plugin's `ask` calls another plugin.
fn relayed(plugin: &Value, method: &Value, params: &Value) -> Value {
    json!({ "method": CallPlugin::NAME, "params": { "plugin": plugin, "method": method, "params": params } })
}

// ---- the plugin in Rust: this program again -----------------------------------------------------

#[tokio::main(flavor = "current_thread")]
async fn plugin() -> Anyhow<()> {
    let router = MethodRouter::new();
    let router = on(router, "greet", |_, params| async move {
        let name = params["name"].as_str().map_or_else(|| params["name"].to_string(), ToOwned::to_owned);
        Ok(json!(format!("hello, {name}, says Rust")))
    });
    // Asks the host.
    let router = on(router, "ask", |cx, params| async move {
        let host = cx.peer().ok_or_else(|| RpcError::internal("the host has gone"))?;
        let method = params["method"].as_str().unwrap_or_default();
        match host.call_value(method, &params["params"], Timeout::Never).await {
            Ok(answer) => Ok(json!(answer)),
            Err(error) => Err(error.remote().cloned().unwrap_or_else(|| RpcError::internal(&error))),
        }
    });
    let router = on(router, "wait", |_, params| async move {
        tokio::time::sleep(Duration::from_secs(params["seconds"].as_u64().unwrap_or_default())).await;
        Ok(json!("waited"))
    });
    // Sends a stream, and holds it open if it is told to.
    let router = on(router, "count", |cx, params| async move {
        let host = cx.peer().ok_or_else(|| RpcError::internal("the host has gone"))?;
        // The id of the call is used only once, and so is that of its stream.
        let stream = json!(cx.request);
        let open = json!({ "stream": stream, "channel": "numbers", "request": cx.request });
        host.call_value("streams.open", &open, Timeout::Never).await.map_err(RpcError::internal)?;
        for item in 0..params["to"].as_u64().unwrap_or_default() {
            let item = json!({ "stream": stream, "item": item });
            host.notify_value("streams.emit", &item).await.map_err(RpcError::internal)?;
        }
        if params["hold"] == true {
            std::future::pending::<()>().await;
        }
        host.notify_value("streams.close", &json!({ "stream": stream })).await.map_err(RpcError::internal)?;
        Ok(Value::Null)
    });
    let router = on(router, "crash", |_, _| async {
        eprintln!("out of cheese");
        std::process::exit(3)
    });
    // Blocks the only thread, so that pings are not answered either.
    let router = on(router, "hang", |_, _| async {
        loop {
            std::thread::sleep(PATIENCE);
        }
    });
    let router = on(router, "flood", |cx, params| async move {
        let host = cx.peer().ok_or_else(|| RpcError::internal("the host has gone"))?;
        for n in 0..params["lines"].as_u64().unwrap_or_default() {
            eprintln!("line {n}");
            let message = json!({ "level": "info", "message": format!("message {n}") });
            host.notify_value("log", &message).await.map_err(RpcError::internal)?;
            tokio::task::yield_now().await;
        }
        Ok(params["lines"].clone())
    });
    Server::new(router).serve_stdio().await?;
    Ok(())
}

fn on<F, Fut>(router: MethodRouter, method: &str, answer: F) -> MethodRouter
where
    F: Fn(Context, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, RpcError>> + Send + 'static,
{
    router.method_value(method, move |cx, params: Option<Box<RawValue>>| {
        let answer = answer(cx, json!(params));
        async move { to_raw_value(&answer.await?).map_err(RpcError::internal) }
    })
}

// ---- telling ------------------------------------------------------------------------------------

const FLOOD: usize = 20_000;
/// How many items come before a plugin dies in the middle of its stream.
const HELD: usize = 10;

/// How many lines this program has logged. (A service would show them.)
static LINES: AtomicUsize = AtomicUsize::new(0);

struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(bytes.iter().filter(|byte| **byte == b'\n').count(), Ordering::Relaxed);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn chapter(title: &str) {
    println!("\n=== {title}\n");
}

fn told(answer: Result<Value, impl Display>) -> String {
    match answer {
        Ok(Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
