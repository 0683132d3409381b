//! Settings for a process may be secrets, and appear in no `Debug` output, snapshot, event, error or
//! log line (E-7).

use std::{fmt::Debug, sync::Arc};

use procession::{
    plugin::{PluginHostSpec, PluginSpec},
    process::Command,
    protocol::{InitializeParams, Lsp, Mcp, Plugin, Protocol},
    rpc::MethodRouter,
    supervision::EventReceiver,
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};
use serde_json::{Value, json};

use crate::support::*;

const SECRET: &str = "c4n4ry-5ecret";

fn check(what: &str, text: &str) {
    let at = text.find(SECRET).map(|at| &text[at.saturating_sub(300)..at]);
    assert!(at.is_none(), "in {what}, behind: {at:?}");
}

fn command() -> Command {
    Command::new("worker").arg(format!("--token={SECRET}")).env("TOKEN", SECRET)
}

fn settings() -> Value {
    json!({ "token": SECRET, "nested": [{ "token": SECRET }] })
}

fn protocols() -> Vec<Arc<dyn Protocol>> {
    let lsp = Lsp::new(json!({ "initializationOptions": settings() })).with_settings(settings());
    let mut mcp = Mcp::default().with_capabilities(settings());
    mcp.client_info = settings();
    vec![Arc::new(Plugin::new(settings(), "1").with_config(settings())), Arc::new(lsp), Arc::new(mcp)]
}

fn plugin(id: &str) -> PluginSpec {
    PluginSpec::new(id, command()).manifest(settings()).config(settings())
}

#[test]
fn by_no_debug() {
    let show = |what: &dyn Debug| check("a `Debug`", &format!("{what:?} {what:#?}"));
    for protocol in protocols() {
        show(&protocol);
    }
    let initialize: InitializeParams =
        serde_json::from_value(json!({ "manifest": settings(), "config": settings() })).unwrap();
    show(&initialize);
    show(&command());
    show(&WorkerSpec::new(command()).protocol(Plugin::new(settings(), "1").with_config(settings())));
    show(&plugin("a"));
    let host = PluginHostSpec::new().plugin(plugin("a"));
    show(&host);
    show(&host.child("plugins"));
    show(&WorkerSpec::new(command()).protocol(Lsp::default().with_settings(settings())).child("w"));
}

/// Everything that has happened, as text.
fn told(events: &mut EventReceiver) -> String {
    let mut text = String::new();
    while let Ok(Some(event)) = events.try_next() {
        text += &format!("{event} {event:?} {}\n", serde_json::to_string(&*event).unwrap());
    }
    text
}

fn check_tree(tree: &Tree, events: &mut EventReceiver) {
    let snapshot = tree.snapshot();
    check("a snapshot", &format!("{snapshot} {snapshot:?} {}", serde_json::to_string(&snapshot).unwrap()));
    check("the health", &format!("{:?}", tree.health()));
    check("a tree", &format!("{tree:?}"));
    check("an event", &told(events));
}

#[tokio::test(start_paused = true)]
async fn by_no_tree_whatever_becomes_of_its_children() {
    listen();
    let launcher = ScriptedLauncher::new();
    // It reads its settings, and fails in one way or another.
    launcher.program("worker", |mut me: ScriptedProcess| async move {
        let hello = me.read_line().await.unwrap_or_default();
        assert!(hello.contains(SECRET) || hello.starts_with("Content-Length"), "{hello}");
        match me.launch() % 3 {
            0 => say(&mut me, json!({"id": 1, "result": {"ok": false, "reason": "no"}})).await,
            1 => say(&mut me, json!({"id": 1, "error": {"code": 1, "message": "no"}})).await,
            _ => say(&mut me, json!({"id": 1, "result": {"ok": true, "supportedMethods": ["x"]}})).await,
        }
        me.sleep(SEC / 10).await;
        1
    });
    let launcher = Arc::new(launcher);
    let host =
        PluginHostSpec::new().plugin(plugin("a")).launcher(launcher.clone()).handler(MethodRouter::new());
    let lsp = Lsp::new(json!({ "initializationOptions": settings() })).with_settings(settings());
    let mcp = Mcp::default().with_capabilities(settings());
    let tree = Tree::builder()
        .child(host.child("plugins"))
        .child(WorkerSpec::new(command()).protocol(lsp).launcher(launcher.clone()).child("lsp").background())
        .child(WorkerSpec::new(command()).protocol(mcp).launcher(launcher.clone()).child("mcp").background());
    check("a builder", &format!("{tree:?}"));
    let tree = tree.start().await.unwrap();
    let mut events = tree.events();
    tokio::time::sleep(5 * SEC).await;
    let plugins = tree.plugins("plugins").unwrap();
    let changed = plugins.set_config("a", settings()).await;
    check("an answer", &format!("{changed:?} {:?}", changed.as_ref().map_err(ToString::to_string)));
    let diagnostics = plugins.diagnostics("a");
    check("diagnostics", &format!("{diagnostics:?}"));
    tokio::time::sleep(60 * SEC).await;
    check_tree(&tree, &mut events);
    let _ = tree.kill().await;
    let lines = heard_at_every_level();
    assert!(lines.iter().any(|line| line.contains("handshake failed")), "{lines:#?}");
    lines.iter().for_each(|line| check("the log", line));
}

#[tokio::test]
async fn by_no_launch_that_is_refused() {
    listen();
    for wrong in [
        Command::new("true").arg(format!("{SECRET}\0")),
        Command::new("true").env("TOKEN", format!("{SECRET}\0")),
        Command::new("true").env("", SECRET).arg(SECRET),
        Command::new("no such program").arg(SECRET).env("TOKEN", SECRET),
    ] {
        let fixed = WorkerSpec::new(wrong.clone());
        let refused = fixed.validate();
        check("a refusal", &format!("{refused:?} {:?}", refused.as_ref().map_err(ToString::to_string)));
        // A command that is made for each incarnation is checked when it is launched.
        let made = WorkerSpec::with_commands(move |_| wrong.clone());
        let tree = Tree::builder().child(made.child("w").background()).start().await.unwrap();
        let mut events = tree.events();
        let error = tree.worker("/w").unwrap().wait_ready(10 * SEC).await.unwrap_err();
        check("an error", &format!("{error} {error:?}"));
        check_tree(&tree, &mut events);
        let _ = tree.kill().await;
    }
    heard_at_every_level().iter().for_each(|line| check("the log", line));
}
