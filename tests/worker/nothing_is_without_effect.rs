//! A setting that would have no effect is a mistake, reported together with all others (S-6).

use std::time::Duration;

use async_trait::async_trait;
use procession::{
    id::Incarnation,
    process::{Command, Limits, OsLauncher, Technique},
    protocol::{LogEntry, Lsp, NoChannel, Plugin, Protocol, ReadyLine},
    rpc::{CallError, CallOptions, Context, MethodRouter, Peer, PeerConfig, StreamListener},
    supervision::SpecErrors,
    testing::ScriptedLauncher,
    worker::{Liveness, LogEntrySink, OnReady, WorkerSpec},
};

use crate::support::*;

struct Nothing;

#[async_trait]
impl OnReady for Nothing {
    async fn on_ready(&self, _: &Peer, _: Incarnation) -> Result<(), String> {
        Ok(())
    }
}

impl LogEntrySink for Nothing {
    fn log(&self, _: &Context, _: LogEntry) {}
}

fn everything(spec: WorkerSpec) -> WorkerSpec {
    spec.handler(MethodRouter::new())
        .logs(Nothing)
        .streams(StreamListener::new(1, 1).0)
        .on_ready(Nothing)
        .liveness(Liveness::default())
        .channel(PeerConfig::default())
        .handshake_timeout(SEC)
}

fn problems(spec: &WorkerSpec) -> Vec<(String, String)> {
    let found = |errors: SpecErrors| errors.iter().map(|e| (e.field.clone(), e.problem.clone())).collect();
    spec.validate().map_or_else(found, |()| Vec::new())
}

fn fields(spec: &WorkerSpec) -> Vec<String> {
    problems(spec).into_iter().map(|(field, _)| field).collect()
}

fn speaking(protocol: impl Protocol) -> WorkerSpec {
    everything(WorkerSpec::new(Command::new("x")).protocol(protocol))
}

#[test]
fn a_channel_that_is_not_there_cannot_be_set_up() {
    let of_a_channel = ["handler", "logs", "streams", "on_ready", "liveness", "channel"];
    let silent = everything(WorkerSpec::new(Command::new("x")));
    assert_eq!(fields(&silent), [&of_a_channel[..], &["handshake_timeout"]].concat());
    // The protocol was forgotten, or it was chosen.
    assert!(problems(&silent).iter().take(6).all(|(_, why)| why.contains("`.protocol(…)`")));
    let bare = speaking(NoChannel::default());
    assert!(
        problems(&bare).iter().take(5).all(|(_, why)| why.contains("the protocol `bare` has no channel"))
    );
    // There is a line to wait for.
    assert_eq!(fields(&speaking(ReadyLine::new("up"))), of_a_channel);
    assert_eq!(fields(&speaking(Plugin::default())), Vec::<String>::new());
}

#[test]
fn pings_need_a_protocol_that_has_them() {
    assert_eq!(
        problems(&speaking(Lsp::default())),
        [("liveness".to_owned(), "has no effect: the protocol `lsp` has no ping".to_owned())]
    );
}

#[test]
fn a_line_that_no_program_can_print_is_not_waited_for() {
    for unmatchable in ["a\nb", "up\r", "\u{1b}[32mup", "\u{feff}up", &"x".repeat(20_000)] {
        let spec = WorkerSpec::new(Command::new("x")).protocol(ReadyLine::new(unmatchable));
        assert_eq!(fields(&spec), ["protocol"], "{unmatchable:?}");
    }
    for fine in ["", "up ", "  up", "größer"] {
        let spec = WorkerSpec::new(Command::new("x")).protocol(ReadyLine::new(fine));
        assert_eq!(spec.validate(), Ok(()), "{fine:?}");
    }
}

