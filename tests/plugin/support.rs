//! Scripted plugins, and a tree with one host.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use procession::internals::{Root, RootOptions};
use procession::{
    plugin::{PluginEvent, PluginEventReceiver, PluginHostSpec, PluginSpec, Plugins},
    process::Command,
    rpc::{Method, Timeout},
    supervision::{RecvError, SupervisorSpec},
    testing::{ScriptedLauncher, ScriptedProcess},
};
use serde_json::{Value, json};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// Lets everything happen that can happen in a millisecond.
pub(crate) async fn settle() {
    tokio::time::sleep(MS).await;
}

/// How a scripted plugin behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// How long it takes to answer `initialize`.
    pub(crate) init: Duration,
    /// How many launches refuse to initialize.
    pub(crate) refusals: Arc<AtomicU32>,
    /// The methods that it announces besides `echo`, `who`, `config`, `die`, `ask`,
    /// `args`.
    pub(crate) announces: Vec<&'static str>,
    /// How long it takes to end when it is asked to.
    pub(crate) drain: Duration,
    /// How long after becoming ready it dies.
    pub(crate) dies_after: Option<Duration>,
    /// All messages that it reads, with the number of the launch.
    pub(crate) heard: Arc<Mutex<Vec<(u64, Value)>>>,
    /// How many processes are between launch and ready, and the maximum so far.
    pub(crate) starting: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            init: Duration::ZERO,
            refusals: Arc::default(),
            announces: Vec::new(),
            drain: Duration::ZERO,
            dies_after: None,
            heard: Arc::default(),
            starting: Arc::default(),
        }
    }
}

impl Manner {
    pub(crate) fn slow(init: Duration) -> Manner {
        Manner { init, ..Manner::default() }
    }

    pub(crate) fn refusing(launches: u32) -> Manner {
        Manner { refusals: Arc::new(AtomicU32::new(launches)), ..Manner::default() }
    }

    pub(crate) fn dying(after: Duration) -> Manner {
        Manner { dies_after: Some(after), ..Manner::default() }
    }

    /// The methods of the messages that one launch has read.
    pub(crate) fn heard_by(&self, launch: u64) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let of = |(n, message): &(u64, Value)| {
            let method = message.get("method").and_then(Value::as_str);
            (*n == launch).then(|| method.unwrap_or("(answer)").to_owned())
        };
        heard.iter().filter_map(of).collect()
    }

    /// Registers a program with this behaviour.
    pub(crate) fn program(&self, launcher: &ScriptedLauncher, name: &str) {
        let manner = self.clone();
        launcher.program(name, move |process| manner.clone().run(process));
    }

    async fn run(self, mut me: ScriptedProcess) -> i32 {
        let launch = me.launch();
        let now = self.starting.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.starting.1.fetch_max(now, Ordering::SeqCst);
        let mut config = Value::Null;
        let mut asked = Value::Null;
        let mut deadline = None;
        loop {
            let line = match deadline {
                None => me.read_line().await,
                // A message that it is reading when it dies is lost.
                Some(at) => match tokio::time::timeout_at(at, me.read_line()).await {
                    Ok(line) => line,
                    Err(_) => return 7,
                },
            };
            let Some(line) = line else { return 0 };
            let message: Value = serde_json::from_str(&line).unwrap();
            self.heard.lock().unwrap().push((launch, message.clone()));
            let (method, params) = (message["method"].as_str().unwrap_or_default(), &message["params"]);
            let result = match method {
                "initialize" => {
                    tokio::time::sleep(self.init).await;
                    self.starting.0.fetch_sub(1, Ordering::SeqCst);
                    config = params["config"].clone();
                    let left = self.refusals.load(Ordering::SeqCst);
                    if left > 0 || config == json!("bad") {
                        self.refusals.store(left.saturating_sub(1), Ordering::SeqCst);
                        json!({ "ok": false, "reason": "not today" })
                    } else {
                        deadline = self.dies_after.map(|after| tokio::time::Instant::now() + after);
                        let mut methods = vec!["echo", "who", "config", "die", "ask", "args"];
                        methods.extend(&self.announces);
                        json!({ "ok": true, "supportedMethods": methods })
                    }
                }
                "shutdown" => {
                    tokio::time::sleep(self.drain).await;
                    let _ = reply(&mut me, &message["id"], json!(null)).await;
                    return 0;
                }
                "configChanged" if params["config"] == "bad" => {
                    let error = json!({ "code": -32000, "message": "bad port" });
                    let refusal = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
                    me.write_line(&refusal.to_string()).await.unwrap();
                    continue;
                }
                // Notifications.
                "retiring" | "$/cancelRequest" | "streams.close" => continue,
                // Never answered.
                "configChanged" if params["config"] == "mute" => continue,
                "configChanged" => {
                    config = params["config"].clone();
                    json!(null)
                }
                "echo" => params.clone(),
                "who" => json!({ "launch": launch, "pid": me.pid() }),
                "config" => config.clone(),
                "args" => me.args().iter().map(|arg| arg.to_str().unwrap()).collect(),
                "hang" => continue,
                "die" => return i32::try_from(params.as_i64().unwrap_or(1)).unwrap(),
                // Calls the host, and passes its answer on.
                "ask" => {
                    asked = message["id"].clone();
                    let request = json!({
                        "jsonrpc": "2.0", "id": 77, "method": params["method"], "params": params["params"],
                    });
                    me.write_line(&request.to_string()).await.unwrap();
                    continue;
                }
                "say" => {
                    let note = json!({
                        "jsonrpc": "2.0", "method": params["method"], "params": params["params"],
                    });
                    me.write_line(&note.to_string()).await.unwrap();
                    json!(null)
                }
                "" => {
                    let answer = std::mem::take(&mut asked);
                    if reply(&mut me, &answer, message).await.is_err() {
                        return 0;
                    }
                    continue;
                }
                other => panic!("unexpected message `{other}`"),
            };
            if reply(&mut me, &message["id"], result).await.is_err() {
                return 0;
            }
        }
    }
}

