//! An operation that has been answered has happened: it is visible at once, from any thread (E-5). Each
//! case performs an operation and checks, many times, with the tree's own tasks on other threads.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use procession::{
    event::EventKind,
    exit::{Exit, LaunchStage},
    plugin::{PluginEventKind, PluginHostSpec, PluginSpec, Plugins},
    pool::{Pool, PoolSpec},
    process::{Command, Launcher},
    rpc::CallError,
    state::{ChildState, DownReason},
    supervision::{ChildPolicy, EventReceiver, RecvError, RequestError, SupervisorRef, SupervisorSpec},
    testing::ScriptedLauncher,
    tree::Tree,
    worker::WorkerRef,
};

use crate::support::*;

/// How often each case is tried.
const TRIES: usize = 40;

/// A tree with one child of each kind, and the list of unexpected observations.
#[derive(Clone)]
struct Stage {
    tree: Tree,
    launcher: ScriptedLauncher,
    events: Arc<Mutex<EventReceiver>>,
    unseen: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Stage {
    async fn new(unseen: &Arc<Mutex<BTreeMap<String, usize>>>) -> Stage {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", serve);
        let seam: Arc<dyn Launcher> = Arc::new(launcher.clone());
        let plugin = |id: &str| PluginSpec::new(id, Command::new("worker"));
        let plugins =
            PluginHostSpec::new().launcher(seam).plugin(plugin("early")).plugin(plugin("late").on_demand());
        let tree = Tree::builder()
            .intensity(1000, SEC)
            .worker("w", worker(&launcher))
            .child(worker(&launcher).child("b").background())
            .actor("counter", || (Counter, ()))
            .supervisor("s", SupervisorSpec::dynamic().intensity(1000, SEC))
            .pool("pool", PoolSpec::keyed(1, worker(&launcher)))
            .plugins("plugins", plugins)
            .start()
            .await
            .unwrap();
        let events = Arc::new(Mutex::new(tree.events()));
        Stage { tree, launcher, events, unseen: unseen.clone() }
    }

    /// The next start of a worker fails. Children in the background run the same program, so they must have
    /// started.
    async fn fail_next_start(&self, exit: Exit) {
        for path in ["/b", "/plugins/early"] {
            self.worker(path).wait_ready(10 * SEC).await.unwrap();
        }
        self.launcher.fail_next("worker", exit);
    }

    fn sees(&self, what: &str, it: bool) {
        *self.unseen.lock().unwrap().entry(what.to_owned()).or_default() += usize::from(!it);
    }

    /// Whether an event about `path` has already arrived.
    fn told(&self, path: &str, is: impl Fn(&EventKind) -> bool) -> bool {
        let mut events = self.events.lock().unwrap();
        let mut told = false;
        loop {
            match events.try_next() {
                Ok(Some(event)) => told |= event.path.as_str() == path && is(&event.kind),
                Err(RecvError::Lost(_)) => panic!("too many events"),
                Ok(None) | Err(_) => return told,
            }
        }
    }

    /// Drops the events so far.
    fn listen(&self) {
        self.told("", |_| false);
    }

    fn worker(&self, path: &str) -> WorkerRef {
        self.tree.worker(path).unwrap()
    }

    fn is_found(&self, path: &str) -> bool {
        self.tree.find(path).is_ok() || self.tree.worker(path).is_ok()
    }

    fn supervisor(&self) -> SupervisorRef {
        self.tree.supervisor("/s").unwrap()
    }

    fn pool(&self) -> Pool {
        self.tree.pool("/pool").unwrap()
    }

    fn plugins(&self) -> Plugins {
        self.tree.plugins("/plugins").unwrap()
    }

    /// Asserts that `path` is ready in every respect.
    async fn sees_ready(&self, after: &str, path: &str) {
        let told = self.told(path, is_ready);
        self.sees(
            &format!("{after}: the state is ready"),
            self.tree.find(path).unwrap().state() == ChildState::Ready,
        );
        self.sees(&format!("{after}: the event is out"), told);
        self.sees(
            &format!("{after}: it answers"),
            self.worker(path).call::<Echo>(&"a".to_owned()).await.is_ok(),
        );
    }

    fn sees_gone(&self, after: &str, path: &str) {
        let told = self.told(path, |kind| matches!(kind, EventKind::Removed));
        self.sees(&format!("{after}: it is not found"), !self.is_found(path));
        self.sees(&format!("{after}: the event is out"), told);
        let in_snapshot = self.tree.snapshot().root.walk().any(|node| node.path.as_str() == path);
        self.sees(&format!("{after}: it is in no snapshot"), !in_snapshot);
    }
}

fn is_ready(kind: &EventKind) -> bool {
    matches!(kind, EventKind::State { to: ChildState::Ready, .. })
}

fn is_exit(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Exited { .. })
}

