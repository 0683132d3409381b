//! Code of users may panic anywhere: this ends one incarnation, or costs one answer, and nothing more.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU32, Ordering},
};

use procession::internals::Root;
use procession::{
    exit::Exit,
    process::Command,
    protocol::{ChildIdentity, Protocol, SessionInfo, StdioUse},
    rpc::{CallError, CallOptions, Framing, Peer, RequestId, Timeout},
    supervision::{SupervisorSpec, TreeStartError},
    testing::ScriptedLauncher,
    worker::{Liveness, WorkerSpec},
};
use serde_json::value::RawValue;

use crate::support::*;

/// Panics at the given place, in its first incarnation.
#[derive(Debug)]
struct Clumsy(&'static str, AtomicU32);

impl Clumsy {
    fn trip(&self, place: &str) {
        if place == self.0 && self.1.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("tripped in {place}");
        }
    }
}

#[async_trait::async_trait]
impl Protocol for Clumsy {
    fn name(&self) -> &str {
        "clumsy"
    }
    fn stdio_use(&self) -> StdioUse {
        StdioUse::Rpc(Framing::Lines)
    }
    async fn handshake(&self, peer: &Peer, _: &ChildIdentity) -> Result<SessionInfo, Exit> {
        self.trip("handshake");
        let hello = peer.call_value("initialize", &(), CallOptions::unannounced(Timeout::Never)).await;
        hello.map(|_| SessionInfo::default()).map_err(procession::protocol::handshake_failed)
    }
    async fn ping(&self, _: &Peer) -> Option<Result<(), CallError>> {
        self.trip("ping");
        Some(Ok(()))
    }
    fn cancel(&self, _: &RequestId) -> Option<(Cow<'static, str>, Box<RawValue>)> {
        self.trip("cancel");
        None
    }
    fn incoming_cancel(&self, _: &str, _: Option<&RawValue>) -> Option<RequestId> {
        self.trip("incoming_cancel");
        None
    }
}

fn clumsy(launcher: &ScriptedLauncher, place: &'static str) -> WorkerSpec {
    launcher.program("worker", |mut me| async move {
        let hello = read(&mut me).await.unwrap();
        answer(&mut me, &hello["id"], serde_json::json!({})).await;
        let _ = me.write_line(r#"{"jsonrpc":"2.0","method":"hi"}"#).await;
        serve_ready(me).await
    });
    let liveness = Liveness { interval: SEC, timeout: SEC, failures_allowed: 0 };
    plugin(launcher).protocol(Clumsy(place, AtomicU32::new(0))).liveness(liveness)
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drivers_hooks_is_a_crash() {
    for place in ["handshake", "ping"] {
        let launcher = ScriptedLauncher::new();
        let spec = SupervisorSpec::one_for_one().child(clumsy(&launcher, place).child("w").background());
        let root = Root::start(spec, Default::default()).await.unwrap();
        let worker = procession::worker::WorkerRef::new(root.find("/w").unwrap());
        tokio::time::sleep(3 * SEC).await;
        let chain = vec!["the worker's task panicked".to_owned(), format!("tripped in {place}")];
        assert_eq!(worker.node().last_exit(), Some(Exit::ActorFailed { chain }), "{place}");
        assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
        assert_eq!(launcher.alive().len(), 1);
        let _ = root.shutdown(60 * SEC).await;
        assert!(launcher.alive().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_cancel_hook_costs_nothing_but_the_cancel() {
    for place in ["cancel", "incoming_cancel"] {
        let launcher = ScriptedLauncher::new();
        let (root, worker) = tree(clumsy(&launcher, place)).await.unwrap();
        for _ in 0..3 {
            let late = worker.call_value("hang", &(), Timeout::After(SEC)).await.unwrap_err();
            assert!(matches!(late, CallError::Timeout { .. }), "{late}");
        }
        assert_eq!(worker.call::<Echo>(&"alive".to_owned()).await.unwrap(), "alive");
        assert_eq!(worker.node().incarnation().0, 1);
        let _ = root.shutdown(60 * SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_starting_is_a_failed_start_and_stops_nobody_from_stopping() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let spec = WorkerSpec::with_commands(|n| match n.0 {
        2 => panic!("no command"),
        _ => Command::new("worker"),
    })
    .protocol(procession::protocol::Plugin::default())
    .launcher(std::sync::Arc::new(launcher.clone()));
    let (root, worker) = tree(spec).await.unwrap();
    worker.call::<Die>(&1).await.unwrap_err();
    assert_eq!(worker.wait_ready(5 * SEC).await.unwrap().0, 3);
    let _ = root.shutdown(60 * SEC).await;

    struct Nobody;
    #[cfg_attr(feature = "async-trait", ractor::async_trait)]
    impl ractor::Actor for Nobody {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Ok(())
        }
    }
    let made = AtomicU32::new(0);
    let spec =
        SupervisorSpec::one_for_one().child(procession::supervision::ChildSpec::actor("x", move || {
            assert_ne!(made.fetch_add(1, Ordering::Relaxed), 1, "not twice");
            (Nobody, ())
        }));
    let root = Root::start(spec, Default::default()).await.unwrap();
    root.find("/x").unwrap().live().as_ref().unwrap().cell.kill();
    tokio::time::sleep(SEC).await;
    assert_eq!(root.find("/x").unwrap().incarnation().0, 3, "the second came to nothing");
    assert_eq!(root.shutdown(SEC).await, Exit::Requested);
}

#[tokio::test(start_paused = true)]
async fn no_timeout_is_too_long() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |_| async { 1 });
    let spec = plugin(&launcher).start_timeout(std::time::Duration::MAX);
    assert!(matches!(tree(spec).await, Err(TreeStartError::Failed { .. })));
}
