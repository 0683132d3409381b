//! C-15 for workers: handshakes, log messages, requests of language servers, stderr, and a stdout that is not
//! a channel.

use std::{sync::Arc, time::Duration};

use procession::{
    plugin::{PluginHostSpec, PluginSpec},
    process::Command,
    protocol::{Lsp, Mcp, NoChannel, Plugin, ReadyLine},
    restart::RestartPolicy,
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};
use serde_json::json;

use crate::{
    Tried,
    channel::{config, router},
    peak_of,
    shapes::{FRAME, fill, values},
};

/// What a worker does: answers `initialize` with the first text if there is one, and then writes the others.
#[derive(Clone, Default)]
struct Doing {
    shaken: Option<String>,
    says: Vec<String>,
    errors: Vec<Vec<u8>>,
    times: usize,
    content_length: bool,
}

impl Doing {
    async fn write(&self, me: &mut ScriptedProcess, text: &str) {
        let _ = if self.content_length {
            let header = format!("Content-Length: {}\r\n\r\n", text.len());
            let _ = me.write(header.as_bytes()).await;
            me.write(text.as_bytes()).await
        } else {
            let _ = me.write(text.as_bytes()).await;
            me.write(b"\n").await
        };
    }

    async fn play(&self, mut me: ScriptedProcess) {
        use tokio::io::AsyncWriteExt;
        if let Some(answer) = &self.shaken {
            let _ = me.read_line().await;
            self.write(&mut me, answer).await;
        }
        let errors = me.take_stderr();
        let mut input = me.take_stdin();
        let reading = async {
            // Bytes, not lines: what comes may be large.
            if let Some(input) = &mut input {
                let _ = tokio::io::copy(input, &mut tokio::io::sink()).await;
            }
            std::future::pending::<()>().await;
        };
        let writing = async {
            if let Some(mut errors) = errors {
                for bytes in &self.errors {
                    let _ = errors.write_all(bytes).await;
                }
            }
            for _ in 0..self.times {
                for text in &self.says {
                    self.write(&mut me, text).await;
                }
            }
            me.hang().await;
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    }
}

fn launcher(doing: &Arc<Doing>) -> Arc<ScriptedLauncher> {
    let launcher = ScriptedLauncher::new();
    let doing = doing.clone();
    launcher.program("worker", move |me: ScriptedProcess| {
        let doing = doing.clone();
        async move { doing.play(me).await }
    });
    Arc::new(launcher)
}

fn spec() -> WorkerSpec {
    WorkerSpec::new(Command::new("worker"))
        .channel(config())
        .handler(router())
        .restart(RestartPolicy::temporary())
}

/// What is held of a tree with this worker.
fn peak(doing: Doing, change: impl FnOnce(WorkerSpec) -> WorkerSpec) -> isize {
    let doing = Arc::new(doing);
    peak_of(async || {
        let spec = change(spec()).launcher(launcher(&doing));
        let tree = Tree::builder().child(spec.child("w").background()).start().await.unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        let _ = serde_json::to_string(&tree.snapshot()).unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        let _ = tree.kill().await;
    })
}

const SHAKEN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"ok":true,"supportedMethods":["x"]}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}"#;
const MCP: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}"#;

