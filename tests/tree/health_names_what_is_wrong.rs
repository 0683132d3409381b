//! Health reports given-up keys and missing workers too, although they have no node status, and says
//! why (T-4).

use std::sync::Arc;

use procession::{
    pool::PoolSpec,
    process::Command,
    protocol::Plugin,
    restart::{Backoff, BudgetScope, CrashLoop, CrashLoopAction, RestartPolicy},
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
    assert_eq!(tree.health().to_string(), "healthy");
    tree.pool("/agents").unwrap().acquire("a/b").await.unwrap_err();
    let health = tree.health();
    assert!(!health.healthy);
    let texts: Vec<_> = health.issues.iter().map(ToString::to_string).collect();
    assert_eq!(health.to_string(), format!("not healthy\n{}", texts[0]));
    assert_eq!(
        texts,
        ["/agents/a~1b: gave up: 5 failures in 60s; not retried for 30s; last exit: failed with exit code 9"]
    );
    // The end of the pause is not an event; it is noticed nevertheless.
    tree.wait_healthy(40 * SEC).await.unwrap();
    let _ = tree.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_has_fewer_workers_than_it_is_to_keep_is_not_healthy() {
    let launcher = launcher();
    let give_up = CrashLoop::new(2, MINUTE, CrashLoopAction::GiveUp);
    let pool = |program| {
        PoolSpec::anonymous(2, 4, worker(&launcher, program))
            .restart(RestartPolicy::actor().with_budget(BudgetScope::Own(give_up)))
    };
    let tree =
        Tree::builder().pool("good", pool("worker")).pool("bad", pool("broken")).start().await.unwrap();
    tokio::time::sleep(SEC).await;
    let health = tree.health();
    assert!(!health.healthy);
    let bad: Vec<_> = health.issues.iter().map(ToString::to_string).collect();
    assert_eq!(bad[0], "/bad: ready; 0 of at least 2 workers ready; last exit: failed with exit code 9");
    assert!(bad.iter().all(|issue| issue.starts_with("/bad")), "{bad:?}");
    let _ = tree.shutdown(SEC).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_says_why() {
    // T-4, R-5: a worker, a plugin, and the tree itself.
    let launcher = launcher();
    launcher.program("ill", |mut me: ScriptedProcess| async move {
        let _ = me.write_error_line("no more paper").await;
        9
    });
    let twice = CrashLoop::new(2, MINUTE, CrashLoopAction::GiveUp);
    let policy = RestartPolicy::permanent().with_backoff(Backoff::fixed(SEC)).with_jitter(0.0);
    let broken = worker(&launcher, "ill").child("w").restart(policy.clone().with_crash_loop(twice));
    let waits = worker(&launcher, "ill").child("b").restart(policy.with_backoff(Backoff::fixed(MINUTE)));
    let tree = Tree::builder()
        .intensity(100, MINUTE)
        .child(broken.background())
        .child(waits.background())
        .start()
        .await
        .unwrap();
    tokio::time::sleep(5 * SEC).await;
    let texts: Vec<_> = tree.health().issues.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    let ill = "last exit: failed with exit code 9; its stderr ends with `no more paper`";
    assert!(texts[0].starts_with("/w: gave up") && texts[0].ends_with(ill), "{texts:?}");
    assert!(texts[1].starts_with("/b: backing off") && texts[1].ends_with(ill), "{texts:?}");
    let _ = tree.shutdown(SEC).await;

    let once = worker(&launcher, "ill").child("w").background();
    let tree = Tree::builder().intensity(0, MINUTE).child(once).start().await.unwrap();
    let _ = tree.wait().await;
    let health = tree.health();
    assert!(!health.healthy);
    let text = health.issues[0].to_string();
    assert!(text.starts_with("/: ended; the tree has ended: ") && text.contains("no more paper"), "{text}");
}
