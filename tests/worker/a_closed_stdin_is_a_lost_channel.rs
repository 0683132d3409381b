//! A live process that has closed its stdin has lost its channel, even while nothing is written (P-11).

use std::time::Duration;

use procession::internals::{Root, RootOptions};
use procession::{
    exit::Exit,
    process::{Command, StdioTransport},
    protocol::{NoChannel, Plugin, ReadyLine},
    restart::{Backoff, RestartPolicy},
    rpc::CloseReason,
    supervision::SupervisorSpec,
    testing::ScriptedLauncher,
    worker::{WorkerRef, WorkerSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_idle_worker_that_closes_its_stdin_is_restarted() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        if me.launch() > 1 {
            return serve_ready(me).await;
        }
        me.sleep(60 * SEC).await;
        me.close_stdin();
        me.hang().await;
        0
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    tokio::time::sleep(60 * SEC + 400 * MS).await;
    assert!(worker.node().last_exit().is_none(), "it may be about to exit");
    tokio::time::sleep(200 * MS).await;
    assert!(matches!(worker.node().last_exit(), Some(Exit::ChannelLost { .. })));
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(launcher.alive(), [1001]);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_closes_its_stdin_and_exits_has_exited() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        if me.launch() > 1 {
            return serve_ready(me).await;
        }
        me.sleep(SEC).await;
        me.close_stdin();
        me.sleep(400 * MS).await;
        3
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    tokio::time::sleep(2 * SEC).await;
    assert_eq!(worker.node().last_exit(), Some(Exit::Failed { code: 3 }));
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_grandchild_that_has_stdin_keeps_the_channel() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        let stdin = me.take_stdin();
        me.grandchild(&[], async move {
            let _stdin = stdin;
            std::future::pending().await
        });
        me.hang().await
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    tokio::time::sleep(3600 * SEC).await;
    assert_eq!((worker.node().last_exit(), launcher.launched().len()), (None, 1));
    let _ = root.shutdown(60 * SEC).await;
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_channel_nobody_minds() {
    for bare in [true, false] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", |mut me| async move {
            me.write_line("ready").await.unwrap();
            me.close_stdin();
            me.hang().await
        });
        let spec = plugin(&launcher);
        let spec =
            if bare { spec.protocol(NoChannel::default()) } else { spec.protocol(ReadyLine::new("ready")) };
        let (root, worker) = tree(spec).await.unwrap();
        tokio::time::sleep(3600 * SEC).await;
        assert_eq!((worker.node().last_exit(), launcher.launched().len()), (None, 1));
        let _ = root.shutdown(60 * SEC).await;
    }
}

// R-1, P-11: closing the channel is not asking the supervisor for the end.
#[tokio::test(start_paused = true)]
async fn a_peer_that_its_holder_closes_is_no_requested_exit() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    let mut events = root.events();
    let (_, peer) = worker.peer().unwrap();
    peer.close(CloseReason::Requested);
    tokio::time::sleep(MS).await;
    assert!(matches!(worker.node().last_exit(), Some(Exit::ChannelLost { .. })));
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    let mut crashes = 0;
    while let Ok(Some(event)) = events.try_next() {
        crashes += usize::from(event.is_crash());
    }
    assert_eq!(crashes, 1);
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test]
async fn a_real_process_that_closes_its_stdin_is_restarted() {
    const BOUND: Duration = Duration::from_secs(30);
    let answer = r#"read hello; echo '{"jsonrpc":"2.0","id":1,"result":{"ok":true,"supportedMethods":[]}}'"#;
    for transport in [StdioTransport::Sockets, StdioTransport::Pipes] {
        let command =
            Command::new("sh").arg("-c").arg(format!("{answer}; exec sleep 1000 <&-")).transport(transport);
        let policy = RestartPolicy::permanent()
            .with_backoff(Backoff::Fixed { delay: Duration::from_millis(10) })
            .with_jitter(0.0);
        let worker = WorkerSpec::new(command).protocol(Plugin::default()).restart(policy);
        let spec =
            SupervisorSpec::one_for_one().intensity(1000, Duration::from_secs(60)).child(worker.child("w"));
        let root = Root::start(spec, RootOptions::default()).await.unwrap();
        let worker = WorkerRef::new(root.find("/w").unwrap());
        let restarted = worker.node().wait_state(|state| state.is_restarting());
        tokio::time::timeout(BOUND, restarted).await.unwrap();
        assert!(matches!(worker.node().last_exit(), Some(Exit::ChannelLost { .. })));
        let _ = root.shutdown(BOUND).await;
    }
}
