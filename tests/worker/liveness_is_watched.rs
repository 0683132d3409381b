//! A worker that does not answer its pings is killed, which counts as a crash (W-3).

use procession::{exit::Exit, testing::ScriptedLauncher, worker::Liveness};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_answer_its_pings_is_killed_as_a_crash() {
    // W-3, W-2
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        shake_hands(&mut me).await;
        if me.launch() > 1 {
            return serve_ready(me).await;
        }
        me.hang().await;
        0
    });
    let liveness = Liveness { interval: SEC, timeout: SEC, failures_allowed: 2 };
    let (root, worker) = tree(plugin(&launcher).liveness(liveness)).await.unwrap();
    let begin = tokio::time::Instant::now();
    let lost = worker.call::<Hang>(&()).await.unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 6, "three pings of a second, a second before each");
    assert!(matches!(lost.exit(), Some(Exit::Unresponsive { .. })));
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    tokio::time::sleep(600 * SEC).await;
    assert_eq!(worker.node().incarnation().0, 2, "one that answers lives on");
    let _ = root.shutdown(60 * SEC).await;
}
