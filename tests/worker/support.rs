//! Scripted plugin workers and the tree they live in.

use std::{sync::Arc, time::Duration};

use procession::internals::{Root, RootOptions};
use procession::{
    process::{Command, Launcher},
    protocol::Plugin,
    rpc::{Method, MethodRouter, RpcError},
    supervision::{SupervisorSpec, TreeStartError},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::{WorkerRef, WorkerSpec},
};
use serde_json::{Value, json};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// Echoes its params.
pub(crate) struct Echo;
impl Method for Echo {
    const NAME: &'static str = "echo";
    type Params = String;
    type Output = String;
}

/// Never answered.
pub(crate) struct Hang;
impl Method for Hang {
    const NAME: &'static str = "hang";
    type Params = ();
    type Output = ();
}

/// Ends the process with this exit code, without an answer.
pub(crate) struct Die;
impl Method for Die {
    const NAME: &'static str = "die";
    type Params = i32;
    type Output = ();
}

pub(crate) async fn answer(me: &mut ScriptedProcess, id: &Value, result: Value) {
    let _ = me.write_line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()).await;
}

/// Reads the next message.
pub(crate) async fn read(me: &mut ScriptedProcess) -> Option<Value> {
    Some(serde_json::from_str(&me.read_line().await?).unwrap())
}

/// Answers `initialize`.
pub(crate) async fn shake_hands(me: &mut ScriptedProcess) {
    let hello = read(me).await.unwrap();
    assert_eq!(hello["method"], "initialize");
    let methods = json!({"ok": true, "supportedMethods": ["echo", "hang", "die", "ping"]});
    answer(me, &hello["id"], methods).await;
}

/// A well-behaved plugin worker.
pub(crate) async fn serve(mut me: ScriptedProcess) -> i32 {
    shake_hands(&mut me).await;
    serve_ready(me).await
}

pub(crate) async fn serve_ready(mut me: ScriptedProcess) -> i32 {
    while let Some(message) = read(&mut me).await {
        let id = message["id"].clone();
        match message["method"].as_str().unwrap_or_default() {
            "echo" => answer(&mut me, &id, message["params"].clone()).await,
            "ping" => answer(&mut me, &id, json!({})).await,
            "die" => {
                let _ = me.write_error_line("I am dying").await;
                return message["params"].as_i64().unwrap() as i32;
            }
            "shutdown" => {
                answer(&mut me, &id, json!({})).await;
                return 0;
            }
            _ => {}
        }
    }
    0
}

pub(crate) fn plugin(launcher: &ScriptedLauncher) -> WorkerSpec {
    let launcher: Arc<dyn Launcher> = Arc::new(launcher.clone());
    WorkerSpec::new(Command::new("worker")).protocol(Plugin::default()).launcher(launcher)
}

/// A tree with one worker at `/w`.
pub(crate) async fn tree(spec: WorkerSpec) -> Result<(Root, WorkerRef), TreeStartError> {
    let spec = SupervisorSpec::one_for_one().intensity(10, SEC).child(spec.child("w"));
    let root = Root::start(spec, RootOptions::default()).await?;
    let worker = WorkerRef::new(root.find("/w").unwrap());
    Ok((root, worker))
}

/// Host methods: `where` answers with the values of the context.
pub(crate) fn host() -> MethodRouter {
    MethodRouter::new().method_value("where", |cx, _| async move {
        let text = json!(format!("{}{}", cx.path, cx.incarnation));
        serde_json::value::to_raw_value(&text).map_err(RpcError::internal)
    })
}
