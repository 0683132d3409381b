//! W-10: whatever a server does at `server/discover`, its worker becomes ready in the incarnation that was
//! being started, or fails once; and what is asked of the worker meanwhile is done.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::internals::Root;
use procession::{
    exit::Exit,
    pool::{Pool, PoolSpec},
    process::{Command, Launcher, Signal},
    protocol::{self, ChildIdentity, Mcp, Protocol, SessionInfo, StdioUse},
    rpc::{CallOptions, Framing, Peer, Timeout},
    state::{ChildState, SecondIncarnationRole},
    supervision::{ChildSpec, SupervisorSpec},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{WorkerRef, WorkerSpec},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::*;

/// What an older server does when it is asked `server/discover` as its first message.
#[derive(Clone, Copy, Debug)]
enum Bad {
    ClosesStdout,
    ClosesStdin,
    Exits(i32),
    ExitsAfter(Duration),
    Crashes,
    /// A grandchild holds its streams open.
    Forks,
    /// It answers with an error, and exits.
    RefusesAndExits,
    /// It answers with `{}`, and exits.
    AgreesAndExits,
    /// It answers with an error, and exits at `initialize`.
    RefusesAndExitsLater,
    /// It says nothing, and exits at `initialize`.
    IsSilentAndExitsLater,
}

const ALL: [Bad; 13] = [
    Bad::ClosesStdout,
    Bad::ClosesStdin,
    Bad::Exits(0),
    Bad::Exits(1),
    Bad::ExitsAfter(Duration::from_millis(1900)),
    Bad::ExitsAfter(Duration::from_millis(2000)),
    Bad::ExitsAfter(Duration::from_millis(2100)),
    Bad::Crashes,
    Bad::Forks,
    Bad::RefusesAndExits,
    Bad::AgreesAndExits,
    Bad::RefusesAndExitsLater,
    Bad::IsSilentAndExitsLater,
];

/// The methods that each launch has read.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<Vec<(u64, String)>>>);

impl Read {
    fn methods(&self, launch: u64) -> Vec<String> {
        let read = self.0.lock().unwrap();
        read.iter().filter(|(number, _)| *number == launch).map(|(_, method)| method.clone()).collect()
    }
}

async fn refuse(me: &mut ScriptedProcess, id: &Value) {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}});
    let _ = me.write_line(&error.to_string()).await;
}

async fn next(me: &mut ScriptedProcess, log: &Read) -> Option<(Value, String)> {
    let message = read(me).await?;
    let method = message["method"].as_str().unwrap_or("-").to_owned();
    log.0.lock().unwrap().push((me.launch(), method.clone()));
    Some((message, method))
}

/// An older server that behaves well from here on.
async fn serve_old(mut me: ScriptedProcess, log: Read) -> i32 {
    while let Some((message, method)) = next(&mut me, &log).await {
        let id = &message["id"];
        match method.as_str() {
            "initialize" => {
                answer(&mut me, id, json!({"protocolVersion": "2025-06-18", "capabilities": {}})).await;
            }
            "echo" => answer(&mut me, id, message["params"].clone()).await,
            "die" => return 3,
            _ if id.is_null() => {}
            _ => refuse(&mut me, id).await,
        }
    }
    0
}

/// A stateless server that ends at `initialize` as its first message.
async fn serve_stateless(mut me: ScriptedProcess, log: Read, refuses: bool) -> i32 {
    while let Some((message, method)) = next(&mut me, &log).await {
        match method.as_str() {
            "initialize" => {
                if refuses {
                    refuse(&mut me, &message["id"]).await;
                }
                return 1;
            }
            "server/discover" => {
                answer(&mut me, &message["id"], json!({"supportedVersions": ["2026-07-28"]})).await;
            }
            _ => answer(&mut me, &message["id"], message["params"].clone()).await,
        }
    }
    0
}

