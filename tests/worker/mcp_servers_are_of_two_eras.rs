//! W-10: which era of MCP a server speaks is found out in one incarnation, whatever the server does
//! when it is asked, and is remembered. W-7, W-8: what each era needs on the wire.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::internals::Root;
use procession::{
    exit::Exit,
    process::{Command, Launcher, Signal},
    protocol::{LogLevel, Mcp, McpEra, McpSubscriptionFilter, McpSubscriptions},
    rpc::{CallOptions, PeerConfig, TraceContext},
    state::ChildState,
    supervision::TreeStartError,
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{Liveness, WorkerRef, WorkerSpec},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::*;

/// What a server does when it is asked.
#[derive(Clone, Debug)]
enum Server {
    /// It speaks 2026-07-28, and answers after this time.
    Stateless(Duration),
    /// As `Stateless`, and answers `server/discover` after all else that has come by then.
    Late(Duration),
    /// It speaks 2025-06-18, and answers what it does not know with this code.
    Old(i64),
    /// As `Old`, and says nothing to what it does not know.
    Silent,
    /// As `Old`, and answers what it does not know with `{}`.
    Agreeable,
    /// As `Old`, and ends at what it does not know, after 256 KiB on stderr.
    Fragile,
    /// It answers `server/discover` with −32022 and these versions.
    Speaks(&'static [&'static str]),
    /// It ends at its first message, whatever that is.
    Broken,
}

/// What servers have read: the number of the launch, and the message.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<Vec<(u64, Value)>>>);

impl Read {
    fn all(&self) -> Vec<(u64, Value)> {
        self.0.lock().unwrap().clone()
    }

    /// The methods that this launch has read.
    fn methods(&self, launch: u64) -> Vec<String> {
        let read = self.all().into_iter().filter(|(number, _)| *number == launch);
        read.map(|(_, message)| message["method"].as_str().unwrap_or("-").to_owned()).collect()
    }

    /// The params of the first message with this method.
    fn params(&self, method: &str) -> Value {
        self.all().into_iter().find(|(_, message)| message["method"] == method).unwrap().1["params"].clone()
    }
}

const NO_METHOD: i64 = -32601;

async fn refuse(me: &mut ScriptedProcess, id: &Value, code: i64, data: Value) {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no", "data": data}});
    let _ = me.write_line(&error.to_string()).await;
}

async fn serve_mcp(mut me: ScriptedProcess, server: Server, log: Read) -> i32 {
    let mut late = None;
    loop {
        let next = match (&server, &late) {
            (Server::Late(after), Some(id)) => match tokio::time::timeout(*after, read(&mut me)).await {
                Ok(next) => next,
                Err(_) => {
                    answer(&mut me, id, json!({"supportedVersions": ["2026-07-28"]})).await;
                    late = None;
                    continue;
                }
            },
            _ => read(&mut me).await,
        };
        let Some(message) = next else { return 0 };
        log.0.lock().unwrap().push((me.launch(), message.clone()));
        let (id, method) = (message["id"].clone(), message["method"].as_str().unwrap_or_default().to_owned());
        if matches!(server, Server::Broken) {
            return 1;
        }
        if id.is_null() {
            continue;
        }
        match (method.as_str(), &server) {
            ("echo", _) => answer(&mut me, &id, message["params"].clone()).await,
            ("hang", _) => {}
            ("die", _) => return 3,
            ("server/discover", Server::Stateless(after)) => {
                sleep(*after).await;
                let discovered = json!({
                    "resultType": "complete", "supportedVersions": ["2026-07-28", "2025-11-25"],
                    "capabilities": {"tools": {}}, "instructions": "gently",
                    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "2"}},
                });
                answer(&mut me, &id, discovered).await;
            }
            ("subscriptions/listen", Server::Stateless(_)) => {
                let params = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
                let acknowledged = json!({
                    "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params
                });
                me.write_line(&acknowledged.to_string()).await.unwrap();
            }
            ("server/discover", Server::Late(_)) => late = Some(id),
            (_, Server::Stateless(_) | Server::Late(_)) => refuse(&mut me, &id, NO_METHOD, json!(null)).await,
            ("server/discover", Server::Speaks(versions)) => {
                refuse(&mut me, &id, -32022, json!({"supported": versions})).await;
            }
            ("initialize", Server::Speaks(versions)) => {
                let version = message["params"]["protocolVersion"].as_str().unwrap();
                assert!(versions.contains(&version), "{version}");
                answer(&mut me, &id, json!({"protocolVersion": version, "capabilities": {}})).await;
            }
            ("initialize", _) => {
                let info = json!({
                    "protocolVersion": "2025-06-18", "capabilities": {"logging": {}},
                    "serverInfo": {"name": "old"},
                });
                answer(&mut me, &id, info).await;
            }
            ("ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe", _) => {
                answer(&mut me, &id, json!({})).await;
            }
            (_, Server::Old(code)) => refuse(&mut me, &id, *code, json!(null)).await,
            (_, Server::Agreeable) => answer(&mut me, &id, json!({})).await,
            (_, Server::Fragile) => {
                let _ = me.write_error_line(&"x".repeat(256 * 1024)).await;
                return 1;
            }
            _ => {}
        }
    }
}

