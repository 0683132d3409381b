//! A program without a channel has pipes as stdin and stdout, so that it can open `/dev/stdin` and
//! `/dev/stdout` again, as in a shell's pipeline (P-11).

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    id::Incarnation,
    process::{Command, StdioTransport},
    protocol::{Plugin, ReadyLine},
    supervision::SupervisorSpec,
    worker::{WorkerRef, WorkerSpec},
};

const BOUND: Duration = Duration::from_secs(60);

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

async fn becomes_ready(spec: WorkerSpec) {
    let spec =
        SupervisorSpec::one_for_one().child(spec.handshake_timeout(BOUND).start_timeout(BOUND).child("w"));
    let root = Root::start(spec, RootOptions::default()).await.unwrap();
    WorkerRef::new(root.find("/w").unwrap()).wait_ready(BOUND).await.unwrap();
    let _ = root.kill().await;
}

#[tokio::test]
async fn standard_streams_can_be_opened_again() {
    // P-11
    let script = "echo ready > /dev/stdout; : < /dev/stdin; exec sleep 1000";
    becomes_ready(WorkerSpec::new(sh(script)).protocol(ReadyLine::new("ready"))).await;
    // Also with a command that is made for each incarnation.
    let each = move |_: Incarnation| sh(script);
    becomes_ready(WorkerSpec::with_commands(each).protocol(ReadyLine::new("ready"))).await;
}

#[tokio::test]
async fn a_transport_that_was_chosen_is_kept_and_a_channel_is_as_it_was() {
    // P-11
    let kind = "case $(readlink /proc/$$/fd/1) in socket:*) kind=socket;; *) kind=pipe;; esac;";
    let line = format!("{kind} echo is a $kind; exec sleep 1000");
    becomes_ready(WorkerSpec::new(sh(&line)).protocol(ReadyLine::new("is a pipe"))).await;
    if !cfg!(target_os = "linux") || !refuses_descriptors() {
        return;
    }
    let chosen = WorkerSpec::new(sh(&line).transport(StdioTransport::Sockets));
    becomes_ready(chosen.protocol(ReadyLine::new("is a socket"))).await;
    let answer = r#"echo '{"jsonrpc":"2.0","id":1,"result":{"ok":true,"supportedMethods":[]}}'"#;
    let channel = format!("{kind} read hello; [ $kind = socket ] || exit 3; {answer}; exec sleep 1000");
    becomes_ready(WorkerSpec::new(sh(&channel)).protocol(Plugin::default())).await;
}

/// Since Linux 6.16; before that, sockets are not used.
fn refuses_descriptors() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).take(2).map_while(|n| n.parse().ok()).collect();
    numbers >= vec![6, 16]
}
