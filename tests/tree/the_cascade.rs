//! The story of `examples/cascading_restarts.rs` with scripted processes: crashes escalate from worker
//! to pool to tree, and the same seed gives the same events (S-11, S-17, L-7, D-1).

use std::hash::{DefaultHasher, Hash, Hasher};

use procession::{exit::Exit, testing::ScriptedLauncher};

use crate::support::*;

/// Plays the story and returns the event log.
async fn play() -> String {
    let launcher = ScriptedLauncher::new();
    let mut builder = tree(&launcher).event_capacity(1 << 16);
    let mut events = builder.events();
    let tree = builder.start().await.unwrap();
    tree.wait_healthy(30 * SEC).await.unwrap();
    for key in ["red", "green", "blue"] {
        assert_eq!(echo(&tree, key).await.unwrap(), key);
    }
    assert_eq!(count(&tree).await, 1);
    let pids = || -> Vec<_> {
        let pid = |path: &str| tree.worker(path).ok().and_then(|w| w.pid());
        ["/pool/red", "/pool/blue", "/plugins/spelling", "/plugins/weather"].map(pid).to_vec()
    };

    // One worker crashes: its siblings keep their pids.
    let before = pids();
    kill_and_wait(&tree, &launcher, "/pool/green", "/pool/green").await;
    assert_eq!(echo(&tree, "green").await.unwrap(), "green");
    assert_eq!((pids(), tree.find("/pool/green").unwrap().incarnation().0), (before, 2));

    // The pool's intensity is exceeded: the pool and the children after it restart.
    kill_and_wait(&tree, &launcher, "/pool/green", "/pool/green").await;
    kill_and_wait(&tree, &launcher, "/pool/green", "/plugins").await;
    tree.wait_healthy(30 * SEC).await.unwrap();
    let incarnations = ["/counter", "/pool", "/plugins"].map(|p| tree.find(p).unwrap().incarnation().0);
    assert_eq!(incarnations, [1, 2, 2]);
    assert_eq!(count(&tree).await, 2, "the actor before the pool was not touched");
    assert_eq!(echo(&tree, "green").await.unwrap(), "green");
    assert_eq!(
        tree.find("/pool/green").unwrap().incarnation().0,
        4,
        "numbers go on across the pool's restart"
    );

    // The root's intensity is exceeded.
    for _ in 0..2 {
        kill_and_wait(&tree, &launcher, "/pool/green", "/pool/green").await;
    }
    kill(&tree, &launcher, "/pool/green");
    let exit = tree.wait().await;
    assert_eq!(exit.culprits().map(|c| c.as_str()).collect::<Vec<_>>(), ["pool", "green"]);
    assert_eq!(exit.chain().last(), Some(&Exit::Signalled { signal: 9, core: false }));
    assert!(launcher.alive().is_empty());

    let mut log = String::new();
    while let Ok(Some(event)) = events.try_next() {
        log += &(serde_json::to_string(&event).unwrap() + "\n");
    }
    log
}

#[test]
fn two_hundred_plays_give_one_log() {
    // D-1
    let hash = || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let log = runtime.block_on(play());
        let mut hasher = DefaultHasher::new();
        log.hash(&mut hasher);
        (hasher.finish(), log)
    };
    let (first, log) = hash();
    assert!(log.lines().count() > 60, "{log}");
    for _ in 1..200 {
        let (again, other) = hash();
        assert_eq!(again, first, "{log}\n{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_plays_the_same_on_several_threads() {
    for _ in 0..10 {
        play().await;
    }
}