/// A launcher of these servers, one after the other; the last one stays.
fn servers(list: &[Server]) -> (ScriptedLauncher, Read) {
    let (launcher, log, list) = (ScriptedLauncher::new(), Read::default(), list.to_vec());
    let kept = log.clone();
    launcher.program("worker", move |me: ScriptedProcess| {
        let number = usize::try_from(me.launch()).unwrap() - 1;
        serve_mcp(me, list[number.min(list.len() - 1)].clone(), kept.clone())
    });
    (launcher, log)
}

fn spec(launcher: &ScriptedLauncher, mcp: Mcp) -> WorkerSpec {
    let launcher: Arc<dyn Launcher> = Arc::new(launcher.clone());
    WorkerSpec::new(Command::new("worker")).protocol(mcp).launcher(launcher)
}

async fn start(list: &[Server]) -> (Result<(Root, WorkerRef), TreeStartError>, ScriptedLauncher, Read) {
    let (launcher, log) = servers(list);
    (tree(spec(&launcher, Mcp::default())).await, launcher, log)
}

/// Starts a server whose version is known after this time.
async fn decided(
    server: &Server,
    after: Duration,
    expected: &str,
) -> ((Root, WorkerRef), ScriptedLauncher, Read) {
    let began = Instant::now();
    let (started, launcher, log) = start(std::slice::from_ref(server)).await;
    let (root, worker) = started.unwrap();
    assert_eq!(began.elapsed(), after, "{server:?}");
    assert_eq!(version(&worker), expected, "{server:?}");
    ((root, worker), launcher, log)
}

fn version(worker: &WorkerRef) -> String {
    worker.session().unwrap().protocol_version.clone().unwrap()
}

/// The failures and restarts that were counted.
fn counted(root: &Root) -> (u64, u32, u32) {
    let tree = root.snapshot().root;
    let child = &tree.children[0];
    (child.total_failures, child.total_restarts, tree.supervisor.as_ref().unwrap().restarts_used)
}

