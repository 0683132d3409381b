//! When a worker's actor has ended, for any reason, its process, grandchildren, tasks and timers have
//! ended too (P-10, S-19, S-20, S-21).

use procession::{process::Signal, testing::ScriptedLauncher};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_killed_actor_takes_its_process_with_it_before_the_next_one_starts() {
    // P-10: also during the handshake.
    for in_handshake in [false, true] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me| async move {
            if me.launch() == 2 || !in_handshake {
                shake_hands(&mut me).await;
                return serve_ready(me).await;
            }
            me.hang().await;
            0
        });
        let spec = procession::supervision::SupervisorSpec::one_for_one()
            .child(plugin(&launcher).child("w").background());
        let root = procession::internals::Root::start(spec, Default::default()).await.unwrap();
        tokio::time::sleep(MS).await;
        assert_eq!(launcher.alive(), [1000]);
        // The worker's actor is the root's only child.
        let actor = root.cell().get_children().pop().unwrap();
        actor.kill();
        let worker = procession::worker::WorkerRef::new(root.find("/w").unwrap());
        worker.node().wait_state(|s| s.is_restarting()).await;
        assert!(launcher.alive().is_empty(), "gone before its supervisor heard of its end");
        assert_eq!(worker.node().last_exit(), Some(procession::exit::Exit::ActorKilled));
        tokio::time::sleep(SEC).await;
        assert_eq!(launcher.alive(), [1001]);
        let _ = root.shutdown(60 * SEC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn grandchildren_go_with_their_leader() {
    // P-4
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", |mut me| async move {
        me.grandchild(&[Signal::TERM], std::future::pending());
        shake_hands(&mut me).await;
        serve_ready(me).await
    });
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    worker.call::<Die>(&1).await.unwrap_err();
    assert_eq!(worker.wait_ready(SEC).await.unwrap().0, 2);
    assert_eq!(launcher.alive(), [1001]);
    let begin = tokio::time::Instant::now();
    worker.stop().await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 15, "an orderly stop gives the rest of the group its whole time");
    assert!(launcher.alive().is_empty());
    let _ = root.shutdown(60 * SEC).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_tree_leaves_no_process() {
    let launcher = ScriptedLauncher::new();
    launcher.program("worker", serve);
    let (root, worker) = tree(plugin(&launcher)).await.unwrap();
    drop(root);
    worker.node().wait_state(|s| s.is_down()).await;
    assert!(launcher.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_tree_goes_on_without_a_process_that_cannot_be_reaped() {
    // S-19, P-9: an unkillable process, whether it was stopped, its actor was killed, or it lost its
    // channel.
    for how in ["stop", "kill", "lost"] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", move |mut me| async move {
            shake_hands(&mut me).await;
            if me.launch() > 1 {
                return serve_ready(me).await;
            }
            me.set_uninterruptible(true);
            read(&mut me).await;
            if how == "lost" {
                me.close_stdout();
            }
            me.sleep(600 * SEC).await;
            me.set_uninterruptible(false);
            me.hang().await;
            0
        });
        let (root, worker) = tree(plugin(&launcher)).await.unwrap();
        worker.notify_value("wake", &()).await.unwrap();
        match how {
            "stop" => {
                worker.stop().await.unwrap();
                worker.restart("on").await.unwrap();
            }
            "kill" => {
                root.cell().get_children().pop().unwrap().kill();
                tokio::time::sleep(10 * SEC).await;
            }
            _ => tokio::time::sleep(20 * SEC).await,
        }
        assert_eq!(worker.wait_ready(10 * SEC).await.unwrap().0, 2, "{how}");
        assert_eq!(launcher.alive(), [1000, 1001], "{how}");
        if how == "lost" {
            assert_eq!(worker.node().last_exit(), Some(procession::exit::Exit::Unkillable { pid: 1000 }));
        }
        let _ = root.shutdown(60 * SEC).await;
        assert_eq!(launcher.alive(), [1000], "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_task_and_no_alarm_outlives_a_tree() {
    // S-20: deadlines of calls, liveness pings, back-off and grace periods end with what they belong
    // to.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for orderly in [true, false] {
        let launcher = ScriptedLauncher::new();
        launcher.program("worker", |mut me| async move {
            shake_hands(&mut me).await;
            serve_ready(me).await
        });
        let liveness = procession::worker::Liveness { interval: 100 * SEC, ..Default::default() };
        let (root, worker) = tree(plugin(&launcher).liveness(liveness)).await.unwrap();
        let waiting = tokio::spawn({
            let worker = worker.clone();
            async move { worker.call::<Hang>(&()).await }
        });
        tokio::time::sleep(MS).await;
        if orderly {
            let _ = root.shutdown(60 * SEC).await;
        } else {
            // During the delay before a restart.
            launcher.kill(worker.pid().unwrap(), Signal::KILL).unwrap();
            worker.node().wait_state(|s| s.is_restarting()).await;
            let _ = root.kill().await;
        }
        waiting.await.unwrap().unwrap_err();
        drop((worker, root));
        let begin = tokio::time::Instant::now();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!((tasks(), begin.elapsed()), (before, std::time::Duration::ZERO));
    }
}
