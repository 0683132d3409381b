//! Each log event names the child that it is about in its own fields `path` and `incarnation`, in one
//! form: a filter may switch spans off, and ractor's spans do not precede every line (E-6).

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::{Arc, Mutex},
};

use procession::{
    process::{Command, Signal},
    protocol::ReadyLine,
    testing::ScriptedLauncher,
    tree::Tree,
    worker::WorkerSpec,
};
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::*;

/// Receives every event and no span, as with a filter.
#[derive(Clone, Default)]
struct EventReceiver(Arc<Mutex<Vec<Heard>>>);

#[derive(Default)]
struct Heard {
    target: String,
    path: Option<String>,
    incarnation: Option<u64>,
    text: String,
}

impl Visit for Heard {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "incarnation" {
            self.incarnation = Some(value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "path" {
            self.path = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        }
    }
}

impl Subscriber for EventReceiver {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        unreachable!("spans are switched off")
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut heard = Heard { target: event.metadata().target().to_owned(), ..Heard::default() };
        event.record(&mut heard);
        self.0.lock().unwrap().push(heard);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A tree whose workers do everything that is logged.
async fn eventful() {
    let launcher = ScriptedLauncher::new();
    launcher.program("talks", |mut me| async move {
        shake_hands(&mut me).await;
        let _ = me.write_error_line("on stderr").await;
        let _ = me.write_line("between messages").await;
        say(
            &mut me,
            json!({"jsonrpc": "2.0", "method": "log", "params": {"level": "warn", "message": "sent"}}),
        )
        .await;
        say(&mut me, json!({"jsonrpc": "2.0", "method": "strange"})).await;
        say(&mut me, json!({"jsonrpc": "2.0", "id": 77, "result": null})).await;
        say(&mut me, json!({"jsonrpc": "2.0", "id": null, "result": null})).await;
        me.ignore(Signal::TERM);
        me.hang().await;
        0
    });
    launcher.program("fails", |me| async move {
        me.sleep(SEC).await;
        3
    });
    launcher.program("prints", |mut me| async move {
        let _ = me.write_line("on stdout").await;
        me.sleep(SEC).await;
        4
    });
    let spec = |program| WorkerSpec::new(Command::new(program)).launcher(Arc::new(launcher.clone()));
    let plugin = |program| spec(program).protocol(procession::protocol::Plugin::default());
    let tree = Tree::builder()
        .child(plugin("talks").child("talks").background())
        .child(plugin("fails").child("fails").background())
        .child(spec("prints").protocol(ReadyLine::new("never")).child("prints").background())
        .child(plugin("missing").child("missing").background())
        .start()
        .await
        .unwrap();
    tokio::time::sleep(30 * SEC).await;
    let _ = tree.worker("talks").unwrap().restart("to see").await;
    let _ = tree.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn under_a_filter_that_switches_spans_off() {
    let events = EventReceiver::default();
    {
        let _guard = tracing::subscriber::set_default(events.clone());
        eventful().await;
    }
    let heard = events.0.lock().unwrap();
    let ours = || heard.iter().filter(|event| event.target.starts_with("procession"));
    for event in ours() {
        let Heard { target, path, incarnation, text } = event;
        assert!(path.is_some() && incarnation.is_some(), "{target}: {text}: {path:?} {incarnation:?}");
    }
    let about =
        |text: &str| ours().find(|event| event.text.contains(text)).unwrap_or_else(|| panic!("{text}"));
    for (text, path, incarnation) in [
        ("did not become ready: failed with exit code 3", "/fails", 1),
        ("restart in", "/fails", 1),
        ("given up", "/missing", 1),
        ("on stderr", "/talks", 1),
        ("on stdout", "/prints", 1),
        ("between messages", "/talks", 1),
        ("restart requested", "/talks", 1),
        ("killed with its group", "/talks", 1),
        ("the tree has ended", "/", 1),
    ] {
        let event = about(text);
        assert_eq!((event.path.as_deref(), event.incarnation), (Some(path), Some(incarnation)), "{text}");
    }
    let targets: BTreeSet<&str> = ours().map(|event| event.target.as_str()).collect();
    let known = ["procession", "procession::log", "procession::rpc", "procession::rpc::noise"];
    let known = known.into_iter().chain(["procession::stderr", "procession::stdout"]).collect();
    assert_eq!(targets, known);
}

#[tokio::test(start_paused = true)]
async fn no_span_of_ractor_stands_before_a_line() {
    listen();
    eventful().await;
    let lines = heard_at_every_level();
    assert!(lines.iter().any(|line| line.contains("did not become ready")));
    let ours = lines.iter().filter(|line| line.contains("procession"));
    for line in ours {
        assert!(!line.contains("Actor{"), "{line}");
    }
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The only places that call `tracing` directly.
const OWN: [&str; 4] = [
    // The macro that all others use.
    "src/log_event_macro.rs",
    // The lines of a process that is not a worker.
    "src/process/stdio/line_logger.rs",
    // About the host as a whole.
    "src/process/launch/sigchld.rs",
    "src/process/cgroup/removal.rs",
];

#[test]
fn there_is_one_form() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 100);
    for (path, text) in found {
        if OWN.iter().any(|own| path.ends_with(own)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for level in ["error", "warn", "info", "debug", "trace", "event", "$level"] {
                for call in [format!("tracing::{level}!"), format!(" {level}!(")] {
                    // `event!` may be a local macro around `log_event!`.
                    let local = call == " event!(";
                    assert!(local || !code.contains(&call), "{path}:{}: use `log_event!`", number + 1);
                }
            }
            assert!(!code.contains("use tracing::{"), "{path}:{}: use `log_event!`", number + 1);
        }
    }
}
