//! A tree with real processes, from the first crash to the orderly end:
//! `cargo run --example cascading_restarts`
//!
//! ```text
//! root (rest-for-one)
//! ├─ audit      an in-memory actor that counts what plugins tell the host
//! ├─ agents     a pool of worker processes, one per team
//! └─ plugins    a plugin host with two plugin processes
//! ```
//!
//! The program runs itself as its workers. It kills them with SIGKILL, from outside, and prints
//! what the tree does. One worker comes back and all other children are untouched. When the pool's
//! restart intensity is spent, the root restarts the pool and the children after it. When the
//! root's intensity is spent too, the tree ends in order and says why.

use std::{
    env,
    error::Error,
    sync::{Arc, OnceLock},
    time::Duration,
};

use procession::{
    event::{Event, EventKind, ExitConsequence},
    exit::Exit,
    plugin::{PluginHostSpec, PluginSpec},
    pool::{Pool, PoolSpec},
    process::Command,
    protocol::{Plugin, Server},
    rpc::{Method, MethodRouter, RpcError},
    state::{ChildState, Strategy},
    supervision::{ActorChildRef, EventReceiver},
    tree::Tree,
    worker::WorkerSpec,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

type Anyhow<T> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Anyhow<()> {
    match env::args().nth(1).as_deref() {
        Some("agent") => agent().await,
        Some("plugin") => plugin().await,
        _ => story().await,
    }
}

async fn story() -> Anyhow<()> {
    // ---- the declaration
    let audit = Arc::new(OnceLock::new());
    let me = env::current_exe()?;
    let agent = WorkerSpec::new(Command::new(&me).arg("agent")).protocol(Plugin::default());
    let agents = PoolSpec::keyed(4, agent).intensity(2, MINUTE);
    let plugins = PluginHostSpec::new()
        .plugin(PluginSpec::new("spelling", Command::new(&me).arg("plugin")))
        .plugin(PluginSpec::new("weather", Command::new(&me).arg("plugin")))
        .handler(host_methods(audit.clone()));
    let mut tree = Tree::builder()
        .strategy(Strategy::RestForOne)
        .intensity(1, MINUTE)
        .actor("audit", || (Audit, ()))
        .pool("agents", agents)
        .plugins("plugins", plugins);
    let mut events = tree.events();
    let tree = tree.start().await?;
    let _ = audit.set(tree.actor::<AuditMessage>("/audit")?);
    let pool = tree.pool("agents")?;

    // ---- everything works
    chapter("A tree of three: an actor, a pool of processes, a plugin host");
    tree.wait_healthy(PATIENCE).await.map_err(unhealthy)?;
    for team in ["red", "green", "blue"] {
        work(&pool, team).await?;
    }
    for plugin in ["spelling", "weather"] {
        let said = tree.plugins("plugins")?.call::<Greet>(plugin, &"tree".into()).await?;
        println!("plugin {plugin} says: {said}");
    }
    println!("the audit actor has noted {} host calls of plugins", notes(&tree).await?);
    show(&tree, &mut events);

    // ---- one worker
    chapter("SIGKILL to the worker of team green: it alone comes back");
    let before = pids(&tree);
    kill_and_wait(&tree, "/agents/green", "/agents/green").await?;
    work(&pool, "green").await?;
    show(&tree, &mut events);
    let after = pids(&tree);
    let same = before.iter().filter(|old| after.contains(old)).count();
    println!("{same} of {} processes have kept their pids", before.len());

    // ---- the pool
    chapter("Twice more: the pool's intensity is spent, the root restarts it and what comes after it");
    kill_and_wait(&tree, "/agents/green", "/agents/green").await?;
    kill_and_wait(&tree, "/agents/green", "/plugins").await?;
    tree.wait_healthy(PATIENCE).await.map_err(unhealthy)?;
    work(&pool, "green").await?;
    show(&tree, &mut events);
    println!(
        "the audit actor comes before the pool: untouched, it still knows of {} calls",
        notes(&tree).await?
    );

    // ---- the root
    chapter("And three times more: now the root's intensity is spent too, and the tree ends in order");
    let mut all_pids = pids(&tree);
    for _ in 0..2 {
        kill_and_wait(&tree, "/agents/green", "/agents/green").await?;
        all_pids.extend(pids(&tree));
    }
    kill(&tree, "/agents/green")?;
    let exit = tokio::time::timeout(PATIENCE, tree.wait()).await?;
    tell(&mut events);
    println!("the causal chain:");
    for (depth, cause) in exit.chain().enumerate() {
        let text = match cause {
            Exit::IntensityExceeded { child, limit, .. } => format!("gave up on `{child}`: {limit}"),
            leaf => leaf.to_string(),
        };
        println!("{:indent$}{text}", "", indent = 2 * depth + 2);
    }
    let left = all_pids.iter().filter(|(_, pid)| exists(*pid)).count();
    println!("processes left: {left}");
    Ok(())
}

// ---- the in-memory actor, and the host methods that plugins may call ----------------------------

struct Audit;

enum AuditMessage {
    Note,
    Count(RpcReplyPort<u64>),
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Audit {
    type Msg = AuditMessage;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<AuditMessage>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<AuditMessage>,
        message: AuditMessage,
        notes: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AuditMessage::Note => *notes += 1,
            AuditMessage::Count(reply) => reply.send(*notes)?,
        }
        Ok(())
    }
}

