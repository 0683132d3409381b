//! W-11: the lists of an MCP server are read with all their pages, kept for as long as they are good, and
//! answered while the server is idle; the result of a tool says what it has come to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use procession::internals::Root;
use procession::{
    process::{Command, Launcher},
    protocol::{Mcp, McpEra, McpList, McpListCache, McpSubscriptionFilter, McpSubscriptions},
    rpc::CallError,
    state::{ChildState, DownReason},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{McpClient, McpListSource, McpToolResult, WorkerRef, WorkerSpec},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::*;

/// A server whose every page of every list has one item, the number of the request; made by `page` from the
/// number of the request and the cursor.
struct Served {
    root: Root,
    worker: WorkerRef,
    client: McpClient,
    asked: Arc<AtomicU64>,
}

type Page = fn(u64, Option<&str>) -> Result<Value, i64>;

async fn serve_lists(
    era: McpEra,
    mcp: impl FnOnce(Mcp) -> Mcp,
    page: Page,
    spec: fn(WorkerSpec) -> WorkerSpec,
) -> Served {
    let launcher = ScriptedLauncher::new();
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    launcher.program("worker", move |mut me: ScriptedProcess| {
        let asked = count.clone();
        async move {
            let capabilities = json!({"tools": {"listChanged": true}, "resources": {"listChanged": false}});
            while let Some(message) = read(&mut me).await {
                let id = message["id"].clone();
                match message["method"].as_str().unwrap_or_default() {
                    "initialize" => {
                        let info = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities});
                        answer(&mut me, &id, info).await;
                    }
                    "server/discover" => {
                        let info = json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities});
                        answer(&mut me, &id, info).await;
                    }
                    "change" => {
                        let changed = json!({"jsonrpc": "2.0", "method": message["params"]["what"]});
                        me.write_line(&changed.to_string()).await.unwrap();
                        answer(&mut me, &id, json!({})).await;
                    }
                    "die" => return 1,
                    "tools/call" => answer(&mut me, &id, message["params"]["arguments"].clone()).await,
                    list if list.ends_with("/list") => {
                        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
                        match page(number, message["params"]["cursor"].as_str()) {
                            Ok(page) => answer(&mut me, &id, page).await,
                            Err(-1) => return 1,
                            Err(code) => {
                                let error = json!({"code": code, "message": "no"});
                                let error = json!({"jsonrpc": "2.0", "id": id, "error": error});
                                me.write_line(&error.to_string()).await.unwrap();
                            }
                        }
                    }
                    _ => {}
                }
            }
            0
        }
    });
    let cache = McpListCache::new();
    let mcp = mcp(Mcp::default().with_era(era).with_list_cache(cache.clone()));
    let launcher: Arc<dyn Launcher> = Arc::new(launcher);
    let worker = spec(WorkerSpec::new(Command::new("worker")).protocol(mcp).launcher(launcher));
    let (root, worker) = tree(worker).await.unwrap();
    let client = McpClient::new(worker.clone()).with_cache(cache);
    Served { root, worker, client, asked }
}

/// Both lists in one result, whichever was asked for.
fn one_page(number: u64, _: Option<&str>) -> Result<Value, i64> {
    Ok(json!({"tools": [number], "resources": [number]}))
}

fn kept_for_ten_seconds(number: u64, _: Option<&str>) -> Result<Value, i64> {
    Ok(json!({"tools": [number], "resources": [number], "ttlMs": 10_000}))
}

fn same(spec: WorkerSpec) -> WorkerSpec {
    spec
}

impl Served {
    /// What the list says, and where it comes from.
    async fn list(&self, list: McpList) -> (String, McpListSource) {
        let listing = self.client.list(list, 10 * SEC).await.unwrap();
        let items: Vec<&str> = listing.items.iter().map(|item| item.get()).collect();
        (items.join(","), listing.source)
    }

    async fn change(&self, what: &str) {
        let method = format!("notifications/{what}/list_changed");
        self.worker.call_value("change", &json!({ "what": method }), SEC).await.unwrap();
    }