/// Reads `initialize` and answers it.
pub(crate) async fn answer_initialize(me: &mut ScriptedProcess) {
    let request: Value = serde_json::from_str(&me.read_line().await.unwrap()).unwrap();
    reply(me, &request["id"], json!({ "ok": true, "supportedMethods": [] })).await.unwrap();
}

async fn reply(me: &mut ScriptedProcess, id: &Value, result: Value) -> std::io::Result<()> {
    me.write_line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()).await
}

/// A plugin whose program has its own name.
pub(crate) fn plugin(id: &str) -> PluginSpec {
    PluginSpec::new(id, Command::new(id))
}

/// A tree with one plugin host.
pub(crate) struct Stage {
    pub(crate) root: Root,
    pub(crate) plugins: Plugins,
    pub(crate) launcher: ScriptedLauncher,
}

impl Stage {
    pub(crate) async fn new(launcher: &ScriptedLauncher, host: PluginHostSpec) -> Stage {
        Stage::under(launcher, host, SupervisorSpec::one_for_one()).await
    }

    pub(crate) async fn under(
        launcher: &ScriptedLauncher,
        host: PluginHostSpec,
        parent: SupervisorSpec,
    ) -> Stage {
        let spec = parent.child(host.launcher(Arc::new(launcher.clone())).child("plugins"));
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let plugins = Plugins::new(root.find("/plugins").unwrap());
        Stage { root, plugins, launcher: launcher.clone() }
    }

    /// How often a program was launched.
    pub(crate) fn launches(&self, program: &str) -> usize {
        self.launcher.launched().iter().filter(|launched| launched.program == program).count()
    }

    pub(crate) async fn call(&self, id: &str, method: &str, params: Value) -> Value {
        let answer = self.plugins.call_value(id, method, &params, Timeout::Default).await.unwrap();
        serde_json::from_str(answer.get()).unwrap()
    }

    /// Ends the tree; no process may be left.
    pub(crate) async fn end(self) {
        let _ = self.root.shutdown(60 * SEC).await;
        assert_eq!(self.launcher.alive(), Vec::<u32>::new(), "processes are left");
    }
}

/// A launcher with these programs.
pub(crate) fn launcher<'a>(programs: impl IntoIterator<Item = (&'a str, &'a Manner)>) -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    for (name, manner) in programs {
        manner.program(&launcher, name);
    }
    launcher
}

/// The method `echo`.
pub(crate) struct Echo;

impl Method for Echo {
    const NAME: &'static str = "echo";
    type Params = Value;
    type Output = Value;
}

/// Everything that has been published so far.
pub(crate) fn drain(events: &mut PluginEventReceiver) -> Vec<Arc<PluginEvent>> {
    let mut all = Vec::new();
    loop {
        match events.try_next() {
            Ok(Some(event)) => all.push(event),
            Ok(None) | Err(RecvError::Closed) => return all,
            Err(lost) => panic!("{lost}"),
        }
    }
}
