//! A worker that could never work is refused before anything is started, with all its mistakes (S-6).

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    pool::PoolSpec,
    process::Command,
    protocol::Plugin,
    rpc::PeerConfig,
    supervision::{RequestError, SpecErrors, SupervisorSpec, TreeStartError},
    worker::{Liveness, WorkerSpec},
};

fn unmatchable() -> WorkerSpec {
    let mut channel = PeerConfig::default();
    channel.timeout = Some(Duration::ZERO);
    (channel.max_frame_bytes, channel.max_in_flight, channel.max_queued_bytes) = (0, 0, 0);
    (channel.max_handlers, channel.write_stall) = (0, Some(Duration::ZERO));
    let liveness = Liveness { interval: Duration::ZERO, timeout: Duration::ZERO, ..Liveness::default() };
    WorkerSpec::new(Command::new(""))
        .protocol(Plugin::default())
        .liveness(liveness)
        .channel(channel)
        .handshake_timeout(Duration::ZERO)
}

const FIELDS: [&str; 10] = [
    "command.program",
    "liveness.interval",
    "liveness.timeout",
    "handshake_timeout",
    "channel.timeout",
    "channel.max_frame_bytes",
    "channel.max_in_flight",
    "channel.max_queued_bytes",
    "channel.max_handlers",
    "channel.write_stall",
];

fn fields(errors: &SpecErrors) -> Vec<&str> {
    errors.iter().map(|error| error.field.as_str()).collect()
}

fn below(prefix: &str) -> Vec<String> {
    FIELDS.iter().map(|field| format!("{prefix}.{field}")).collect()
}

#[tokio::test(start_paused = true)]
async fn all_mistakes_of_a_worker_are_reported_together() {
    assert_eq!(fields(&unmatchable().validate().unwrap_err()), FIELDS);
    let spec = SupervisorSpec::one_for_one().child(unmatchable().child("w"));
    let Err(TreeStartError::Invalid(errors)) = Root::start(spec, RootOptions::default()).await else {
        panic!()
    };
    assert_eq!(fields(&errors), below("children[w]"));
    let root = Root::start(SupervisorSpec::one_for_one(), RootOptions::default()).await.unwrap();
    let Err(RequestError::Invalid(errors)) = root.supervisor().start_child(unmatchable().child("w")).await
    else {
        panic!()
    };
    assert_eq!(fields(&errors), below("children[w]"));
    assert_eq!(fields(&PoolSpec::keyed(1, unmatchable()).validate().unwrap_err()), below("worker"));
    let _ = root.shutdown(Duration::from_secs(1)).await;
}

#[test]
fn what_is_declared_by_default_is_right() {
    let spec = WorkerSpec::new(Command::new("x"));
    assert_eq!(spec.validate(), Ok(()));
    assert_eq!(spec.protocol(Plugin::default()).liveness(Liveness::default()).validate(), Ok(()));
}
