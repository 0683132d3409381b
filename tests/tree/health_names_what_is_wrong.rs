//! T-4: what is not there has no place on the board, and is named nevertheless.

use std::sync::Arc;

use procession::{
    pool::PoolSpec,
    process::Command,
    protocol::Plugin,
    restart::{Budget, CrashLoop, RestartPolicy, Then},
    testing::{ScriptedLauncher, ScriptedProcess},
    tree::Tree,
    worker::WorkerSpec,
};

use crate::support::*;

fn launcher() -> ScriptedLauncher {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    launcher.program("broken", |_: ScriptedProcess| async { 9 });
    launcher
}

fn worker(launcher: &ScriptedLauncher, program: &str) -> WorkerSpec {
    WorkerSpec::new(Command::new(program)).protocol(Plugin::default()).launcher(Arc::new(launcher.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_given_up_is_a_trouble_until_it_may_be_tried_again() {
    let launcher = launcher();
    let pool = PoolSpec::keyed(2, worker(&launcher, "broken"));
    let tree = Tree::builder().pool("agents", pool).start().await.unwrap();
    tree.wait_healthy(SEC).await.unwrap();
    tree.pool("/agents").unwrap().acquire("a/b").await.unwrap_err();
    let health = tree.health();
    assert!(!health.healthy);
    let texts: Vec<_> = health.troubles.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "/agents/a~1b: gave up: 5 failures in 60s; not tried again for 30.0s; the last one: failed with exit code 9"
        ]
    );
    // Nothing happens when the rest is over; it is noticed nevertheless.
    tree.wait_healthy(40 * SEC).await.unwrap();
    let _ = tree.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_has_fewer_workers_than_it_is_to_keep_is_not_healthy() {
    let launcher = launcher();
    let give_up = CrashLoop::new(2, MINUTE, Then::GiveUp);
    let pool = |program| {
        PoolSpec::anonymous(2, 4, worker(&launcher, program))
            .restart(RestartPolicy::actor().with_budget(Budget::Own(give_up)))
    };
    let tree =
        Tree::builder().pool("good", pool("worker")).pool("bad", pool("broken")).start().await.unwrap();
    tokio::time::sleep(SEC).await;
    let health = tree.health();
    assert!(!health.healthy);
    let bad: Vec<_> = health.troubles.iter().map(ToString::to_string).collect();
    assert_eq!(bad[0], "/bad: ready; 0 of at least 2 workers ready; the last one: failed with exit code 9");
    assert!(bad.iter().all(|trouble| trouble.starts_with("/bad")), "{bad:?}");
    let _ = tree.shutdown(SEC).await;
}