type Case = fn(Stage) -> Pin<Box<dyn Future<Output = ()> + Send>>;

async fn hold(cases: &[Case]) {
    let unseen = Arc::default();
    for _ in 0..TRIES {
        for case in cases {
            let stage = Stage::new(&unseen).await;
            let tree = stage.tree.clone();
            tokio::spawn(case(stage)).await.unwrap();
            let _ = tree.kill().await;
        }
    }
    let unseen = unseen.lock().unwrap();
    let wrong: Vec<String> =
        unseen.iter().filter(|(_, n)| **n > 0).map(|(what, n)| format!("{n} of {TRIES}: {what}")).collect();
    assert!(unseen.len() > 1 && wrong.is_empty(), "not seen at once:\n{}", wrong.join("\n"));
}

macro_rules! cases {
    ($($case:expr),* $(,)?) => { &[$(|stage| Box::pin($case(stage))),*] };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_tree_and_its_workers() {
    // E-5
    hold(cases![
        async |on: Stage| {
            on.sees("start: ready()", on.tree.ready());
            on.sees("start: a required worker is ready", on.worker("/w").state() == ChildState::Ready);
            let health = on.tree.health();
            let others = ["/b", "/plugins/early", "/plugins/late"];
            let excused = health.issues.iter().all(|issue| others.contains(&issue.path.as_str()));
            on.sees("start: no health issue with what was waited for", excused);
        },
        async |on: Stage| {
            let worker = on.worker("/b");
            worker.wait_ready(10 * SEC).await.unwrap();
            on.sees("wait_ready: the state is ready", worker.state() == ChildState::Ready);
            let health = on.tree.health();
            on.sees("wait_ready: it is healthy", !health.issues.iter().any(|t| t.path.as_str() == "/b"));
            worker.restart("again").await.unwrap();
            on.sees_ready("restart", "/b").await;
        },
        async |on: Stage| {
            on.worker("/b").wait_ready(10 * SEC).await.unwrap();
            on.listen();
            let supervisor = on.tree.supervisor("/").unwrap();
            supervisor.terminate_child("b").await.unwrap();
            on.listen();
            // Several callers wait for a start that another caller made.
            let waiting: Vec<_> = (0..4)
                .map(|_| {
                    let on = on.clone();
                    tokio::spawn(async move {
                        on.worker("/b").wait_ready(10 * SEC).await.is_ok().then(|| on.worker("/b").state())
                    })
                })
                .collect();
            supervisor.restart_child("b").await.unwrap();
            on.sees_ready("restart_child", "/b").await;
            for waiting in waiting {
                // Callers that looked before it was started are told that waiting is useless.
                let state = waiting.await.unwrap();
                on.sees("wait_ready of several", state.is_none_or(|state| state == ChildState::Ready));
            }
        },
        async |on: Stage| {
            let place = on.tree.find("/b").unwrap();
            place.wait_state(|state| *state == ChildState::Ready).await;
            on.sees("wait_state: it answers", on.worker("/b").call::<Echo>(&"a".to_owned()).await.is_ok());
            on.listen();
            kill(&on.tree, &on.launcher, "/b");
            place.wait_state(|state| !state.is_alive()).await;
            on.sees("wait_state: the exit is told", on.told("/b", is_exit));
            on.sees("wait_state: the exit is on the board", place.last_exit().is_some());
            on.worker("/b").wait_ready(10 * SEC).await.unwrap();
            on.sees_ready("wait_ready after a crash", "/b").await;
        },
        async |on: Stage| {
            let worker = on.worker("/w");
            worker.stop().await.unwrap();
            on.sees("stop: it is down", worker.state() == ChildState::down(DownReason::Stopped));
            on.sees("stop: its exit is on the board", worker.node().last_exit().is_some());
            on.sees("stop: it has no pid", worker.pid().is_none());
            let to_down =
                |kind: &EventKind| matches!(kind, EventKind::State { to: ChildState::Down { .. }, .. });
            on.sees("stop: the event is out", on.told("/w", to_down));
            let called = worker.call::<Echo>(&"a".to_owned()).await;
            on.sees("stop: no call reaches it", matches!(called, Err(CallError::Unavailable { .. })));
            let health = on.tree.health();
            on.sees("stop: it is no health issue", !health.issues.iter().any(|t| t.path.as_str() == "/w"));
        },
        async |on: Stage| {
            let _ = on.tree.shutdown(10 * SEC).await;
            on.sees(
                "shutdown: all are down",
                on.tree.snapshot().root.walk().all(|node| node.state.is_down()),
            );
            on.sees("shutdown: none is left", on.launcher.alive().is_empty());
        },
        async |on: Stage| {
            let actor = on.tree.actor::<ractor::RpcReplyPort<u64>>("/counter").unwrap();
            on.listen();
            let incarnation = actor.restart().await.unwrap();
            on.sees("restart of an actor: the event is out", on.told("/counter", is_ready));
            on.sees(
                "restart of an actor: it is reached",
                actor.actor().is_ok_and(|(live, _)| live == incarnation),
            );
        },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_what_operators_ask() {
    // E-5, S-22
    hold(cases![
        async |on: Stage| {
            let s = on.supervisor();
            s.start_child(worker(&on.launcher).child("a")).await.unwrap();
            on.sees_ready("start_child", "/s/a").await;
            s.remove_child("a").await.unwrap();
            on.sees_gone("remove_child", "/s/a");
            on.sees("remove_child: no child is left", s.which_children().await.unwrap().is_empty());
            on.sees(
                "remove_child: it can come again",
                s.start_child(worker(&on.launcher).child("a")).await.is_ok(),
            );
            s.terminate_child("a").await.unwrap();
            on.sees(
                "terminate_child: it is down",
                on.worker("/s/a").state() == ChildState::down(DownReason::Stopped),
            );
            s.delete_child("a").await.unwrap();
            on.sees_gone("delete_child", "/s/a");
        },
        async |on: Stage| {
            let s = on.supervisor();
            on.fail_next_start(Exit::Failed { code: 3 }).await;
            s.start_child(worker(&on.launcher).child("a")).await.unwrap_err();
            on.sees_gone("start_child that failed", "/s/a");
            on.sees(
                "start_child that failed: again",
                s.start_child(worker(&on.launcher).child("a")).await.is_ok(),
            );
        },
        async |on: Stage| {
            let s = on.supervisor();
            s.start_child(worker(&on.launcher).child("a")).await.unwrap();
            on.listen();
            s.reload_child(worker(&on.launcher).child("a")).await.unwrap();
            on.sees("reload_child: the second is there", on.tree.find("/s/a").unwrap().incarnation().0 == 2);
            on.sees_ready("reload_child", "/s/a").await;
            s.set_policy("a", ChildPolicy::actor()).await.unwrap();
            let policy = s.child_spec("a").await.unwrap().policy;
            on.sees("set_policy: it is in force", *policy == ChildPolicy::actor());
        },
        async |on: Stage| {
            // A temporary child leaves with its end.
            let policy = procession::restart::RestartPolicy::actor()
                .with_restart(procession::restart::RestartType::Temporary);
            let s = on.supervisor();
            s.start_child(worker(&on.launcher).child("t").restart(policy)).await.unwrap();
            on.listen();
            on.worker("/s/t").stop().await.unwrap();
            on.sees_gone("stop of a temporary child", "/s/t");
        },
        async |on: Stage| {
            // a caller that has seen it ready knows that its program exists, so it is waited for.
            on.worker("/b").wait_ready(10 * SEC).await.unwrap();
            let gone = Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Exec, reason: "gone".into() };
            on.fail_next_start(gone).await;
            let restarted = on.worker("/b").restart("again").await;
            on.sees("wait_ready: it may be away", matches!(restarted, Err(RequestError::StartFailed { .. })));
            let state = on.worker("/b").state();
            on.sees("wait_ready: a start has been proven", !matches!(state, ChildState::Down { .. }));
        },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_pools() {
    // E-5, L-1, L-4, L-5
    hold(cases![
        async |on: Stage| {
            let pool = on.pool();
            let lease = pool.acquire("k").await.unwrap();
            on.sees(
                "acquire: the worker is found",
                pool.worker(&"k".into()).is_ok_and(|w| w.pid() == lease.pid()),
            );
            on.sees_ready("acquire", "/pool/k").await;
            let status = pool.status().unwrap();
            on.sees("acquire: the pool shows it", (status.used, status.ready, status.leases) == (1, 1, 1));
            drop(lease);
            on.sees("release: the pool shows it", pool.status().unwrap().leases == 0);
            pool.stop_key("k").await.unwrap();
            on.sees_gone("stop_key", "/pool/k");
            on.sees("stop_key: no slot is in use", pool.status().unwrap().used == 0);
        },
        async |on: Stage| {
            let pool = on.pool();
            drop(pool.acquire("k").await.unwrap());
            on.listen();
            let lease = pool.acquire("l").await.unwrap();
            on.sees_gone("an eviction", "/pool/k");
            drop(lease);
            pool.resize(7).unwrap();
            on.sees("resize: the cap is changed", pool.status().unwrap().max == 7);
            on.listen();
            pool.drain().await.unwrap();
            on.sees_gone("drain", "/pool/l");
            on.sees("drain: no slot is in use", pool.status().unwrap().used == 0);
            on.sees(
                "drain: it is healthy",
                on.tree.health().issues.iter().all(|t| !t.path.as_str().starts_with("/pool")),
            );
        },
        async |on: Stage| {
            let pool = on.pool();
            // Callers arrive while the worker is becoming ready.
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let (pool, on) = (pool.clone(), on.clone());
                    tokio::spawn(async move {
                        let lease = pool.acquire("k").await.unwrap();
                        on.worker("/pool/k").state() == ChildState::Ready && lease.pid().is_some()
                    })
                })
                .collect();
            for caller in callers {
                on.sees("acquire of several: it is ready", caller.await.unwrap());
            }
            on.sees("acquire of several: the event is out", on.told("/pool/k", is_ready));
        },
        async |on: Stage| {
            let pool = on.pool();
            let gone = Exit::NeverStarted { errno: Some(2), stage: LaunchStage::Exec, reason: "gone".into() };
            on.fail_next_start(gone).await;
            pool.acquire("k").await.unwrap_err();
            on.sees("a refusal: it rests", pool.status().unwrap().given_up.len() == 1);
            on.sees("a refusal: health says so", !on.tree.health().healthy);
            pool.reset_failed().unwrap();
            on.sees("reset_failed: nothing rests", pool.status().unwrap().given_up.is_empty());
            on.sees("reset_failed: it is tried again", pool.acquire("k").await.is_ok());
        },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_plugin_hosts() {
    // E-5, G-1, G-10, G-13
    hold(cases![
        async |on: Stage| {
            let plugins = on.plugins();
            let status =
                |id: &str| plugins.list().unwrap().into_iter().find(|status| status.id.as_str() == id);
            let is_up = |id: &str| status(id).is_some_and(|status| status.state == ChildState::Ready);
            plugins.ensure_ready("early", 10 * SEC).await.unwrap();
            on.sees("ensure_ready: the list says so", is_up("early"));
            on.listen();
            plugins.ensure_ready("late", 10 * SEC).await.unwrap();
            on.sees("ensure_ready on demand: the list says so", is_up("late"));
            on.sees_ready("ensure_ready on demand", "/plugins/late").await;
            plugins.stop_plugin("late").await.unwrap();
            on.sees_gone("stop_plugin", "/plugins/late");
            on.sees("stop_plugin: the list says so", status("late").is_some_and(|s| s.state.is_down()));
            on.sees("stop_plugin: it has no worker", plugins.worker("late").is_err());
            plugins.stop_all().await.unwrap().into_result().unwrap();
            on.sees_gone("stop_all", "/plugins/early");
        },
        async |on: Stage| {
            let plugins = on.plugins();
            let mut heard = plugins.events().unwrap();
            let spec = PluginSpec::new("x", Command::new("worker"));
            plugins.start_plugin(spec.clone()).await.unwrap();
            on.sees_ready("start_plugin", "/plugins/x").await;
            let mut told = false;
            while let Ok(Some(event)) = heard.try_next() {
                told |= event.plugin.as_str() == "x" && event.kind == PluginEventKind::Ready;
            }
            on.sees("start_plugin: its event is out", told);
            plugins.reload("x", spec.clone()).await.unwrap();
            on.sees("reload: the second is there", on.tree.find("/plugins/x").unwrap().incarnation().0 == 2);
            on.sees_ready("reload", "/plugins/x").await;
            plugins.restart_plugin("x", "again").await.unwrap();
            on.sees_ready("restart_plugin", "/plugins/x").await;
            plugins.set_config("x", serde_json::json!({"a": 1})).await.unwrap();
            on.sees_ready("set_config by a restart", "/plugins/x").await;
            plugins.stop_plugin("x").await.unwrap();
            on.sees_gone("stop_plugin of a run-time plugin", "/plugins/x");
            on.sees(
                "stop_plugin: it is forgotten",
                !plugins.list().unwrap().iter().any(|s| s.id.as_str() == "x"),
            );
            on.sees("stop_plugin: it can come again", plugins.start_plugin(spec).await.is_ok());
        },
    ])
    .await;
}
