//! Numbers that a rule fixes and that others rely on.

use std::time::Duration;

use procession::{
    process::{Command, Ladder, Tail},
    protocol::{Mcp, Plugin, Protocol, plugin_error_codes},
    restart::{Backoff, Intensity, RestartPolicy},
    rpc::PeerConfig,
    supervision::{ChildPolicy, Shutdown, StartMode},
    tree::Tree,
    worker::WorkerSpec,
};

const SEC: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;

#[test]
fn the_defaults_of_supervision() {
    // S-2, S-3, S-7
    assert_eq!(Intensity::default(), Intensity::new(3, 5 * SEC));
    let (actor, supervisor) = (ChildPolicy::actor(), ChildPolicy::supervisor());
    assert_eq!((actor.shutdown, supervisor.shutdown), (Shutdown::Timeout(5 * SEC), Shutdown::Infinity));
    assert_eq!((actor.start, actor.start_timeout), (StartMode::Required, 30 * SEC));
    let worker = WorkerSpec::new(Command::new("worker"));
    let Shutdown::Timeout(time) = worker.policy().shutdown else { panic!() };
    assert!(time > Ladder::default().total());
    assert_eq!(worker.policy().start_timeout, 30 * SEC);
    let patient = worker.protocol(Plugin::default()).handshake_timeout(60 * SEC);
    assert_eq!(patient.policy().start_timeout, 75 * SEC);
}

#[test]
fn the_defaults_of_a_restart_policy() {
    //
    let policy = RestartPolicy::permanent();
    assert_eq!(policy.backoff, Backoff::exponential(SEC / 10, 30 * SEC));
    assert_eq!((policy.jitter, policy.healthy_after, policy.program_grace), (0.2, 10 * SEC, 30 * SEC));
    assert!(RestartPolicy::actor().backoff.is_none());
}

#[test]
fn the_defaults_of_a_process_and_a_tree() {
    // P-3, P-9, T-4
    assert_eq!(Tail::DEFAULT_BYTES, 8 * 1024);
    let ladder = Ladder::default();
    assert_eq!((ladder.drain, ladder.term_grace), (10 * SEC, 5 * SEC));
    assert_eq!(Tree::DEFAULT_DEADLINE, 25 * SEC);
}

#[test]
fn the_bounds_of_a_channel() {
    // C-1, C-3, C-5, C-6, C-10, C-11
    let config = PeerConfig::default();
    assert_eq!((config.max_frame_bytes, config.max_in_flight), (64 * MIB, 1024));
    assert_eq!((config.max_queued_bytes, config.max_handlers), (8 * MIB, 64));
    assert_eq!((config.max_queued_requests, config.max_queued_request_bytes), (1024, 8 * MIB));
    assert_eq!((config.max_streams, config.max_stream_bytes), (256, 8 * MIB));
    assert_eq!((config.timeout, config.write_stall), (Some(60 * SEC), Some(60 * SEC)));
    assert_eq!(Mcp::default().max_outgoing_frame_bytes(), 10 * MIB - 64 * 1024);
}

#[test]
fn the_error_codes_of_the_plugin_protocol() {
    // G-8
    let codes = [
        plugin_error_codes::UNAVAILABLE,
        plugin_error_codes::CAPABILITY_DENIED,
        plugin_error_codes::WORKER_ERROR,
        plugin_error_codes::TIMEOUT,
        plugin_error_codes::NOT_IMPLEMENTED,
        plugin_error_codes::UNKNOWN,
    ];
    assert_eq!(codes, [-32000, -32001, -32002, -32003, -32004, -32099]);
}
