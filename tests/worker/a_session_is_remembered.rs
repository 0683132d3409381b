//! W-1, C-15: what a worker said of itself in its handshake can be read, belongs to one incarnation, is
//! bounded, and is remembered while the worker is stopped.

use std::sync::atomic::{AtomicU64, Ordering};

use procession::internals::Root;
use procession::{
    protocol::{Mcp, McpEra, NoChannel, SessionInfo},
    supervision::{ChildSpec, SupervisorSpec},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{OnReady, WorkerRef, WorkerSessionInfo},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::*;

/// Answers `initialize` with these members besides `ok`, and then serves.
async fn says(mut me: ScriptedProcess, of_itself: Value) -> i32 {
    let hello = read(&mut me).await.unwrap();
    let mut answered = json!({"ok": true, "protocolVersion": "2025-06-18"});
    answered.as_object_mut().unwrap().extend(of_itself.as_object().unwrap().clone());
    answer(&mut me, &hello["id"], answered).await;
    serve_ready(me).await
}

/// A worker whose version is the number of its launch.
fn versioned(launcher: &ScriptedLauncher) -> ScriptedLauncher {
    launcher.program("worker", |me: ScriptedProcess| async move {
        let server = json!({"name": "speller", "version": me.launch().to_string()});
        let methods = json!(["echo", "die"]);
        let capabilities = json!({"undo": true});
        let of_itself = json!({
            "serverInfo": server, "capabilities": capabilities, "supportedMethods": methods,
            "instructions": "one word at a time",
        });
        says(me, of_itself).await
    });
    launcher.clone()
}

async fn run(child: ChildSpec) -> (Root, WorkerRef) {
    let root = Root::start(SupervisorSpec::one_for_one().child(child), Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

/// Incarnation, whether it is live, and the version of the program.
fn who(session: Option<WorkerSessionInfo>) -> Option<(u64, bool, String)> {
    let session = session?;
    Some((session.incarnation.0, session.live, session.server.clone()?.version?))
}

fn is(incarnation: u64, live: bool, version: u64) -> Option<(u64, bool, String)> {
    Some((incarnation, live, version.to_string()))
}

#[tokio::test(start_paused = true)]
async fn a_session_says_what_the_program_is_and_can_do() {
    let launcher = versioned(&ScriptedLauncher::new());
    let (root, worker) = run(plugin(&launcher).child("w")).await;
    let session = worker.session().unwrap();
    let server = session.server.clone().unwrap();
    assert_eq!((server.name.as_str(), server.version.as_deref()), ("speller", Some("1")));
    assert_eq!(session.protocol_version.as_deref(), Some("2025-06-18"));
    assert_eq!(session.instructions.as_deref(), Some("one word at a time"));
    assert_eq!(session.capabilities.as_ref().unwrap().get(), r#"{"undo":true}"#);
    assert_eq!(session.methods.clone().unwrap().into_iter().collect::<Vec<_>>(), ["die", "echo"]);
    assert!(session.info.info.is_some() && !session.truncated);
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_incarnation_has_its_own_and_the_last_one_is_remembered() {
    // W-2
    let launcher = versioned(&ScriptedLauncher::new());
    let (root, worker) = run(plugin(&launcher).idle_timeout(10 * SEC).child("w")).await;
    assert!(worker.session().is_none(), "it has not been started");
    worker.call::<Echo>(&"x".to_owned()).await.unwrap();
    assert_eq!(who(worker.session()), is(1, true, 1));
    worker.restart("test").await.unwrap();
    assert_eq!(who(worker.session()), is(2, true, 2));
    sleep(60 * SEC).await;
    assert!(worker.state().is_down());
    assert_eq!(who(worker.session()), is(2, false, 2));
    assert_eq!(launcher.launched().len(), 2, "asking is no demand");
    // A start that fails says nothing; what was said before is kept.
    launcher.fail_next("worker", procession::exit::Exit::Failed { code: 1 });
    worker.call::<Echo>(&"x".to_owned()).await.unwrap();
    assert_eq!(who(worker.session()), is(4, true, 3));
    worker.stop().await.unwrap();
    assert_eq!(who(worker.session()), is(4, false, 3));
    // A new declaration does not change what is known.
    root.supervisor().reload_child(plugin(&launcher).child("w")).await.unwrap();
    assert_eq!(who(worker.session()), is(4, false, 3));
    worker.restart("test").await.unwrap();
    assert_eq!(who(worker.session()), is(5, true, 4));
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn neither_a_successor_nor_a_spare_speaks_for_it_before_its_time() {
    // W-6, G-14
    let launcher = versioned(&ScriptedLauncher::new());
    let (root, worker) = run(plugin(&launcher).child("w").standby()).await;
    sleep(SEC).await;
    assert_eq!((launcher.alive().len(), who(worker.session())), (2, is(1, true, 1)));
    worker.call::<Die>(&3).await.unwrap_err();
    sleep(SEC).await;
    assert_eq!(who(worker.session()), is(2, true, 2));
    worker.recycle().await.unwrap();
    let live = worker.node().incarnation().0;
    let session = worker.session().unwrap();
    assert_eq!((session.incarnation.0, session.live), (live, true));
    // The spare behind it has gone with it, and said nothing.
    worker.stop().await.unwrap();
    let session = worker.session().unwrap();
    assert_eq!((session.incarnation.0, session.live), (live, false));
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_ready_yet_says_nothing() {
    // W-8: its `on_ready` fails the first time.
    struct Second(AtomicU64);
    #[async_trait::async_trait]
    impl OnReady for Second {
        async fn on_ready(
            &self,
            _: &procession::rpc::Peer,
            _: procession::id::Incarnation,
        ) -> Result<(), String> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                1 => Err("not today".to_owned()),
                _ => Ok(()),
            }
        }
    }
    let launcher = versioned(&ScriptedLauncher::new());
    let (root, worker) = run(plugin(&launcher).on_ready(Second(AtomicU64::new(0))).child("w")).await;
    worker.restart("test").await.unwrap_err();
    assert_eq!(who(worker.session()), is(1, false, 1));
    worker.wait_ready(10 * SEC).await.unwrap();
    assert_eq!(who(worker.session()), is(3, true, 3));
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    // C-15
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me: ScriptedProcess| async move {
        let long = "x".repeat(1_000_000);
        let server = json!({"name": long, "version": long});
        let of_itself = json!({
            "serverInfo": server, "instructions": long, "capabilities": {"a": long}, "protocolVersion": long,
        });
        says(me, of_itself).await
    });
    let (root, worker) = run(plugin(&launcher).child("w")).await;
    let session = worker.session().unwrap();
    assert!(session.truncated && session.info.info.is_none() && session.capabilities.is_none());
    let server = session.server.clone().unwrap();
    assert!(server.name.len() < 2_000 && server.version.unwrap().len() < 2_000);
    assert!(session.protocol_version.as_ref().unwrap().len() < 2_000);
    assert!(session.instructions.as_ref().unwrap().len() < 20_000);
    root.shutdown(SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_a_protocol_of_the_user_makes_is_bounded_too() {
    // C-15
    #[derive(Debug)]
    struct Verbose;
    #[async_trait::async_trait]
    impl procession::protocol::Protocol for Verbose {
        fn name(&self) -> &str {
            "verbose"
        }
        fn stdio_use(&self) -> procession::protocol::StdioUse {
            procession::protocol::StdioUse::Rpc(procession::rpc::Framing::Lines)
        }
        async fn handshake(
            &self,
            _: &procession::rpc::Peer,
            _: &procession::protocol::ChildIdentity,
        ) -> Result<SessionInfo, procession::exit::Exit> {
            let long = || "ä".repeat(1_000_000);
            Ok(SessionInfo {
                methods: Some((0..5_000).map(|n| format!("m{n}")).collect()),
                info: serde_json::value::to_raw_value(&long()).ok(),
                server: Some(procession::protocol::ProgramInfo::new(long(), long())),
                instructions: Some(long()),
                ..SessionInfo::default()
            })
        }
    }
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve_ready);
    let (root, worker) = run(plugin(&launcher).protocol(Verbose).child("w")).await;
    let session = worker.session().unwrap();
    assert!(session.truncated && session.info.info.is_none() && session.methods.is_none());
    assert!(session.server.as_ref().unwrap().name.len() < 2_000);
    assert!(session.instructions.as_ref().unwrap().len() < 20_000);
    // Its calls are bound by what it announced all the same.
    let refused = worker.call::<Echo>(&"x".to_owned()).await.unwrap_err();
    assert!(matches!(refused, procession::rpc::CallError::MethodNotSupported { .. }), "{refused}");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn servers_of_other_protocols_have_one_too() {
    // W-7
    let launcher = versioned(&ScriptedLauncher::new());
    launcher.program("bare", |me: ScriptedProcess| async move { me.hang().await });
    let (root, worker) =
        run(plugin(&launcher).protocol(Mcp::default().with_era(McpEra::Initialize)).child("w")).await;
    assert_eq!(who(worker.session()), is(1, true, 1));
    assert_eq!(worker.session().unwrap().protocol_version.as_deref(), Some("2025-06-18"));
    assert!(worker.session().unwrap().methods.is_none());
    root.shutdown(60 * SEC).await.into_result().unwrap();
    let bare = procession::worker::WorkerSpec::new(procession::process::Command::new("bare"))
        .protocol(NoChannel::default())
        .launcher(std::sync::Arc::new(launcher.clone()));
    let (root, worker) = run(bare.child("w")).await;
    assert!(worker.session().is_none(), "it has no handshake");
    root.shutdown(60 * SEC).await.into_result().unwrap();
}
