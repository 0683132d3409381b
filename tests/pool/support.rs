//! A pool of scripted JSON-RPC workers in a tree of its own.

use std::{sync::Arc, time::Duration};

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    id::ChildId,
    pool::{Lease, Pool, PoolSpec},
    process::{Command, Ladder, Signal},
    protocol::{self, ChildIdentity, Protocol, SessionInfo, StdioUse, StopReply},
    rpc::{CallOptions, Framing, Peer, Timeout},
    supervision::SupervisorSpec,
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::WorkerSpec,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// JSON-RPC by lines, without a handshake; ended by closing stdin.
#[derive(Debug)]
pub(crate) struct Lines;

#[async_trait::async_trait]
impl Protocol for Lines {
    fn name(&self) -> &str {
        "lines"
    }
    fn stdio_use(&self) -> StdioUse {
        StdioUse::Rpc(Framing::Lines)
    }
    async fn handshake(&self, peer: &Peer, _: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let options = CallOptions::unannounced(Timeout::Never);
        peer.call_value("hello", &(), options).await.map_err(protocol::handshake_failed)?;
        Ok(SessionInfo::default())
    }
    async fn shutdown(&self, _: &Peer) -> StopReply {
        StopReply::CloseStdin
    }
}

/// The workers' methods: `pid` answers its pid, `die` exits with 7, `hang` never answers.
pub(crate) async fn serve(mut me: ScriptedProcess) -> i32 {
    serve_after(&mut me, Duration::ZERO).await
}

/// The same, with a handshake that takes this long.
pub(crate) async fn serve_after(me: &mut ScriptedProcess, handshake: Duration) -> i32 {
    while let Some(line) = me.read_line().await {
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        let id = &message["id"];
        let result = match message["method"].as_str() {
            Some("hello") => {
                me.sleep(handshake).await;
                serde_json::json!(null)
            }
            Some("pid") => serde_json::json!(me.pid()),
            Some("die") => {
                let _ = me.write_error_line("out of luck").await;
                return 7;
            }
            _ => continue,
        };
        let answer = serde_json::json!({ "jsonrpc": "2.0", "id": id, "result": result });
        if me.write_line(&answer.to_string()).await.is_err() {
            return 1;
        }
    }
    0
}

/// A tree with one pool in it.
pub(crate) struct Setup {
    pub(crate) root: Root,
    pub(crate) pool: Pool,
    pub(crate) launcher: ScriptedLauncher,
}

impl Setup {
    /// The number of live processes.
    pub(crate) fn alive(&self) -> usize {
        self.launcher.alive().len()
    }

    pub(crate) fn kill(&self, lease: &Lease) {
        self.launcher.kill(lease.pid().unwrap(), Signal::KILL).unwrap();
    }

    pub(crate) async fn end(self) {
        let _ = self.root.shutdown(60 * SEC).await;
        assert!(self.launcher.alive().is_empty(), "nothing is left");
    }
}

pub(crate) fn launcher() -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    launcher.program("slow", |mut me: ScriptedProcess| async move { serve_after(&mut me, SEC).await });
    // Dies a second after it became ready.
    launcher.program("mortal", |mut me: ScriptedProcess| async move {
        tokio::time::timeout(SEC, serve_after(&mut me, Duration::ZERO)).await.unwrap_or(3)
    });
    launcher.program("broken", |_: ScriptedProcess| async { 9 });
    // Reads nothing after the handshake, and ignores the end of stdin.
    launcher.program("stubborn", |mut me: ScriptedProcess| async move {
        let hello: serde_json::Value = serde_json::from_str(&me.read_line().await.unwrap()).unwrap();
        let answer = serde_json::json!({ "jsonrpc": "2.0", "id": hello["id"], "result": null });
        me.write_line(&answer.to_string()).await.unwrap();
        me.hang().await
    });
    launcher
}

pub(crate) fn worker(launcher: &ScriptedLauncher, program: &str) -> WorkerSpec {
    WorkerSpec::new(Command::new(program))
        .protocol(Lines)
        .launcher(Arc::new(launcher.clone()))
        .ladder(Ladder { drain: SEC, term_grace: SEC, ..Ladder::default() })
}

pub(crate) async fn start(make: impl FnOnce(&ScriptedLauncher) -> PoolSpec) -> Setup {
    let launcher = launcher();
    let spec = SupervisorSpec::one_for_one().child(make(&launcher).child("pool"));
    let root = Root::start(spec, RootOptions { event_capacity: 1 << 16, ..RootOptions::default() }).await;
    let root = root.unwrap();
    let pool = Pool::new(root.find("/pool").unwrap());
    Setup { root, pool, launcher }
}

/// A keyed pool of well-behaved workers.
pub(crate) async fn keyed(max: usize, rules: impl FnOnce(PoolSpec) -> PoolSpec) -> Setup {
    start(|launcher| rules(PoolSpec::keyed(max, worker(launcher, "worker")))).await
}

/// Lets everything happen that needs no time, and lets a little time pass.
pub(crate) async fn settle() {
    tokio::time::sleep(MS).await;
}

pub(crate) fn key(n: usize) -> ChildId {
    format!("k{n}").into()
}

/// Asks the worker for its pid.
pub(crate) async fn pid(lease: &Lease) -> u32 {
    serde_json::from_str(lease.call_value("pid", &(), Timeout::After(SEC)).await.unwrap().get()).unwrap()
}

/// Waits until a condition holds, for tests in real time.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let patience = tokio::time::Instant::now() + 20 * SEC;
    while !holds() {
        assert!(tokio::time::Instant::now() < patience, "the condition never held");
        tokio::time::sleep(MS).await;
    }
}