async fn notes(tree: &Tree) -> Anyhow<u64> {
    Ok(tree.actor("/audit")?.call(AuditMessage::Count, PATIENCE).await?)
}

/// A method of the host.
struct Note;

impl Method for Note {
    const NAME: &'static str = "audit/note";
    type Params = String;
    type Output = ();
}

fn host_methods(audit: Arc<OnceLock<ActorChildRef<AuditMessage>>>) -> MethodRouter {
    MethodRouter::new().method::<Note, _, _>(move |_, _text| {
        let audit = audit.clone();
        async move {
            let audit = audit.get().ok_or_else(|| RpcError::internal("not up yet"))?;
            audit.cast(AuditMessage::Note).map_err(RpcError::internal)?;
            Ok(())
        }
    })
}

// ---- the workers: this program again ------------------------------------------------------------

/// The method of an agent.
struct Work;

impl Method for Work {
    const NAME: &'static str = "work";
    type Params = String;
    type Output = String;
}

async fn agent() -> Anyhow<()> {
    let router =
        MethodRouter::new().method::<Work, _, _>(|_, task| async move { Ok(format!("{task}: done")) });
    Server::new(router).serve_stdio().await?;
    Ok(())
}

/// The method of a plugin.
struct Greet;

impl Method for Greet {
    const NAME: &'static str = "greet";
    type Params = String;
    type Output = String;
}

async fn plugin() -> Anyhow<()> {
    let router = MethodRouter::new().method::<Greet, _, _>(|cx, whom| async move {
        if let Some(host) = cx.peer() {
            host.call::<Note>(&format!("greeted {whom}")).await.map_err(RpcError::internal)?;
        }
        Ok(format!("hello, {whom}"))
    });
    Server::new(router).serve_stdio().await?;
    Ok(())
}

// ---- telling the story --------------------------------------------------------------------------

fn chapter(title: &str) {
    println!("\n=== {title}\n");
}

async fn work(pool: &Pool, team: &str) -> Anyhow<()> {
    pool.wait_ready(PATIENCE).await?;
    let lease = pool.acquire(team).await?;
    println!("team {team} says: {}", lease.call::<Work>(&"homework".into()).await?);
    Ok(())
}

/// Kills the process at a path from outside.
fn kill(tree: &Tree, path: &str) -> Anyhow<()> {
    let pid = tree.worker(path)?.pid().ok_or("no process")?;
    Ok(kill_process(Pid::from_raw(pid.try_into()?).ok_or("no pid")?, Signal::KILL)?)
}

/// Kills a process, and waits until the next incarnation of the child at `back` is ready.
async fn kill_and_wait(tree: &Tree, path: &str, back: &str) -> Anyhow<()> {
    let now = tree.find(back)?.incarnation();
    let mut events = tree.events();
    kill(tree, path)?;
    let ready = |e: &Event| {
        let is_ready = matches!(e.kind, EventKind::State { to: ChildState::Ready, .. });
        e.path.as_str() == back && e.incarnation > now && is_ready
    };
    tokio::time::timeout(PATIENCE, events.wait_for(ready)).await??;
    Ok(())
}

fn pids(tree: &Tree) -> Vec<(String, u32)> {
    let snapshot = tree.snapshot();
    let pid =
        |node: &procession::snapshot::NodeSnapshot| Some((node.path.to_string(), node.worker.as_ref()?.pid?));
    snapshot.root.walk().filter_map(pid).collect()
}

fn exists(pid: u32) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn unhealthy(health: procession::tree::Health) -> String {
    format!("the tree is not healthy: {health:?}")
}

/// Prints the tree, and what has happened since the last call.
fn show(tree: &Tree, events: &mut EventReceiver) {
    tell(events);
    println!("\n{}", tree.snapshot());
}

/// Prints the events that matter to the story.
fn tell(events: &mut EventReceiver) {
    while let Ok(Some(event)) = events.try_next() {
        let tells = match &event.kind {
            EventKind::Exited { then, .. } => *then != ExitConsequence::Nothing,
            EventKind::GroupRestart { .. } | EventKind::Stopping { .. } => true,
            EventKind::State { to, .. } => *to == ChildState::Ready,
            _ => false,
        };
        if tells {
            println!("  {event}");
        }
    }
}
