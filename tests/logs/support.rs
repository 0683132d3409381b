//! The log of one test: one subscriber for the whole program, so that no other test can switch a callsite
//! off, and a buffer for each thread, since each of these tests has a runtime of one thread.

use std::{cell::RefCell, io, sync::Once, time::Duration};

use procession::{
    process::Command,
    protocol::Plugin,
    supervision::Shutdown,
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};
use serde_json::{Value, json};

pub(crate) const SEC: Duration = Duration::from_secs(1);

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Here;

impl io::Write for Here {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to record the log. A subscriber may escape less than it could, so what it is given must
/// already be harmless.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(|| Here);
        let subscriber = subscriber.with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
        tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    });
    LINES.take();
}

/// The same without debug and trace, while the result lives.
pub(crate) fn listen_to_info() -> tracing::subscriber::DefaultGuard {
    listen();
    let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(|| Here);
    tracing::subscriber::set_default(subscriber.finish())
}

/// Records each field of each event as a subscriber gets it, one per line; what would end a line is
/// recorded as `\\r`.
struct Fields;

impl tracing::field::Visit for Fields {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        let line = format!("{field}: {}", value.replace('\n', "\r"));
        LINES.with_borrow_mut(|lines| lines.extend(line.into_bytes().into_iter().chain([b'\n'])));
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl tracing::Subscriber for Fields {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("procession")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Begins to record the fields of events, while the result lives.
pub(crate) fn listen_to_fields() -> tracing::subscriber::DefaultGuard {
    listen();
    tracing::subscriber::set_default(Fields)
}

/// What has been logged since the last call, by line, at the usual levels: no debug and no trace.
pub(crate) fn heard() -> Vec<String> {
    let mut lines = heard_at_every_level();
    lines.retain(|line| !["DEBUG", "TRACE"].iter().any(|level| line.trim_start().starts_with(level)));
    lines
}

/// Everything that has been logged since the last call, by line.
pub(crate) fn heard_at_every_level() -> Vec<String> {
    String::from_utf8(LINES.take()).unwrap().split_terminator('\n').map(str::to_owned).collect()
}

pub(crate) async fn read(me: &mut ScriptedProcess) -> Option<Value> {
    Some(serde_json::from_str(&me.read_line().await?).unwrap())
}

pub(crate) async fn say(me: &mut ScriptedProcess, message: Value) {
    let _ = me.write_line(&message.to_string()).await;
}

/// Answers the handshake.
pub(crate) async fn shake_hands(me: &mut ScriptedProcess) {
    let hello = read(me).await.unwrap();
    say(me, json!({"jsonrpc": "2.0", "id": hello["id"], "result": {"ok": true, "supportedMethods": ["x"]}}))
        .await;
}

/// A tree with one background worker, `/w`.
pub(crate) async fn tree<F, Fut>(script: F, change: impl FnOnce(WorkerSpec) -> WorkerSpec) -> Tree
where
    F: Fn(ScriptedProcess) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = i32> + Send + 'static,
{
    tree_with(script, change, Shutdown::Infinity).await
}

/// The same, with a supervisor that waits only this long for its end.
pub(crate) async fn tree_with<F, Fut>(
    script: F,
    change: impl FnOnce(WorkerSpec) -> WorkerSpec,
    shutdown: Shutdown,
) -> Tree
where
    F: Fn(ScriptedProcess) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = i32> + Send + 'static,
{
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", script);
    let spec = WorkerSpec::new(Command::new("worker"))
        .protocol(Plugin::default())
        .launcher(std::sync::Arc::new(launcher));
    let child = change(spec).child("w").background().shutdown(shutdown);
    Tree::builder().child(child).start().await.unwrap()
}