#[test]
fn a_command_that_cannot_be_launched_is_found_before() {
    // P-1, P-6
    let limits =
        Limits { nice: Some(30), cpu_seconds: Some(0), oom_score_adj: Some(2000), ..Limits::default() };
    let command = Command::new("a\0b")
        .args(["fine", "sec\0ret"])
        .cwd("/\0")
        .env("", "x")
        .env("A=B", "x")
        .env("C\0D", "x")
        .env("TOKEN", "hun\0ter2")
        .limits(limits);
    for spec in [
        WorkerSpec::new(command.clone()),
        WorkerSpec::new(command.clone()).launcher(std::sync::Arc::new(ScriptedLauncher::new())),
    ] {
        let fields = fields(&spec);
        let expected = [
            "command.program",
            "command.args[1]",
            "command.cwd",
            "command.env[]",
            "command.env[A=B]",
            r"command.env[C\u{0}D]",
            "command.env[TOKEN]",
            "command.limits.nice",
            "command.limits.oom_score_adj",
            "command.limits.cpu_seconds",
        ];
        assert_eq!(fields, expected);
        let shown = spec.validate().unwrap_err().to_string();
        assert!(!shown.contains("ret") && !shown.contains("ter2"), "{shown}");
    }
}

#[test]
fn limits_that_cannot_be_applied_are_a_mistake() {
    // P-6
    let limits = Limits { no_new_privileges: true, ..Limits::default() };
    let spec = |technique, limits| {
        let launcher = OsLauncher::builder().technique(technique).build();
        let command = Command::new("true").limits(limits);
        WorkerSpec::new(command).launcher(std::sync::Arc::new(launcher)).handshake_timeout(Duration::ZERO)
    };
    // Reported with the other mistakes.
    assert_eq!(
        fields(&spec(Technique::PosixSpawn, limits.clone())),
        ["command.limits", "handshake_timeout", "handshake_timeout"]
    );
    assert_eq!(fields(&spec(Technique::PosixSpawn, Limits::default())).len(), 2);
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    assert_eq!(fields(&spec(Technique::Auto, limits)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_worker_without_a_protocol_says_what_it_lacks() {
    // C-12: also for a message to its actor.
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |me| async move { me.hang().await });
    let spec = WorkerSpec::new(Command::new("worker")).launcher(std::sync::Arc::new(launcher.clone()));
    let (root, worker) = tree(spec).await.unwrap();
    let options = || CallOptions::timeout(procession::rpc::Timeout::After(SEC));
    let error = worker.call_value("echo", &(), options()).await.unwrap_err();
    assert!(matches!(error, CallError::NoChannel { .. }) && error.is_misuse(), "{error}");
    assert!(error.to_string().contains("`.protocol(…)`"), "{error}");
    let error = worker.notify_value("note", &()).await.unwrap_err();
    assert!(matches!(error, CallError::NoChannel { .. }), "{error}");
    let _ = root.kill().await;
}

#[test]
fn a_bound_that_another_one_always_comes_before_is_a_mistake() {
    let spec = || WorkerSpec::new(Command::new("x")).protocol(Plugin::default());
    let contradictory = spec().handshake_timeout(60 * SEC).start_timeout(59 * SEC);
    assert_eq!(fields(&contradictory), ["handshake_timeout"]);
    assert_eq!(spec().handshake_timeout(60 * SEC).start_timeout(60 * SEC).validate(), Ok(()));
    // A longer handshake timeout gets the time that it asks for.
    let start_of = |spec: WorkerSpec| spec.policy().start_timeout;
    assert_eq!(start_of(spec()), 30 * SEC);
    assert_eq!(start_of(spec().handshake_timeout(60 * SEC)), 75 * SEC);
    assert_eq!(start_of(spec().handshake_timeout(Duration::MAX)), Duration::MAX);
    assert_eq!(start_of(spec().start_timeout(5 * SEC)), 5 * SEC);
}

#[test]
fn frames_are_told_apart_as_the_protocol_says() {
    let mut channel = PeerConfig::default();
    channel.framing = procession::rpc::Framing::ContentLength;
    let spec =
        |protocol: Plugin| WorkerSpec::new(Command::new("x")).protocol(protocol).channel(channel.clone());
    assert_eq!(fields(&spec(Plugin::default())), ["channel.framing"]);
    let lsp = WorkerSpec::new(Command::new("x")).protocol(Lsp::default());
    assert_eq!(lsp.channel(channel.clone()).validate(), Ok(()));
}
