//! A setting or request without effect is logged, and what a program prints is distinguished from its
//! errors.

use procession::{
    protocol::NoChannel,
    supervision::{ActorChildRef, SupervisorSpec},
    tree::Tree,
    worker::{Liveness, WorkerActorMessage},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_tree_without_children_starts_and_says_so() {
    // S-6
    listen();
    let empty = Tree::builder().start().await.unwrap();
    let lines = heard();
    assert!(
        lines.iter().any(|line| line.contains("INFO") && line.contains("the tree has no children")),
        "{lines:?}"
    );
    let _ = empty.shutdown(SEC).await;
    let nested = Tree::builder().supervisor("s", SupervisorSpec::dynamic()).start().await.unwrap();
    assert!(!heard().iter().any(|line| line.contains("no children")));
    let _ = nested.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_announced_no_ping_is_not_watched_and_that_is_said_once() {
    // W-3
    listen();
    let script = |mut me: procession::testing::ScriptedProcess| async move {
        shake_hands(&mut me).await;
        while read(&mut me).await.is_some() {}
        0
    };
    let tree = tree(script, |spec| spec.liveness(Liveness::default())).await;
    tree.wait_healthy(SEC).await.unwrap();
    tokio::time::sleep(600 * SEC).await;
    let lines = heard();
    let said: Vec<_> = lines.iter().filter(|line| line.contains("liveness is not watched")).collect();
    assert!(
        said.len() == 1 && said[0].contains("WARN") && said[0].contains("path=\"/w\" incarnation=1"),
        "{lines:?}"
    );
    let _ = tree.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_program_prints_is_told_from_its_errors() {
    // P-3
    listen();
    let script = |mut me: procession::testing::ScriptedProcess| async move {
        me.write_line("to stdout").await.unwrap();
        me.write_error_line("to stderr").await.unwrap();
        me.sleep(SEC).await;
        7
    };
    let tree = tree(script, |spec| spec.protocol(NoChannel::default())).await;
    tokio::time::sleep(SEC / 2).await;
    let lines = heard();
    for (target, text) in [("procession::stdout: ", "to stdout"), ("procession::stderr: ", "to stderr")] {
        assert!(lines.iter().any(|line| line.contains(&format!("{target}{text}"))), "{lines:?}");
    }
    let _ = tree.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_to_a_worker_without_a_channel_is_not_lost_in_silence() {
    // C-12
    listen();
    let script = |me: procession::testing::ScriptedProcess| async move { match me.hang().await {} };
    let tree = tree(script, |spec| spec.protocol(NoChannel::default())).await;
    tree.wait_healthy(SEC).await.unwrap();
    let actor: ActorChildRef<WorkerActorMessage> = tree.actor("/w").unwrap();
    let params = serde_json::value::to_raw_value(&1).unwrap();
    actor.cast(WorkerActorMessage::Notify { method: "note".into(), params }).unwrap();
    tokio::time::sleep(SEC).await;
    let lines = heard();
    assert!(
        lines.iter().any(|line| {
            line.contains("WARN") && line.contains("`note`") && line.contains("path=\"/w\" incarnation=1")
        }),
        "{lines:?}"
    );
    let _ = tree.shutdown(60 * SEC).await;
}