async fn serve_bad(mut me: ScriptedProcess, bad: Bad, log: Read) -> i32 {
    // Without a look at the first message, because a good server has to read it.
    let first = me.read_line().await.unwrap();
    let message: Value = serde_json::from_str(&first).unwrap();
    let method = message["method"].as_str().unwrap().to_owned();
    log.0.lock().unwrap().push((me.launch(), method.clone()));
    if method != "server/discover" {
        assert_eq!(method, "initialize");
        let info = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
        answer(&mut me, &message["id"], info).await;
        return serve_old(me, log).await;
    }
    match bad {
        Bad::ClosesStdout => me.close_stdout(),
        Bad::ClosesStdin => me.close_stdin(),
        Bad::Exits(code) => return code,
        Bad::ExitsAfter(time) => {
            sleep(time).await;
            return 1;
        }
        Bad::Crashes => {
            me.crash(Signal::SEGV).await;
        }
        Bad::Forks => {
            let streams = (me.take_stdin(), me.take_stdout(), me.take_stderr());
            me.grandchild(&[Signal::TERM], async move {
                std::future::pending::<()>().await;
                drop(streams);
            });
            return 0;
        }
        Bad::RefusesAndExits => {
            refuse(&mut me, &message["id"]).await;
            return 1;
        }
        Bad::AgreesAndExits => {
            answer(&mut me, &message["id"], json!({})).await;
            return 0;
        }
        Bad::RefusesAndExitsLater => {
            refuse(&mut me, &message["id"]).await;
            let _ = next(&mut me, &log).await;
            return 1;
        }
        Bad::IsSilentAndExitsLater => {
            let _ = next(&mut me, &log).await;
            return 1;
        }
    }
    me.hang().await;
    0
}

fn bad_servers(bad: Bad) -> (ScriptedLauncher, Read) {
    let (launcher, log) = (ScriptedLauncher::new(), Read::default());
    let kept = log.clone();
    launcher.program("worker", move |me: ScriptedProcess| serve_bad(me, bad, kept.clone()));
    (launcher, log)
}

fn spec(launcher: &ScriptedLauncher) -> WorkerSpec {
    let launcher: Arc<dyn Launcher> = Arc::new(launcher.clone());
    WorkerSpec::new(Command::new("worker")).protocol(Mcp::default()).launcher(launcher)
}

