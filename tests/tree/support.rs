//! The tree of the examples, over scripted processes.

use std::{sync::Arc, time::Duration};

use procession::{
    event::{Event, EventKind},
    plugin::{PluginHostSpec, PluginSpec},
    pool::PoolSpec,
    process::{Command, Launcher, Signal},
    protocol::Plugin,
    rpc::{Method, RpcError},
    state::{ChildState, Strategy},
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::{Tree, TreeBuilder},
    worker::WorkerSpec,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::{Value, json};

pub(crate) const SEC: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Echo;
impl Method for Echo {
    const NAME: &'static str = "echo";
    type Params = String;
    type Output = String;
}

/// Answers `initialize`, `echo` and `shutdown`.
pub(crate) async fn serve(mut me: ScriptedProcess) -> i32 {
    while let Some(line) = me.read_line().await {
        let message: Value = serde_json::from_str(&line).unwrap();
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({"ok": true, "supportedMethods": ["echo"]}),
            "echo" => message["params"].clone(),
            "shutdown" => json!({}),
            _ => continue,
        };
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        let _ = me.write_line(&answer.to_string()).await;
        if message["method"] == "shutdown" {
            return 0;
        }
    }
    0
}

/// Counts.
pub(crate) struct Counter;

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Counter {
    type Msg = RpcReplyPort<u64>;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        reply: RpcReplyPort<u64>,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *count += 1;
        reply.send(*count)?;
        Ok(())
    }
}

pub(crate) fn worker(launcher: &ScriptedLauncher) -> WorkerSpec {
    let launcher: Arc<dyn Launcher> = Arc::new(launcher.clone());
    WorkerSpec::new(Command::new("worker")).protocol(Plugin::default()).launcher(launcher)
}

/// root (rest-for-one) → counter, pool, plugins.
pub(crate) fn tree(launcher: &ScriptedLauncher) -> TreeBuilder {
    launcher.program("worker", serve);
    let plugins = PluginHostSpec::new()
        .launcher(Arc::new(launcher.clone()))
        .plugin(PluginSpec::new("spelling", Command::new("worker")))
        .plugin(PluginSpec::new("weather", Command::new("worker")));
    Tree::builder()
        .strategy(Strategy::RestForOne)
        .intensity(1, MINUTE)
        .actor("counter", || (Counter, ()))
        .pool("pool", PoolSpec::keyed(4, worker(launcher)).intensity(2, MINUTE))
        .plugins("plugins", plugins)
}

pub(crate) async fn count(tree: &Tree) -> u64 {
    tree.actor("/counter").unwrap().call(|reply| reply, SEC).await.unwrap()
}

pub(crate) async fn echo(tree: &Tree, key: &str) -> Result<String, Box<dyn std::error::Error>> {
    let pool = tree.pool("pool")?;
    pool.wait_ready(10 * SEC).await?;
    Ok(pool.acquire(key).await?.call::<Echo>(&key.to_owned()).await?)
}

/// Kills the process at `path` from outside and waits until the next incarnation at `back` is ready.
pub(crate) async fn kill_and_wait(tree: &Tree, launcher: &ScriptedLauncher, path: &str, back: &str) {
    let now = tree.find(back).unwrap().incarnation();
    let mut events = tree.events();
    kill(tree, launcher, path);
    let ready = |e: &Event| {
        let is_ready = matches!(e.kind, EventKind::State { to: ChildState::Ready, .. });
        e.path.as_str() == back && e.incarnation > now && is_ready
    };
    tokio::time::timeout(30 * SEC, events.wait_for(ready)).await.unwrap().unwrap();
}

pub(crate) fn kill(tree: &Tree, launcher: &ScriptedLauncher, path: &str) {
    launcher.kill(tree.worker(path).unwrap().pid().unwrap(), Signal::KILL).unwrap();
}

const _: fn() = || {
    fn sendable<T: Send + Sync>() {}
    sendable::<Tree>();
    sendable::<RpcError>();
};