    async fn stop(self) {
        let _ = self.root.shutdown(60 * SEC).await;
    }
}

fn from(items: &str, source: McpListSource) -> (String, McpListSource) {
    (items.to_owned(), source)
}

#[tokio::test(start_paused = true)]
async fn a_list_is_kept_until_it_changes_if_the_server_says_so() {
    use McpListSource::{Cache, Server};
    let served = serve_lists(McpEra::Initialize, |mcp| mcp, one_page, same).await;
    assert_eq!(served.list(McpList::Tools).await, from("1", Server));
    sleep(3600 * SEC).await;
    assert_eq!(served.list(McpList::Tools).await, from("1", Cache));
    served.change("prompts").await;
    assert_eq!(served.list(McpList::Tools).await, from("1", Cache), "another list has changed");
    served.change("tools").await;
    assert_eq!(served.list(McpList::Tools).await, from("2", Server));
    // It does not say when its resources change.
    assert_eq!(served.list(McpList::Resources).await, from("3", Server));
    assert_eq!(served.list(McpList::Resources).await, from("4", Server));
    // Another incarnation may have another list.
    assert!(served.worker.call_value("die", &json!({}), SEC).await.is_err());
    served.worker.wait_ready(SEC).await.unwrap();
    assert_eq!(served.list(McpList::Tools).await, from("5", Server));
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_is_kept_for_the_time_that_the_server_allows() {
    use McpListSource::{Cache, Server};
    let served = serve_lists(McpEra::Stateless, |mcp| mcp, kept_for_ten_seconds, same).await;
    assert_eq!(served.list(McpList::Resources).await, from("1", Server));
    sleep(9 * SEC).await;
    assert_eq!(served.list(McpList::Resources).await, from("1", Cache));
    sleep(2 * SEC).await;
    assert_eq!(served.list(McpList::Resources).await, from("2", Server));
    served.change("resources").await;
    assert_eq!(served.list(McpList::Resources).await, from("3", Server));
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_time_a_stateless_server_must_be_subscribed_to() {
    use McpListSource::{Cache, Server};
    let served = serve_lists(McpEra::Stateless, |mcp| mcp, one_page, same).await;
    assert_eq!(served.list(McpList::Tools).await, from("1", Server));
    assert_eq!(served.list(McpList::Tools).await, from("2", Server));
    served.stop().await;
    let subscribed = |mcp: Mcp| mcp.with_subscriptions(McpSubscriptions::new(McpSubscriptionFilter::lists()));
    let served = serve_lists(McpEra::Stateless, subscribed, one_page, same).await;
    assert_eq!(served.list(McpList::Tools).await, from("1", Server));
    assert_eq!(served.list(McpList::Tools).await, from("1", Cache));
    assert_eq!(served.list(McpList::Resources).await, from("2", Server));
    assert_eq!(
        served.list(McpList::Resources).await,
        from("3", Server),
        "it does not declare changes of these"
    );
    served.stop().await;
    // Zero is not absent.
    let zero: Page = |number, _| Ok(json!({"tools": [number], "ttlMs": 0}));
    let served = serve_lists(McpEra::Initialize, |mcp| mcp, zero, same).await;
    assert_eq!(served.list(McpList::Tools).await, from("1", Server));
    assert_eq!(served.list(McpList::Tools).await, from("2", Server));
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_is_not_started_for_a_list_that_is_kept() {
    use McpListSource::{CacheWhileIdle, Server};
    let idle: fn(WorkerSpec) -> WorkerSpec = |spec| spec.idle_timeout(60 * SEC);
    let served = serve_lists(McpEra::Initialize, |mcp| mcp, one_page, idle).await;
    // On demand: nothing is kept yet, so this starts it.
    assert_eq!(served.list(McpList::Tools).await, from("1", Server));
    sleep(600 * SEC).await;
    let is_idle = || served.worker.state() == ChildState::down(DownReason::Idle);
    assert!(is_idle());
    assert_eq!(served.list(McpList::Tools).await, from("1", CacheWhileIdle));
    assert!(is_idle());
    assert_eq!(served.list(McpList::Resources).await, from("2", Server));
    assert!(!is_idle());
    assert_eq!(served.list(McpList::Tools).await, from("3", Server), "another incarnation");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_of_one_incarnation() {
    let pages: Page = |number, cursor| match (number, cursor) {
        // The server ends in the middle of the first attempt.
        (2, _) => Err(-1),
        (_, None) => Ok(json!({"tools": ["a"], "nextCursor": ""})),
        (_, Some("")) => Ok(json!({"tools": ["b", "c"], "nextCursor": "2"})),
        // A cursor that is no longer good, in the second one.
        (5, _) => Err(-32602),
        (_, Some(_)) => Ok(json!({"tools": [], "nextCursor": null})),
    };
    let served = serve_lists(McpEra::Initialize, |mcp| mcp, pages, same).await;
    let listing = served.client.list(McpList::Tools, 10 * SEC).await.unwrap();
    let items: Vec<&str> = listing.items.iter().map(|item| item.get()).collect();
    assert_eq!((items, listing.incarnation.0), (vec![r#""a""#, r#""b""#, r#""c""#], 2));
    assert_eq!(served.asked.load(Ordering::Relaxed), 8, "two of the first, three of the second and third");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_without_an_end_is_refused() {
    async fn refused(page: Page) -> String {
        let served = serve_lists(McpEra::Initialize, |mcp| mcp, page, same).await;
        let error = served.client.list(McpList::Tools, 60 * SEC).await.unwrap_err();
        assert!(matches!(error, CallError::InvalidResult { .. }), "{error}");
        served.stop().await;
        error.to_string()
    }
    assert!(
        refused(|n, _| Ok(json!({"tools": [], "nextCursor": n.to_string()}))).await.contains("1,000 pages")
    );
    assert!(refused(|_, _| Ok(json!({"tools": [], "nextCursor": "x"}))).await.contains("names itself"));
    assert!(refused(|_, _| Ok(json!({"tools": vec![0; 100_001]}))).await.contains("100,000 items"));
    assert!(refused(|_, _| Ok(json!({"tools": ["x".repeat(17 << 20)]}))).await.contains("16 MiB"));
    assert!(refused(|_, _| Ok(json!({"tools": {}}))).await.contains("no array"));
    assert!(refused(|_, _| Ok(json!({}))).await.contains("no list"));
    assert!(refused(|_, _| Ok(json!([]))).await.contains("no object"));
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_tool_says_what_it_has_come_to() {
    let served = serve_lists(McpEra::Initialize, |mcp| mcp, one_page, same).await;
    let call = async |result: Value| served.client.call_tool("echo", &result, SEC).await;
    for complete in [json!({"content": []}), json!({"resultType": "complete", "isError": false})] {
        let McpToolResult::Complete(result) = call(complete.clone()).await.unwrap() else {
            panic!("{complete}")
        };
        assert_eq!(serde_json::from_str::<Value>(result.get()).unwrap(), complete);
    }
    assert!(matches!(call(json!({"isError": true})).await, Ok(McpToolResult::Failed(_))));
    let asks = json!({"resultType": "input_required", "requestState": "x"});
    assert!(matches!(call(asks).await, Ok(McpToolResult::InputRequired(_))));
    let unknown = call(json!({"resultType": "later"})).await.unwrap_err();
    assert!(unknown.to_string().contains("later"), "{unknown}");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_is_that_of_the_whole_list() {
    let endless: Page = |_, _| Ok(json!({"tools": []}));
    let served = serve_lists(McpEra::Initialize, |mcp| mcp, endless, same).await;
    served.worker.stop().await.unwrap();
    let began = tokio::time::Instant::now();
    let error = served.client.list(McpList::Tools, 5 * SEC).await.unwrap_err();
    assert!(matches!(error, CallError::Unavailable { .. }), "{error}");
    assert_eq!(began.elapsed(), Duration::ZERO, "an operator has stopped it");
    served.stop().await;
}
