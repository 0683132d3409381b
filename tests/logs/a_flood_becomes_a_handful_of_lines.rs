//! Whatever a process sends, and however fast, at most 100 lines of a kind are logged per second, plus
//! the number of lines that were left out (E-4).

use procession::{
    plugin::{PluginHostSpec, PluginSpec},
    process::Command,
    protocol::{Lsp, Protocol},
    rpc::{Framing, MethodRouter, Notification, PeerConfig},
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
};
use serde_json::{Value, json};

use crate::support::*;

const FLOOD: u64 = 20_000;

struct Mark;
impl Notification for Mark {
    const NAME: &'static str = "mark";
    type Params = u64;
}

/// How many lines contain `part`, and the reported number of lines that were left out after them.
fn lines_and_rest(lines: &[String], part: &str, about: &str) -> (usize, u64) {
    let logged = lines.iter().filter(|line| line.contains(part)).count();
    let reports = lines.iter().filter(|line| line.contains("WARN") && line.contains(about));
    let rest =
        reports.filter_map(|line| line.split("suppressed=").nth(1)?.split(' ').next()?.parse::<u64>().ok());
    (logged, rest.sum())
}

fn router() -> MethodRouter {
    MethodRouter::new()
        .notification::<Mark>(|_, _| {})
        .notification_value("panics", |_, _| panic!("a handler's own mistake"))
        .method_value("panics", |_, _| async { panic!("a handler's own mistake") })
}

/// Floods of everything that makes the host log something: what is sent, what each line then contains,
/// and what the report contains.
fn floods() -> Vec<(Value, &'static str, &'static str)> {
    let log = |level| json!({"method": "log", "params": {"level": level, "message": "flood"}});
    vec![
        (log("error"), ": flood", "log messages suppressed"),
        (log("trace"), ": flood", "log messages suppressed"),
        (json!({"method": "mark", "params": "x"}), "bad notification", "about notifications suppressed"),
        (json!({"method": "unheard"}), "no route for", "about notifications suppressed"),
        (json!({"method": "panics"}), "the handler of notification `panics`", "about panics suppressed"),
        (json!({"id": 987_654, "result": 1}), "unknown id", "answers to unknown calls suppressed"),
        (
            json!({"id": null, "error": {"code": 1, "message": "?"}}),
            "names no request",
            "unusable messages suppressed",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn of_messages_of_any_kind() {
    std::panic::set_hook(Box::new(|_| {}));
    for batched in [false, true] {
        for (message, part, about) in floods() {
            listen();
            let frame = if batched { Value::from(vec![message.clone(); 100]) } else { message.clone() };
            let frames = if batched { FLOOD / 100 } else { FLOOD };
            let tree = tree(
                move |mut me: ScriptedProcess| {
                    let frame = frame.to_string();
                    async move {
                        shake_hands(&mut me).await;
                        for _ in 0..frames {
                            let _ = me.write_line(&frame).await;
                        }
                        match me.hang().await {}
                    }
                },
                |spec| spec.handler(router()),
            )
            .await;
            tree.wait_healthy(SEC).await.unwrap();
            tokio::time::sleep(3 * SEC).await;
            let lines = heard_at_every_level();
            let _ = tree.kill().await;
            assert_eq!(
                lines_and_rest(&lines, part, about),
                (100, FLOOD - 100),
                "{message} {batched} {:#?}",
                &lines[..10]
            );
            let report = lines.iter().find(|line| line.contains(about)).unwrap();
            assert!(report.contains("path=\"/w\"") && report.contains("incarnation=1"), "{report}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_noise_and_of_questions_in_a_language_server() {
    listen();
    let question = json!({"id": 1, "method": "window/showMessageRequest", "params": {"message": "sure?"}});
    let tree = tree(
        move |mut me: ScriptedProcess| {
            let question = question.to_string();
            async move {
                let noise = "DEBUG noise\n".repeat(FLOOD as usize);
                let _ = me.write(noise.as_bytes()).await;
                for _ in 0..1000 {
                    let frame = format!("Content-Length: {}\r\n\r\n{question}", question.len());
                    let _ = me.write(frame.as_bytes()).await;
                }
                match me.hang().await {}
            }
        },
        |spec| spec.protocol(Lsp::default()).channel(PeerConfig::default()),
    )
    .await;
    assert_eq!(Lsp::default().stdio_use(), procession::protocol::StdioUse::Rpc(Framing::ContentLength));
    tokio::time::sleep(3 * SEC).await;
    let lines = heard();
    let _ = tree.kill().await;
    assert_eq!(
        lines_and_rest(&lines, "DEBUG noise", "lines of noise on stdout suppressed"),
        (100, FLOOD - 100)
    );
    assert_eq!(lines_and_rest(&lines, "sure?", "log messages suppressed"), (100, 900));
}

#[tokio::test(start_paused = true)]
async fn of_denied_capabilities() {
    listen();
    let launcher = ScriptedLauncher::new();
    launcher.program("greedy", |mut me: ScriptedProcess| async move {
        shake_hands(&mut me).await;
        for n in 0..FLOOD / 2 {
            let _ = me.write_line(&json!({"id": n, "method": "secrets.get"}).to_string()).await;
            let _ = me.write_line(&json!({"method": "secrets.watch"}).to_string()).await;
            while n % 100 == 99
                && me.read_line().await.is_some_and(|line| !line.contains(&format!("\"id\":{n},")))
            {
            }
        }
        me.hang().await
    });
    let plugin = PluginSpec::new("greedy", Command::new("greedy")).capabilities(["files.read"]);
    let host = PluginHostSpec::new().plugin(plugin).launcher(std::sync::Arc::new(launcher));
    let tree = Tree::builder().child(host.child("plugins")).start().await.unwrap();
    tokio::time::sleep(3 * SEC).await;
    let lines = heard();
    let _ = tree.kill().await;
    let (logged, rest) = lines_and_rest(&lines, "capability denied", "denied capabilities suppressed");
    assert_eq!((logged, rest), (100, FLOOD - 100));
}

#[tokio::test(start_paused = true)]
async fn of_what_nobody_listens_to_nothing_is_left_out() {
    let _guard = listen_to_info();
    let tree = tree(
        |mut me: ScriptedProcess| async move {
            shake_hands(&mut me).await;
            for _ in 0..1000 {
                let _ = me.write_line(r#"{"method":"unheard"}"#).await;
                let _ = me.write_line(r#"{"method":"log","params":{"level":"debug"}}"#).await;
            }
            match me.hang().await {}
        },
        |spec| spec,
    )
    .await;
    tokio::time::sleep(3 * SEC).await;
    let _ = tree.kill().await;
    let lines = heard();
    assert!(lines.iter().any(|line| line.contains("ready")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("suppressed")), "{lines:#?}");
}
