//! A call that is larger than a server can take is not sent to it, and the server lives on; a worker's
//! own bound overrides its protocol's (C-1).

use std::sync::Arc;

use procession::{
    process::{Command, Launcher},
    protocol::{Mcp, McpEra},
    rpc::{CallEffect, CallError, PeerConfig, Timeout},
    testing::{ScriptedLauncher, ScriptedProcess},
    worker::WorkerSpec,
};
use serde_json::json;

use crate::support::*;

/// Answers with the length of the line that a call came in. Like a server in TypeScript, it exits on a
/// line of 10 MiB.
async fn server(mut me: ScriptedProcess, most: usize) -> i32 {
    let hello = read(&mut me).await.unwrap();
    answer(&mut me, &hello["id"], json!({"protocolVersion": "2025-06-18"})).await;
    while let Some(line) = me.read_line().await {
        if line.len() >= most {
            return 0;
        }
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        if message["method"] == "tools/call" {
            answer(&mut me, &message["id"], json!(line.len())).await;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn a_server_survives_a_callers_argument() {
    for (bound, most) in [(None, 10 << 20), (Some(20 << 20), usize::MAX)] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |me| server(me, most));
        let launcher: Arc<dyn Launcher> = Arc::new(launcher);
        let mut peer = PeerConfig::default();
        peer.max_outgoing_frame_bytes = bound;
        let spec = WorkerSpec::new(Command::new("worker"))
            .protocol(Mcp::default().with_era(McpEra::Initialize))
            .launcher(launcher)
            .channel(peer);
        let (root, worker) = tree(spec).await.unwrap();
        let incarnation = worker.wait_ready(SEC).await.unwrap();
        let large = json!({"name": "x", "arguments": {"text": "x".repeat(12 << 20)}});
        let small = json!({"name": "x", "arguments": {"text": "x".repeat(9 << 20)}});
        let answer = worker.call_value("tools/call", &large, Timeout::Default).await;
        match bound {
            Some(_) => assert!(answer.unwrap().get().len() > 7),
            None => {
                let error = answer.unwrap_err();
                assert!(matches!(&error, CallError::TooLarge { .. }), "{error}");
                assert_eq!(error.effect(), CallEffect::NotSent);
            }
        }
        worker.call_value("tools/call", &small, Timeout::Default).await.unwrap();
        assert_eq!(worker.wait_ready(SEC).await.unwrap(), incarnation, "it has not been restarted");
        let _ = root.shutdown(60 * SEC).await;
    }
}