pub(crate) fn try_all(wanted: &dyn Fn(&str) -> bool, check: &mut dyn FnMut(Tried)) {
    let bound = spec().protocol(Plugin::default()).worst_case_bytes();
    let mut each = |name: String, doing: Doing, change: &dyn Fn(WorkerSpec) -> WorkerSpec| {
        let name = format!("worker: {name}");
        if wanted(&name) {
            check(Tried { peak: peak(doing, change), name, bound });
        }
    };
    let plugin = |spec: WorkerSpec| spec.protocol(Plugin::default());
    let mcp = |spec: WorkerSpec| spec.protocol(Mcp::default());
    let settings: serde_json::Map<_, _> =
        (0..30).map(|n| (format!("option{n}"), json!("some value"))).collect();
    let settings = serde_json::Value::Object(settings);
    let lsp = |spec: WorkerSpec| spec.protocol(Lsp::default().with_settings(settings.clone()));

    let names = (0..).map(|n| format!("\"{n:x}\",")).scan(0, |bytes, name| {
        *bytes += name.len();
        (*bytes + 200 < FRAME).then_some(name)
    });
    let names: String = names.collect();
    let methods = format!(r#"{{"id":1,"result":{{"ok":true,"supportedMethods":[{names}"x"]}}}}"#);
    each("announces many methods".into(), Doing { shaken: Some(methods), ..Doing::default() }, &plugin);
    for (name, value) in values() {
        for (member, answer) in [
            ("reason", format!(r#"{{"id":1,"result":{{"ok":false,"reason":{value}}}}}"#)),
            ("verdict", format!(r#"{{"id":1,"result":{{"ok":{value}}}}}"#)),
            ("list of methods", format!(r#"{{"id":1,"result":{{"ok":true,"supportedMethods":{value}}}}}"#)),
            ("answer", format!(r#"{{"id":1,"result":{value}}}"#)),
            ("refusal", format!(r#"{{"id":1,"error":{{"code":1,"message":{value}}}}}"#)),
        ] {
            let doing = Doing { shaken: Some(answer), ..Doing::default() };
            each(format!("a plugin's {member} is {name}"), doing, &plugin);
        }
        for member in ["level", "message", "meta"] {
            let log = format!(r#"{{"method":"log","params":{{"{member}":{value}}}}}"#);
            let doing = Doing { shaken: Some(SHAKEN.into()), says: vec![log], times: 2, ..Doing::default() };
            each(format!("a plugin logs with a {member} that is {name}"), doing, &plugin);
        }
        let answer = format!(r#"{{"id":1,"result":{{"protocolVersion":{value}}}}}"#);
        each(
            format!("MCP: the revision is {name}"),
            Doing { shaken: Some(answer), ..Doing::default() },
            &mcp,
        );
        for member in ["level", "logger", "data"] {
            let member = if member == "data" {
                format!(r#""data":{value}"#)
            } else {
                format!(r#""{member}":{value},"data":1"#)
            };
            let log = format!(r#"{{"method":"notifications/message","params":{{{member}}}}}"#);
            let label = &member[..8];
            let doing = Doing { shaken: Some(MCP.into()), says: vec![log], times: 2, ..Doing::default() };
            each(format!("MCP: a log message with {label} that is {name}"), doing, &mcp);
        }
        let progress =
            format!(r#"{{"method":"notifications/progress","params":{{"progressToken":{value}}}}}"#);
        let doing = Doing { shaken: Some(MCP.into()), says: vec![progress], times: 2, ..Doing::default() };
        each(format!("MCP: progress of {name}"), doing, &mcp);
        for (kind, message) in [
            (
                "configuration",
                format!(r#"{{"id":1,"method":"workspace/configuration","params":{{"items":{value}}}}}"#),
            ),
            (
                "a section",
                format!(
                    r#"{{"id":1,"method":"workspace/configuration","params":{{"items":[{{"section":{value}}}]}}}}"#
                ),
            ),
            (
                "a question",
                format!(r#"{{"id":1,"method":"window/showMessageRequest","params":{{"message":{value}}}}}"#),
            ),
            (
                "a message",
                format!(r#"{{"method":"window/logMessage","params":{{"type":1,"message":{value}}}}}"#),
            ),
            (
                "a kind",
                format!(r#"{{"method":"window/logMessage","params":{{"type":{value},"message":""}}}}"#),
            ),
            ("a capability", format!(r#"{{"id":1,"method":"client/registerCapability","params":{value}}}"#)),
        ] {
            let doing = Doing {
                shaken: Some(INITIALIZED.into()),
                says: vec![message],
                times: 2,
                content_length: true,
                ..Doing::default()
            };
            each(format!("LSP: {kind} that is {name}"), doing, &lsp);
        }
    }
    let stderr = [
        ("without a newline", fill("", "x", "").into_bytes()),
        ("of small lines", fill("", "x\n", "").into_bytes()),
        ("of bytes that are no text", vec![0xff; FRAME]),
    ];
    for (name, bytes) in stderr {
        let doing = Doing { shaken: Some(SHAKEN.into()), errors: vec![bytes; 4], ..Doing::default() };
        each(format!("stderr {name}"), doing, &plugin);
    }
    for (name, line) in [("a long line", fill("", "x", "")), ("small lines", fill("", "x\n", ""))] {
        let doing = Doing { says: vec![line], times: 2, ..Doing::default() };
        each(format!("stdout is no channel: {name}"), doing.clone(), &|spec| {
            bare(spec).protocol(NoChannel::default())
        });
        each(format!("a first line is awaited: {name}"), doing, &|spec| {
            bare(spec).protocol(ReadyLine::new("ready"))
        });
    }
    ring(wanted, check, bound);
}

/// A worker whose protocol has no channel has no use for one.
fn bare(spec: WorkerSpec) -> WorkerSpec {
    drop(spec);
    WorkerSpec::new(Command::new("worker")).restart(RestartPolicy::temporary())
}

/// The newest log entries of a plugin are kept, up to 16 KiB each.
fn ring(wanted: &dyn Fn(&str) -> bool, check: &mut dyn FnMut(Tried), bound: usize) {
    const KEPT: usize = 64;
    let name = "plugin: many large log messages are kept".to_owned();
    if !wanted(&name) {
        return;
    }
    let log = json!({"method": "log", "params": {"message": "m".repeat(30_000), "meta": "x".repeat(8000)}});
    let doing =
        Doing { shaken: Some(SHAKEN.into()), says: vec![log.to_string()], times: 200, ..Doing::default() };
    let doing = Arc::new(doing);
    let peak = peak_of(async || {
        let plugin = PluginSpec::new("p", Command::new("worker")).worker(|spec| spec.channel(config()));
        let host = PluginHostSpec::new().plugin(plugin).recent_logs(KEPT).launcher(launcher(&doing));
        let tree = Tree::builder().child(host.child("plugins")).start().await.unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        let _ = tree.kill().await;
    });
    check(Tried { name, peak, bound: bound + KEPT * 16 * 1024 });
}
