//! What a worker costs its host while it has nothing to do: no room is held for steps that are over or rare,
//! and no buffer for what it may print.

use std::time::Duration;

use procession::{process::Command, protocol::Plugin, tree::Tree, worker::WorkerSpec};

use crate::{SLACK, Tried, counting};

const WORKERS: usize = 100;
/// What one may cost; 32 KiB with what the allocator adds.
const BYTES: usize = 30 * 1024;

/// Answers the handshake and reads from then on.
const SCRIPT: &str = r#"read line
echo '{"id":1,"result":{"ok":true,"supportedMethods":["x"]}}'
while read line; do :; done"#;

async fn start(workers: usize) -> Tree {
    let mut tree = Tree::builder();
    for n in 0..workers {
        let spec = WorkerSpec::new(Command::new("/bin/sh").args(["-c", SCRIPT])).protocol(Plugin::default());
        tree = tree.worker(format!("w{n}"), spec);
    }
    tree.start().await.unwrap()
}

pub(crate) fn try_all(wanted: &dyn Fn(&str) -> bool, check: &mut dyn FnMut(Tried)) {
    let name = format!("idle: {WORKERS} workers");
    if !wanted(&name) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let held = runtime.block_on(async {
        // The first tree pays for what is there only once.
        let _ = start(4).await.kill().await;
        let before = counting::live();
        let tree = start(WORKERS).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let held = counting::live() - before;
        for n in 0..WORKERS {
            let worker = tree.worker(&format!("/w{n}")).unwrap();
            let (incarnation, _) = worker.peer().expect("it works");
            assert_eq!(incarnation.0, 1, "it has been idle");
        }
        let _ = tree.kill().await;
        held
    });
    println!("one of {WORKERS} idle workers holds {} bytes", held / WORKERS as isize);
    // A bound by itself: there is nothing to be slack about.
    let bound = ((WORKERS * BYTES) as f64 / SLACK) as usize;
    check(Tried { name, peak: held, bound });
}