#[tokio::test(start_paused = true)]
async fn a_stateless_server_is_asked_once_and_told_in_each_request_what_the_client_is() {
    let (started, launcher, log) = start(&[Server::Stateless(Duration::ZERO)]).await;
    let (root, worker) = started.unwrap();
    let session = worker.session().unwrap();
    assert_eq!(version(&worker), "2026-07-28");
    assert_eq!(session.server.as_ref().unwrap().name, "new");
    assert_eq!(session.instructions.as_deref(), Some("gently"));
    let params = worker.call_value("echo", &json!({"x": 1}), SEC).await.unwrap();
    let params: Value = serde_json::from_str(params.get()).unwrap();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": Mcp::default().client_info,
    });
    assert_eq!(params, json!({"x": 1, "_meta": meta}));
    assert_eq!(log.params("server/discover"), json!({ "_meta": meta }));
    // What the caller has set stays.
    let own = json!({"_meta": {"io.modelcontextprotocol/clientInfo": {"name": "me"}}});
    let params = worker.call_value("echo", &own, SEC).await.unwrap();
    let params: Value = serde_json::from_str(params.get()).unwrap();
    assert_eq!(params["_meta"]["io.modelcontextprotocol/clientInfo"], json!({"name": "me"}));
    assert_eq!(params["_meta"].as_object().unwrap().len(), 3);
    assert_eq!(log.methods(1), ["server/discover", "echo", "echo"]);
    assert_eq!(launcher.launched().len(), 1);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn any_error_that_is_not_of_the_stateless_era_means_the_older_one() {
    for server in [
        Server::Old(NO_METHOD),
        Server::Old(-32602),
        Server::Old(-32600),
        Server::Old(-32000),
        Server::Old(0),
        Server::Agreeable,
    ] {
        let began = Instant::now();
        let (started, launcher, log) = start(std::slice::from_ref(&server)).await;
        let (root, worker) = started.unwrap();
        assert_eq!(version(&worker), "2025-06-18", "{server:?}");
        assert_eq!(began.elapsed(), Duration::ZERO, "{server:?}");
        let params = worker.call_value("echo", &json!({"x": 1}), SEC).await.unwrap();
        assert_eq!(params.get(), r#"{"x":1}"#);
        let handshake = ["server/discover", "initialize", "notifications/initialized", "echo"];
        assert_eq!(log.methods(1), handshake, "{server:?}");
        assert_eq!(launcher.launched().len(), 1, "{server:?}");
        let _ = root.shutdown(60 * SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_when_it_is_asked_is_launched_again_and_nothing_is_counted() {
    let (started, launcher, log) = start(&[Server::Fragile]).await;
    let (root, worker) = started.unwrap();
    assert_eq!(version(&worker), "2025-06-18");
    assert_eq!(worker.node().incarnation().0, 1);
    assert_eq!(counted(&root), (0, 0, 0));
    assert_eq!(launcher.launched().len(), 2);
    assert_eq!(launcher.alive().len(), 1);
    assert_eq!(log.methods(1), ["server/discover"]);
    assert_eq!(log.methods(2), ["initialize", "notifications/initialized"]);
    assert!(worker.call_value("echo", &json!(1), SEC).await.is_ok());
    // The answer is remembered: the next incarnation is not asked.
    assert!(worker.call_value("die", &json!(1), SEC).await.is_err());
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(launcher.launched().len(), 3);
    assert_eq!(log.methods(3), ["initialize", "notifications/initialized"]);
    assert_eq!(counted(&root), (1, 1, 1));
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_without_the_question_too_has_failed() {
    let (started, launcher, log) = start(&[Server::Broken]).await;
    let failed = started.unwrap_err().to_string();
    assert!(failed.contains("exit code 1"), "{failed}");
    assert_eq!(launcher.launched().len(), 2, "once with the question and once without");
    assert_eq!((log.methods(1), log.methods(2)), (vec!["server/discover".into()], vec!["initialize".into()]));
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_gets_both_questions_and_the_first_good_answer_decides() {
    let ((root, _), launcher, log) = decided(&Server::Silent, 2 * SEC, "2025-06-18").await;
    let read = log.methods(1);
    assert_eq!(read[..3], ["server/discover", "initialize", "notifications/initialized"]);
    assert_eq!(launcher.launched().len(), 1);
    let _ = root.shutdown(60 * SEC).await;

    // A slow start is not taken for an old server.
    let ((root, worker), launcher, log) = decided(&Server::Stateless(5 * SEC), 5 * SEC, "2026-07-28").await;
    assert_eq!(log.methods(1)[0], "server/discover");
    assert_eq!(launcher.launched().len(), 1);
    assert!(worker.call_value("echo", &json!({}), SEC).await.unwrap().get().contains("protocolVersion"));
    let _ = root.shutdown(60 * SEC).await;

    // Nor if it refuses `initialize` before it answers the question.
    let ((root, _), _, log) = decided(&Server::Late(5 * SEC), 7 * SEC, "2026-07-28").await;
    assert_eq!(log.methods(1), ["server/discover", "initialize"]);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_common_version_is_taken_from_a_list() {
    let (started, _, log) = start(&[Server::Speaks(&["2024-11-05", "2025-03-26"])]).await;
    let (root, worker) = started.unwrap();
    assert_eq!(version(&worker), "2025-03-26");
    assert_eq!(log.params("initialize")["protocolVersion"], "2025-03-26");
    let _ = root.shutdown(60 * SEC).await;

    let (started, launcher, _) = start(&[Server::Speaks(&["2031-01-01"])]).await;
    let failed = started.unwrap_err().to_string();
    assert!(failed.contains("no common protocol version") && failed.contains("2031-01-01"), "{failed}");
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_replaced_by_one_of_the_other_era_is_asked_again() {
    // To the newer era.
    let (started, _, log) = start(&[Server::Old(NO_METHOD), Server::Stateless(Duration::ZERO)]).await;
    let (root, worker) = started.unwrap();
    worker.restart("its program was replaced").await.unwrap();
    assert_eq!(version(&worker), "2026-07-28");
    assert_eq!(log.methods(2), ["initialize", "server/discover"]);
    assert_eq!(counted(&root), (0, 0, 0));
    let _ = root.shutdown(60 * SEC).await;
    // To the older one, which does not survive the question.
    let (started, launcher, log) = start(&[Server::Stateless(Duration::ZERO), Server::Fragile]).await;
    let (root, worker) = started.unwrap();
    worker.restart("its program was replaced").await.unwrap();
    assert_eq!(version(&worker), "2025-06-18");
    assert_eq!(log.methods(3), ["initialize", "notifications/initialized"]);
    assert_eq!((launcher.launched().len(), worker.node().incarnation().0), (3, 2));
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_declared_era_is_not_asked_for() {
    let (launcher, log) = servers(&[Server::Fragile]);
    let (root, _) = tree(spec(&launcher, Mcp::default().with_era(McpEra::Initialize))).await.unwrap();
    assert_eq!(log.methods(1), ["initialize", "notifications/initialized"]);
    let _ = root.shutdown(60 * SEC).await;
    let (launcher, _) = servers(&[Server::Old(NO_METHOD)]);
    let failed =
        tree(spec(&launcher, Mcp::default().with_era(McpEra::Stateless))).await.unwrap_err().to_string();
    assert!(failed.contains("declared to be a stateless MCP server"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_and_the_timeout_reach_a_server_that_is_being_asked() {
    let (launcher, _) = servers(&[Server::Stateless(3600 * SEC)]);
    let began = Instant::now();
    let failed =
        tree(spec(&launcher, Mcp::default()).handshake_timeout(4 * SEC)).await.unwrap_err().to_string();
    assert_eq!(began.elapsed(), 4 * SEC, "{failed}");
    assert!(launcher.alive().is_empty());

    let (launcher, _) = servers(&[Server::Stateless(3600 * SEC)]);
    let supervisor = procession::supervision::SupervisorSpec::one_for_one()
        .child(spec(&launcher, Mcp::default()).child("w").background());
    let root = Root::start(supervisor, Default::default()).await.unwrap();
    sleep(SEC).await;
    assert_eq!(root.find("/w").unwrap().state(), ChildState::Starting);
    assert_eq!(root.shutdown(60 * SEC).await, Exit::Requested);
    assert_eq!(launcher.launched().len(), 1, "a stop is no reason for another launch");
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_kill_during_the_question_is_answered_by_one_more_launch() {
    let (launcher, log) = servers(&[Server::Stateless(SEC)]);
    let (kill, killed) = (launcher.clone(), launcher.clone());
    tokio::spawn(async move {
        sleep(SEC / 2).await;
        let pid = kill.alive()[0];
        kill.kill(pid, Signal::KILL).unwrap();
    });
    // The second launch is not asked, and this server does not take `initialize`.
    let failed = tree(spec(&launcher, Mcp::default())).await.unwrap_err().to_string();
    assert!(failed.contains("initialize"), "{failed}");
    assert_eq!(killed.launched().len(), 2);
    assert_eq!(log.methods(2), ["initialize"]);
}

#[tokio::test(start_paused = true)]
async fn liveness_has_a_sign_of_life_in_each_era() {
    // W-3
    let liveness = Liveness { interval: SEC, timeout: SEC, failures_allowed: 1 };
    for (server, sign) in
        [(Server::Old(NO_METHOD), "ping"), (Server::Stateless(Duration::ZERO), "server/discover")]
    {
        let (launcher, log) = servers(&[server]);
        let (root, worker) = tree(spec(&launcher, Mcp::default()).liveness(liveness)).await.unwrap();
        let before = log.methods(1).len();
        sleep(SEC * 7 / 2).await;
        assert_eq!(log.methods(1)[before..], [sign, sign, sign]);
        let busy = worker.clone();
        let call = tokio::spawn(async move { busy.call_value("hang", &json!({}), 60 * SEC).await });
        sleep(10 * SEC).await;
        let pings = log.methods(1).iter().skip(before).filter(|method| *method == sign).count();
        assert_eq!(pings, if sign == "ping" { 13 } else { 3 }, "an open call is no reason to doubt");
        call.abort();
        let _ = root.shutdown(60 * SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_does_not_keep_the_sign_of_life_from_being_asked_for() {
    // W-3, W-8
    let liveness = Liveness { interval: SEC, timeout: SEC, failures_allowed: 1 };
    let (launcher, log) = servers(&[Server::Stateless(Duration::ZERO)]);
    let mcp = Mcp::default().with_subscriptions(McpSubscriptions::new(McpSubscriptionFilter::lists()));
    let (root, _) = tree(spec(&launcher, mcp).liveness(liveness)).await.unwrap();
    sleep(SEC * 7 / 2).await;
    let sign = "server/discover";
    assert_eq!(log.methods(1), [sign, "subscriptions/listen", sign, sign, sign]);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn the_level_of_logs_is_asked_for_in_each_era() {
    let mcp = || Mcp::default().with_log_level(LogLevel::Warn);
    let (launcher, log) = servers(&[Server::Old(NO_METHOD)]);
    let (root, _) = tree(spec(&launcher, mcp())).await.unwrap();
    assert_eq!(log.params("logging/setLevel"), json!({"level": "warning"}));
    let _ = root.shutdown(60 * SEC).await;
    let (launcher, log) = servers(&[Server::Stateless(Duration::ZERO)]);
    let (root, worker) = tree(spec(&launcher, mcp())).await.unwrap();
    let _ = worker.call_value("echo", &json!({}), SEC).await.unwrap();
    assert_eq!(log.params("echo")["_meta"]["io.modelcontextprotocol/logLevel"], "warning");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn the_trace_and_the_wish_for_progress_travel_in_meta() {
    // C-14
    let (launcher, log) = servers(&[Server::Stateless(Duration::ZERO)]);
    let mut config = PeerConfig::default();
    config.trace_context = Some(Arc::new(|| Some(TraceContext::new("00-aa-bb-01").with_tracestate("a=b"))));
    let (root, worker) = tree(spec(&launcher, Mcp::default()).channel(config)).await.unwrap();
    let options = CallOptions::from(SEC).max_total(10 * SEC);
    let params = worker.call_value("echo", &json!({}), options).await.unwrap();
    let params: Value = serde_json::from_str(params.get()).unwrap();
    let meta = &params["_meta"];
    assert_eq!((&meta["traceparent"], &meta["tracestate"]), (&json!("00-aa-bb-01"), &json!("a=b")));
    assert!(meta["progressToken"].is_number() && meta.as_object().unwrap().len() == 6, "{meta}");
    // The handshake belongs to no trace of a caller.
    assert_eq!(log.methods(1), ["server/discover", "echo"]);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_opened_at_each_incarnation_and_follow_their_filter() {
    // W-8, S-28
    let (launcher, log) = servers(&[Server::Stateless(Duration::ZERO)]);
    let subscriptions = McpSubscriptions::new(McpSubscriptionFilter::lists().resource("file:///a"));
    let mcp = Mcp::default().with_subscriptions(subscriptions.clone());
    let (root, worker) = tree(spec(&launcher, mcp).idle_timeout(60 * SEC)).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    sleep(SEC).await;
    let filter = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": ["file:///a"],
    });
    assert_eq!(log.params("subscriptions/listen")["notifications"], filter);
    assert_eq!(log.methods(1), ["server/discover", "subscriptions/listen"]);
    sleep(600 * SEC).await;
    assert_eq!(worker.state(), ChildState::Ready, "a subscription is use");
    subscriptions.set(McpSubscriptionFilter::default().resource("file:///b"));
    sleep(SEC).await;
    let read: Vec<Value> = log.all().into_iter().map(|(_, message)| message).collect();
    let [.., cancelled, listened] = &read[..] else { panic!("{read:?}") };
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], read[1]["id"]);
    assert_eq!(listened["params"]["notifications"], json!({"resourceSubscriptions": ["file:///b"]}));
    // At the next incarnation.
    assert!(worker.call_value("die", &json!({}), SEC).await.is_err());
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    sleep(SEC).await;
    assert_eq!(log.methods(2), ["server/discover", "subscriptions/listen"]);
    // An orderly stop does not wait for it.
    let began = Instant::now();
    worker.stop().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(log.methods(2).last().unwrap(), "notifications/cancelled");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn resources_are_subscribed_to_one_by_one_before() {
    // W-8, S-28
    let (launcher, log) = servers(&[Server::Old(NO_METHOD)]);
    let subscriptions = McpSubscriptions::new(McpSubscriptionFilter::lists().resource("file:///a"));
    let mcp = Mcp::default().with_subscriptions(subscriptions.clone());
    let (root, worker) = tree(spec(&launcher, mcp).idle_timeout(60 * SEC)).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    sleep(600 * SEC).await;
    assert_eq!(worker.state(), ChildState::Ready, "a subscription is use");
    let handshake = 3;
    assert_eq!(log.methods(1)[handshake..], ["resources/subscribe"]);
    subscriptions.set(McpSubscriptionFilter::default().resource("file:///b"));
    sleep(SEC).await;
    assert_eq!(
        log.methods(1)[handshake..],
        ["resources/subscribe", "resources/unsubscribe", "resources/subscribe"]
    );
    assert!(worker.call_value("die", &json!({}), SEC).await.is_err());
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    sleep(SEC).await;
    assert_eq!(log.methods(2), ["initialize", "notifications/initialized", "resources/subscribe"]);
    subscriptions.set(McpSubscriptionFilter::default());
    sleep(600 * SEC).await;
    assert_eq!(worker.state(), ChildState::down(procession::state::DownReason::Idle));
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_the_server_cancels_is_opened_again() {
    // W-8. On stdio a server ends a subscription by a cancellation of the request that opened it.
    let launcher = ScriptedLauncher::new();
    let log = Read::default();
    launcher.program("worker", {
        let log = log.clone();
        move |mut me: ScriptedProcess| {
            let log = log.clone();
            async move {
                while let Some(message) = read(&mut me).await {
                    log.0.lock().unwrap().push((me.launch(), message.clone()));
                    let id = &message["id"];
                    let cancelled = json!({
                        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}
                    });
                    match message["method"].as_str().unwrap() {
                        "server/discover" => {
                            let discovered = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
                            answer(&mut me, id, discovered).await;
                        }
                        "subscriptions/listen" => {
                            // The third one stays.
                            let asked = log.methods(1);
                            let listens = asked.iter().filter(|method| *method == "subscriptions/listen");
                            let is_cancelled = listens.count() < 3;
                            if is_cancelled {
                                me.write_line(&cancelled.to_string()).await.unwrap();
                            }
                        }
                        // A call is ended by its answer only.
                        "slow" => {
                            me.write_line(&cancelled.to_string()).await.unwrap();
                            sleep(SEC).await;
                            answer(&mut me, id, json!("done")).await;
                        }
                        _ => {}
                    }
                }
                0
            }
        }
    });
    let subscriptions = McpSubscriptions::new(McpSubscriptionFilter::lists());
    let mcp = Mcp::default().with_subscriptions(subscriptions);
    let (root, worker) = tree(spec(&launcher, mcp)).await.unwrap();
    sleep(60 * SEC).await;
    let listen = "subscriptions/listen";
    assert_eq!(log.methods(1), ["server/discover", listen, listen, listen]);
    assert_eq!(worker.call_value("slow", &json!({}), 60 * SEC).await.unwrap().get(), "\"done\"");
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_refused_is_asked_for_again_ever_more_rarely() {
    // W-8
    let (launcher, log) = servers(&[Server::Stateless(Duration::ZERO)]);
    launcher.program("worker", {
        let log = log.clone();
        move |mut me: ScriptedProcess| {
            let log = log.clone();
            async move {
                while let Some(message) = read(&mut me).await {
                    log.0.lock().unwrap().push((me.launch(), message.clone()));
                    if message["method"] == "server/discover" {
                        let discovered = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
                        answer(&mut me, &message["id"], discovered).await;
                    } else {
                        refuse(&mut me, &message["id"], NO_METHOD, json!(null)).await;
                    }
                }
                0
            }
        }
    });
    let subscriptions = McpSubscriptions::new(McpSubscriptionFilter::lists());
    let (root, _) = tree(spec(&launcher, Mcp::default().with_subscriptions(subscriptions))).await.unwrap();
    sleep(3600 * SEC).await;
    let asked = log.methods(1).len() - 1;
    assert!((60..75).contains(&asked), "{asked}");
    let _ = root.shutdown(60 * SEC).await;
}