/// A tree with one child at `/w`, in which no failure is forgiven.
async fn strict(child: ChildSpec) -> (Root, WorkerRef) {
    let supervisor = SupervisorSpec::one_for_one().intensity(0, SEC).child(child);
    let root = Root::start(supervisor, Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    (root, worker)
}

fn version(worker: &WorkerRef) -> String {
    worker.session().unwrap().protocol_version.clone().unwrap()
}

fn counted(root: &Root) -> (u64, u32, u32) {
    let tree = root.snapshot().root;
    let child = &tree.children[0];
    (child.total_failures, child.total_restarts, tree.supervisor.as_ref().unwrap().restarts_used)
}

async fn echo(worker: &WorkerRef) -> String {
    worker.call_value("echo", &json!({"x": 1}), SEC).await.unwrap().get().to_owned()
}

#[tokio::test(start_paused = true)]
async fn however_a_server_ends_when_it_is_asked_it_is_launched_once_more_and_nothing_is_counted() {
    for bad in ALL {
        let (launcher, log) = bad_servers(bad);
        let (root, worker) = strict(spec(&launcher).child("w")).await;
        assert_eq!(version(&worker), "2025-06-18", "{bad:?}");
        assert_eq!(worker.node().incarnation().0, 1, "{bad:?}");
        assert_eq!((launcher.launched().len(), launcher.alive().len()), (2, 1), "{bad:?}");
        assert_eq!(log.methods(2)[0], "initialize", "{bad:?}");
        assert_eq!(echo(&worker).await, r#"{"x":1}"#, "{bad:?}");
        // Whatever is late of the first process does not concern the second.
        sleep(60 * SEC).await;
        assert_eq!(counted(&root), (0, 0, 0), "{bad:?}");
        assert_eq!(echo(&worker).await, r#"{"x":1}"#, "{bad:?}");
        assert_eq!(worker.pid(), Some(launcher.alive()[0]), "{bad:?}");
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(launcher.alive().is_empty(), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_and_a_successor_may_end_when_they_are_asked() {
    // W-6, G-14
    for bad in ALL {
        let (launcher, _) = bad_servers(bad);
        let (root, worker) = strict(spec(&launcher).child("w").standby()).await;
        sleep(60 * SEC).await;
        let spare = worker.diagnostics().second.unwrap();
        assert_eq!((spare.role, spare.state), (SecondIncarnationRole::Spare, ChildState::Ready), "{bad:?}");
        assert_eq!((spare.incarnation.0, launcher.alive().len()), (2, 2), "{bad:?}");
        let before = launcher.launched().len();
        // A successor that is not told what its predecessor has found out.
        let (other, _) = bad_servers(bad);
        root.supervisor().reload_child(spec(&other).child("w").overlap()).await.unwrap();
        assert_eq!(version(&worker), "2025-06-18", "{bad:?}");
        assert_eq!(echo(&worker).await, r#"{"x":1}"#, "{bad:?}");
        sleep(60 * SEC).await;
        assert_eq!(launcher.launched().len(), before, "{bad:?}");
        assert_eq!((launcher.alive().len(), other.alive().len()), (0, 1), "{bad:?}");
        assert_eq!(counted(&root), (0, 0, 0), "{bad:?}");
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(other.alive().is_empty(), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_was_asked_takes_over() {
    // W-6: the first answer is of the other era, so that spares are asked.
    let (launcher, log) = (ScriptedLauncher::new(), Read::default());
    let kept = log.clone();
    launcher.program("worker", move |me: ScriptedProcess| {
        let log = kept.clone();
        async move {
            if me.launch() > 1 {
                return serve_bad(me, Bad::RefusesAndExits, log).await;
            }
            let mut me = me;
            while let Some((message, method)) = next(&mut me, &log).await {
                match method.as_str() {
                    "server/discover" => {
                        let versions = json!({"supportedVersions": ["2026-07-28"]});
                        answer(&mut me, &message["id"], versions).await;
                    }
                    _ => return 3,
                }
            }
            0
        }
    });
    let child = spec(&launcher).child("w").standby();
    let supervisor = SupervisorSpec::one_for_one().intensity(1, 600 * SEC).child(child);
    let root = Root::start(supervisor, Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    sleep(10 * SEC).await;
    assert_eq!((log.methods(2).len(), log.methods(3)[0].as_str()), (1, "initialize"));
    assert!(worker.call_value("die", &json!({}), SEC).await.is_err());
    assert_eq!(echo(&worker).await, r#"{"x":1}"#);
    assert_eq!(version(&worker), "2025-06-18");
    sleep(SEC / 2).await;
    assert_eq!(counted(&root), (1, 1, 1));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_hears_nothing_of_the_process_that_ended_when_it_was_asked() {
    // L-6
    for bad in ALL {
        let (launcher, _) = bad_servers(bad);
        let pool = PoolSpec::keyed(2, spec(&launcher)).child("pool");
        let supervisor = SupervisorSpec::one_for_one().intensity(0, SEC).child(pool);
        let root = Root::start(supervisor, Default::default()).await.unwrap();
        let pool = Pool::new(root.find("/pool").unwrap());
        let lease = pool.acquire("a").await.unwrap();
        sleep(60 * SEC).await;
        assert_eq!((lease.incarnation().0, lease.revocation()), (1, None), "{bad:?}");
        lease.call_value("echo", &json!(1), SEC).await.unwrap();
        assert_eq!(lease.pid(), Some(launcher.alive()[0]), "{bad:?}");
        assert_eq!(launcher.launched().len(), 2, "{bad:?}");
        drop(lease);
        let again = pool.acquire("a").await.unwrap();
        assert_eq!(again.incarnation().0, 1, "{bad:?}");
        drop(again);
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(launcher.alive().is_empty(), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_era_is_not_kept_if_the_program_ends_at_it() {
    for refuses in [false, true] {
        let (launcher, log) = (ScriptedLauncher::new(), Read::default());
        let kept = log.clone();
        launcher.program("worker", move |me: ScriptedProcess| {
            let log = kept.clone();
            async move {
                if me.launch() == 1 {
                    serve_old(me, log).await
                } else {
                    serve_stateless(me, log, refuses).await
                }
            }
        });
        let (root, worker) = strict(spec(&launcher).child("w").overlap()).await;
        assert_eq!(version(&worker), "2025-06-18");
        // Its program was replaced by one of the other era. A reload that fails would return (G-13).
        worker.restart("its program was replaced").await.unwrap();
        assert_eq!(version(&worker), "2026-07-28", "{refuses}");
        assert_eq!(log.methods(2)[0], "initialize", "{refuses}");
        assert_eq!(log.methods(launcher.launched().len() as u64)[0], "server/discover", "{refuses}");
        assert!(echo(&worker).await.contains("_meta"));
        assert_eq!(counted(&root), (0, 0, 0), "{refuses}");
        assert_eq!(launcher.alive().len(), 1);
        root.shutdown(60 * SEC).await.into_result().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_incarnation_that_is_launched_again_becomes_ready() {
    // The process ends after an answer, so the end of its channel is known before anything else is asked.
    let (launcher, log) = (ScriptedLauncher::new(), Read::default());
    let kept = log.clone();
    launcher.program("worker", move |mut me: ScriptedProcess| {
        let log = kept.clone();
        async move {
            if me.launch() != 2 {
                return serve_old(me, log).await;
            }
            let (message, _) = next(&mut me, &log).await.unwrap();
            refuse(&mut me, &message["id"]).await;
            1
        }
    });
    let (root, worker) = strict(spec(&launcher).child("w")).await;
    worker.restart("it refuses once").await.unwrap();
    assert_eq!(worker.wait_ready(60 * SEC).await.unwrap().0, 2);
    assert_eq!(echo(&worker).await, r#"{"x":1}"#);
    assert_eq!((log.methods(2), log.methods(3)[0].as_str()), (vec!["initialize".into()], "server/discover"));
    assert_eq!(counted(&root), (0, 0, 0));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

/// Greets the process, and begins a probe only then.
#[derive(Debug)]
struct Hesitant;

#[async_trait::async_trait]
impl Protocol for Hesitant {
    fn name(&self) -> &str {
        "hesitant"
    }
    fn stdio_use(&self) -> StdioUse {
        StdioUse::Rpc(Framing::Lines)
    }
    async fn handshake(&self, peer: &Peer, identity: &ChildIdentity) -> Result<SessionInfo, Exit> {
        let call = async |method: &str| {
            let options = CallOptions::unannounced(Timeout::Never);
            peer.call_value(method, &(), options).await.map_err(protocol::handshake_failed)
        };
        call("echo").await?;
        identity.begin_probe();
        if !identity.probe_was_fatal() {
            call("echo").await?;
        }
        identity.end_probe();
        Ok(SessionInfo::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_comes_after_the_end_of_the_channel_leads_to_no_other_launch() {
    // The incarnation is known to be over, so another process of it could not become ready.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        if me.launch() > 1 {
            return serve_old(me, Read::default()).await;
        }
        let message = read(&mut me).await.unwrap();
        answer(&mut me, &message["id"], json!({})).await;
        1
    });
    let child = spec(&launcher).protocol(Hesitant).child("w").background();
    let supervisor = SupervisorSpec::one_for_one().intensity(1, 600 * SEC).child(child);
    let root = Root::start(supervisor, Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    assert_eq!(worker.wait_ready(600 * SEC).await.unwrap().0, 2);
    assert_eq!(echo(&worker).await, r#"{"x":1}"#);
    assert_eq!((launcher.launched().len(), counted(&root)), (2, (1, 1, 1)));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_and_ends_at_once_is_never_ready() {
    // W-1: callers must not be sent to what has ended.
    let (launcher, log) = (ScriptedLauncher::new(), Read::default());
    let kept = log.clone();
    launcher.program("worker", move |mut me: ScriptedProcess| {
        let log = kept.clone();
        async move {
            let (message, _) = next(&mut me, &log).await.unwrap();
            let id = &message["id"];
            if me.launch() > 1 {
                answer(&mut me, id, json!({"supportedVersions": ["2026-07-28"]})).await;
                return serve_stateless(me, log, false).await;
            }
            answer(&mut me, id, json!({"supportedVersions": ["2026-07-28"]})).await;
            me.close_stdout();
            me.hang().await;
            0
        }
    });
    let child = spec(&launcher).child("w").background();
    let supervisor = SupervisorSpec::one_for_one().intensity(1, 600 * SEC).child(child);
    let root = Root::start(supervisor, Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    for _ in 0..40 {
        sleep(10 * MS).await;
        assert!(worker.peer().is_err());
    }
    assert_eq!(worker.wait_ready(60 * SEC).await.unwrap().0, 2);
    assert!(echo(&worker).await.contains("_meta"));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

/// What a stateless server writes when it is asked, before its answer or as its answer.
async fn talk(me: &mut ScriptedProcess, id: &Value, how: usize) {
    let good = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
    match how {
        // Twice.
        0 => {
            answer(me, id, good.clone()).await;
            answer(me, id, good).await;
        }
        // Large.
        1 => {
            let begin = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"supportedVersions":["2026-07-28"],"instructions":""#
            );
            me.write(begin.as_bytes()).await.unwrap();
            me.flood(b'x', 60 * 1024 * 1024).await.unwrap();
            me.write_line(r#""}}"#).await.unwrap();
        }
        // After noise.
        2 => {
            for line in ["Welcome!", "", "{", "[1, 2]", r#""text""#, "\u{0}\u{1}", "Content-Length: 7"] {
                me.write_line(line).await.unwrap();
            }
            answer(me, id, good).await;
        }
        // After answers to questions that were never asked.
        3 => {
            for other in [json!("what"), json!(7777), json!(null), json!([]), json!(1.5), json!({"a": 1})] {
                answer(me, &other, json!({})).await;
            }
            answer(me, id, good).await;
        }
        // With its id as a text.
        4 => answer(me, &json!(id.to_string()), good).await,
        // A long list of versions.
        5 => {
            let mut versions = vec!["2026-07-28"];
            versions.resize(1_000_000, "1999-01-01");
            answer(me, id, json!({"supportedVersions": versions})).await;
        }
        // After requests and notifications of its own.
        _ => {
            for (number, method) in
                ["ping", "roots/list", "sampling/createMessage", "server/discover"].iter().enumerate()
            {
                let ask = json!({"jsonrpc": "2.0", "id": number, "method": method, "params": {}});
                me.write_line(&ask.to_string()).await.unwrap();
            }
            let told = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
            me.write_line(&told.to_string()).await.unwrap();
            for _ in 0..4 {
                let theirs = read(me).await.unwrap();
                assert!(theirs.get("method").is_none(), "{theirs}");
            }
            answer(me, id, good).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_else_a_server_writes_when_it_is_asked_changes_nothing() {
    for how in 0..7 {
        let (launcher, log) = (ScriptedLauncher::new(), Read::default());
        let kept = log.clone();
        launcher.program("worker", move |mut me: ScriptedProcess| {
            let log = kept.clone();
            async move {
                let (message, method) = next(&mut me, &log).await.unwrap();
                assert_eq!(method, "server/discover");
                talk(&mut me, &message["id"], how).await;
                serve_stateless(me, log, false).await
            }
        });
        let (root, worker) = strict(spec(&launcher).child("w")).await;
        assert_eq!(version(&worker), "2026-07-28", "{how}");
        assert!(echo(&worker).await.contains("_meta"), "{how}");
        sleep(60 * SEC).await;
        assert_eq!(log.methods(1), ["server/discover", "echo"], "{how}");
        assert_eq!((launcher.launched().len(), counted(&root)), (1, (0, 0, 0)), "{how}");
        let session = worker.session().unwrap();
        assert!(session.instructions.as_ref().is_none_or(|text| text.len() < 1024 * 1024), "{how}");
        root.shutdown(60 * SEC).await.into_result().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn versions_that_this_client_does_not_speak_end_the_start_however_many_they_are() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        let message = read(&mut me).await.unwrap();
        let versions = vec!["1999-01-01"; 1_000_000];
        answer(&mut me, &message["id"], json!({"supportedVersions": versions})).await;
        me.hang().await;
        0
    });
    let failed = tree(spec(&launcher)).await.unwrap_err().to_string();
    assert!(failed.contains("no common protocol version") && failed.len() < 4096, "{failed}");
    assert_eq!(launcher.launched().len(), 1);
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_both_questions_has_one_era() {
    // In both orders, at the same moment or one after the other.
    for (stateless_first, pause) in [(true, 0), (false, 0), (true, 1), (false, 1)] {
        let (launcher, log) = (ScriptedLauncher::new(), Read::default());
        let kept = log.clone();
        launcher.program("worker", move |mut me: ScriptedProcess| {
            let log = kept.clone();
            async move {
                let (discover, _) = next(&mut me, &log).await.unwrap();
                let (initialize, _) = next(&mut me, &log).await.unwrap();
                let mut answers = [
                    (discover["id"].clone(), json!({"supportedVersions": ["2026-07-28"]})),
                    (initialize["id"].clone(), json!({"protocolVersion": "2025-06-18"})),
                ];
                if !stateless_first {
                    answers.reverse();
                }
                for (id, result) in answers {
                    answer(&mut me, &id, result).await;
                    sleep(pause * SEC).await;
                }
                serve_old(me, log).await
            }
        });
        let (root, worker) = strict(spec(&launcher).child("w")).await;
        let first = version(&worker);
        if pause > 0 {
            assert_eq!(first, if stateless_first { "2026-07-28" } else { "2025-06-18" });
        }
        sleep(10 * SEC).await;
        assert_eq!(version(&worker), first);
        assert_eq!(echo(&worker).await.contains("_meta"), first == "2026-07-28");
        let told = log.methods(1).iter().any(|method| method == "notifications/initialized");
        assert_eq!(told, first == "2025-06-18", "{stateless_first} {pause}");
        assert_eq!((launcher.launched().len(), counted(&root)), (1, (0, 0, 0)));
        root.shutdown(60 * SEC).await.into_result().unwrap();
    }
}

/// The times at which something happens: while the first process is being asked, while it is reaped, and
/// while the second process begins.
const MOMENTS: [u64; 9] = [1, 500, 1999, 2001, 2999, 3000, 3001, 3200, 4500];

/// A server that ends three seconds after it was asked, and whose grandchild cannot be killed for a second.
/// The next one answers `initialize` after a second.
fn slow_servers() -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        let Some(message) = read(&mut me).await else { return 0 };
        if message["method"] == "server/discover" {
            sleep(3 * SEC).await;
            return 1;
        }
        sleep(SEC).await;
        answer(&mut me, &message["id"], json!({"protocolVersion": "2025-06-18", "capabilities": {}})).await;
        serve_old(me, Read::default()).await
    });
    launcher
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_moment_of_the_question_leaves_nothing() {
    for moment in MOMENTS {
        for kill in [false, true] {
            let launcher = slow_servers();
            let (root, worker) = strict(spec(&launcher).child("w").background()).await;
            sleep(moment as u32 * MS).await;
            let launched = launcher.launched().len();
            let began = Instant::now();
            if kill {
                let _ = root.kill().await;
            } else {
                assert_eq!(root.shutdown(60 * SEC).await, Exit::Requested, "{moment}");
            }
            assert!(began.elapsed() <= 16 * SEC, "{moment}: {:?}", began.elapsed());
            assert!(launcher.alive().is_empty(), "{moment}");
            assert_eq!(worker.pid(), None, "{moment}");
            sleep(60 * SEC).await;
            assert_eq!(
                launcher.launched().len(),
                launched,
                "{moment}: a stop is no reason for another launch"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_actor_takes_the_process_that_is_asked_along() {
    // P-10
    for moment in MOMENTS {
        let launcher = slow_servers();
        let child = spec(&launcher).child("w").background();
        let supervisor = SupervisorSpec::one_for_one().intensity(1, 600 * SEC).child(child);
        let root = Root::start(supervisor, Default::default()).await.unwrap();
        let worker = WorkerRef::new(root.find("/w").unwrap());
        sleep(moment as u32 * MS).await;
        root.cell().get_children().pop().unwrap().kill();
        worker.node().wait_state(|state| state.is_restarting()).await;
        assert!(launcher.alive().is_empty(), "{moment}");
        assert_eq!(worker.wait_ready(60 * SEC).await.unwrap().0, 2, "{moment}");
        assert_eq!((launcher.alive().len(), echo(&worker).await.as_str()), (1, r#"{"x":1}"#), "{moment}");
        assert_eq!(counted(&root), (1, 1, 1), "{moment}");
        root.shutdown(60 * SEC).await.into_result().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_at_any_moment_of_the_question_is_carried_out() {
    // G-13, G-14
    for moment in MOMENTS {
        for overlap in [false, true] {
            let (launcher, other) = (slow_servers(), slow_servers());
            let child = |launcher: &ScriptedLauncher| {
                let child = spec(launcher).child("w").background();
                if overlap { child.overlap() } else { child }
            };
            let (root, worker) = strict(child(&launcher)).await;
            sleep(moment as u32 * MS).await;
            root.supervisor().reload_child(child(&other)).await.unwrap();
            worker.wait_ready(60 * SEC).await.unwrap();
            sleep(60 * SEC).await;
            assert_eq!((launcher.alive().len(), other.alive().len()), (0, 1), "{moment} {overlap}");
            assert_eq!(echo(&worker).await, r#"{"x":1}"#, "{moment} {overlap}");
            assert_eq!(counted(&root), (0, 0, 0), "{moment} {overlap}");
            root.shutdown(60 * SEC).await.into_result().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_start_includes_both_launches() {
    let launcher = slow_servers();
    let child = spec(&launcher).child("w").start_timeout(3500 * MS);
    let began = Instant::now();
    let failed = Root::start(SupervisorSpec::one_for_one().child(child), Default::default()).await;
    let failed = failed.unwrap_err().to_string();
    assert!(began.elapsed() < 5 * SEC, "{:?}: {failed}", began.elapsed());
    assert!(failed.contains("3.5"), "{failed}");
    assert_eq!(launcher.launched().len(), 2);
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_launch_that_fails_shows_no_process() {
    let (launcher, _) = bad_servers(Bad::ExitsAfter(SEC));
    let child = spec(&launcher).child("w").background();
    let supervisor = SupervisorSpec::one_for_one().intensity(5, 600 * SEC).child(child);
    let root = Root::start(supervisor, Default::default()).await.unwrap();
    let worker = WorkerRef::new(root.find("/w").unwrap());
    sleep(SEC / 2).await;
    assert!(worker.pid().is_some());
    launcher.fail_next("worker", Exit::Failed { code: 9 });
    worker.node().wait_state(|state| state.is_restarting()).await;
    assert!(launcher.alive().is_empty());
    assert_eq!(worker.pid(), None);
    let shown = worker.diagnostics().worker.unwrap();
    assert_eq!((shown.pid, shown.uptime), (None, None));
    worker.wait_ready(60 * SEC).await.unwrap();
    assert_eq!(counted(&root), (1, 1, 1));
    root.shutdown(60 * SEC).await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_incarnation_is_stuck_whichever_thread_notices_the_end_first() {
    // In real time: the end of the channel comes before, during and after the question and its answer.
    for round in 0..300_u64 {
        let (launcher, log) = (ScriptedLauncher::new(), Read::default());
        launcher.program("worker", move |mut me: ScriptedProcess| {
            let log = log.clone();
            async move {
                if me.launch() > 1 {
                    return serve_old(me, log).await;
                }
                if round % 5 > 0 {
                    let (message, _) = next(&mut me, &log).await.unwrap();
                    match round % 5 {
                        1 => {}
                        2 => refuse(&mut me, &message["id"]).await,
                        3 => {
                            let good = json!({"supportedVersions": ["2026-07-28"]});
                            answer(&mut me, &message["id"], good).await;
                        }
                        _ => {
                            refuse(&mut me, &message["id"]).await;
                            let _ = next(&mut me, &log).await;
                        }
                    }
                }
                if round % 2 == 0 {
                    me.close_stdout();
                }
                1
            }
        });
        let backoff = procession::restart::Backoff::fixed(MS);
        let restart = procession::restart::RestartPolicy::permanent().with_backoff(backoff);
        let child = spec(&launcher).restart(restart).child("w").background();
        let supervisor = SupervisorSpec::one_for_one().intensity(2, SEC).child(child);
        let root = Root::start(supervisor, Default::default()).await.unwrap();
        let worker = WorkerRef::new(root.find("/w").unwrap());
        while worker.session().is_none_or(|session| session.protocol_version.as_deref() != Some("2025-06-18"))
            || worker.peer().is_err()
        {
            worker.wait_ready(20 * SEC).await.unwrap_or_else(|error| panic!("{round}: {error}"));
            tokio::task::yield_now().await;
        }
        assert_eq!(echo(&worker).await, r#"{"x":1}"#, "{round}");
        root.shutdown(60 * SEC).await.into_result().unwrap();
        assert!(launcher.alive().is_empty());
    }
}
