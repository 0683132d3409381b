//! A process's requests are answered by the worker's handler first, then by the protocol's defaults
//! (W-7, G-3).

use std::sync::{Arc, Mutex};

use procession::{
    process::{Command, Launcher},
    protocol::{LogEntry, LogLevel, Mcp, McpEra},
    rpc::{Context, MethodRouter, RpcError},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{LogEntrySink, WorkerSpec},
};
use serde_json::{Value, json, value::to_raw_value};

use crate::support::*;

/// An MCP server that sends this request during its handshake, and records the answer.
async fn asking(mut me: ScriptedProcess, method: &'static str, answers: Arc<Mutex<Vec<Value>>>) -> i32 {
    let hello = read(&mut me).await.unwrap();
    let question = json!({"jsonrpc": "2.0", "id": "q", "method": method});
    me.write_line(&question.to_string()).await.unwrap();
    let reply = read(&mut me).await.unwrap();
    assert_eq!(reply["id"], "q");
    answers.lock().unwrap().push(reply);
    answer(&mut me, &hello["id"], json!({"protocolVersion": "2025-06-18"})).await;
    while read(&mut me).await.is_some() {}
    0
}

async fn reply_to(method: &'static str, handler: Option<MethodRouter>) -> Value {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let noted = answers.clone();
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", move |me| asking(me, method, noted.clone()));
    let mut spec = mcp(&launcher);
    if let Some(handler) = handler {
        spec = spec.handler(handler);
    }
    let (root, worker) = tree(spec).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    let _ = root.shutdown(60 * SEC).await;
    answers.lock().unwrap()[0].clone()
}

fn mcp(launcher: &ScriptedLauncher) -> WorkerSpec {
    let launcher: Arc<dyn Launcher> = Arc::new(launcher.clone());
    WorkerSpec::new(Command::new("worker"))
        .protocol(Mcp::default().with_era(McpEra::Initialize))
        .launcher(launcher)
}

fn answering(method: &str, answer: Result<Value, i64>) -> MethodRouter {
    MethodRouter::new().method_value(method, move |_, _| {
        let answer = answer.clone();
        async move {
            match answer {
                Ok(value) => to_raw_value(&value).map_err(RpcError::internal),
                Err(code) => Err(RpcError::new(code, "no")),
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn the_protocol_answers_what_the_handler_does_not_know() {
    assert_eq!(reply_to("ping", None).await["result"], json!({}));
    assert_eq!(reply_to("ping", Some(answering("roots/list", Ok(json!({}))))).await["result"], json!({}));
    assert_eq!(reply_to("roots/list", None).await["error"]["code"], -32601);
}

#[tokio::test(start_paused = true)]
async fn the_handler_goes_first() {
    let mine = json!({"mine": true});
    assert_eq!(reply_to("ping", Some(answering("ping", Ok(mine.clone())))).await["result"], mine);
    assert_eq!(reply_to("ping", Some(answering("ping", Err(-32000)))).await["error"]["code"], -32000);
    assert_eq!(reply_to("roots/list", Some(answering("roots/list", Ok(mine.clone())))).await["result"], mine);
}

struct Sink(Arc<Mutex<Vec<(LogLevel, String)>>>);

impl LogEntrySink for Sink {
    fn log(&self, _: &Context, entry: LogEntry) {
        self.0.lock().unwrap().push((entry.level, entry.message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_message_is_logged_and_handed_to_the_handler_too() {
    // G-4
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        let hello = read(&mut me).await.unwrap();
        let params = json!({"level": "warning", "data": "careful"});
        let message = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
        me.write_line(&message.to_string()).await.unwrap();
        answer(&mut me, &hello["id"], json!({"protocolVersion": "2025-06-18"})).await;
        while read(&mut me).await.is_some() {}
        0
    });
    let (logged, handed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let taken = handed.clone();
    let router = MethodRouter::new().notification_value("notifications/message", move |_, params| {
        taken.lock().unwrap().push(params.unwrap().get().to_owned());
    });
    let (root, worker) = tree(mcp(&launcher).handler(router).logs(Sink(logged.clone()))).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    let _ = root.shutdown(60 * SEC).await;
    assert_eq!(*logged.lock().unwrap(), [(LogLevel::Warn, "careful".to_owned())]);
    assert_eq!(handed.lock().unwrap().len(), 1);
    assert!(handed.lock().unwrap()[0].contains("careful"));
}

#[tokio::test(start_paused = true)]
async fn a_log_message_with_a_null_id_is_one_too() {
    // C-13, G-4: also without a route for it.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        let hello = read(&mut me).await.unwrap();
        let params = json!({"level": "error", "data": "null and void"});
        let message =
            json!({"jsonrpc": "2.0", "id": null, "method": "notifications/message", "params": params});
        me.write_line(&message.to_string()).await.unwrap();
        answer(&mut me, &hello["id"], json!({"protocolVersion": "2025-06-18"})).await;
        // The next message after the handshake is its end, and not an error.
        assert_eq!(read(&mut me).await.unwrap()["method"], "notifications/initialized");
        assert!(read(&mut me).await.is_none());
        0
    });
    let logged = Arc::new(Mutex::new(Vec::new()));
    let (root, worker) = tree(mcp(&launcher).logs(Sink(logged.clone()))).await.unwrap();
    worker.wait_ready(SEC).await.unwrap();
    let _ = root.shutdown(60 * SEC).await;
    assert_eq!(*logged.lock().unwrap(), [(LogLevel::Error, "null and void".to_owned())]);
}
